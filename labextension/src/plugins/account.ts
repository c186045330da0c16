/** *My Account…*: who one is at the manager, and what one has in each new session, in a tab of the main area. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Account, newSshKeypairEdit } from '../account';
import { Edits } from '../adminEdits';
import { IAddition, IRowAction } from '../tables';
import { AdminRow } from '../api';
import { CommandIDs, NAME } from '../tokens';
import { Watched } from '../watched';
import { createAccount } from '../widgets/account';
import { showTab } from '../widgets/mainTab';
import { act, fillIn } from './acting';

const TAB_ID = 'jp-bai-account';

export const account: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:account`,
  description: 'Adds the tab "My Account".',
  autoStart: true,
  optional: [ICommandPalette, ITranslator],
  activate: (app: JupyterFrontEnd, palette: ICommandPalette | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const settings = app.serviceManager.serverSettings;
    const edits = new Edits(settings, trans, false);
    const actorOn = (model: Watched<unknown>) => ({
      act: (action: IRowAction, rows: AdminRow[]) => void act(settings, model, action, rows, edits, trans),
      add: ({ label, edit }: IAddition) => void fillIn(model, label, () => edit(edits), trans)
    });
    const renew = (model: Account) =>
      void fillIn(model, trans.__('New SSH Keypair'), () => newSshKeypairEdit(settings, model.value!, trans), trans);
    app.commands.addCommand(CommandIDs.showAccount, {
      label: trans.__('My Account…'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => showTab(app.shell, TAB_ID, () => createAccount(settings, actorOn, renew, trans))
    });
    palette?.addItem({ command: CommandIDs.showAccount, category: 'Backend.AI' });
  }
};
