/** What admins tell everybody: shown until it is dismissed, and again once it is another. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';

import { getAnnouncement } from './api';
import { Watched } from './watched';

/** Where what was dismissed is kept, such as `localStorage`. */
export interface IKeep {
  getItem: (key: string) => string | null;
  setItem: (key: string, value: string) => void;
}

const KEY = 'bai_jupyter:announcement';

export class Announcement extends Watched<string> {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly keep: IKeep
  ) {
    super('announcement', 60);
  }

  /** What is to be shown; empty if nothing is. */
  get text(): string {
    return this.value === this.keep.getItem(KEY) ? '' : (this.value ?? '');
  }

  dismiss(): void {
    this.keep.setItem(KEY, this.value ?? '');
    void this.refresh();
  }

  protected load(): Promise<string> {
    return getAnnouncement(this.settings);
  }
}
