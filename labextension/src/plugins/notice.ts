/** The strip under a notebook's toolbar while its kernel waits, starts or has failed. Absent when all is well. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISessionContext, showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { grownMemory } from '../amounts';
import { extendSession, getCapacity, getSession, ICapacity, ISession, judge, resizeSession } from '../api';
import { KernelStatuses } from '../model';
import { withMemory } from '../resources';
import { IKernelStatuses, NAME } from '../tokens';
import { IMore, Notice } from '../widgets/notice';
import { choiceOf, keepChoice, takeChoice } from './choice';

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
        restart: () => startAgain(context),
        interrupt: async () => context.session?.kernel?.interrupt(),
        end: () => context.shutdown(),
        keep: sessionId => extendSession(settings, sessionId).catch(say(trans.__('The session is not kept'))),
        growth: async sessionId => growthOf(await factsOf(app, sessionId)),
        grow: (sessionId, bytes) =>
          resizeSession(settings, sessionId, { mem: `${bytes}` }).catch(say(trans.__('The session does not grow'))),
        more: sessionId => moreFor(app, panel, sessionId),
        restartWith: more => restartWith(app, panel, more).catch(say(trans.__('The kernel does not get more memory')))
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

/** A page that heard of its kernel's end has let go of it for good: then another takes its place. */
function startAgain(context: ISessionContext): Promise<unknown> {
  const kernel = context.session?.kernel;
  if (kernel && !kernel.isDisposed) {
    return context.restartKernel();
  }
  return context.changeKernel({ name: kernel?.name ?? context.prevKernelName });
}

interface IFacts {
  session: ISession;
  capacity: ICapacity;
}

async function factsOf({ serviceManager }: JupyterFrontEnd, sessionId: string): Promise<IFacts> {
  const settings = serviceManager.serverSettings;
  const [session, capacity] = await Promise.all([getSession(settings, sessionId), getCapacity(settings)]);
  return { session, capacity };
}

/** How much memory a session that needs more is to have, in bytes. */
function growthOf({ session, capacity }: IFacts): number {
  const has = Number(session.slots.mem);
  return grownMemory(has, session.status === 'RUNNING' ? has : 0, capacity);
}

/** What a notebook's kernel, which ran out of memory, could be started with, and what the manager says of that. */
export async function moreFor(app: JupyterFrontEnd, panel: NotebookPanel, sessionId: string): Promise<IMore> {
  const facts = await factsOf(app, sessionId);
  const bytes = growthOf(facts);
  const choice = withMemory(choiceOf(app, panel), facts.session.slots, bytes);
  const [verdict] = await judge(app.serviceManager.serverSettings, [choice]);
  return { session: facts.session, bytes, choice, verdict };
}

/** A session that goes on grows, so that its files stay; in place of one that has ended there is another. */
export async function restartWith(app: JupyterFrontEnd, panel: NotebookPanel, more: IMore): Promise<void> {
  if (more.session.status !== 'RUNNING') {
    await takeChoice(app, panel, more.choice);
    return;
  }
  await resizeSession(app.serviceManager.serverSettings, more.session.id, { mem: `${more.bytes}` });
  if (!choiceOf(app, panel).session) {
    await keepChoice(app, panel, more.choice, more.session.id); // one that is joined has its amounts from elsewhere
  }
  await panel.sessionContext.restartKernel();
}
