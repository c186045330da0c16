/**
 * Output that survives the page: each cell shows all of its output once, whatever was away meanwhile.
 *
 * The server knows which runs of cells a notebook's file may lack, and reads each again from the kernel's tape: from its
 * beginning for a page that has just opened the notebook, from where the page stopped for one whose connection broke. A
 * page that has saved the notebook says which it has seen to the end. Knows no widgets of ours.
 */

import { CodeCell } from '@jupyterlab/cells';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Kernel, KernelMessage, ServerConnection } from '@jupyterlab/services';
import { KernelShellFutureHandler } from '@jupyterlab/services/lib/kernel/future';
import { deserialize } from '@jupyterlab/services/lib/kernel/serialize';

import { ApiError, IExecution, listExecutions, openOutputs, settleExecutions } from './api';
import { joined, showEach } from './streams';

const PROTOCOL = 'v1.kernel.websocket.jupyter.org';
const RETRY_MS = 2000;
/** What is told again comes faster than a page can draw it: this much of it is drawn at once. */
const GATHER_MS = 50;
const MAX_SETTLED_AT_ONCE = 500;

type Future = Kernel.IShellFuture<KernelMessage.IExecuteRequestMsg, KernelMessage.IExecuteReplyMsg>;

/** The outputs of one notebook's cells, from a kernel whose output is kept: on Backend.AI, or beside a server there. */
export class Outputs {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly panel: NotebookPanel,
    private readonly savesByItself: () => boolean
  ) {
    panel.context.saveState.connect((_, state) => this._onSave(state));
    panel.disposed.connect(() => this._round.abort());
  }

  /** Listen to this kernel, and fill the cells with what came before. */
  async follow(kernel: Kernel.IKernelConnection): Promise<void> {
    if (kernel === this._kernel) {
      return;
    }
    this._kernel = kernel;
    this._runs.clear();
    kernel.anyMessage.connect(this._onMessage, this);
    kernel.connectionStatusChanged.connect(this._onConnection, this);
    kernel.disposed.connect(() => {
      if (kernel === this._kernel) {
        this._round.abort();
      }
    });
    await this.panel.context.ready;
    if (!this.panel.context.model.dirty) {
      this._inFile = new Set(this._cells().keys());
    }
    await this._catchUp(kernel);
  }

  // What this page runs

  private _onMessage(kernel: Kernel.IKernelConnection, { msg, direction }: Kernel.IAnyMessageArgs): void {
    if (direction !== 'send' || msg.header.msg_type !== 'execute_request' || !('cellId' in msg.metadata)) {
      return;
    }
    const cellId = msg.metadata['cellId'] as string;
    // The cell has its future right after this signal.
    void Promise.resolve().then(() => {
      const cell = this._cells().get(cellId);
      if (cell?.outputArea.future?.msg.header.msg_id === msg.header.msg_id) {
        const run = new Run(kernel, cell, msg.header.msg_id);
        run.hear(cell.outputArea.future);
        this._runs.set(run.msgId, run);
      }
    });
    if (kernel.connectionStatus === 'connected') {
      this._keep(cellId);
    }
  }

  private _cells(): Map<string, CodeCell> {
    const cells = this.panel.content.widgets.filter(cell => cell instanceof CodeCell) as CodeCell[];
    return new Map(cells.map(cell => [cell.model.id, cell]));
  }

  // What the file holds

  /** Have a cell that runs in the file soon: the next page could not fill it otherwise. One save at a time. */
  private _keep(cellId: string): void {
    if (this._inFile.has(cellId) || !this.savesByItself()) {
      return;
    }
    if (this._saving === null) {
      void this.panel.context.save();
    } else {
      this._saving.isToRepeat = true;
    }
  }

  private _onSave(state: DocumentRegistry.SaveState): void {
    if (state === 'started') {
      const complete = [...this._runs.values()].filter(run => run.isComplete).map(run => run.msgId);
      const cells = new Set(this._cells().keys());
      this._saving = { complete: complete.slice(0, MAX_SETTLED_AT_ONCE), cells, isToRepeat: false };
      return;
    }
    const saving = this._saving;
    this._saving = null;
    if (state !== 'completed' || saving === null) {
      return;
    }
    this._inFile = saving.cells;
    this._settle(saving.complete);
    if (saving.isToRepeat) {
      void this.panel.context.save();
    }
  }

  private _settle(complete: string[]): void {
    complete.forEach(id => this._runs.delete(id));
    if (this._kernel && complete.length > 0) {
      // Should this fail, the next page reads what it need not.
      settleExecutions(this.settings, this._kernel.id, complete).catch(console.warn);
    }
  }

  // What this page has missed

  private _onConnection(kernel: Kernel.IKernelConnection, status: Kernel.ConnectionStatus): void {
    if (status === 'connected') {
      // What was on its way when the connection broke is lost, and what comes now would follow a hole.
      this._runs.forEach(run => run.hold());
      void this._catchUp(kernel);
    }
  }

  /** A later round takes over once the one before has put its last message into a cell, and reads on behind that. */
  private _catchUp(kernel: Kernel.IKernelConnection): Promise<void> {
    this._round.abort();
    const { signal } = (this._round = new AbortController());
    this._reading = this._reading.then(() => this._readMissed(kernel, signal)).catch(console.warn);
    return this._reading;
  }

  private async _readMissed(kernel: Kernel.IKernelConnection, signal: AbortSignal): Promise<void> {
    await this.panel.context.ready;
    const executions = await this._list(kernel, signal);
    if (signal.aborted) {
      return;
    }
    let missed = this._missed(kernel, executions);
    while (!signal.aborted && missed.length > 0) {
      missed.forEach(run => run.replay());
      const isWhole = await this._read(kernel, missed, signal);
      if (isWhole) {
        missed.forEach(run => run.finish());
      }
      missed = missed.filter(run => !run.isComplete);
      if (missed.length > 0) {
        await pause(RETRY_MS);
      }
    }
  }

  /** The runs to be read again. Those of this page that the server has never seen go on as they are. */
  private _missed(kernel: Kernel.IKernelConnection, executions: IExecution[]): Run[] {
    const cells = this._cells();
    const missed: Run[] = [];
    for (const { msg_id, cell_id } of executions) {
      const cell = cells.get(cell_id);
      let run = this._runs.get(msg_id);
      if (run === undefined && cell !== undefined && !cell.outputArea.future) {
        run = new Run(kernel, cell, msg_id);
        this._runs.set(msg_id, run);
      }
      if (run !== undefined && !run.isComplete) {
        missed.push(run);
      }
    }
    this._runs.forEach(run => {
      if (!missed.includes(run)) {
        run.release();
      }
    });
    return missed;
  }

  /** What the file may lack; asked again while the server or the manager is away. */
  private async _list(kernel: Kernel.IKernelConnection, signal: AbortSignal): Promise<IExecution[]> {
    while (!signal.aborted) {
      try {
        return await listExecutions(this.settings, kernel.id);
      } catch (error) {
        if ((error as ApiError).code === 'object-not-found') {
          break;
        }
        await pause(RETRY_MS);
      }
    }
    return [];
  }

  /** Read one connection to its end. True if nothing more can come. */
  private async _read(kernel: Kernel.IKernelConnection, runs: Run[], signal: AbortSignal): Promise<boolean> {
    const seen = runs.map(run => ({ msg_id: run.msgId, after: run.lastId }));
    const socket = openOutputs(this.settings, kernel.id, seen);
    const byId = new Map(runs.map(run => [run.msgId, run]));
    let waiting: KernelMessage.IMessage[] = [];
    let last: Promise<void> = Promise.resolve();
    const take = async (): Promise<void> => {
      await pause(GATHER_MS);
      const messages = joined(waiting);
      waiting = [];
      await showEach(messages, async msg => {
        if (!signal.aborted) {
          await byId.get((msg.parent_header as KernelMessage.IHeader).msg_id)?.take(msg);
        }
      });
    };
    const closed = new Promise<boolean>(resolve => {
      socket.onmessage = event => {
        if (waiting.push(deserialize(event.data, PROTOCOL)) === 1) {
          last = last.then(take);
        }
      };
      socket.onclose = event => resolve(event.code === 1000);
    });
    const leave = () => socket.close();
    signal.addEventListener('abort', leave);
    const isWhole = await closed;
    signal.removeEventListener('abort', leave);
    await last;
    return isWhole && !signal.aborted;
  }

  private _kernel: Kernel.IKernelConnection | null = null;
  private _round = new AbortController();
  private _reading: Promise<void> = Promise.resolve();
  /** Of this kernel, by the id of the request; those that a saved file holds are gone. */
  private readonly _runs = new Map<string, Run>();
  private _inFile = new Set<string>();
  private _saving: { complete: string[]; cells: Set<string>; isToRepeat: boolean } | null = null;
}

