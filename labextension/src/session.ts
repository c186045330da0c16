/** One session for its tab: what is known of it is followed, and put into words. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import type { IEdit } from './adminEdits';
import { describeAge, describeCost, describeHeld, heldBy, IUse } from './amounts';
import {
  getSession,
  IApp,
  IAuditEntry,
  IChange,
  IIdleCheck,
  IProjectOf,
  ISessionDetail,
  sessionAudit,
  sessionHistory,
  sessionProject,
  startApp
} from './api';
import { appsOf } from './model';
import { addSample, deviceUses, ISample, meanOf, ownUses } from './use';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

/** A session, and as far as they are known, the name of its project, and its owner if that is somebody else. */
export type Detail = ISessionDetail & { project: string | null; owner: string | null };

export class SessionDetail extends Watched<Detail> {
  constructor(
    private readonly settings: Settings,
    readonly id: string,
    /** For admins, a keypair of the person whose session it is, if it is not their own. */
    readonly owner?: string
  ) {
    super('session', 2);
  }

  /** How many processors a container uses; `null` while that is not known. */
  cpusOf(containerId: string): number | null {
    return meanOf(this._samples.get(containerId) ?? []);
  }

  protected async load(): Promise<Detail> {
    const [session, found] = await Promise.all([getSession(this.settings, this.id, this.owner), this._askProject()]);
    const at = Date.now() / 1000;
    for (const { id, liveStat } of session.kernels) {
      const used = liveStat?.cpu_used_s;
      if (typeof used === 'number') {
        this._samples.set(id, addSample(this._samples.get(id) ?? [], { at, used }));
      }
    }
    const owner = this.owner === undefined ? null : (found?.owner ?? null);
    return { ...session, project: found?.name ?? null, owner };
  }

  /** It stays the same; who may not know it sees the rest. */
  private _askProject(): Promise<IProjectOf | null> {
    this._project ??= sessionProject(this.settings, this.id, this.owner).catch(() => {
      this._project = undefined;
      return null;
    });
    return this._project;
  }

  private readonly _samples = new Map<string, ISample[]>();
  private _project: Promise<IProjectOf | null> | undefined;
}

export class SessionHistory extends Watched<IChange[]> {
  constructor(
    private readonly settings: Settings,
    private readonly id: string,
    private readonly owner?: string
  ) {
    super('session-history', 3);
  }

  protected load(): Promise<IChange[]> {
    return sessionHistory(this.settings, this.id, this.owner);
  }
}

export class SessionAudit extends Watched<IAuditEntry[]> {
  constructor(
    private readonly settings: Settings,
    private readonly id: string,
    private readonly owner?: string
  ) {
    super('session-audit', 5);
  }

  protected load(): Promise<IAuditEntry[]> {
    return sessionAudit(this.settings, this.id, this.owner);
  }
}

/** None while it does not run. */
export class SessionApps extends Watched<IApp[]> {
  constructor(
    private readonly settings: Settings,
    readonly detail: SessionDetail
  ) {
    super('session-apps', 2);
  }

  /** A link that lets a browser in. */
  async start(sessionId: string, app: IApp): Promise<string> {
    return startApp(this.settings, sessionId, app.name);
  }

  protected async load(): Promise<IApp[]> {
    const { id, status } = this.detail.value ?? (await this.detail.ask());
    return status === 'RUNNING' ? appsOf(this.settings, id) : [];
  }
}

/** What one of its containers uses of what it has. */
export interface IContainerUse {
  /** What the others call it. */
  host: string;
  uses: IUse[];
  /** Of its accelerators, in words. */
  devices: string[];
}

/** Of each container of which something is measured. */
export function usesOf(
  session: ISessionDetail,
  cpusOf: (containerId: string) => number | null,
  trans: TranslationBundle
): IContainerUse[] {
  return session.kernels
    .map(({ id, host, liveStat }) => {
      const one = { ...session, liveStat };
      return { host, uses: ownUses(one, cpusOf(id), trans), devices: deviceUses(one, trans) };
    })
    .filter(({ uses, devices }) => uses.length + devices.length > 0);
}

