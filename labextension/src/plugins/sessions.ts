/** The model of sessions, and the commands on them. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Sessions } from '../model';
import { CommandIDs, ISessions, NAME } from '../tokens';

export const sessions: JupyterFrontEndPlugin<Sessions> = {
  id: `${NAME}:sessions`,
  description: 'Keeps the list of Backend.AI sessions fresh.',
  autoStart: true,
  provides: ISessions,
  optional: [ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const model = new Sessions(app.serviceManager.serverSettings);

    if (registry) {
      void registry.load(sessions.id).then(settings => {
        const apply = () => {
          model.intervalSeconds = settings.get('refreshSeconds').composite as number;
        };
        settings.changed.connect(apply);
        apply();
      }, console.warn);
    }

    app.commands.addCommand(CommandIDs.refresh, {
      label: trans.__('Refresh Sessions'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => model.refresh()
    });
    app.commands.addCommand(CommandIDs.endSession, {
      label: trans.__('End Session…'),
      describedBy: {
        args: { type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } }, required: ['id'] }
      },
      execute: async args => {
        const name = (args['name'] ?? args['id']) as string;
        const answer = await showDialog({
          title: trans.__('End %1?', name),
          body: trans.__(
            'Its container ends. Files in folders and the output in notebooks are kept; variables and other files are gone.'
          ),
          buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('End session') })],
          defaultButton: 0
        });
        if (!answer.button.accept) {
          return;
        }
        try {
          await model.end(args['id'] as string);
        } catch (error) {
          await showErrorMessage(trans.__('%1 was not ended', name), error as Error);
        }
      }
    });
    palette?.addItem({ command: CommandIDs.refresh, category: 'Backend.AI' });
    return model;
  }
};
