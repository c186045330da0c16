/** The model of what kernels on Backend.AI are doing. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { KernelStatuses } from '../model';
import { IKernelStatuses, NAME } from '../tokens';

export const kernels: JupyterFrontEndPlugin<KernelStatuses> = {
  id: `${NAME}:kernels`,
  description: 'Knows what each kernel on Backend.AI is doing.',
  autoStart: true,
  provides: IKernelStatuses,
  activate: (app: JupyterFrontEnd) =>
    new KernelStatuses(app.serviceManager.serverSettings, app.serviceManager.events)
};
