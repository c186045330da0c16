/** Kernels of notebooks, and what their cells have said. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IReason, openSocket, requestAPI, Settings, Slots } from './request';
import { IQueue } from './sessions';

/** What one kernel is doing: `bai` of the kernel model, and the `kernel_status` event. */
export interface IKernelStatus {
  status: string | null;
  reason: IReason | null;
  session_id: string | null;
  /** Of its session; of a cluster, what each container has. */
  slots: Slots | null;
  queue: IQueue | null;
  progress: number | null;
  is_dead: boolean;
  /** What was not done as asked although the kernel runs. */
  notice: string | null;
}

/** A run of a cell whose output the notebook's file may lack. */
export interface IExecution {
  msg_id: string;
  cell_id: string;
}

/** `bai` of a kernel's model; `null` for a local kernel and for one that is gone. */
export async function kernelStatus(settings: Settings, kernelId: string): Promise<IKernelStatus | null> {
  return (await kernelModel(settings, kernelId)).bai ?? null;
}

/** Whether the server keeps what cells say in this local kernel, as one that runs in a session does. */
export async function keepsOutput(settings: Settings, kernelId: string): Promise<boolean> {
  return (await kernelModel(settings, kernelId)).bai_keeps_output ?? false;
}

/** What we add to Jupyter's model of a kernel. */
async function kernelModel(
  settings: Settings,
  kernelId: string
): Promise<{ bai?: IKernelStatus; bai_keeps_output?: boolean }> {
  const url = URLExt.join(settings.baseUrl, 'api', 'kernels', encodeURIComponent(kernelId));
  const response = await ServerConnection.makeRequest(url, {}, settings);
  return response.ok ? response.json() : {};
}

export async function listExecutions(settings: Settings, kernelId: string): Promise<IExecution[]> {
  return (await requestAPI<{ executions: IExecution[] }>(settings, executionsPath(kernelId))).executions;
}

/** A saved notebook holds all the output of these. */
export async function settleExecutions(settings: Settings, kernelId: string, msgIds: string[]): Promise<void> {
  const query = new URLSearchParams(msgIds.map(id => ['msg_id', id]));
  await requestAPI(settings, `${executionsPath(kernelId)}?${query}`, { method: 'DELETE' });
}

/**
 * The messages of these executions, each from its beginning or after the IOPub message `after`; closed with code 1000
 * when nothing more can come.
 */
export function openOutputs(
  settings: Settings,
  kernelId: string,
  seen: { msg_id: string; after: string | null }[]
): WebSocket {
  const query = new URLSearchParams();
  for (const { msg_id, after } of seen) {
    query.append('msg_id', msg_id);
    query.append('after', after ?? '');
  }
  const socket = openSocket(settings, `kernels/${encodeURIComponent(kernelId)}/outputs`, query);
  socket.binaryType = 'arraybuffer';
  return socket;
}

function executionsPath(kernelId: string): string {
  return `kernels/${encodeURIComponent(kernelId)}/executions`;
}
