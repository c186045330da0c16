/** The strip under a notebook's toolbar while its kernel waits, starts or has failed. Absent when all is well. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ServerConnection } from '@jupyterlab/services';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { grownMemory } from '../amounts';
import { extendSession, getCapacity, listSessions, resizeSession } from '../api';
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
    const settings = app.serviceManager.serverSettings;
    const say = (title: string) => (error: unknown) => showErrorMessage(title, error as Error);
    notebooks.widgetAdded.connect((_, panel: NotebookPanel) => {
      const context = panel.sessionContext;
      const strip = new Notice(statuses, trans, {
        cancel: () => context.shutdown(),
        restart: () => context.restartKernel(),
        interrupt: async () => context.session?.kernel?.interrupt(),
        end: () => context.shutdown(),
        keep: sessionId => extendSession(settings, sessionId).catch(say(trans.__('The session is not kept'))),
        growth: sessionId => growthOf(settings, sessionId),
        grow: (sessionId, bytes) =>
          resizeSession(settings, sessionId, { mem: `${bytes}` }).catch(say(trans.__('The session does not grow')))
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

/** How much memory a session that needs more is to have, in bytes. */
async function growthOf(settings: ServerConnection.ISettings, sessionId: string): Promise<number> {
  const [sessions, capacity] = await Promise.all([listSessions(settings), getCapacity(settings)]);
  const has = Number(sessions.find(session => session.id === sessionId)?.slots.mem);
  if (!(has > 0)) {
    throw new Error('its memory is not known');
  }
  return grownMemory(has, capacity);
}
