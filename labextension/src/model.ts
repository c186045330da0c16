/** What is known about sessions and kernels: asks, remembers, signals. Knows no widgets. */

import { Event, ServerConnection } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, endSession, IKernelStatus, ISession, kernelStatus, listSessions } from './api';

const SCHEMA_ID = 'https://events.bai-jupyter.org/kernel_status/v1';

/** The user's sessions, asked for every few seconds while they are looked at. */
export class Sessions implements IDisposable {
  constructor(private readonly settings: ServerConnection.ISettings) {
    this._poll = new Poll({
      auto: false,
      name: '@bai-jupyter/labextension:sessions',
      factory: () => this._load(),
      frequency: { interval: 2000, backoff: true, max: 30000 },
      standby: () => !this.isWatched || document.hidden
    });
  }

  /** True while a view of them is on the screen. */
  isWatched = false;

  /** `null` until they came for the first time. */
  list: ISession[] | null = null;

  /** Why the last question failed; the list is then the last one that came. */
  error: ApiError | null = null;

  updatedAt: Date | null = null;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  set intervalSeconds(seconds: number) {
    this._poll.frequency = { ...this._poll.frequency, interval: seconds * 1000 };
  }

  /** Begin, or ask again now. */
  async refresh(): Promise<void> {
    await this._poll.refresh();
  }

  async end(id: string): Promise<void> {
    await endSession(this.settings, id);
    await this.refresh();
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _load(): Promise<void> {
    try {
      this.list = await listSessions(this.settings);
      this.error = null;
      this.updatedAt = new Date();
    } catch (error) {
      this.error = error as ApiError;
      throw error; // the poll then waits longer each time
    } finally {
      this._changed.emit();
    }
  }

  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
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

  /** Find out about a kernel; its events may have come before anybody listened. */
  async ask(kernelId: string): Promise<void> {
    try {
      this._set(kernelId, await kernelStatus(this.settings, kernelId));
    } catch {
      // The server is away; Lab says so, and asks to reconnect.
    }
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
