/** The panel "Backend.AI" in the left sidebar. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Sessions } from '../model';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { createPanel } from '../widgets/panel';

export const sidebar: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:sidebar`,
  description: 'Adds the panel "Backend.AI" with the list of sessions.',
  autoStart: true,
  requires: [ISessions],
  optional: [ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: Sessions,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const panel = createPanel(app.commands, model, translator ?? nullTranslator);
    restorer?.add(panel, panel.id);
    app.shell.add(panel, 'left', { rank: 320 });

    app.commands.addCommand(CommandIDs.showPanel, {
      label: trans.__('Show Backend.AI Sessions'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => app.shell.activateById(panel.id)
    });
    palette?.addItem({ command: CommandIDs.showPanel, category: 'Backend.AI' });
  }
};
