/** Commands on the session that the kernel of the notebook in front runs in: in the palette and the Kernel menu. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog, Notification } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { IKernelStatus, listSaved, resumeSession, saveVariables, suspendSession, wakeKernel } from '../api';
import { KernelStatuses, Sessions } from '../model';
import { CommandIDs, IKernelStatuses, ISessions, NAME } from '../tokens';
import { describeSave, describeSaved } from '../variables';
import { isSuspended } from '../words';

export const liveSession: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:live-session`,
  description: 'Suspends the session of a notebook, saves its variables, brings them back, and more.',
  autoStart: true,
  requires: [INotebookTracker, IKernelStatuses, ISessions],
  optional: [ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    statuses: KernelStatuses,
    sessions: Sessions,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const commands = commandsOf(app, sessions, trans);
    const front = () => frontOf(notebooks, statuses);
    for (const [id, { label, caption, isPossible, run }] of Object.entries(commands)) {
      app.commands.addCommand(id, {
        label,
        caption,
        describedBy: { args: { type: 'object', properties: {} } },
        isEnabled: () => {
          const found = front();
          return found !== null && isPossible(found.status);
        },
        execute: async () => {
          const found = front();
          if (found) {
            await run(found).catch(error => void Notification.error((error as Error).message, { autoClose: false }));
          }
        }
      });
      palette?.addItem({ command: id, category: 'Backend.AI' });
    }
    const tell = () => Object.keys(commands).forEach(id => app.commands.notifyCommandChanged(id));
    notebooks.currentChanged.connect(tell);
    statuses.changed.connect(tell);
    notebooks.widgetAdded.connect((_, panel) => panel.sessionContext.kernelChanged.connect(tell));
    void registry?.load(liveSession.id).catch(console.warn); // its schema adds to the menu
  }
};

/** The notebook in front, its kernel and its kernel's session. */
interface IFront {
  notebook: string;
  kernelId: string;
  sessionId: string;
  status: IKernelStatus;
}

function frontOf(notebooks: INotebookTracker, statuses: KernelStatuses): IFront | null {
  const panel = notebooks.currentWidget;
  const kernelId = panel?.sessionContext.session?.kernel?.id;
  const status = statuses.get(kernelId);
  return panel && kernelId && status?.session_id
    ? { notebook: panel.title.label, kernelId, sessionId: status.session_id, status }
    : null;
}

interface ICommand {
  label: string;
  caption: string;
  isPossible: (status: IKernelStatus) => boolean;
  /** Says what happened; what it throws is said likewise. */
  run: (front: IFront) => Promise<void>;
}

function commandsOf(app: JupyterFrontEnd, sessions: Sessions, trans: TranslationBundle): Record<string, ICommand> {
  const settings = app.serviceManager.serverSettings;
  const isRunning = (status: IKernelStatus) => status.status === 'RUNNING';
  const say = (notebook: string, what: string) =>
    void Notification.success(trans.__('%1: %2', notebook, what), { autoClose: 5000 });
  return {
    [CommandIDs.suspendSession]: {
      label: trans.__('Suspend Session'),
      caption: trans.__('Freeze the session of this notebook: it uses no CPU, and wakes when it is used'),
      isPossible: status => isRunning(status) && !isSuspended(status),
      run: async ({ notebook, sessionId }) => say(notebook, (await suspendSession(settings, sessionId)).text)
    },
    [CommandIDs.resumeSession]: {
      label: trans.__('Resume Session'),
      caption: trans.__('Let the suspended session of this notebook go on'),
      isPossible: isSuspended,
      run: async ({ notebook, sessionId }) => say(notebook, (await resumeSession(settings, sessionId)).text)
    },
    [CommandIDs.saveVariables]: {
      label: trans.__('Save Variables'),
      caption: trans.__('Save the variables of the kernels in the session of this notebook, to wake one with them later'),
      isPossible: isRunning,
      run: async ({ notebook, kernelId, sessionId }) => {
        const id = Notification.emit(trans.__('The variables of %1 are being saved.', notebook), 'in-progress', {
          autoClose: false
        });
        try {
          const all = await saveVariables(settings, sessionId);
          const { isWhole, text } = describeSave(all.find(one => one.jupyter_kernel_id === kernelId) ?? all[0], trans);
          Notification.update({
            id,
            message: trans.__('%1: %2', notebook, text),
            type: isWhole ? 'success' : 'warning',
            autoClose: isWhole && 5000
          });
        } catch (error) {
          Notification.dismiss(id);
          throw error;
        }
      }
    },
    [CommandIDs.wakeKernel]: {
      label: trans.__('Wake with Saved Variables…'),
      caption: trans.__('Restart the kernel of this notebook with variables that were saved, here or in another session'),
      isPossible: isRunning,
      run: async ({ notebook, kernelId, sessionId }) => {
        const saved = await listSaved(settings);
        if (saved.length === 0) {
          throw new Error(trans.__('No variables are saved. Save some first, with Save Variables.'));
        }
        const items = saved.map(one => describeSaved(one, saved, trans));
        const { button, value } = await InputDialog.getItem({
          title: trans.__('Wake with saved variables'),
          label: trans.__('The kernel of %1 is restarted: what it holds now is lost. It begins with', notebook),
          items,
          okLabel: trans.__('Restart and wake')
        });
        const chosen = saved[items.indexOf(value ?? '')];
        if (button.accept && chosen) {
          await wakeKernel(settings, sessionId, kernelId, chosen);
          say(notebook, trans.__('its kernel begins again with what was saved.'));
        }
      }
    },
    [CommandIDs.keepLonger]: {
      label: trans.__('Keep Longer'),
      caption: trans.__('Keep the session of this notebook, which would be stopped for being idle'),
      isPossible: isRunning,
      run: async ({ notebook, sessionId }) => {
        await sessions.keep(sessionId);
        say(notebook, trans.__('its session is kept for a while.'));
      }
    },
    [CommandIDs.showOwnSession]: {
      label: trans.__('Show Session'),
      caption: trans.__('Show what the session of this notebook has and uses, and what happened to it'),
      isPossible: () => true,
      run: async ({ sessionId }) => {
        await app.commands.execute(CommandIDs.showSession, { id: sessionId });
      }
    },
    [CommandIDs.showOwnLog]: {
      label: trans.__('Show Log'),
      caption: trans.__('Show what the session of this notebook prints'),
      isPossible: () => true,
      run: async ({ notebook, sessionId }) => {
        await app.commands.execute(CommandIDs.showLog, { id: sessionId, name: notebook });
      }
    }
  };
}
