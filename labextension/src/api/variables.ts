/** Variables of kernels: saved, and begun with again. */

import { IReason, requestAPI, Settings, withBody } from './request';

/** A variable that was not saved, or of which that is doubtful. */
export interface INotSaved {
  name: string;
  why: string;
}

/** What was saved just now of a kernel's variables. */
export interface ISave {
  jupyter_kernel_id: string;
  /** Why nothing was; the rest is `null` then. */
  refused: IReason | null;
  variables: number;
  bytes: number;
  left_out: INotSaved[];
  doubtful: INotSaved[];
}

/** Variables that lie ready for a kernel to begin with. */
export interface ISaved {
  /** The id of the session whose they are, and what it is called. */
  session: string;
  name: string;
  /** The kernel whose they are. */
  kernel: string;
  /** When, as ISO 8601 has it. */
  at: string;
  variables: number;
  bytes: number;
}

/** Save the variables of its kernels: what was saved of each. */
export async function saveVariables(settings: Settings, id: string): Promise<ISave[]> {
  const path = `sessions/${encodeURIComponent(id)}/save`;
  return (await requestAPI<{ kernels: ISave[] }>(settings, path, { method: 'POST' })).kernels;
}

/** Of kernels of one's own sessions, also of ended ones; newest first. */
export async function listSaved(settings: Settings): Promise<ISaved[]> {
  return (await requestAPI<{ saved: ISaved[] }>(settings, 'saved')).saved;
}

/** Restart a kernel of a session with what was saved of it, or of another. */
export async function wakeKernel(settings: Settings, id: string, into: string, saved: ISaved): Promise<void> {
  const body = { source: saved.session, kernel: saved.kernel, into };
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}/wake`, withBody('POST', body));
}
