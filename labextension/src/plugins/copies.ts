/** Copies and moves between folders and the Jupyter server's own files, and zip files of several entries of a folder. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, InputDialog, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { FileBrowser, IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { formatPart } from '../amounts';
import { archiveUrl, CopyWay, listFolders } from '../api';
import { copyAll, IOutcome, IStep, ITransfer, partOf } from '../copies';
import { DRIVE } from '../drive';
import { BROWSER_TAB, CommandIDs, NAME } from '../tokens';
import { Drags } from './drags';

const ITEM = '.jp-DirListing-item[data-isdir]';

export const copies: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:copies`,
  description: "Copies and moves between folders and the server's own files.",
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

    const askFolder = async (title: string, okLabel: string): Promise<string | null> => {
      const names = (await listFolders(serverSettings))
        .filter(one => one.permission !== 'ro')
        .flatMap(one => one.drive_name ?? []);
      const { button, value } = await InputDialog.getItem({
        title,
        label: trans.__('Folder, or a directory in one such as data/raw'),
        items: names,
        current: openIn(folders()) || names[0],
        editable: true,
        okLabel
      });
      return button.accept ? value : null;
    };
    const askDirectory = async (title: string, okLabel: string): Promise<string | null> => {
      const { button, value } = await InputDialog.getText({
        title,
        label: trans.__('Directory of the Jupyter server'),
        text: `/${openIn(own)}`,
        okLabel
      });
      return button.accept ? value : null;
    };
    const add = (id: string, title: string, way: CopyWay, isMove: boolean) => {
      const [from, to] = way === 'to-folder' ? [() => own, folders] : [folders, () => own];
      const ask = way === 'to-folder' ? askFolder : askDirectory;
      const label = trans.__('%1…', title);
      /** Folders as a whole are moved nowhere. */
      const isAmongFolders = () => way === 'to-server' && openIn(from()) === '';
      app.commands.addCommand(id, {
        label,
        describedBy: { args: { type: 'object', properties: {} } },
        isEnabled: () => chosen(from()).length > 0 && !(isMove && isAmongFolders()),
        execute: async () => {
          const paths = chosen(from()).map(one => contents.localPath(one.path));
          try {
            const directory = await ask(title, isMove ? trans.__('Move') : trans.__('Copy'));
            if (directory !== null) {
              await copyShown({ way, isMove, paths, directory });
              await Promise.all([to()?.model.refresh(), isMove ? from()?.model.refresh() : null]);
            }
          } catch (error) {
            await showErrorMessage(label, error as Error);
          }
        }
      });
      palette?.addItem({ command: id, category: 'Backend.AI' });
    };

    /** In a notification, which can end it. */
    const copyShown = async (transfer: ITransfer) => {
      const aborter = new AbortController();
      const actions = [{ label: trans.__('Cancel'), callback: () => aborter.abort() }];
      let id = '';
      let said = '';
      const tell = (step: IStep) => {
        const progress = partOf(step, transfer.paths.length);
        const message = sentenceOf(step, transfer, trans);
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
      const outcome = await copyAll(serverSettings, transfer, { otherName, tell }, aborter.signal);
      Notification.dismiss(id);
      report(outcome, transfer, aborter.signal.aborted, trans);
    };

    const copyDragged = async (transfer: ITransfer, to: FileBrowser) => {
      const from = transfer.way === 'to-folder' ? own : folders();
      await copyShown(transfer);
      await Promise.all([to.model.refresh(), transfer.isMove ? from?.model.refresh() : null]);
    };
    const all = () => tracker.filter(() => true);
    const tabs = [own.id, BROWSER_TAB];
    new Drags(app, own, all, tabs, (transfer, to) => void copyDragged(transfer, to)).follow();

    add(CommandIDs.copyToFolder, trans.__('Copy to Backend.AI Folder'), 'to-folder', false);
    add(CommandIDs.moveToFolder, trans.__('Move to Backend.AI Folder'), 'to-folder', true);
    add(CommandIDs.copyToServer, trans.__('Copy to This Server'), 'to-server', false);
    add(CommandIDs.moveToServer, trans.__('Move to This Server'), 'to-server', true);
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
      [CommandIDs.moveToFolder, `#${own.id} ${ITEM}`, 8.3],
      [CommandIDs.copyToServer, `.jp-bai-FileBrowser ${ITEM}`, 8.2],
      [CommandIDs.moveToServer, `.jp-bai-FileBrowser ${ITEM}`, 8.3],
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
function sentenceOf(step: IStep, { isMove, paths, directory }: ITransfer, trans: TranslationBundle): string {
  const one = isMove
    ? trans.__('Moving %1 to %2', step.name, directory)
    : trans.__('Copying %1 to %2', step.name, directory);
  const what = paths.length === 1 ? one : trans.__('%1, %2 of %3', one, step.place, paths.length);
  return step.total > 0 ? trans.__('%1: %2', what, formatPart(step.done, step.total, trans)) : what;
}

function report(
  { made, skipped, leftOut, kept, refused }: IOutcome,
  { isMove, directory }: ITransfer,
  isCancelled: boolean,
  trans: TranslationBundle
): void {
  const moved = isMove ? made.length - kept.length : 0;
  const copied = isMove ? 0 : made.length; // what is kept of a move says so itself
  const facts = [
    moved > 0 ? trans._n('One moved to %2.', '%1 moved to %2.', moved, directory) : '',
    copied > 0 ? trans._n('One copied to %2.', '%1 copied to %2.', copied, directory) : '',
    ...kept,
    skipped > 0 ? trans._n('One skipped.', '%1 skipped.', skipped) : '',
    leftOut > 0 ? trans._n('One link or hidden file was left out.', '%1 links and hidden files were left out.', leftOut) : '',
    isCancelled ? trans.__('Cancelled; nothing is left of what was on its way.') : ''
  ].filter(Boolean);
  if (facts.length > 0) {
    const isPart = leftOut + kept.length > 0;
    Notification.emit(facts.join(' '), isPart ? 'warning' : 'success', { autoClose: isPart ? false : 5000 });
  }
  if (refused.length > 0) {
    void showErrorMessage(isMove ? trans.__('Not everything was moved') : trans.__('Not everything was copied'), refused.join('\n'), [Dialog.okButton()]);
  }
}
