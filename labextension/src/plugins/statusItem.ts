/** The item in the status bar: what the kernel of the notebook in front is doing. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { DeviceUse, KernelStatuses } from '../model';
import { CommandIDs, IKernelStatuses, NAME } from '../tokens';
import { StatusItem } from '../widgets/statusItem';

export const statusItem: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:status-item`,
  description: 'Shows in the status bar what the kernel of the current notebook is doing.',
  autoStart: true,
  requires: [IKernelStatuses, INotebookTracker],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    statuses: KernelStatuses,
    notebooks: INotebookTracker,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    if (!statusBar) {
      return; // Notebook 7 has none
    }
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const use = new DeviceUse(app.serviceManager.serverSettings);
    const item = new StatusItem(statuses, use, trans, () => void app.commands.execute(CommandIDs.showPanel));
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
