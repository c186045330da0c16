/** What happens to kernels that their users are to hear of wherever they are. Knows no widgets. */

import { IKernelStatus } from './api';

/** Reasons that using or keeping it puts off. */
const AVOIDABLE = ['idle-soon', 'low-use-soon'];

/** It is stopped before long, by a policy or because its agent is emptied. */
export const ENDS_SOON = [...AVOIDABLE, 'lifetime-soon', 'budget-soon', 'drain-soon'];

/** Whether its user can keep what ends soon for that reason. */
export function canKeep(code: string): boolean {
  return AVOIDABLE.includes(code);
}

const STARTING = ['PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'CREATING'];

/** Who waited for less has not gone away. */
const LEAST_WAIT_MS = 10_000;

export interface INews {
  kind: 'memory' | 'stops' | 'ready';
  /** The manager's sentence; empty if there is none to add. */
  text: string;
  /** Whether its user can put it off. */
  canKeep: boolean;
}

interface IHeard {
  waitsSince: number | null;
  /** What is true of it now. */
  news: INews | null;
}

/** Tells what is new of each kernel, once. */
export class News {
  /** `now` in milliseconds. */
  hear(kernelId: string, status: IKernelStatus | null | undefined, now: number): INews | null {
    const before = this._heard.get(kernelId);
    const isStarting = !status?.is_dead && STARTING.includes(status?.status ?? '');
    const waitsSince = before?.waitsSince ?? null;
    const isReady = status?.status === 'RUNNING' && waitsSince !== null && now - waitsSince >= LEAST_WAIT_MS;
    const standing = standingOf(status);
    this._heard.set(kernelId, { waitsSince: isStarting ? (waitsSince ?? now) : null, news: standing });
    if (standing?.text !== undefined && standing.text === before?.news?.text) {
      return null;
    }
    if (standing?.kind === 'memory' && !before) {
      return null; // it was so when the page was opened
    }
    return standing ?? (isReady ? { kind: 'ready', text: '', canKeep: false } : null);
  }

  /** What is still true of a kernel. */
  of(kernelId: string): INews | null {
    return this._heard.get(kernelId)?.news ?? null;
  }

  private readonly _heard = new Map<string, IHeard>();
}

function standingOf(status: IKernelStatus | null | undefined): INews | null {
  const { code, text } = status?.reason ?? { code: '', text: '' };
  if (code === 'oom-killed') {
    return { kind: 'memory', text, canKeep: false };
  }
  if (status?.status === 'RUNNING' && !status.is_dead && ENDS_SOON.includes(code)) {
    return { kind: 'stops', text, canKeep: canKeep(code) };
  }
  return null;
}
