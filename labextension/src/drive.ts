/** Folders as a drive of Lab's: `bai:data/a.ipynb` lies in the folder `data`. Knows no widgets. */

import { URLExt } from '@jupyterlab/coreutils';
import { Contents, Drive, ServerConnection } from '@jupyterlab/services';

import { getPage } from './api';

/** As the server extension calls it. */
export const DRIVE = 'bai';

/** Which part of a directory: by name, from `offset` on, of the entries with `match` in their names. */
export interface IPage {
  path: string;
  offset: number;
  match: string;
}

/** What of a directory was listed. */
export interface IListing extends IPage {
  /** How many there are that match. */
  total: number;
  /** How many are listed at once. */
  limit: number;
}

/** What our server extension adds to a directory. */
export type Listed = Contents.IModel & Partial<Pick<IListing, 'total' | 'offset' | 'limit'>>;

/** Whether there are entries that a listing does not show, or it was asked for some only. */
export function isPart({ total, limit, match }: IListing): boolean {
  return total > limit || match !== '';
}

export function shows(listing: IListing | null, { offset, match }: IPage): boolean {
  return listing?.offset === offset && listing.match === match;
}

/** Lab's own drive, at our server extension. Of a directory it lists the first entries, or those that it was turned to. */
export class FolderDrive extends Drive {
  constructor(serverSettings: ServerConnection.ISettings) {
    super({ name: DRIVE, apiEndpoint: 'bai/api/contents', serverSettings });
  }

  /** What of that directory was listed last. */
  listing(path: string): IListing | null {
    return this._listings.get(path) ?? null;
  }

  /** From now on this is what is listed of that directory; of all others the first entries. */
  turn(page: IPage | null): void {
    this._page = page;
  }

  async get(path: string, options?: Contents.IFetchOptions): Promise<Contents.IModel> {
    const page = this._page?.path === path ? this._page : null;
    const model: Listed = page ? await getPage(this.serverSettings, page) : await super.get(path, options);
    if (model.total !== undefined && model.content) {
      const { total, offset = 0, limit = total } = model;
      if (page && offset > 0 && offset >= total) {
        this._page = { ...page, offset: Math.max(0, Math.ceil(total / limit) - 1) * limit }; // some are gone
        return this.get(path, options);
      }
      this._listings.set(path, { path, offset, match: page?.match ?? '', total, limit });
    }
    return model;
  }

  async getDownloadUrl(path: string): Promise<string> {
    return URLExt.join(this.serverSettings.baseUrl, 'bai/api/download', URLExt.encodeParts(path));
  }

  private _page: IPage | null = null;
  private readonly _listings = new Map<string, IListing>();
}
