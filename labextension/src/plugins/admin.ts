/** *Backend.AI Admin*: the cluster's lists in a tab of the main area, for admins. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { AdminList } from '../admin';
import { Edits } from '../adminEdits';
import { IAddition, IRowAction, ISessionRef } from '../tables';
import { AdminRow, getUser, IUser } from '../api';
import { Health } from '../health';
import { Sessions } from '../model';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { UserImport } from '../userImport';
import { createAdmin } from '../widgets/admin';
import { showTab } from '../widgets/mainTab';
import { ImportDialog } from '../widgets/userImport';
import { act, fillIn } from './acting';

const TAB_ID = 'jp-bai-admin';

export const admin: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:admin`,
  description: 'Adds the tab "Backend.AI Admin" for admins.',
  autoStart: true,
  requires: [ISessions],
  optional: [ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const settings = app.serviceManager.serverSettings;
    let user: IUser | null = null; // not known
    app.commands.addCommand(CommandIDs.showAdmin, {
      label: trans.__('Backend.AI Admin'),
      describedBy: { args: { type: 'object', properties: {} } },
      isVisible: () => isAdmin(user),
      isEnabled: () => isAdmin(user),
      execute: () => showTab(app.shell, TAB_ID, () => createAdmin(settings, user!.role, actorOn, healthOf(), trans))
    });
    palette?.addItem({ command: CommandIDs.showAdmin, category: 'Backend.AI' });
    void registry?.load(admin.id).catch(console.warn); // its schema adds to the menu

    const edits = () => new Edits(settings, trans, user?.role === 'superadmin');
    const actorOn = (model: AdminList) => ({
      act: (action: IRowAction, rows: AdminRow[]) => void act(settings, model, action, rows, edits(), trans),
      add: ({ label, edit }: IAddition) => void fillIn(model, label, () => edit(edits()), trans),
      import: () =>
        void new ImportDialog(new UserImport(settings, trans), trans).launch().then(() => model.refresh()),
      show: ({ id, name, owner, user: whose }: ISessionRef) =>
        void app.commands.execute(CommandIDs.showSession, whose === user?.id ? { id, name } : { id, name, owner: owner! })
    });

    const healthOf = () => {
      if (user?.role !== 'superadmin') {
        return null;
      }
      const model = new Health(settings);
      const pause = async (isFrozen: boolean) => {
        const title = trans.__('Pause new sessions?');
        const body = trans.__('New sessions are refused until they are taken again. What waits keeps its place, and what runs goes on.');
        const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Pause') })];
        if (!isFrozen || (await showDialog({ title, body, buttons, defaultButton: 0 })).button.accept) {
          await model.pause(isFrozen).catch(error => showErrorMessage(trans.__('Nothing was changed'), error as Error));
        }
      };
      const announce = () => void fillIn(model, trans.__('Announcement'), () => edits().announcement(), trans);
      return { model, actor: { pause: (isFrozen: boolean) => void pause(isFrozen), announce } };
    };

    /** Once the manager has answered; the page may be there before. */
    const learn = async () => {
      user = await getUser(settings).catch(() => null);
      if (user !== null) {
        sessions.changed.disconnect(learn);
        app.commands.notifyCommandChanged(CommandIDs.showAdmin);
      }
    };
    sessions.changed.connect(learn);
    void learn();
  }
};

function isAdmin(user: IUser | null): boolean {
  return user?.role === 'superadmin' || user?.role === 'admin';
}
