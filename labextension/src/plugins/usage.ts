/** *Backend.AI Usage*: what one uses and has used, in a tab of the main area. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Capacity } from '../model';
import { ISessionRef } from '../tables';
import { CommandIDs, NAME } from '../tokens';
import { Costs, scopesOf, Usage } from '../usage';
import { showTab } from '../widgets/mainTab';
import { createUsage } from '../widgets/usage';

const TAB_ID = 'jp-bai-usage';

export const usage: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:usage`,
  description: 'Adds the tab "Backend.AI Usage".',
  autoStart: true,
  optional: [ICommandPalette, ITranslator],
  activate: (app: JupyterFrontEnd, palette: ICommandPalette | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const settings = app.serviceManager.serverSettings;
    const show = (session: ISessionRef) => void app.commands.execute(CommandIDs.showSession, { ...session });
    app.commands.addCommand(CommandIDs.showUsage, {
      label: trans.__('Backend.AI Usage'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () =>
        showTab(app.shell, TAB_ID, async () => {
          // Who they are may not be known: then they see their own, and the tab says what is wrong
          const scopes = await scopesOf(settings, trans).catch((): [string, string][] => [['me', trans.__('me')]]);
          return createUsage(new Capacity(settings), new Usage(settings), new Costs(settings), scopes, show, trans);
        })
    });
    palette?.addItem({ command: CommandIDs.showUsage, category: 'Backend.AI' });
  }
};
