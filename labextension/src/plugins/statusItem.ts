/** The item in the status bar: what the kernel of the notebook in front is doing, and uses. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

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
    const item = new StatusItem(statuses, new Use(sessions), trans, () => void app.commands.execute(CommandIDs.showPanel));
    const follow = () => {
      item.kernelId = notebooks.currentWidget?.sessionContext.session?.kernel?.id;
    };
    notebooks.currentChanged.connect((_, panel) => {
      panel?.sessionContext.kernelChanged.disconnect(follow);
      panel?.sessionContext.kernelChanged.connect(follow);
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
