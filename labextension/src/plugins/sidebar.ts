/** The panel "Backend.AI" in the left sidebar. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { IFolder } from '../api';
import { Files, Folders, Uploads } from '../folders';
import { Apps, Capacity, Sessions } from '../model';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { createApps } from '../widgets/apps';
import { createCapacity } from '../widgets/capacity';
import { createFolders, Mount } from '../widgets/folders';
import { createPanel } from '../widgets/panel';
import { createSessions } from '../widgets/sessions';
import { addActions } from './actions';

export const sidebar: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:sidebar`,
  description: 'Adds the panel "Backend.AI": sessions, folders, apps and resources.',
  autoStart: true,
  requires: [ISessions],
  optional: [INotebookTracker, ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    notebooks: INotebookTracker | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const settings = app.serviceManager.serverSettings;
    const kept = { folders: new Folders(settings), files: new Files(settings), uploads: new Uploads(settings) };
    const mount = notebooks && mountInto(notebooks, trans);
    const apps = new Apps(settings, sessions);
    const sections = [
      createSessions(app.commands, sessions, trans),
      createFolders(kept, mount, trans),
      createApps(apps, trans),
      createCapacity(new Capacity(settings), trans)
    ];
    const panel = createPanel(sections, translator ?? nullTranslator);
    restorer?.add(panel, panel.id);
    app.shell.add(panel, 'left', { rank: 320 });

    const show = () => app.shell.activateById(panel.id);
    app.commands.addCommand(CommandIDs.showPanel, {
      label: trans.__('Show Backend.AI'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: show
    });
    const actions = addActions(app.commands, { ...kept, sessions, apps }, mount, show, trans);
    for (const command of [CommandIDs.showPanel, ...actions]) {
      palette?.addItem({ command, category: 'Backend.AI' });
    }
  }
};

/** A notebook asks for its folders in its metadata; saving it here is what makes Jupyter trust that. */
function mountInto(notebooks: INotebookTracker, trans: TranslationBundle): Mount {
  return async (folder: IFolder) => {
    const panel = notebooks.currentWidget;
    await panel?.context.ready; // what is written before, the file's content would replace
    const model = panel?.content.model;
    if (!panel || !model) {
      throw new Error(trans.__('No notebook is open. Open the one in whose kernel %1 is to be mounted.', folder.name));
    }
    const choice = model.getMetadata('bai') ?? {};
    const mounts = new Set([...(choice.mounts ?? []), folder.name]);
    model.setMetadata('bai', { ...choice, mounts: [...mounts] });
    await panel.context.save();
    const notebook = panel.title.label;
    return trans.__('Mounted at /home/work/%1 when the kernel of %2 starts next.', folder.name, notebook);
  };
}
