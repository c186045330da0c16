/** One's live sessions among what Lab has running: open, end, end all. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISectionEntry, showErrorMessage } from '@jupyterlab/apputils';
import { IRunningSessionManagers, IRunningSessions, IRunningSessionSidebar } from '@jupyterlab/running';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { stopIcon } from '@jupyterlab/ui-components';
import { MessageLoop } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { describeHeld } from '../amounts';
import { IKernelStatus, ISession } from '../api';
import { isEnding, Sessions } from '../model';
import { describeEndOf } from '../session';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { Watched } from '../watched';
import { lookOf, sentenceOf } from '../words';

export const running: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:running`,
  description: 'Lists Backend.AI sessions among what is running.',
  autoStart: true,
  requires: [ISessions],
  optional: [IRunningSessionManagers, IRunningSessionSidebar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    managers: IRunningSessionManagers | null,
    sidebar: IRunningSessionSidebar | null,
    translator: ITranslator | null
  ) => {
    if (managers === null) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const name = trans.__('Backend.AI sessions');
    const live = () => (sessions.value ?? []).filter(one => !isEnding(one));
    const ask = () => void sessions.ask().catch(() => undefined); // the panel says what is wrong

    const item = (session: ISession): IRunningSessions.IRunningItem => {
      const look = lookOf(session, trans);
      const about = { id: session.id, name: session.name };
      return {
        icon: () => look.icon,
        label: () => session.name,
        labelTitle: () => trans.__('%1: %2', look.word, sentenceOf(session) ?? describeHeld(session, trans)),
        detail: () => look.word,
        open: () => void openSession(app, session),
        shutdown: () => void app.commands.execute(CommandIDs.endSession, about)
      };
    };
    if (sidebar) {
      const follow = (_: unknown, { id, widget }: ISectionEntry) => {
        if (id === name) {
          sidebar.sectionAdded.disconnect(follow);
          watchWhileSeen(widget, sessions);
        }
      };
      sidebar.sectionAdded.connect(follow);
    } else {
      ask(); // a list that cannot be followed begins with what there is
    }
    managers.add({
      name,
      running: () => live().map(item),
      runningChanged: sessions.changed,
      refreshRunning: ask,
      shutdownLabel: trans.__('End session'),
      shutdownItemIcon: stopIcon,
      shutdownAllLabel: trans.__('End All'),
      shutdownAllConfirmationText: () =>
        describeEndOf(
          live().map(one => one.name),
          trans
        ),
      shutdownAll: () =>
        sessions
          .endAll(
            live().map(one => one.id),
            trans
          )
          .catch(error => showErrorMessage(trans.__('Not all sessions were ended'), error as Error))
    });
  }
};

/** The notebook whose kernel runs in it, else its own tab. */
async function openSession({ commands, serviceManager }: JupyterFrontEnd, { id, name }: ISession): Promise<void> {
  const kernels = [...serviceManager.sessions.running()];
  const notebook = kernels.find(
    one => one.type === 'notebook' && (one.kernel as { bai?: IKernelStatus } | null)?.bai?.session_id === id
  );
  if (notebook) {
    await commands.execute('docmanager:open', { path: notebook.path });
  } else {
    await commands.execute(CommandIDs.showSession, { id, name });
  }
}

/** Has a model kept fresh while a widget that is not ours is on the screen. */
function watchWhileSeen(widget: Widget, model: Watched<unknown>): void {
  let isSeen = false;
  const look = () => {
    if (widget.isVisible !== isSeen) {
      isSeen = widget.isVisible;
      isSeen ? model.watch() : model.unwatch();
    }
  };
  MessageLoop.installMessageHook(widget, (_, { type }) => {
    if (['after-show', 'after-attach', 'before-hide', 'before-detach'].includes(type)) {
      queueMicrotask(look); // the widget itself hears of it after its hooks
    }
    return true;
  });
  look();
}
