/** What one session uses of what it has: followed, and in words. Knows no widgets. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';

import { describePart, IUse, UNITS } from './amounts';
import { ISession } from './api';
import { Sessions } from './model';
import { addPoints, Traces } from './traces';

/** CPU use is the mean of that many seconds: agents count it every three. */
const WINDOW_S = 12;

/** Seconds of CPU that a session has used, and when that was known, in seconds of the page's clock. */
export interface ISample {
  at: number;
  used: number;
}

/** Those of the last `WINDOW_S`, with one more. A count that went down is another container's, and begins anew. */
export function addSample(samples: ISample[], sample: ISample): ISample[] {
  const recent = samples.filter(one => sample.at - one.at <= WINDOW_S && one.at < sample.at);
  const isAnother = recent.some(one => one.used > sample.used);
  return isAnother ? [sample] : [...recent, sample];
}

/** How many processors are used, as a mean; `null` until that was counted twice. */
export function meanOf(samples: ISample[]): number | null {
  const [first, last] = [samples[0], samples[samples.length - 1]];
  return samples.length < 2 ? null : (last.used - first.used) / (last.at - first.at);
}

/** Follows one session in the list, which is asked for while there is one to follow. */
export class Use {
  constructor(private readonly sessions: Sessions) {
    sessions.changed.connect(() => this._take());
  }

  /** As it is now; `null` while that is not known. */
  session: ISession | null = null;

  /** How many processors it uses; `null` while that is not known. */
  get cpus(): number | null {
    return meanOf(this._samples);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What it used in the last minutes, while it was followed; also before another one was. */
  get traces(): Traces {
    return this._traces.get(this.session?.id ?? '') ?? new Map();
  }

  /** `null`: none. */
  follow(sessionId: string | null): void {
    if (sessionId === this._sessionId) {
      return;
    }
    const wasFollowing = this._sessionId !== null;
    this._sessionId = sessionId;
    this._samples = [];
    this._take();
    if (wasFollowing !== (sessionId !== null)) {
      wasFollowing ? this.sessions.unwatch() : this.sessions.watch();
    }
  }

  /** Figures that are not of now would mislead. */
  private _take(): void {
    const { value, error, updatedAt } = this.sessions;
    this.session = (error === null && value?.find(one => one.id === this._sessionId)) || null;
    const used = this.session?.liveStat?.cpu_used_s;
    if (typeof used === 'number' && updatedAt) {
      this._samples = addSample(this._samples, { at: updatedAt.getTime() / 1000, used });
    }
    if (this.session && updatedAt) {
      const parts = partsOf(this.session, this.cpus);
      this._traces.set(this.session.id, addPoints(this.traces, updatedAt.getTime() / 1000, parts));
    }
    this._changed.emit();
  }

  private _sessionId: string | null = null;
  private _samples: ISample[] = [];
  private readonly _traces = new Map<string, Traces>();
  private readonly _changed = new Signal<this, void>(this);
}

/** `0.8 of 2 CPU · 1.2 of 4 GiB · GPU 42 %, 1.5 of 8 GiB`, as far as it is measured; empty if nothing is. */
export function describeUse(session: ISession, cpus: number | null, trans: TranslationBundle): string {
  return [...ownUses(session, cpus, trans).map(use => use.text), ...deviceUses(session, trans)].join(' · ');
}

/** Of CPU and memory, what is measured. */
export function ownUses(session: ISession, cpus: number | null, trans: TranslationBundle): IUse[] {
  return ownAmounts(session, cpus).map(use => ({ ...use, text: describePart(use.slot, use.used, use.limit, trans) }));
}

function ownAmounts(session: ISession, cpus: number | null): Omit<IUse, 'text'>[] {
  const figures = session.liveStat ?? {};
  const limits = { cpu: Number(session.slots.cpu ?? 0), mem: figures.mem_limit_bytes || Number(session.slots.mem ?? 0) };
  const parts = { cpu: cpus, mem: figures.mem_used_bytes };
  return (['cpu', 'mem'] as const).flatMap(slot => {
    const [part, limit] = [parts[slot], limits[slot]];
    if (typeof part !== 'number' || limit <= 0) {
      return [];
    }
    return [{ slot, used: Math.min(part, limit), limit }];
  });
}

/** What is used of CPU, of memory, and of each kind of accelerator: how busy it is, else how full. 0 to 1. */
export function partsOf(session: ISession, cpus: number | null): Record<string, number> {
  const own = ownAmounts(session, cpus).map(({ slot, used, limit }) => [slot, used / limit]);
  const figures = session.liveStat ?? {};
  const devices = kindsOf(session).flatMap(kind => {
    const load = figures[`${kind}_util_pct`];
    const [used, total] = [figures[`${kind}_mem_used_bytes`], figures[`${kind}_mem_total_bytes`]];
    const part = typeof load === 'number' ? load / 100 : typeof used === 'number' && total ? used / total : null;
    return part === null ? [] : [[kind, part]];
  });
  return Object.fromEntries([...own, ...devices]);
}

/** `idle`, `busy for 3 min`: what a kernel that runs says of itself; empty if that is neither. */
export function describeDoing(execution: string, milliseconds: number, trans: TranslationBundle): string {
  const minutes = Math.floor(milliseconds / 60000);
  if (execution !== 'busy') {
    return execution === 'idle' ? trans.__('idle') : '';
  }
  if (minutes < 1) {
    return trans.__('busy');
  }
  return minutes < 60 ? trans.__('busy for %1 min', minutes) : trans.__('busy for %1 h', Math.floor(minutes / 60));
}

/** `GPU 42 %, 1.5 of 8 GiB, 250 W` of each kind of accelerator. */
export function deviceUses(session: ISession, trans: TranslationBundle): string[] {
  return kindsOf(session).map(kind => describeKind(kind, session.liveStat ?? {}, trans));
}

/** The kinds of accelerators of which anything is measured, as their figures name them, in the order of `deviceUses`. */
export function kindsOf({ liveStat }: ISession): string[] {
  const figures = liveStat ?? {};
  const kinds = new Set(Object.keys(figures).flatMap(name => name.match(/^(.+)_(?:util_pct|mem_used_bytes)$/)?.[1] ?? []));
  kinds.delete('cpu');
  return [...kinds]
    .filter(kind => figures[`${kind}_util_pct`] !== undefined || figures[`${kind}_mem_total_bytes`])
    .sort();
}

function describeKind(kind: string, figures: Record<string, number | null>, trans: TranslationBundle): string {
  const load = figures[`${kind}_util_pct`];
  const [used, total] = [figures[`${kind}_mem_used_bytes`], figures[`${kind}_mem_total_bytes`]];
  const watts = figures[`${kind}_power_w`];
  const name = UNITS[`${kind.replace(/_/g, '-')}.device`] ?? kind.replace(/_/g, ' ');
  const said = [
    typeof load === 'number' ? trans.__('%1 %', Math.round(load)) : null,
    typeof used === 'number' && total ? describePart('mem', used, total, trans) : null,
    typeof watts === 'number' ? trans.__('%1 W', Math.round(watts)) : null
  ];
  return `${name} ${said.filter(part => part !== null).join(', ')}`;
}
