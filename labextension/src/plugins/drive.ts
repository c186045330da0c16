/** Folders in a file browser of Lab's, and their notebooks and files in its editors. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import {
  createToolbarFactory,
  ICommandPalette,
  IToolbarWidgetRegistry,
  setToolbar,
  showErrorMessage
} from '@jupyterlab/apputils';
import { FileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Panel, Widget } from '@lumino/widgets';

import { DRIVE, FolderDrive, IPage, shows } from '../drive';
import { browserIcon } from '../icons';
import { Browse, BROWSER_TAB, CommandIDs, IBrowse, NAME } from '../tokens';
import { Pager } from '../widgets/pages';

/** Whose toolbar ours has, too: the one of Lab's own file browser. */
const STOCK = '@jupyterlab/filebrowser-extension:widget';

export const drive: JupyterFrontEndPlugin<Browse | null> = {
  id: `${NAME}:drive`,
  description: 'Adds folders as a drive, and a file browser for it.',
  autoStart: true,
  provides: IBrowse,
  optional: [IFileBrowserFactory, IToolbarWidgetRegistry, ISettingRegistry, ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    browsers: IFileBrowserFactory | null,
    toolbars: IToolbarWidgetRegistry | null,
    registry: ISettingRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { contents, serverSettings } = app.serviceManager;
    const folders = new FolderDrive(serverSettings);
    contents.addDrive(folders);
    if (!browsers) {
      return null; // a page of Notebook 7 for one notebook
    }
    const turn = async (page: IPage) => {
      const { model, node } = tab.browser;
      folders.turn(page);
      await model.refresh();
      if (!shows(folders.listing(page.path), page)) {
        await model.refresh(); // what was asked before had not come yet
      }
      node.querySelector('.jp-DirListing-content')?.scrollTo(0, 0);
    };
    const pager = new Pager(page => void turn(page), trans);
    const tab = new BrowserTab(pager, () => {
      const browser = browsers.createFileBrowser('bai-folders', { driveName: DRIVE });
      browser.showFileCheckboxes = false; // as Lab's own has them, unless its settings say otherwise
      if (toolbars && registry) {
        setToolbar(browser, createToolbarFactory(toolbars, registry, 'FileBrowser', STOCK, translator ?? nullTranslator));
      }
      // Lab's takes the paths of changes for ones without the drive's name, and would wait for its next poll.
      folders.fileChanged.connect(() => void browser.model.refresh());
      browser.model.pathChanged.connect(() => folders.turn(null));
      browser.model.refreshed.connect(({ path }) => pager.tell(folders.listing(contents.localPath(path))));
      return browser;
    });
    tab.id = BROWSER_TAB;
    tab.addClass('jp-bai-FileBrowser');
    tab.title.icon = browserIcon;
    tab.title.caption = trans.__('Files in Backend.AI folders');
    tab.node.setAttribute('role', 'region');
    tab.node.setAttribute('aria-label', tab.title.caption);
    restorer?.add(tab, tab.id);
    app.shell.add(tab, 'left', { rank: 321 });

    const browse = async (path = '') => {
      app.shell.activateById(tab.id);
      const { model } = tab.browser;
      try {
        await model.restored;
        await model.cd(`/${path}`);
      } catch (error) {
        await showErrorMessage(trans.__('This folder cannot be opened'), error as Error);
      }
    };
    app.commands.addCommand(CommandIDs.browseFolders, {
      label: trans.__('Browse Files in Folders'),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            path: { type: 'string', description: trans.__('The directory, such as data/raw; by default all folders.') }
          }
        }
      },
      execute: args => browse(String(args['path'] ?? ''))
    });
    palette?.addItem({ command: CommandIDs.browseFolders, category: 'Backend.AI' });
    return browse;
  }
};

/** Lab puts new files where the file browser is that was made or used last; so ours is made when it is shown first. */
class BrowserTab extends Panel {
  constructor(
    private readonly foot: Widget,
    private readonly make: () => FileBrowser
  ) {
    super();
  }

  get browser(): FileBrowser {
    if (!this._browser) {
      this._browser = this.make();
      this.addWidget(this._browser);
      this.addWidget(this.foot);
    }
    return this._browser;
  }

  protected onBeforeShow(): void {
    void this.browser;
  }

  protected onActivateRequest(): void {
    this.browser.activate();
  }

  private _browser: FileBrowser | null = null;
}
