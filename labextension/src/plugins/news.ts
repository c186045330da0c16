/** Notifications of what happens to the kernels of notebooks that are not in view; in view, the strip in them says it. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification, showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { extendSession } from '../api';
import { KernelStatuses } from '../model';
import { INews, News } from '../news';
import { IKernelStatuses, NAME } from '../tokens';
import { moreFor, restartWith } from './notice';

/** The manager warns ten minutes before a stop; of one that still comes it is told again two minutes before. */
const AGAIN_MS = 8 * 60_000;

export const news: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:news`,
  description: 'Notifies of kernels that are ready, stop soon or ran out of memory while their notebook is not in view.',
  autoStart: true,
  requires: [IKernelStatuses, INotebookTracker],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    statuses: KernelStatuses,
    notebooks: INotebookTracker,
    translator: ITranslator | null
  ) => {
    const teller = new Teller(app, statuses, (translator ?? nullTranslator).load('bai_jupyter'));
    notebooks.widgetAdded.connect((_, panel) => teller.follow(panel));
    notebooks.currentChanged.connect((_, panel) => panel && teller.withdraw(panel));
  }
};

class Teller {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly statuses: KernelStatuses,
    private readonly trans: TranslationBundle
  ) {
    statuses.changed.connect((_, kernelId) => this._hear(kernelId));
  }

  follow(panel: NotebookPanel): void {
    const { kernelChanged } = panel.sessionContext;
    const take = () => {
      const kernelId = panel.sessionContext.session?.kernel?.id;
      if (kernelId !== undefined) {
        this._panels.set(kernelId, panel); // one that was let go of is spoken of all the same
      }
    };
    kernelChanged.connect(take);
    take();
    panel.disposed.connect(() => {
      this.withdraw(panel);
      [...this._panels].filter(([, one]) => one === panel).forEach(([kernelId]) => this._panels.delete(kernelId));
    });
  }

  /** It can be seen now. */
  withdraw(panel: NotebookPanel): void {
    const id = this._shown.get(panel);
    if (id !== undefined) {
      this._shown.delete(panel);
      Notification.dismiss(id);
    }
  }

  private _hear(kernelId: string): void {
    const panel = this._panels.get(kernelId);
    const found = this._news.hear(kernelId, this.statuses.get(kernelId), Date.now());
    if (!panel || panel.isDisposed) {
      return;
    }
    if (!found) {
      if (!this._news.of(kernelId)) {
        this.withdraw(panel);
      }
      return;
    }
    this._tell(panel, kernelId, found);
    if (found.kind === 'stops') {
      const again = () => this._news.of(kernelId)?.text === found.text && this._tell(panel, kernelId, found);
      window.setTimeout(again, AGAIN_MS);
    }
  }

  private _tell(panel: NotebookPanel, kernelId: string, found: INews): void {
    if (panel.isDisposed || panel.isVisible) {
      return;
    }
    this.withdraw(panel);
    const { trans } = this;
    const name = panel.title.label;
    const open = { label: trans.__('Open'), callback: () => this.app.shell.activateById(panel.id) };
    if (found.kind === 'ready') {
      const id = Notification.success(trans.__('The kernel of %1 is ready.', name), { autoClose: 10000, actions: [open] });
      this._shown.set(panel, id);
      return;
    }
    const message = trans.__('%1: %2', name, found.text);
    const sessionId = this.statuses.get(kernelId)?.session_id ?? '';
    const id =
      found.kind === 'memory'
        ? Notification.error(message, { autoClose: false, actions: [this._more(panel, sessionId), open] })
        : Notification.warning(message, { autoClose: false, actions: [...(found.canKeep ? [this._keep(sessionId)] : []), open] });
    this._shown.set(panel, id);
  }

  private _more(panel: NotebookPanel, sessionId: string): Notification.IAction {
    const { app, trans } = this;
    const restart = async () => {
      const more = await moreFor(app, panel, sessionId);
      if (more.verdict.verdict === 'refused') {
        throw new Error(more.verdict.reason?.text ?? '');
      }
      await restartWith(app, panel, more);
    };
    return {
      label: trans.__('Restart with more memory'),
      callback: () => void restart().catch(this._say(trans.__('The kernel does not get more memory')))
    };
  }

  private _keep(sessionId: string): Notification.IAction {
    const { app, trans } = this;
    const keep = () => extendSession(app.serviceManager.serverSettings, sessionId);
    return {
      label: trans.__('Keep'),
      callback: () => void keep().catch(this._say(trans.__('The session is not kept')))
    };
  }

  private _say(title: string): (error: unknown) => Promise<void> {
    return error => showErrorMessage(title, error as Error);
  }

  private readonly _news = new News();
  private readonly _panels = new Map<string, NotebookPanel>();
  private readonly _shown = new Map<NotebookPanel, string>();
}