/** What it is and where, `[label, text]`: only what is known. */
export function factsOf(session: Detail, now: Date, trans: TranslationBundle): [string, string][] {
  const { agent, clusterSize, image, isolated, name, owner, project, resourceGroup, runningFor } = session;
  const asked = describeMoment(new Date(session.creationTime), now);
  const ended = session.terminationTime;
  const facts: [string, string | null][] = [
    [trans.__('Name'), name],
    [trans.__('Owner'), owner],
    [trans.__('Environment'), image],
    [trans.__('Resources'), describeHeld(session, trans)],
    [trans.__('Held so far'), describeCost(heldBy(session), runningFor ?? 0, trans)],
    [trans.__('Agent'), clusterSize > 1 ? null : agent],
    [trans.__('Group'), resourceGroup],
    [trans.__('Project'), project],
    [trans.__('Isolated'), isolated === null ? null : isolated ? trans.__('yes') : trans.__('no')],
    [trans.__('Asked for'), ended ? asked : trans.__('%1, %2 ago', asked, describeAge(session.age, trans))],
    [trans.__('Has run for'), runningFor === null ? null : describeAge(runningFor, trans)],
    [trans.__('Ended'), ended && describeMoment(new Date(ended), now)]
  ];
  return facts.filter((fact): fact is [string, string] => Boolean(fact[1]));
}

/** What ending a session does. */
export function describeEnd(isOwn: boolean, trans: TranslationBundle, count = 1): string {
  return isOwn
    ? trans.__('Its container ends. Files in folders and the output in notebooks are kept; variables and other files are gone.')
    : trans._n(
        'Its container ends. Files in folders and the output in notebooks are kept; variables and other files are gone. Its owner sees that an admin has ended it.',
        'Their containers end. Files in folders and the output in notebooks are kept; variables and other files are gone. Their owners see that an admin has ended them.',
        count
      );
}

/** What ending several of one's own does. */
export function describeEndOf(names: string[], trans: TranslationBundle): string {
  return trans.__(
    'The containers of %1 end. Files in folders and the output in notebooks are kept; variables and other files are gone.',
    names.join(', ')
  );
}

/** What is filled in to call it otherwise. */
export function renaming(name: string, rename: (name: string) => Promise<void>, trans: TranslationBundle): IEdit {
  return {
    title: trans.__('Rename %1', name),
    notes: [trans.__('It goes on as it is. Notebooks and commands that ask for it as %1 do not find it any more.', name)],
    fields: [{ name: 'name', label: trans.__('Name'), value: name }],
    verb: trans.__('Rename'),
    run: values => rename(values.name.trim())
  };
}

/** Something that stops or suspends it by itself. */
export interface ILimit {
  /** `Stops if idle for 1 h` */
  what: string;
  /** `42 min left, until 14:32:00` */
  left: string;
  details: string[];
}

/** What comes first is first. */
export function limitsOf(checks: Record<string, IIdleCheck>, now: Date, trans: TranslationBundle): ILimit[] {
  return Object.entries(checks)
    .sort(([, one], [, other]) => one.remaining - other.remaining)
    .map(([name, { remaining, extra }]) => {
      const at = describeMoment(new Date(now.getTime() + 1000 * remaining), now);
      return {
        what: whatLimits(name, extra, trans),
        left: trans.__('%1 left, until %2', describeAge(1000 * remaining, trans), at),
        details: detailsOf(extra, trans)
      };
    });
}

function whatLimits(name: string, extra: IIdleCheck['extra'], trans: TranslationBundle): string {
  const limit = describeSpan(1000 * (extra.limit ?? 0), trans);
  switch (name) {
    case 'drain':
      return trans.__('Stops because %1 is emptied for maintenance', extra.agent ?? '');
    case 'network_timeout':
      return trans.__('Stops if idle for %1', limit);
    case 'utilization':
      return trans.__('Stops if it hardly uses what it has for %1', limit);
    case 'session_lifetime':
      return trans.__('Stops %1 after it began', limit);
    case 'gpu_hours':
      return trans.__('Stops when the GPU-hours of this week are used up');
    case 'suspension':
      return trans.__('Is suspended if idle for %1', limit);
    default:
      return trans.__('Stops by %1 after %2', name, limit);
  }
}

