/** Imports a notebook from an address on the Internet; the Jupyter server fetches it, and nothing of it is run. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette, Notification } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { importNotebook } from '../api';
import { badgeFor, labUrl, takeAsked } from '../links';
import { CommandIDs, NAME } from '../tokens';
import { FormDialog } from '../widgets/formDialog';
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

    const lab = labUrl(
      new URL(serverSettings.baseUrl, window.location.href).href,
      PageConfig.getOption('hubHost'),
      PageConfig.getOption('hubPrefix')
    );
    const ask = async (url = '') => {
      const folder = serverPath(app, browsers?.tracker.currentWidget?.model.path ?? '');
      const form = {
        title: trans.__('Import from URL'),
        notes: [
          trans.__('Your Jupyter server fetches the notebook into the folder %1. Nothing of it is run.', folder || '/')
        ],
        fields: [
          {
            name: 'url',
            label: trans.__('Address of a notebook (https)'),
            placeholder: 'https://github.com/…/notebook.ipynb',
            value: url
          }
        ],
        verb: trans.__('Import'),
        aside: {
          label: trans.__('Copy badge'),
          act: async (values: Record<string, string>) => {
            Clipboard.copyToSystem(badgeFor(lab, values.url.trim())); // also where a page without https may not write
            return trans.__('Copied, as Markdown for a README: whoever follows it is asked whether to import the notebook.');
          }
        }
      };
      const take = async (values: Record<string, string>) => tell(await importNotebook(serverSettings, values.url, folder));
      await new FormDialog(form, take, trans).launch();
    };
    const tell = (path: string) => {
      const open = { label: trans.__('Open'), callback: () => void app.commands.execute('docmanager:open', { path }) };
      Notification.success(trans.__('Imported as %1.', path), { autoClose: 10000, actions: [open] });
    };

    app.commands.addCommand(CommandIDs.importFromUrl, {
      label: trans.__('Import from URL…'),
      caption: trans.__('Import a notebook from the Internet into the current folder'),
      describedBy: { args: { type: 'object', properties: { url: { type: 'string' } } } },
      execute: args => ask(args['url'] as string | undefined)
    });
    palette?.addItem({ command: CommandIDs.importFromUrl, category: 'Backend.AI' });
    void registry?.load(imports.id).catch(console.warn); // its schema adds to the menu

    const asked = takeAsked(window.location, window.history);
    if (asked !== null) {
      void app.restored.then(() => ask(asked));
    }
  }
};
