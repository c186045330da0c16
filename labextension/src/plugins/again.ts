/** *Use again…*: a new notebook whose kernel gets what a session had that is over, once that was looked at. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { showErrorMessage } from '@jupyterlab/apputils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { choiceOfSession, describeAgain } from '../again';
import { getSession, IChoice, sessionProject, writeChoice } from '../api';
import { Draft } from '../draft';
import { loadOffer } from '../resources';
import { CommandIDs, NAME } from '../tokens';
import { ResourceDialog } from '../widgets/resources';
import { serverPath } from './choice';

export const again: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:again`,
  description: 'Starts a kernel with what a session had that is over.',
  autoStart: true,
  optional: [IFileBrowserFactory, ITranslator],
  activate: (app: JupyterFrontEnd, browsers: IFileBrowserFactory | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { serverSettings, contents, kernelspecs } = app.serviceManager;

    /** The path of a new notebook in the folder that the file browser shows. None is left where the manager refuses. */
    const make = async (choice: IChoice): Promise<string> => {
      const { path } = await contents.newUntitled({ path: browsers?.tracker.currentWidget?.model.path, type: 'notebook' });
      try {
        await writeChoice(serverSettings, serverPath(app, path), choice);
      } catch (refused) {
        await contents.delete(path);
        throw refused;
      }
      await kernelspecs.refreshSpecs();
      return path;
    };

    app.commands.addCommand(CommandIDs.useAgain, {
      label: trans.__('Use Session Again…'),
      describedBy: {
        args: { type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } }, required: ['id'] }
      },
      execute: async args => {
        const [id, name] = [args['id'] as string, (args['name'] ?? args['id']) as string];
        let draft: Draft;
        let note: string;
        try {
          const [offer, session, project] = await Promise.all([
            loadOffer(serverSettings),
            getSession(serverSettings, id),
            sessionProject(serverSettings, id).catch(() => null)
          ]);
          draft = new Draft(serverSettings, offer, choiceOfSession(session, project?.name ?? null, offer));
          note = describeAgain(session, offer, trans);
        } catch (error) {
          await showErrorMessage(trans.__('%1 cannot be used again now', name), error as Error);
          return;
        }
        let path: string | undefined;
        const take = async (choice: IChoice) => void (path = await make(choice));
        await new ResourceDialog({ draft, notebook: name, purpose: 'start', note, trans, take }).launch();
        if (path !== undefined) {
          await app.commands.execute('docmanager:open', { path }); // the dialog gives the focus back before
        }
      }
    });
  }
};