function detailsOf({ policy, last, running, extensions_left, resources }: IIdleCheck['extra'], trans: TranslationBundle): string[] {
  const uses = Object.entries(resources ?? {}).map(([metric, [used, least]]) =>
    trans.__('%1 %2 %, below %3 % is idle', nameOfMetric(metric, trans), used, least)
  );
  return [
    policy === undefined ? trans.__('Using it does not put that off') : trans.__('The limit of %1', policy),
    ...(running ? [trans.__('it is at work now')] : []),
    ...(last ? [trans.__('last: %1', last)] : []),
    ...uses,
    ...(extensions_left === undefined ? [] : [trans._n('can be kept once more', 'can be kept %1 times more', extensions_left)])
  ];
}

function nameOfMetric(metric: string, trans: TranslationBundle): string {
  const names: Record<string, string> = {
    cpu_util: trans.__('CPU'),
    mem: trans.__('memory'),
    cuda_util: trans.__('GPU'),
    cuda_mem: trans.__('GPU memory')
  };
  return names[metric] ?? metric.replace(/_/g, ' ');
}

/** One status that it had. */
export interface IStep {
  status: string;
  at: Date;
  /** Milliseconds, until now if it has it still; `null` if it is the last one ever. */
  lasted: number | null;
  /** Why, in a sentence; empty if there is nothing to say that was not said of the one before. */
  sentence: string;
}

const FINAL = ['TERMINATED', 'CANCELLED', 'ERROR'];

/** Oldest first. */
export function stepsOf(changes: IChange[], now: Date): IStep[] {
  return changes.map(({ status, at, reason }, place) => {
    const [before, next] = [changes[place - 1], changes[place + 1]];
    const until = next ? new Date(next.at) : FINAL.includes(status) ? null : now;
    return {
      status,
      at: new Date(at),
      lasted: until && until.getTime() - new Date(at).getTime(),
      sentence: reason && reason.text !== before?.reason?.text ? reason.text : ''
    };
  });
}

/** What was done, in words; how it is called on the record stands beside it. */
export function describeAction(action: string, trans: TranslationBundle): string {
  const words: Record<string, string> = {
    'POST session:create': trans.__('Asked for'),
    'DELETE session:end': trans.__('Ended'),
    'GET session:terminal': trans.__('Terminal opened'),
    'PATCH session:control': trans.__('Restarted')
  };
  return words[action] ?? trans.__('Changed or used');
}

/** How it ended, of what HTTP says. */
export function describeResult(status: number, trans: TranslationBundle): string {
  return status < 400 ? trans.__('done') : trans.__('refused (%1)', status);
}

/** The time; of another day with that. */
export function describeMoment(moment: Date, now: Date): string {
  return moment.toDateString() === now.toDateString()
    ? moment.toLocaleTimeString()
    : moment.toLocaleString(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
}

/** `45 s`, `3 min 20 s`, `1 h 2 min`, `2 d 5 h`; less than nothing, as clocks differ, is nothing. */
export function describeSpan(milliseconds: number, trans: TranslationBundle): string {
  const seconds = Math.floor(milliseconds / 1000);
  const [minutes, hours, days] = [60, 3600, 86400].map(size => Math.floor(seconds / size));
  if (days > 0) {
    return hours % 24 ? trans.__('%1 d %2 h', days, hours % 24) : trans.__('%1 d', days);
  }
  if (hours > 0) {
    return minutes % 60 ? trans.__('%1 h %2 min', hours, minutes % 60) : trans.__('%1 h', hours);
  }
  if (minutes > 0) {
    return seconds % 60 ? trans.__('%1 min %2 s', minutes, seconds % 60) : trans.__('%1 min', minutes);
  }
  return seconds > 0 ? trans.__('%1 s', seconds) : trans.__('under 1 s');
}
