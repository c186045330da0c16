/** Every action of the panel as a command in the palette: which folder, session or person it is about is asked. */

import { InputDialog, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { Ended, isReusable } from '../again';
import { ISession } from '../api';
import { Attachments, IAttached } from '../attachments';
import { arrivalsOf } from '../drops';
import { Files, Folders, IFolders, IMyFolder, isAttachable, Uploads } from '../folders';
import { Apps, isShown, Sessions } from '../model';
import { CommandIDs } from '../tokens';
import { ShowApp } from '../widgets/apps';
import { Mount } from '../widgets/folders';
import { describeApp, describeMount, describePermission } from '../words';

export interface IModels {
  sessions: Sessions;
  ended: Ended;
  folders: Folders;
  files: Files;
  uploads: Uploads;
  apps: Apps;
  showApp: ShowApp;
  attachments: Attachments;
}

interface IAction {
  label: string;
  /** What was done, in a sentence, if that is not seen. */
  run: () => Promise<string | void>;
  /** A command that Notebook 7 lacks; this one is not shown there. */
  needs?: string;
}

/** Adds the commands; returns their ids. */
export function addActions(
  commands: CommandRegistry,
  models: IModels,
  mount: Mount | null,
  showPanel: () => void,
  trans: TranslationBundle
): string[] {
  const all = actionsOf(commands, models, mount, showPanel, trans);
  return Object.entries(all).map(([name, { label, run, needs }]) => {
    const id = `bai:${name}`;
    commands.addCommand(id, {
      label,
      describedBy: { args: { type: 'object', properties: {} } },
      isVisible: () => needs === undefined || commands.hasCommand(needs),
      execute: async () => {
        try {
          const said = await run();
          if (said) {
            Notification.success(said, { autoClose: 5000 });
          }
        } catch (error) {
          if (!(error instanceof Nothing)) {
            await showErrorMessage(label, error as Error);
          }
        }
      }
    });
    return id;
  });
}

/** A dialog was left without an answer. */
class Nothing extends Error {}

function actionsOf(
  commands: CommandRegistry,
  { sessions, ended, folders, files, uploads, apps, showApp, attachments }: IModels,
  mount: Mount | null,
  showPanel: () => void,
  trans: TranslationBundle
): Record<string, IAction> {
  const nobody = trans.__('There is nothing to choose from.');

  const pick = async <T>(label: string, list: T[], nameOf: (one: T) => string): Promise<T> => {
    if (list.length === 0) {
      throw new Error(nobody);
    }
    const names = list.map(nameOf);
    const { button, value } = await InputDialog.getItem({ title: label, items: names });
    const chosen = list[names.indexOf(value ?? '')];
    if (!button.accept || chosen === undefined) {
      throw new Nothing();
    }
    return chosen;
  };
  const text = async (title: string, label: string, given = ''): Promise<string> => {
    const { button, value } = await InputDialog.getText({ title, label, text: given });
    if (!button.accept || value === null) {
      throw new Nothing();
    }
    return value;
  };
  const permission = async (title: string): Promise<string> =>
    pick(title, ['ro', 'rw'], one => describePermission(one, trans));
  const folder = async (
    label: string,
    isMeant: (one: IMyFolder) => boolean = () => true,
    list: keyof Pick<IFolders, 'usable' | 'trashed'> = 'usable'
  ): Promise<IMyFolder> => pick(label, (await folders.ask())[list].filter(isMeant), one => one.name);
  const invitation = async (label: string) =>
    pick(label, (await folders.ask()).invitations, one => trans.__('%1 from %2', one.vfolder_name, one.inviter));
  /** A command on one of the sessions that are meant. */
  const onSession = (title: string, command: string, isMeant: (one: ISession) => boolean = () => true) => async () => {
    const { id, name } = await pick(title, (await sessions.ask()).filter(isMeant), one => one.name);
    await commands.execute(command, { id, name });
  };
  const isRunning = (one: ISession) => one.status === 'RUNNING';
  const isShareable = (one: IMyFolder) => one.is_owner && one.ownership_type === 'user';
  const isChangeable = (one: IMyFolder) => one.is_owner && !(one.isMine && one.name === 'home');

  const actions: Record<string, IAction> = {
    'new-folder': {
      label: trans.__('New Folder…'),
      run: async () => folders.create(await text(trans.__('New folder'), trans.__('Name')), '')
    },
    'open-folder': {
      label: trans.__('Open Folder…'),
      run: async () => {
        files.open(await folder(trans.__('Open folder')));
        showPanel();
      }
    },
    'upload-files': {
      label: trans.__('Upload Files to Folder…'),
      run: async () => {
        const into = await folder(trans.__('Upload files to'), one => one.permission !== 'ro');
        const chooser = document.createElement('input');
        chooser.type = 'file';
        chooser.multiple = true;
        chooser.onchange = () => {
          files.open(into);
          showPanel();
          void uploads.startAll(into, '', arrivalsOf(chooser.files));
        };
        chooser.click();
      }
    },
    'new-directory': {
      label: trans.__('New Directory in Folder…'),
      run: async () => {
        const into = await folder(trans.__('New directory in'), one => one.permission !== 'ro');
        const name = await text(trans.__('New directory in %1', into.name), trans.__('Name'));
        files.open(into);
        await files.makeDirectory(name);
        showPanel();
      }
    },
    'attach-folder': {
      label: trans.__('Attach Folder to This Kernel…'),
      run: async () => {
        const attached = await folder(trans.__('Attach folder'), isAttachable);
        const ways = attached.permission === 'ro' ? ['ro'] : ['rw', 'ro'];
        const way = await pick(trans.__('Attach %1', attached.name), ways, one => describePermission(one, trans));
        return attachments.attach(attached, way === 'ro');
      }
    },
    'detach-folder': {
      label: trans.__('Detach Folder…'),
      run: async () => {
        await sessions.ask();
        const all = (await folders.ask()).usable.filter(isAttachable).flatMap(one => attachments.of(one));
        const label = trans.__('Detach folder');
        const nameOf = ({ session, mount }: IAttached) => `${session.name}: ${describeMount(mount, trans)}`;
        return attachments.detach(await pick(label, all, nameOf));
      }
    },
    'rename-folder': {
      label: trans.__('Rename Folder…'),
      run: async () => {
        const { id, name } = await folder(trans.__('Rename folder'), isChangeable);
        await folders.rename(id, await text(trans.__('Rename %1', name), trans.__('New name'), name));
      }
    },
    'share-folder': {
      label: trans.__('Share Folder…'),
      run: async () => {
        const { id, name } = await folder(trans.__('Share folder'), isShareable);
        const person = await text(trans.__('Share %1', name), trans.__('E-mail address'));
        const isNew = await folders.share(id, person, await permission(trans.__('What %1 can', person)));
        return isNew
          ? trans.__('%1 was invited.', person)
          : trans.__('%1 has the folder, or was invited before.', person);
      }
    },
    'change-share': {
      label: trans.__('Change What People Can with Folder…'),
      run: async () => {
        const { id } = await folder(trans.__('Folder'), one => isShareable(one) && one.isMine);
        const member = await pick(trans.__('Person'), await folders.members(id), one => one.email);
        await folders.changeMember(id, member.id, await permission(trans.__('What %1 can', member.email)));
      }
    },
    'stop-sharing': {
      label: trans.__('Stop Sharing Folder…'),
      run: async () => {
        const { id } = await folder(trans.__('Folder'), one => isShareable(one) && one.isMine);
        const member = await pick(trans.__('Stop sharing with'), await folders.members(id), one => one.email);
        await folders.changeMember(id, member.id, null);
      }
    },
    'trash-folder': {
      label: trans.__('Move Folder to Trash…'),
      run: async () => folders.trash((await folder(trans.__('Move to trash'), isChangeable)).id)
    },
    'restore-folder': {
      label: trans.__('Restore Folder…'),
      run: async () => folders.restore((await folder(trans.__('Restore folder'), undefined, 'trashed')).id)
    },
    'purge-folder': {
      label: trans.__('Delete Folder for Good…'),
      run: async () => {
        const { id, name } = await folder(trans.__('Delete for good'), one => one.is_owner, 'trashed');
        if ((await text(trans.__('Delete %1 for good', name), trans.__('Its name, once more'))) !== name) {
          throw new Error(trans.__('This is not its name. Type %1 to delete it for good.', name));
        }
        await folders.purge(id);
      }
    },
    'accept-invitation': {
      label: trans.__('Accept Invitation to Folder…'),
      run: async () => folders.answer(await invitation(trans.__('Accept')), true)
    },
    'decline-invitation': {
      label: trans.__('Decline Invitation to Folder…'),
      run: async () => folders.answer(await invitation(trans.__('Decline')), false)
    },
    'choose-session': {
      label: trans.__('Show Details of Session…'),
      run: onSession(trans.__('Show details of'), CommandIDs.showSession)
    },
    'choose-session-to-end': {
      label: trans.__('End Session…'),
      run: onSession(trans.__('End session'), CommandIDs.endSession)
    },
    'choose-session-to-use-again': {
      label: trans.__('Use Session Again…'),
      run: async () => {
        const list = (await ended.ask()).sessions.filter(isReusable);
        const { id, name } = await pick(trans.__('Use again, of those that ended today'), list, one => one.name);
        await commands.execute(CommandIDs.useAgain, { id, name });
      }
    },
    'choose-session-to-restart': {
      label: trans.__('Restart Session…'),
      run: onSession(trans.__('Restart session'), CommandIDs.restartSession, isRunning)
    },
    'choose-session-to-rename': {
      label: trans.__('Rename Session…'),
      run: onSession(trans.__('Rename session'), CommandIDs.renameSession)
    },
    'choose-session-to-commit': {
      label: trans.__('Save Session as Environment…'),
      run: onSession(trans.__('Save as environment'), CommandIDs.commitSession, isRunning)
    },
    'choose-log': {
      label: trans.__('Show Log of Session…'),
      run: onSession(trans.__('Show log of'), CommandIDs.showLog)
    },
    'choose-terminal': {
      label: trans.__('Open Terminal of Session…'),
      run: onSession(trans.__('Open terminal of'), CommandIDs.openTerminal, isRunning),
      needs: CommandIDs.openTerminal
    },
    'keep-session': {
      label: trans.__('Keep Session…'),
      run: async () => {
        const kept = await pick(trans.__('Keep session'), await sessions.ask(), one => one.name);
        await sessions.keep(kept.id);
        return trans.__('%1 is kept for a while.', kept.name);
      }
    },
    'open-app': {
      label: trans.__('Open App…'),
      run: async () => {
        await sessions.ask();
        const session = await pick(trans.__('Session'), apps.running, one => one.name);
        const list = (await apps.of(session.id)).filter(isShown);
        const app = await pick(trans.__('App of %1', session.name), list, one => describeApp(one, trans).name);
        await showApp(session, app);
      }
    }
  };
  if (mount) {
    actions['mount-folder'] = {
      label: trans.__('Mount Folder When This Kernel Starts Next…'),
      run: async () => mount(await folder(trans.__('Mount folder'), isAttachable))
    };
  }
  return actions;
}
