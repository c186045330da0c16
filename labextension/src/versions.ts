/** Whether this page and its Jupyter server are of one version. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { serverVersion } from './api';
import { Watched } from './watched';

/** As in package.json and `_version.py`; a test compares them. */
export const VERSION = '0.1.0';

/** The version of the server extension, which may be another after the server was started again. */
export class ServerVersion extends Watched<string> {
  constructor(private readonly settings: ServerConnection.ISettings) {
    super('server-version', 30);
  }

  protected load(): Promise<string> {
    return serverVersion(this.settings);
  }
}

/** What to do if the versions differ, in one sentence; `null` if they do not, or it is not known. */
export function mismatchOf(server: string | null, trans: TranslationBundle): string | null {
  if (server === null || server === VERSION) {
    return null;
  }
  return trans.__(
    'This page has version %1 of the panel and the Jupyter server version %2: reload the page or, if this stays, ' +
      'install bai_jupyter again and restart the server.',
    VERSION,
    server
  );
}