/** One run of a cell: heard live, or told again as if the cell had just been run here. */
class Run {
  constructor(
    private readonly kernel: Kernel.IKernelConnection,
    private readonly cell: CodeCell,
    readonly msgId: string
  ) {}

  /** The last of its messages that the cell shows. */
  lastId: string | null = null;

  isComplete = false;

  /** Know what the cell gets of this future, which is the cell's own. */
  hear(future: Future): void {
    this._future = future;
    const { onIOPub, onStdin } = future;
    future.onIOPub = msg =>
      this._deliver(future, () => {
        this.lastId = msg.header.msg_id;
        return onIOPub(msg);
      });
    future.onStdin = msg =>
      this._deliver(future, () => {
        const isNew = !this._prompts.has(msg.header.msg_id);
        this._prompts.add(msg.header.msg_id);
        return isNew ? onStdin(msg) : undefined;
      });
    future.done.then(
      () => this._deliver(future, () => this.finish()),
      () => undefined // the kernel was restarted, or the cell is run again
    );
  }

  /** Show nothing for now: it is not known yet whether something is missing in front of it. */
  hold(): void {
    if (!this.isComplete && !this._isReplay) {
      this._held ??= [];
    }
  }

  /** Nothing was missing. */
  release(): void {
    const held = this._held ?? [];
    this._held = null;
    held.forEach(deliver => void deliver());
  }

