/** The panel "Backend.AI" in the left sidebar. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, ISessionContext } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { Ended } from '../again';
import { Announcement } from '../announcements';
import { IApp, IFolder, ISession } from '../api';
import { Attachments, IFront } from '../attachments';
import { Files, Folders, Uploads } from '../folders';
import { Apps, Capacity, KernelStatuses, Sessions } from '../model';
import { readChoice, readMount } from '../resources';
import { Browse, CommandIDs, IBrowse, IKernelStatuses, ISessions, NAME } from '../tokens';
import { ServerVersion } from '../versions';
import { createApps } from '../widgets/apps';
import { showAppTab } from '../widgets/appTab';
import { createCapacity } from '../widgets/capacity';
import { createFolders, Mount } from '../widgets/folders';
import { createPanel } from '../widgets/panel';
import { createSessions } from '../widgets/sessions';
import { addActions } from './actions';
import { addFolderMenu } from './folderMenu';

export const sidebar: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:sidebar`,
  description: 'Adds the panel "Backend.AI": sessions, folders, apps and resources.',
  autoStart: true,
  requires: [ISessions, IKernelStatuses],
  optional: [INotebookTracker, ILayoutRestorer, ICommandPalette, IBrowse, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    statuses: KernelStatuses,
    notebooks: INotebookTracker | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    browse: Browse | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const settings = app.serviceManager.serverSettings;
    const kept = { folders: new Folders(settings), files: new Files(settings), uploads: new Uploads(settings, window.sessionStorage) };
    const mount = notebooks && mountInto(notebooks, trans);
    const attachments = new Attachments(settings, sessions, statuses, () => frontOf(app), trans);
    const apps = new Apps(settings, sessions);
    const follow = () => {
      const sessionId = statuses.get(frontOf(app)?.kernelId)?.session_id;
      if (sessionId) {
        apps.inFront = sessionId;
      }
    };
    app.shell.currentChanged?.connect(follow);
    statuses.changed.connect(follow);
    const showApp = (session: ISession, served: IApp) => showAppTab(app, session, served, trans);
    const ended = new Ended(settings, sessions);
    const sections = [
      createSessions(
        app.commands,
        sessions,
        ended,
        new ServerVersion(settings),
        new Announcement(settings, window.localStorage),
        trans
      ),
      createFolders({ ...kept, attachments }, { mount, browse }, trans),
      createApps(apps, showApp, trans),
      createCapacity(new Capacity(settings), trans)
    ];
    const panel = createPanel(sections, () => void app.commands.execute(CommandIDs.showUsage), translator ?? nullTranslator);
    restorer?.add(panel, panel.id);
    app.shell.add(panel, 'left', { rank: 320 });

    const show = () => app.shell.activateById(panel.id);
    app.commands.addCommand(CommandIDs.showPanel, {
      label: trans.__('Show Backend.AI'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: show
    });
    const actions = addActions(app.commands, { ...kept, sessions, ended, apps, showApp, attachments }, mount, show, trans);
    addFolderMenu(app, kept.folders, attachments, browse, trans);
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
    const mounts = readChoice(choice).mounts ?? [];
    const isThere = mounts.some(mount => readMount(mount).folder === folder.name);
    model.setMetadata('bai', { ...choice, mounts: isThere ? mounts : [...mounts, folder.name] });
    await panel.context.save();
    const notebook = panel.title.label;
    return trans.__('Mounted at /home/work/%1 when the kernel of %2 starts next.', folder.name, notebook);
  };
}

/** What is in front in the main area, also while somebody is in the panel. */
function frontOf({ shell }: JupyterFrontEnd): IFront | null {
  const widget = shell.currentWidget as (Widget & { sessionContext?: ISessionContext }) | null;
  const context = widget?.sessionContext;
  return widget && context ? { name: widget.title.label, kernelId: context.session?.kernel?.id } : null;
}
