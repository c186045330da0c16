/** A session's terminal, as Lab's terminal widget takes one, and what becomes of it. Knows no widgets. */

import type { ServerConnection, Terminal } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, getSession, ISession, mayOpenTerminal, openTerminal } from './api';

const SHELL_ENDED = 1000;
const OVER = ['TERMINATED', 'CANCELLED', 'ERROR'];
const LONGEST_PAUSE_S = 10;
/** Clears the screen and all above it. */
const RESET = '\x1bc';

/** What to do about a terminal whose connection has ended, and what to say: of the session, or of its shell alone. */
export type Next = { do: 'dial' } | { do: 'wait'; why: string } | { do: 'end'; why: string } | { do: 'leave' };

/** `found` is the session, or why it cannot be asked for; `refusal` says that its terminal is not for this page. */
export function nextOf(found: ISession | ApiError, hasShellEnded: boolean, refusal: string | null = null): Next {
  if (found instanceof ApiError) {
    return { do: found.code === 'not-found' ? 'end' : 'wait', why: found.message };
  }
  const why = `${found.name}: ${found.reason?.text ?? found.status}`;
  if (OVER.includes(found.status)) {
    return { do: 'end', why };
  }
  if (found.status !== 'RUNNING' || found.unreachable) {
    return { do: 'wait', why };
  }
  if (refusal !== null) {
    return { do: 'end', why: refusal };
  }
  return { do: hasShellEnded ? 'leave' : 'dial' };
}

/** Seconds before it is tried again, after so many times in vain. */
export function pauseAfter(failures: number): number {
  return failures === 0 ? 0 : Math.min(2 ** (failures - 1), LONGEST_PAUSE_S);
}

/**
 * Dials again until the session or its shell has ended: the shell goes on meanwhile, and shows the last of what it has
 * shown. What is typed while nobody is there to take it is lost, as it would be unseen.
 */
export class SessionTerminal implements Terminal.ITerminalConnection {
  constructor(
    readonly serverSettings: ServerConnection.ISettings,
    readonly sessionId: string,
    readonly name: string,
    private readonly trans: TranslationBundle
  ) {
    this._dial();
  }

  get model(): Terminal.IModel {
    return { name: this.name };
  }

  get messageReceived(): ISignal<this, Terminal.IMessage> {
    return this._messageReceived;
  }

  get connectionStatus(): Terminal.ConnectionStatus {
    return this._status;
  }

  get connectionStatusChanged(): ISignal<this, Terminal.ConnectionStatus> {
    return this._statusChanged;
  }

  get disposed(): ISignal<this, void> {
    return this._disposed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  send(message: Terminal.IMessage): void {
    if (message.type === 'set_size') {
      this._size = message;
    }
    if (this._status === 'connected') {
      this._socket!.send(JSON.stringify([message.type, ...(message.content ?? [])]));
    }
  }

  /** Dial now, also after the end. */
  async reconnect(): Promise<void> {
    if (this._isDisposed) {
      throw new Error(this.trans.__('The terminal of %1 was closed.', this.name));
    }
    const settled = new Promise<void>((resolve, reject) => {
      const listen = (_: unknown, status: Terminal.ConnectionStatus) => {
        if (status !== 'connecting') {
          this._statusChanged.disconnect(listen);
          status === 'connected' ? resolve() : reject(new Error(this._said));
        }
      };
      this._statusChanged.connect(listen);
    });
    this._failures = 0;
    this._dial();
    return settled;
  }

  /** Looks away. The shell goes on, as after any connection's end. */
  async shutdown(): Promise<void> {
    this.dispose();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._hangUp();
    this._setStatus('disconnected');
    this._disposed.emit();
    Signal.clearData(this);
  }

  private _dial(): void {
    this._hangUp();
    this._setStatus('connecting');
    const socket = (this._socket = openTerminal(this.serverSettings, this.sessionId));
    socket.onmessage = ({ data }) => this._hear(JSON.parse(data as string));
    socket.onclose = ({ code }) => void this._follow(code === SHELL_ENDED);
  }

  private _hangUp(): void {
    this._attempt += 1;
    clearTimeout(this._timer);
    if (this._socket) {
      this._socket.onmessage = this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
  }

  private _hear([type, ...content]: [Terminal.MessageType | 'setup', ...string[]]): void {
    if (type === 'setup') {
      this._failures = 0;
      this._said = '';
      this._show(RESET);
      this._setStatus('connected');
      if (this._size) {
        this.send(this._size);
      }
    } else if (type === 'stdout') {
      this._show(content[0]);
    }
  }

  /** The connection has ended, or could not be made: find out what became of the session. */
  private async _follow(hasShellEnded: boolean): Promise<void> {
    this._hangUp();
    this._setStatus('connecting');
    const attempt = this._attempt;
    const found = await getSession(this.serverSettings, this.sessionId).catch(error => error as ApiError);
    const refusal = this._failures > 0 ? await this._refusal() : null;
    if (attempt !== this._attempt) {
      return; // disposed, or dialled anew meanwhile
    }
    const next = nextOf(found, hasShellEnded, refusal);
    switch (next.do) {
      case 'leave':
        this._messageReceived.emit({ type: 'disconnect' });
        this.dispose();
        return;
      case 'end':
        this._say(next.why);
        this._setStatus('disconnected');
        return;
      case 'wait':
        this._say(next.why);
        break;
      case 'dial':
        if (this._failures > 1) {
          this._say(this.trans.__('The terminal of %1 does not answer; trying again.', this.name));
        }
    }
    const again = next.do === 'dial' ? () => this._dial() : () => void this._follow(false);
    const pause = next.do === 'dial' ? pauseAfter(this._failures) : pauseAfter(this._failures + 1);
    this._failures += 1;
    this._timer = setTimeout(again, pause * 1000);
  }

  private async _refusal(): Promise<string | null> {
    const may = await mayOpenTerminal(this.serverSettings, this.sessionId).catch(() => true); // away: found says so
    return may ? null : this.trans.__('You may not open terminals on this Jupyter server. Its admin can allow it.');
  }

  /** A sentence of ours on a line of its own, once. */
  private _say(sentence: string): void {
    if (sentence !== this._said) {
      this._said = sentence;
      this._show(`\r\n\x1b[0m[${sentence}]\r\n`);
    }
  }

  private _show(text: string): void {
    this._messageReceived.emit({ type: 'stdout', content: [text] });
  }

  private _setStatus(status: Terminal.ConnectionStatus): void {
    if (status !== this._status) {
      this._status = status;
      this._statusChanged.emit(status);
    }
  }

  private readonly _messageReceived = new Signal<this, Terminal.IMessage>(this);
  private readonly _statusChanged = new Signal<this, Terminal.ConnectionStatus>(this);
  private readonly _disposed = new Signal<this, void>(this);
  private _status: Terminal.ConnectionStatus = 'connecting';
  private _isDisposed = false;
  private _socket: WebSocket | null = null;
  private _timer: number | undefined;
  /** Of dialling: what belongs to an earlier one counts no more. */
  private _attempt = 0;
  private _failures = 0;
  private _size: Terminal.IMessage | null = null;
  private _said = '';
}
