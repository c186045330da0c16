/** How the server extension is asked: requests, their refusals, and WebSockets. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export interface IReason {
  code: string;
  text: string;
}

export type Slots = Record<string, string>;

/** A refusal, with its code and the sentence for people. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string
  ) {
    super(message);
  }
}

export type Settings = ServerConnection.ISettings;

/** Ask the server extension. Throws `ApiError`; without an answer its code is `server-away`. */
export async function requestAPI<T>(settings: Settings, path: string, init: RequestInit = {}): Promise<T> {
  const response = await responseOf(settings, path, init);
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

export async function responseOf(settings: Settings, path: string, init: RequestInit): Promise<Response> {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', path);
  const request = () => ServerConnection.makeRequest(url, init, settings);
  try {
    // A network that changes breaks what is on its way; what only reads is asked once more.
    return await (init.method === undefined ? request().catch(request) : request());
  } catch {
    throw new ApiError('server-away', 'The Jupyter server does not answer.');
  }
}

export function openSocket(settings: Settings, path: string, query = new URLSearchParams()): WebSocket {
  if (settings.appendToken && settings.token) {
    query.append('token', settings.token);
  }
  return new settings.WebSocket(`${URLExt.join(settings.wsUrl, 'bai', 'api', path)}?${query}`);
}

export function withBody(method: string, body: unknown): RequestInit {
  return { method, body: JSON.stringify(body) };
}

export function folderPath(id: string): string {
  return `folders/${encodeURIComponent(id)}`;
}
