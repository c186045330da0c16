/** Folders as a drive of Lab's: `bai:data/a.ipynb` lies in the folder `data`. Knows no widgets. */

import { URLExt } from '@jupyterlab/coreutils';
import { Contents, Drive, ServerConnection } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';

/** As the server extension calls it. */
export const DRIVE = 'bai';

/** A directory of which a listing shows the first entries only. */
export interface ICut {
  path: string;
  shown: number;
  total: number;
}

/** Lab's own drive, at our server extension. */
export class FolderDrive extends Drive {
  constructor(serverSettings: ServerConnection.ISettings) {
    super({ name: DRIVE, apiEndpoint: 'bai/api/contents', serverSettings });
  }

  /** A directory was listed that has more than is shown; once for each, until it has fewer or is gone. */
  get cut(): ISignal<this, ICut> {
    return this._cut;
  }

  async get(path: string, options?: Contents.IFetchOptions): Promise<Contents.IModel> {
    const model: Contents.IModel & { total?: number } = await super.get(path, options);
    if (model.total !== undefined && model.content) {
      this._compare({ path, shown: model.content.length, total: model.total });
    }
    return model;
  }

  async getDownloadUrl(path: string): Promise<string> {
    return URLExt.join(this.serverSettings.baseUrl, 'bai/api/download', URLExt.encodeParts(path));
  }

  private _compare(listing: ICut): void {
    if (listing.shown >= listing.total) {
      this._told.delete(listing.path);
    } else if (!this._told.has(listing.path)) {
      this._told.add(listing.path);
      this._cut.emit(listing);
    }
  }

  private readonly _cut = new Signal<this, ICut>(this);
  private readonly _told = new Set<string>();
}
