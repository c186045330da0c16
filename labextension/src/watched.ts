/** Something of the manager's that is asked for again and again while somebody looks. Knows no widgets. */

import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError } from './api';

export abstract class Watched<T> implements IDisposable {
  constructor(name: string, intervalSeconds: number) {
    this._poll = new Poll({
      auto: false,
      name: `@bai-jupyter/labextension:${name}`,
      factory: () => this._ask(),
      linger: 0, // a page that is hidden asks for nothing more
      frequency: { interval: intervalSeconds * 1000, backoff: true, max: 30000 },
      standby: () => this._watchers === 0 || 'when-hidden'
    });
  }

  /** `null` until it came for the first time. */
  value: T | null = null;

  /** Why the last question failed; `value` is then the last one that came. */
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

  /** A view of it is on the screen, until as many calls of `unwatch`. */
  watch(): void {
    this._watchers += 1;
    void this.refresh();
  }

  unwatch(): void {
    this._watchers -= 1;
  }

  /** Whether a view of it is on the screen. */
  protected get isWatched(): boolean {
    return this._watchers > 0;
  }

  /** Ask now, also if an answer is on its way: it may be older than what this is about. */
  async refresh(): Promise<void> {
    await this._poll.schedule({ interval: Poll.IMMEDIATE, phase: 'refreshed' });
  }

  /** Do something about it, and show what has become of it. Throws what is refused. */
  async change<R>(action: () => Promise<R>): Promise<R> {
    const done = await action();
    await this.refresh();
    return done;
  }

  /** What there is now, also if nobody looks. */
  async ask(): Promise<T> {
    await this._ask();
    return this.value!;
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  protected abstract load(): Promise<T>;

  /** What is known is about something else; asked anew if somebody looks. */
  protected forget(): void {
    this._question += 1; // an answer that is on its way is about that, too
    this.value = null;
    this.error = null;
    this._changed.emit();
    if (this.isWatched) {
      void this.refresh();
    }
  }

  private async _ask(): Promise<void> {
    const question = (this._question += 1);
    const isLatest = () => question === this._question;
    try {
      const value = await this.load();
      if (isLatest()) {
        this.value = value;
        this.error = null;
        this.updatedAt = new Date();
      }
    } catch (error) {
      if (isLatest()) {
        this.error = error as ApiError;
      }
      throw error; // the poll then waits longer each time
    } finally {
      if (isLatest()) {
        this._changed.emit();
      }
    }
  }

  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
  private _watchers = 0;
  private _question = 0;
}
