/** *My Environments…*: images that one made from sessions, in a tab of the main area. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette, Notification } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Edits } from '../adminEdits';
import { IRowAction } from '../tables';
import { AdminRow } from '../api';
import { Environments, environmentTable } from '../environments';
import { CommandIDs, NAME } from '../tokens';
import { createEnvironments } from '../widgets/environments';
import { showTab } from '../widgets/mainTab';
import { act } from './acting';

const TAB_ID = 'jp-bai-environments';

export const myEnvironments: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:my-environments`,
  description: 'Adds the tab "My Environments".',
  autoStart: true,
  optional: [ICommandPalette, ITranslator],
  activate: (app: JupyterFrontEnd, palette: ICommandPalette | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { serverSettings: settings, kernelspecs } = app.serviceManager;
    const copy = (name: string) => {
      Clipboard.copyToSystem(name);
      Notification.success(trans.__('Copied: %1', name), { autoClose: 3000 });
    };
    const table = environmentTable(copy, () => kernelspecs.refreshSpecs(), trans);
    const edits = new Edits(settings, trans, false);
    const make = () => {
      const model = new Environments(settings);
      const actor = {
        act: (action: IRowAction, rows: AdminRow[]) => void act(settings, model, action, rows, edits, trans),
        add: () => undefined // they are made from sessions
      };
      return createEnvironments({ model, table, actor, trans });
    };
    app.commands.addCommand(CommandIDs.showEnvironments, {
      label: trans.__('My Environments…'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => showTab(app.shell, TAB_ID, make)
    });
    palette?.addItem({ command: CommandIDs.showEnvironments, category: 'Backend.AI' });
  }
};
