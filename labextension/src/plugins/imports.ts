/** Imports a notebook from an address on the Internet; the Jupyter server fetches it, and nothing of it is run. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { importNotebook } from '../api';
import { CommandIDs, NAME } from '../tokens';
import { serverPath } from './choice';

export const imports: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:imports`,
  description: 'Imports notebooks from addresses on the Internet.',
  autoStart: true,
  optional: [IFileBrowserFactory, ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    browsers: IFileBrowserFactory | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { serverSettings } = app.serviceManager;

    /** What was refused is offered to be put right, until somebody cancels. */
    const ask = async () => {
      const folder = serverPath(app, browsers?.tracker.currentWidget?.model.path ?? '');
      let text = '';
      for (;;) {
        const { button, value } = await InputDialog.getText({
          title: trans.__('Import from URL'),
          label: trans.__(
            'Address of a notebook (https). Your Jupyter server fetches it into the folder %1; nothing of it is run.',
            folder || '/'
          ),
          placeholder: 'https://github.com/…/notebook.ipynb',
          text,
          okLabel: trans.__('Import')
        });
        if (!button.accept) {
          return;
        }
        text = value ?? '';
        try {
          return tell(await importNotebook(serverSettings, text, folder));
        } catch (error) {
          await showErrorMessage(trans.__('Nothing was imported'), error as Error);
        }
      }
    };
    const tell = (path: string) => {
      const open = { label: trans.__('Open'), callback: () => void app.commands.execute('docmanager:open', { path }) };
      Notification.success(trans.__('Imported as %1.', path), { autoClose: 10000, actions: [open] });
    };

    app.commands.addCommand(CommandIDs.importFromUrl, {
      label: trans.__('Import from URL…'),
      caption: trans.__('Import a notebook from the Internet into the current folder'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: ask
    });
    palette?.addItem({ command: CommandIDs.importFromUrl, category: 'Backend.AI' });
    void registry?.load(imports.id).catch(console.warn); // its schema adds to the menu
  }
};
