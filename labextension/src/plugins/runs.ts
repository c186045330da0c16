/** Runs a notebook from start to end in a session of its own, which needs neither this page nor the Jupyter server. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { IRun, runNotebook } from '../api';
import { Draft } from '../draft';
import { Sessions } from '../model';
import { choiceToRun, loadOffer } from '../resources';
import { IRunFields, readRun } from '../runs';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { ResourceDialog } from '../widgets/resources';
import { choiceIn, METADATA_KEY, serverPath } from './choice';

export const runs: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:runs`,
  description: 'Runs notebooks from start to end on the cluster.',
  autoStart: true,
  requires: [INotebookTracker, ISessions],
  optional: [IFileBrowserFactory, ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    sessions: Sessions,
    browsers: IFileBrowserFactory | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const add = (command: string, pathOf: () => string | undefined) =>
      app.commands.addCommand(command, {
        label: trans.__('Run on Cluster…'),
        caption: trans.__('Run a copy of this notebook from start to end in a session of its own'),
        describedBy: { args: { type: 'object', properties: {} } },
        isEnabled: () => pathOf() !== undefined,
        execute: async () => {
          const path = pathOf();
          if (path !== undefined) {
            await new Runner(app, notebooks, sessions, trans).choose(path);
          }
        }
      });

    add(CommandIDs.runOnCluster, () => notebooks.currentWidget?.context.path);
    notebooks.currentChanged.connect(() => app.commands.notifyCommandChanged(CommandIDs.runOnCluster));
    palette?.addItem({ command: CommandIDs.runOnCluster, category: 'Backend.AI' });
    add(CommandIDs.runFileOnCluster, () => {
      const chosen = [...(browsers?.tracker.currentWidget?.selectedItems() ?? [])];
      return chosen.length === 1 && chosen[0].type === 'notebook' ? chosen[0].path : undefined;
    });
    void registry?.load(runs.id).catch(console.warn); // its schema adds to menus
  }
};

class Runner {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly notebooks: INotebookTracker,
    private readonly sessions: Sessions,
    private readonly trans: TranslationBundle
  ) {}

  /** The file is what runs, so an open notebook is saved first. */
  async choose(path: string): Promise<void> {
    const { trans } = this;
    const { serverSettings, contents } = this.app.serviceManager;
    const name = PathExt.basename(path);
    let draft: Draft;
    try {
      await this.notebooks.find(panel => panel.context.path === path && panel.context.model.dirty)?.context.save();
      const { metadata } = (await contents.get(path, { type: 'notebook', content: true })).content;
      const asked = choiceIn(this.app, metadata[METADATA_KEY], metadata.kernelspec?.name ?? '');
      draft = new Draft(serverSettings, await loadOffer(serverSettings), choiceToRun(asked));
    } catch (error) {
      await showErrorMessage(trans.__('%1 cannot be run on the cluster now', name), error as Error);
      return;
    }
    const run: IRunFields = { startsAt: '', parameters: '' };
    const take = async () => {
      const request = { choice: draft.choice, ...readRun(run, trans) };
      this._tell(name, await runNotebook(serverSettings, serverPath(this.app, path), request), request.starts_at);
    };
    await new ResourceDialog({ draft, notebook: name, purpose: 'run', run, trans, take }).launch();
  }

  private _tell(name: string, run: IRun, startsAt?: string): void {
    void this.sessions.refresh();
    const said = startsAt
      ? this.trans.__('%1 runs in session %2, not before %3.', name, run.name, new Date(startsAt).toLocaleString())
      : this.trans.__('%1 runs in session %2.', name, run.name);
    Notification.success(said, {
      autoClose: 10000,
      actions: [
        {
          label: this.trans.__('Open result'),
          callback: () => void this.app.commands.execute('docmanager:open', { path: run.result })
        }
      ]
    });
  }
}
