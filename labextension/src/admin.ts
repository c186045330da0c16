/** What superadmins see of the cluster: lists that are searched and turned page by page. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';

import { IAdminPage, listAdmin } from './api';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

/** So many rows are shown at once. */
export const PAGE = 50;

/** What is shown of the list, and where it begins there. */
export interface IShown extends IAdminPage {
  offset: number;
}

/** One list of the manager's. */
export class AdminList extends Watched<IShown> {
  constructor(
    private readonly settings: Settings,
    private readonly name: string,
    intervalSeconds = 3
  ) {
    super(`admin-${name}`, intervalSeconds);
  }

  get text(): string {
    return this._text;
  }

  /** Show what has this text in it, from the beginning. */
  search(text: string): void {
    this._text = text;
    this._offset = 0;
    void this.refresh();
  }

  /** By so many pages, as far as there are any. */
  turn(pages: number): void {
    this._offset = Math.max(0, this._offset + pages * PAGE);
    void this.refresh();
  }

  protected async load(): Promise<IShown> {
    const page = await this._page();
    if (page.items.length > 0 || this._offset === 0) {
      return page;
    }
    this._offset = lastOffset(page.total); // what was on this page is gone
    return this._page();
  }

  private async _page(): Promise<IShown> {
    const offset = this._offset;
    return { ...(await listAdmin(this.settings, this.name, offset, PAGE, this._text)), offset };
  }

  private _text = '';
  private _offset = 0;
}

/** Where the last page begins. */
function lastOffset(total: number): number {
  return Math.max(0, Math.ceil(total / PAGE) - 1) * PAGE;
}
