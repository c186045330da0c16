/** The one place that talks to the server extension, with a typed function for each thing it can be asked. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export interface IReason {
  code: string;
  text: string;
}

export interface IQueue {
  position: number | null;
  of: number | null;
  estimate_s: number | null;
}

/** A session as the manager shows it; of its view, what the panel uses. */
export interface ISession {
  id: string;
  name: string;
  status: string;
  reason: IReason | null;
  queue: IQueue | null;
  unreachable: boolean;
  isolated: boolean | null;
  slots: Record<string, string>;
  /** Milliseconds since it was asked for. */
  age: number;
  progress: number | null;
}

/** What one kernel is doing: `bai` of the kernel model, and the `kernel_status` event. */
export interface IKernelStatus {
  status: string | null;
  reason: IReason | null;
  session_id: string | null;
  queue: IQueue | null;
  progress: number | null;
  is_dead: boolean;
}

/** A refusal, with its code and the sentence for people. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string
  ) {
    super(message);
  }
}

type Settings = ServerConnection.ISettings;

/** Ask the server extension. Throws `ApiError`; without an answer its code is `server-away`. */
async function requestAPI<T>(settings: Settings, path: string, init: RequestInit = {}): Promise<T> {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', path);
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(url, init, settings);
  } catch {
    throw new ApiError('server-away', 'The Jupyter server does not answer.');
  }
  const text = await response.text();
  let body: any = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // Not ours, perhaps a proxy's page: told by its status alone.
  }
  if (!response.ok) {
    throw new ApiError(body?.code ?? 'http', body?.message ?? `The server answered ${response.status}.`);
  }
  return body;
}

export async function listSessions(settings: Settings): Promise<ISession[]> {
  return (await requestAPI<{ sessions: ISession[] }>(settings, 'sessions')).sessions;
}

export async function endSession(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/** `bai` of a kernel's model; `null` for a local kernel and for one that is gone. */
export async function kernelStatus(settings: Settings, kernelId: string): Promise<IKernelStatus | null> {
  const url = URLExt.join(settings.baseUrl, 'api', 'kernels', encodeURIComponent(kernelId));
  const response = await ServerConnection.makeRequest(url, {}, settings);
  return response.ok ? ((await response.json()).bai ?? null) : null;
}
