/** The strip under a notebook's toolbar while its kernel waits, starts or has failed. Absent when all is well. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { extendSession } from '../api';
import { KernelStatuses } from '../model';
import { IKernelStatuses, NAME } from '../tokens';
import { Notice } from '../widgets/notice';

export const notice: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:notice`,
  description: 'Says in the notebook why its kernel waits or has stopped, and what to do.',
  autoStart: true,
  requires: [IKernelStatuses, INotebookTracker],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    statuses: KernelStatuses,
    notebooks: INotebookTracker,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    notebooks.widgetAdded.connect((_, panel: NotebookPanel) => {
      const context = panel.sessionContext;
      const strip = new Notice(statuses, trans, {
        cancel: () => context.shutdown(),
        restart: () => context.restartKernel(),
        keep: sessionId =>
          extendSession(app.serviceManager.serverSettings, sessionId).catch(error =>
            showErrorMessage(trans.__('The session is not kept'), error as Error)
          )
      });
      const follow = () => {
        const kernelId = context.session?.kernel?.id;
        strip.kernelId = kernelId;
        if (kernelId !== undefined) {
          void statuses.ask(kernelId);
        }
      };
      context.kernelChanged.connect(follow);
      follow();
      panel.contentHeader.addWidget(strip);
    });
  }
};
