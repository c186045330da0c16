/** The one place that talks to the server extension, with a typed function for each thing it can be asked. */

export * from './api/account';
export * from './api/admin';
export * from './api/choices';
export * from './api/copies';
export * from './api/environments';
export * from './api/files';
export * from './api/folders';
export * from './api/kernels';
export * from './api/notebooks';
export { ApiError, type IReason, type Slots } from './api/request';
export * from './api/sessions';
export * from './api/usage';
export * from './api/variables';
