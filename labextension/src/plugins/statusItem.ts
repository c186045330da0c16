/** The item in the status bar: what the kernel of the notebook in front is doing, and uses. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISessionContext } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ISignal } from '@lumino/signaling';

import { ISession } from '../api';
import { KernelStatuses, Sessions } from '../model';
import { CommandIDs, IKernelStatuses, ISessions, NAME } from '../tokens';
import { Use } from '../use';
import { StatusItem } from '../widgets/statusItem';

export const statusItem: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:status-item`,
  description: 'Shows in the status bar what the kernel of the current notebook is doing.',
  autoStart: true,
  requires: [ISessions, IKernelStatuses, INotebookTracker],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    statuses: KernelStatuses,
    notebooks: INotebookTracker,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    if (!statusBar) {
      return; // Notebook 7 has none
    }
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const run = (command: string, session?: ISession) =>
      void app.commands.execute(command, session && { id: session.id, name: session.name });
    const item = new StatusItem(statuses, new Use(sessions), trans, {
      resources: () => run(CommandIDs.resources),
      attach: () => run(CommandIDs.attachFolder),
      keep: session => run(CommandIDs.extendSession, session),
      details: session => run(CommandIDs.showSession, session),
      log: session => run(CommandIDs.showLog, session),
      end: session => run(CommandIDs.endSession, session),
      sessions: () => run(CommandIDs.showPanel)
    });
    const follow = () => {
      const kernel = notebooks.currentWidget?.sessionContext.session?.kernel;
      item.follow(kernel?.id, kernel?.status ?? '');
    };
    notebooks.currentChanged.connect((_, panel) => {
      const { kernelChanged, statusChanged } = panel?.sessionContext ?? {};
      for (const changed of [kernelChanged, statusChanged] as (ISignal<ISessionContext, unknown> | undefined)[]) {
        changed?.disconnect(follow);
        changed?.connect(follow);
      }
      follow();
    });
    statusBar.registerStatusItem(statusItem.id, {
      align: 'left',
      item,
      rank: 3,
      isActive: () => item.hasKernel,
      activeStateChanged: item.hasKernelChanged
    });
  }
};
