/** Images that one made from sessions: what is said of them, and what can be done to one. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { IPlainTable, momentOf } from './tables';
import { formatSize } from './amounts';
import { IEnvironment, listEnvironments, removeEnvironment } from './api';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

export class Environments extends Watched<IEnvironment[]> {
  constructor(private readonly settings: Settings) {
    super('environments', 10);
  }

  protected load(): Promise<IEnvironment[]> {
    return listEnvironments(this.settings);
  }
}

/** `copy` has a name on the clipboard; `removed` is told of one that is gone. */
export function environmentTable(
  copy: (name: string) => void,
  removed: () => Promise<void>,
  trans: TranslationBundle
): IPlainTable {
  return {
    label: trans.__('My environments'),
    keyOf: row => `${row.name}`,
    columns: [
      { label: trans.__('Name'), text: row => `${row.name}` },
      { label: trans.__('Size'), text: row => formatSize(Number(row.size_bytes)) },
      { label: trans.__('Made from'), text: row => `${row.base ?? trans.__('not known')}` },
      { label: trans.__('Made'), text: row => momentOf(row.created_at) }
    ],
    actions: [
      {
        verb: trans.__('Copy name'),
        label: row => trans.__('Copy the name %1', `${row.name}`),
        run: async (_, row) => copy(`${row.name}`)
      },
      {
        verb: trans.__('Delete'),
        label: row => trans.__('Delete %1', `${row.name}`),
        confirm: trans.__('What was installed in it is gone, and no session can be started with it. Files in folders are kept.'),
        run: async (settings, row) => {
          await removeEnvironment(settings, `${row.name}`);
          await removed();
        }
      }
    ]
  };
}
