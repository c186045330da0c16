/** What the context menu of a folder in the panel offers. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification, showErrorMessage } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { Attachments } from '../attachments';
import { Folders, IMyFolder, isAttachable } from '../folders';
import { Browse } from '../tokens';

const SELECTOR = '.jp-bai-Row[data-bai-folder]';

interface IItem {
  label: string;
  isPossible: (folder: IMyFolder) => boolean;
  /** What was done, in a sentence, if that is not seen. */
  run: (folder: IMyFolder) => Promise<string | void>;
}

export function addFolderMenu(
  app: JupyterFrontEnd,
  folders: Folders,
  attachments: Attachments,
  browse: Browse | null,
  trans: TranslationBundle
): void {
  const items: Record<string, IItem> = {
    'bai:browse-this-folder': {
      label: trans.__('Open in File Browser'),
      isPossible: ({ drive_name }) => browse !== null && drive_name !== null,
      run: ({ drive_name }) => browse!(drive_name!)
    },
    'bai:attach-this-folder': {
      label: trans.__('Attach to This Kernel'),
      isPossible: folder => isAttachable(folder) && folder.permission !== 'ro',
      run: folder => attachments.attach(folder, false)
    },
    'bai:attach-this-folder-read-only': {
      label: trans.__('Attach to This Kernel, Read Only'),
      isPossible: isAttachable,
      run: folder => attachments.attach(folder, true)
    },
    'bai:detach-this-folder': {
      label: trans.__('Detach'),
      isPossible: folder => isAttachable(folder) && attachments.of(folder).length === 1,
      run: folder => attachments.detach(attachments.of(folder)[0])
    }
  };
  const folderThere = () => {
    const row = app.contextMenuHitTest(node => node.matches(SELECTOR));
    return folders.value?.usable.find(folder => folder.id === row?.dataset['baiFolder']);
  };
  Object.entries(items).forEach(([command, { label, isPossible, run }], rank) => {
    app.commands.addCommand(command, {
      label,
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => {
        const folder = folderThere();
        return folder !== undefined && isPossible(folder);
      },
      execute: async () => {
        try {
          const said = await run(folderThere()!);
          if (said) {
            Notification.success(said, { autoClose: 5000 });
          }
        } catch (error) {
          await showErrorMessage(label, error as Error);
        }
      }
    });
    app.contextMenu.addItem({ command, selector: SELECTOR, rank });
  });
}
