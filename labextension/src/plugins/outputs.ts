/** Output of cells that ran on while no page was there. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';

import { keepsOutput } from '../api';
import { KernelStatuses } from '../model';
import { Outputs } from '../outputs';
import { IKernelStatuses, NAME } from '../tokens';

export const outputs: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:outputs`,
  description: "Fills a notebook's cells with the output that came while no page was open.",
  autoStart: true,
  requires: [IKernelStatuses, INotebookTracker],
  optional: [IDocumentManager],
  activate: (
    app: JupyterFrontEnd,
    statuses: KernelStatuses,
    notebooks: INotebookTracker,
    documents: IDocumentManager | null
  ) => {
    const settings = app.serviceManager.serverSettings;
    notebooks.widgetAdded.connect((_, panel: NotebookPanel) => {
      const context = panel.sessionContext;
      const kept = new Outputs(settings, panel, () => documents?.autosave ?? false);
      const follow = async () => {
        const kernel = context.session?.kernel;
        if (kernel && ((await statuses.ask(kernel.id)) || (await keepsOutput(settings, kernel.id)))) {
          await kept.follow(kernel);
        }
      };
      context.kernelChanged.connect(() => void follow().catch(console.warn));
      void follow().catch(console.warn);
    });
  }
};
