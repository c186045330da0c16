/** Copies between folders and the Jupyter server's own files, and zip files of several entries of a folder. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, InputDialog, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { FileBrowser, IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { formatPart } from '../amounts';
import { archiveUrl, CopyWay, listFolders } from '../api';
import { copyAll, IOutcome, IStep, partOf } from '../copies';
import { DRIVE } from '../drive';
import { CommandIDs, NAME } from '../tokens';

const ITEM = '.jp-DirListing-item[data-isdir]';

export const copies: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:copies`,
  description: "Copies between folders and the server's own files.",
  autoStart: true,
  optional: [IDefaultFileBrowser, IFileBrowserFactory, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    own: FileBrowser | null,
    browsers: IFileBrowserFactory | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    if (!own || !browsers) {
      return; // a page of Notebook 7 for one notebook
    }
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { serverSettings, contents } = app.serviceManager;
    const { tracker } = browsers;
    /** Not there until it is looked at. */
    const folders = () => tracker.find(one => one.model.driveName === DRIVE) ?? null;
    const chosen = (browser: FileBrowser | null) => [...(browser?.selectedItems() ?? [])];
    const openIn = (browser: FileBrowser | null) => contents.localPath(browser?.model.path ?? '');

    const askFolder = async (): Promise<string | null> => {
      const names = (await listFolders(serverSettings))
        .filter(one => one.permission !== 'ro')
        .flatMap(one => one.drive_name ?? []);
      const { button, value } = await InputDialog.getItem({
        title: trans.__('Copy to Backend.AI Folder'),
        label: trans.__('Folder, or a directory in one such as data/raw'),
        items: names,
        current: openIn(folders()) || names[0],
        editable: true,
        okLabel: trans.__('Copy')
      });
      return button.accept ? value : null;
    };
    const askDirectory = async (): Promise<string | null> => {
      const { button, value } = await InputDialog.getText({
        title: trans.__('Copy to This Server'),
        label: trans.__('Directory of the Jupyter server'),
        text: `/${openIn(own)}`,
        okLabel: trans.__('Copy')
      });
      return button.accept ? value : null;
    };
    const add = (id: string, label: string, way: CopyWay, from: () => FileBrowser | null, to: () => FileBrowser | null) => {
      app.commands.addCommand(id, {
        label,
        describedBy: { args: { type: 'object', properties: {} } },
        isEnabled: () => chosen(from()).length > 0,
        execute: async () => {
          const paths = chosen(from()).map(one => contents.localPath(one.path));
          try {
            const directory = await (way === 'to-folder' ? askFolder() : askDirectory());
            if (directory !== null) {
              await copyShown(way, paths, directory);
              await to()?.model.refresh();
            }
          } catch (error) {
            await showErrorMessage(label, error as Error);
          }
        }
      });
      palette?.addItem({ command: id, category: 'Backend.AI' });
    };

    /** In a notification, which can end it. */
    const copyShown = async (way: CopyWay, paths: string[], directory: string) => {
      const aborter = new AbortController();
      const actions = [{ label: trans.__('Cancel'), callback: () => aborter.abort() }];
      let id = '';
      let said = '';
      const tell = (step: IStep) => {
        const progress = partOf(step, paths.length);
        const message = sentenceOf(step, paths.length, directory, trans);
        const options = { autoClose: false as const, actions, progress };
        const saying = `${Math.floor(100 * progress)} ${step.name}`; // more often nobody would see
        if (id === '') {
          id = Notification.emit(message, 'in-progress', options);
        } else if (saying !== said) {
          Notification.update({ id, message, type: 'in-progress', ...options });
        }
        said = saying;
      };
      const otherName = (name: string, taken: string) => askName(name, taken, trans);
      const outcome = await copyAll(serverSettings, way, paths, directory, { otherName, tell }, aborter.signal);
      Notification.dismiss(id);
      report(outcome, directory, aborter.signal.aborted, trans);
    };

    add(CommandIDs.copyToFolder, trans.__('Copy to Backend.AI Folder…'), 'to-folder', () => own, folders);
    add(CommandIDs.copyToServer, trans.__('Copy to This Server…'), 'to-server', folders, () => own);
    app.commands.addCommand(CommandIDs.downloadZip, {
      label: trans.__('Download as Zip File'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => openIn(folders()) !== '' && chosen(folders()).length > 0,
      isVisible: () => openIn(folders()) !== '', // of each folder, the panel has one
      execute: () => {
        const link = document.createElement('a');
        const names = chosen(folders()).map(one => one.name);
        link.href = archiveUrl(serverSettings, openIn(folders()), names);
        link.download = ''; // the answer names it
        link.click();
      }
    });
    palette?.addItem({ command: CommandIDs.downloadZip, category: 'Backend.AI' });
    const menu: [string, string, number][] = [
      [CommandIDs.copyToFolder, `#${own.id} ${ITEM}`, 8.2],
      [CommandIDs.copyToServer, `.jp-bai-FileBrowser ${ITEM}`, 8.2],
      [CommandIDs.downloadZip, `.jp-bai-FileBrowser ${ITEM}`, 9.1]
    ];
    menu.forEach(([command, selector, rank]) => app.contextMenu.addItem({ command, selector, rank }));
  }
};

async function askName(name: string, taken: string, trans: TranslationBundle): Promise<string | null> {
  const { button, value } = await InputDialog.getText({
    title: trans.__('%1 is taken', name),
    label: trans.__('%1 Another name for the copy', taken),
    text: name,
    okLabel: trans.__('Copy'),
    cancelLabel: trans.__('Skip')
  });
  return button.accept && value ? value : null;
}

/** `Copying raw to data, 1 of 3: 20 of 512 MiB` */
function sentenceOf(step: IStep, count: number, directory: string, trans: TranslationBundle): string {
  const what =
    count === 1
      ? trans.__('Copying %1 to %2', step.name, directory)
      : trans.__('Copying %1 to %2, %3 of %4', step.name, directory, step.place, count);
  return step.total > 0 ? trans.__('%1: %2', what, formatPart(step.done, step.total, trans)) : what;
}

function report(
  { made, skipped, leftOut, refused }: IOutcome,
  directory: string,
  isCancelled: boolean,
  trans: TranslationBundle
): void {
  const facts = [
    made.length > 0 ? trans._n('One copied to %2.', '%1 copied to %2.', made.length, directory) : '',
    skipped > 0 ? trans._n('One skipped.', '%1 skipped.', skipped) : '',
    leftOut > 0 ? trans._n('One link or hidden file was left out.', '%1 links and hidden files were left out.', leftOut) : '',
    isCancelled ? trans.__('Cancelled; nothing is left of what was on its way.') : ''
  ].filter(Boolean);
  if (facts.length > 0) {
    Notification.emit(facts.join(' '), leftOut > 0 ? 'warning' : 'success', { autoClose: leftOut > 0 ? false : 5000 });
  }
  if (refused.length > 0) {
    void showErrorMessage(trans.__('Not everything was copied'), refused.join('\n'), [Dialog.okButton()]);
  }
}
