/** What is known about sessions and kernels: asks, remembers, signals. Knows no widgets. */

import { Event, ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';

import {
  commitEnd,
  commitSession,
  endSession,
  extendSession,
  getCapacity,
  IApp,
  ICapacity,
  IKernelStatus,
  ISession,
  kernelStatus,
  listApps,
  listSessions,
  renameSession,
  restartSession,
  sessionLog,
  startApp
} from './api';
import { inTurn } from './tables';
import { Watched } from './watched';

const SCHEMA_ID = 'https://events.bai-jupyter.org/kernel_status/v1';

/** The user's sessions. */
export class Sessions extends Watched<ISession[]> {
  constructor(private readonly settings: ServerConnection.ISettings) {
    super('sessions', 2);
  }

  /** For a while, if it would be stopped for being idle. */
  async keep(id: string): Promise<void> {
    await extendSession(this.settings, id);
    await this.refresh();
  }

  async rename(id: string, name: string): Promise<void> {
    await renameSession(this.settings, id, name);
    await this.refresh();
  }

  async restart(id: string): Promise<void> {
    await restartSession(this.settings, id);
    await this.refresh();
  }

  /** Begin to make an image of it; what the image is called, and the task that makes it. */
  async commit(id: string, name: string): Promise<{ image: string; task: string }> {
    return commitSession(this.settings, id, name);
  }

  /** When the image is there. Throws why it is not. The server answers when there is something to say. */
  async committed(task: string): Promise<void> {
    let told = await commitEnd(this.settings, task);
    while (told.status === 'running') {
      told = await commitEnd(this.settings, task);
    }
    if (told.status !== 'done') {
      throw new Error(told.message);
    }
  }

  /** `owner`: for admins, a keypair of the person whose it is. */
  async end(id: string, owner?: string): Promise<void> {
    await endSession(this.settings, id, owner);
    await this.refresh();
  }

  /** One that is refused hinders no others. Throws the first refusal, with how many there were. */
  async endAll(ids: string[], trans: TranslationBundle): Promise<void> {
    await inTurn(ids, id => endSession(this.settings, id), trans).finally(() => this.refresh());
  }

  protected load(): Promise<ISession[]> {
    return listSessions(this.settings);
  }
}

/** What a session printed last, as it comes. */
export class SessionLog extends Watched<string> {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly sessionId: string,
    private readonly owner?: string
  ) {
    super('session-log', 2);
  }

  protected load(): Promise<string> {
    return sessionLog(this.settings, this.sessionId, this.owner);
  }
}

/** Whether something would stop it for being idle, and it may be kept for a while. */
export function isKeepable({ idleChecks }: Pick<ISession, 'idleChecks'>): boolean {
  return Object.values(idleChecks).some(({ extra }) => (extra.extensions_left ?? 0) > 0);
}

/** Whether it has ended, or never began. */
export function isOver({ status }: Pick<ISession, 'status'>): boolean {
  return ['TERMINATED', 'CANCELLED', 'ERROR'].includes(status);
}

/** Whether nothing of it runs any more, or soon will not. */
export function isEnding(session: Pick<ISession, 'status'>): boolean {
  return session.status === 'TERMINATING' || isOver(session);
}

/** Whether a browser can show it. */
export function isShown(app: IApp): boolean {
  return ['http', 'preopen', 'discovered'].includes(app.protocol);
}

/** The apps of a running session, but for its terminal: that has an entry of its own, with Lab's look. */
export async function appsOf(settings: ServerConnection.ISettings, sessionId: string): Promise<IApp[]> {
  return (await listApps(settings, sessionId)).filter(app => app.name !== 'ttyd');
}

/** The apps of one running session, and the ports that its programs listen at. */
export class Apps extends Watched<IApp[]> {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    readonly sessions: Sessions
  ) {
    super('apps', 2);
    sessions.changed.connect(() => this._follow());
  }

  get running(): ISession[] {
    return (this.sessions.value ?? []).filter(session => session.status === 'RUNNING');
  }

  /** The one that was chosen while it runs, else that of the kernel that was in front last, else the newest. */
  get session(): ISession | null {
    const running = (id: string | undefined) => this.running.find(session => session.id === id);
    return running(this._chosen) ?? running(this._inFront) ?? this.running[0] ?? null;
  }

  /** The session of the kernel in front. */
  set inFront(sessionId: string) {
    this._inFront = sessionId;
    this._follow();
  }

  choose(sessionId: string): void {
    this._chosen = sessionId;
    this._follow();
  }

  async of(sessionId: string): Promise<IApp[]> {
    return appsOf(this.settings, sessionId);
  }

  /** A link that lets a browser in. */
  async start(sessionId: string, app: IApp): Promise<string> {
    return startApp(this.settings, sessionId, app.name);
  }

  protected async load(): Promise<IApp[]> {
    return this.session === null ? [] : this.of(this.session.id);
  }

  private _follow(): void {
    if (this.session?.id !== this._followed) {
      this._followed = this.session?.id;
      this.forget();
    }
  }

  private _chosen: string | undefined;
  private _inFront: string | undefined;
  private _followed: string | undefined;
}

/** What the user may use and uses, and which presets would start now. */
export class Capacity extends Watched<ICapacity> {
  constructor(private readonly settings: ServerConnection.ISettings) {
    super('capacity', 5);
  }

  protected load(): Promise<ICapacity> {
    return getCapacity(this.settings);
  }
}

/** What each kernel is doing. Asked once when a kernel appears, told by events from then on. */
export class KernelStatuses {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    events: Event.IManager
  ) {
    events.stream.connect((_, event) => this._hear(event));
  }

  /** Emits the id of the kernel whose status changed. */
  get changed(): ISignal<this, string> {
    return this._changed;
  }

  /** `undefined`: not known yet; `null`: a local kernel, or none. */
  get(kernelId: string | undefined): IKernelStatus | null | undefined {
    return kernelId === undefined ? null : this._statuses.get(kernelId);
  }

  /** Find out about a kernel; its events may have come before anybody listened. Answers as `get` does. */
  async ask(kernelId: string): Promise<IKernelStatus | null | undefined> {
    try {
      this._set(kernelId, await kernelStatus(this.settings, kernelId));
    } catch {
      // The server is away; Lab says so, and asks to reconnect.
    }
    return this.get(kernelId);
  }

  private _hear(event: Event.Emission): void {
    if (event.schema_id === SCHEMA_ID) {
      this._set(event.kernel_id as string, event as unknown as IKernelStatus);
    }
  }

  private _set(kernelId: string, status: IKernelStatus | null): void {
    this._statuses.set(kernelId, status);
    this._changed.emit(kernelId);
  }

  private readonly _statuses = new Map<string, IKernelStatus | null>();
  private readonly _changed = new Signal<this, string>(this);
}