  /** Take from now on only what is told again. */
  replay(): void {
    if (this._isReplay || this.cell.isDisposed) {
      return;
    }
    this._isReplay = true;
    this._held = null;
    if (this._future !== null && this._future === this.cell.outputArea.future) {
      this.cell.outputArea.detachFuture();
    }
    this._future = null;
    this.cell.model.stateChanged.connect(this._stayRunning, this);
    this._stayRunning();
  }

  /** One message, told again. The saved output stays until the first one comes: no empty cell in between. */
  async take(msg: KernelMessage.IMessage): Promise<void> {
    if (!this._isLatest) {
      return;
    }
    this._replayed ??= this._attach();
    if (msg.header.msg_type === 'execute_input') {
      this._count = (msg.content as KernelMessage.IExecuteInputMsg['content']).execution_count;
    }
    await this._replayed.handleMsg(msg);
    if (isIdle(msg)) {
      this.finish(); // also where the reply went to a page that is gone
    }
  }

  finish(): void {
    this.isComplete = true;
    this.cell.model.stateChanged.disconnect(this._stayRunning, this);
    if (this._isReplay && this._isLatest) {
      this.cell.model.executionState = 'idle';
      this.cell.model.executionCount = this._count ?? this.cell.model.executionCount;
    }
  }

  private _attach(): KernelShellFutureHandler<KernelMessage.IExecuteRequestMsg, KernelMessage.IExecuteReplyMsg> {
    const request = KernelMessage.createMessage<KernelMessage.IExecuteRequestMsg>({
      msgType: 'execute_request',
      channel: 'shell',
      msgId: this.msgId,
      session: this.kernel.clientId,
      content: { code: this.cell.model.sharedModel.getSource() }
    });
    const future = new KernelShellFutureHandler<
      KernelMessage.IExecuteRequestMsg,
      KernelMessage.IExecuteReplyMsg
    >(() => undefined, request, true, false, this.kernel);
    this.cell.model.trusted = true;
    if (this.lastId === null) {
      this.cell.outputArea.future = future;
    } else {
      this.cell.outputArea.reattachFuture(future);
    }
    this.hear(future);
    return future;
  }

  private _deliver(future: Future, deliver: () => void | PromiseLike<void>): void | PromiseLike<void> {
    if (future !== this._future) {
      return; // replaced: what it hears is told again
    }
    if (this._held !== null) {
      this._held.push(deliver);
      return;
    }
    return deliver();
  }

  /** The reply may come long before the output: Lab then takes the cell for finished. */
  private _stayRunning(): void {
    if (this._isLatest && this.cell.model.executionState !== 'running') {
      this.cell.model.executionState = 'running';
    }
  }

  /** False when the cell has been run again meanwhile, or is gone. */
  private get _isLatest(): boolean {
    return !this.cell.isDisposed && (this.cell.outputArea.future ?? null) === this._replayed;
  }

  private _future: Future | null = null;
  private _replayed: KernelShellFutureHandler<
    KernelMessage.IExecuteRequestMsg,
    KernelMessage.IExecuteReplyMsg
  > | null = null;
  private _isReplay = false;
  private _held: (() => void | PromiseLike<void>)[] | null = null;
  private _count: number | null = null;
  private readonly _prompts = new Set<string>();
}

function isIdle(msg: KernelMessage.IMessage): boolean {
  return msg.header.msg_type === 'status' && (msg as KernelMessage.IStatusMsg).content.execution_state === 'idle';
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}
