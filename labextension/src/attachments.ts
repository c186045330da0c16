/** Folders in sessions that run: which are where, and one more for the kernel in front. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { attachFolder, detachFolder, IFolder, IMount, ISession } from './api';
import { isMountOf } from './folders';
import { KernelStatuses, Sessions } from './model';
import { describeMount } from './words';

/** The notebook or console in front, as its user calls it, and its kernel. */
export interface IFront {
  name: string;
  kernelId: string | undefined;
}

/** A folder in a session. */
export interface IAttached {
  session: ISession;
  mount: IMount;
}

export class Attachments {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    readonly sessions: Sessions,
    private readonly statuses: KernelStatuses,
    private readonly front: () => IFront | null,
    private readonly trans: TranslationBundle
  ) {}

  /** Where a folder is. */
  of(folder: IFolder): IAttached[] {
    return (this.sessions.value ?? [])
      .filter(session => session.status === 'RUNNING')
      .flatMap(session => session.mounts.map(mount => ({ session, mount })))
      .filter(({ mount }) => isMountOf(mount, folder));
  }

  /** One more for the session of the kernel in front; everything in it goes on. Says where. */
  async attach(folder: IFolder, isReadOnly: boolean, path = ''): Promise<string> {
    const { name, sessionId } = await this._front(folder);
    const mounts = await attachFolder(this.settings, sessionId, folder.id, isReadOnly, path);
    await this.sessions.refresh();
    const mount = mounts.filter(one => isMountOf(one, folder)).at(-1)!;
    return this.trans.__('Attached to %1: %2', name, describeMount(mount, this.trans));
  }

  /** By force also if it is in use, which ends what uses it. */
  async detach({ session, mount }: IAttached, isForced = false): Promise<string> {
    await detachFolder(this.settings, session.id, mount.target, isForced);
    await this.sessions.refresh();
    return this.trans.__('%1 is detached from %2.', mount.name, session.name);
  }

  private async _front(folder: IFolder): Promise<{ name: string; sessionId: string }> {
    const { trans } = this;
    const front = this.front();
    if (!front) {
      throw new Error(
        trans.__('No notebook or console is in front. Open the one to whose kernel %1 is to be attached.', folder.name)
      );
    }
    const status = front.kernelId ? await this.statuses.ask(front.kernelId) : null;
    if (!status?.session_id) {
      throw new Error(
        trans.__(
          'The kernel of %1 does not run on Backend.AI. Choose one that does to attach %2.',
          front.name,
          folder.name
        )
      );
    }
    return { name: front.name, sessionId: status.session_id };
  }
}
