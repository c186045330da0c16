/** Folders, what is in the one that is open, and files on their way into it. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';

import {
  answerInvitation,
  ApiError,
  beginUpload,
  createFolder,
  downloadUrl,
  dropUpload,
  getUserId,
  IFilePage,
  IFolder,
  IInvitation,
  inviteTo,
  listFiles,
  listFolders,
  listInvitations,
  makeDirectory,
  renameFolder,
  restoreFolder,
  sendPiece,
  trashFolder,
  uploadedBytes
} from './api';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

export const PAGE_SIZE = 100;
const PIECE_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 2000;
const TRASHED = 'delete-pending';

/** A folder, as its user sees it: an admin may manage folders of others as if they were their own. */
export interface IMyFolder extends IFolder {
  isMine: boolean;
}

/** The user's folders, in three lists. */
export interface IFolders {
  usable: IMyFolder[];
  trashed: IMyFolder[];
  invitations: IInvitation[];
}

export class Folders extends Watched<IFolders> {
  constructor(private readonly settings: Settings) {
    super('folders', 15);
  }

  async create(name: string, quota: string): Promise<void> {
    await createFolder(this.settings, name, quota);
    await this.refresh();
  }

  async rename(id: string, name: string): Promise<void> {
    await renameFolder(this.settings, id, name);
    await this.refresh();
  }

  async trash(id: string): Promise<void> {
    await trashFolder(this.settings, id);
    await this.refresh();
  }

  async restore(id: string): Promise<void> {
    await restoreFolder(this.settings, id);
    await this.refresh();
  }

  /** False if that person has the folder already, or was invited before. */
  async share(id: string, person: string, permission: string): Promise<boolean> {
    return inviteTo(this.settings, id, person, permission);
  }

  async answer(invitation: IInvitation, isAccepted: boolean): Promise<void> {
    await answerInvitation(this.settings, invitation.id, isAccepted);
    await this.refresh();
  }

  protected async load(): Promise<IFolders> {
    const [folders, invitations] = await Promise.all([listFolders(this.settings), listInvitations(this.settings)]);
    this._userId ??= await getUserId(this.settings);
    const byName = folders
      .map(folder => ({ ...folder, isMine: folder.user === this._userId }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      usable: byName.filter(folder => folder.status !== TRASHED),
      trashed: byName.filter(folder => folder.status === TRASHED),
      invitations
    };
  }

  private _userId: string | null = null;
}

/** One page of one directory, or nothing while no folder is open. */
export class Files extends Watched<IFilePage> {
  constructor(private readonly settings: Settings) {
    super('files', 15);
  }

  folder: IFolder | null = null;

  /** Below the folder; empty for the folder itself. */
  path = '';

  offset = 0;

  open(folder: IFolder | null, path = '', offset = 0): void {
    this.folder = folder;
    this.path = path;
    this.offset = offset;
    this.forget();
  }

  pathOf(name: string): string {
    return this.path ? `${this.path}/${name}` : name;
  }

  urlOf(name: string): string {
    return downloadUrl(this.settings, this.folder!.id, this.pathOf(name));
  }

  async makeDirectory(name: string): Promise<void> {
    await makeDirectory(this.settings, this.folder!.id, this.pathOf(name));
    await this.refresh();
  }

  protected async load(): Promise<IFilePage> {
    if (this.folder === null) {
      return { items: [], total: 0, offset: 0 };
    }
    return listFiles(this.settings, this.folder.id, this.path, this.offset, PAGE_SIZE);
  }
}

/** One file on its way. */
export class Upload {
  constructor(
    readonly folder: IFolder,
    readonly path: string,
    readonly file: File
  ) {}

  readonly aborter = new AbortController();

  sentBytes = 0;

  /** Nothing answers at the moment; it goes on by itself. */
  isWaiting = false;

  /** Why it was given up. */
  error: string | null = null;
}

/** Files on their way, one after the other, and those that did not arrive. */
export class Uploads {
  constructor(private readonly settings: Settings) {}

  list: Upload[] = [];

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** A file has arrived. */
  get arrived(): ISignal<this, Upload> {
    return this._arrived;
  }

  async start(folder: IFolder, path: string, file: File): Promise<void> {
    const upload = new Upload(folder, path, file);
    this.list = [...this.list, upload];
    this._changed.emit();
    const sent = this._queue.then(() => this._send(upload));
    this._queue = sent.catch(() => undefined);
    try {
      await sent;
      this.remove(upload);
      this._arrived.emit(upload);
    } catch (error) {
      if (!upload.aborter.signal.aborted) {
        upload.error = (error as Error).message;
        this._changed.emit();
      }
    }
  }

  /** Stop it, or take note that it has failed. */
  remove(upload: Upload): void {
    upload.aborter.abort();
    this.list = this.list.filter(one => one !== upload);
    this._changed.emit();
  }

  private async _send(upload: Upload): Promise<void> {
    upload.aborter.signal.throwIfAborted();
    const token = await beginUpload(this.settings, upload.folder.id, upload.path, upload.file.size);
    try {
      while (upload.sentBytes < upload.file.size) {
        upload.aborter.signal.throwIfAborted();
        await this._sendPiece(upload, token);
      }
    } catch (error) {
      await dropUpload(this.settings, token).catch(() => undefined); // the manager drops it by itself, later
      throw error;
    }
  }

  private async _sendPiece(upload: Upload, token: string): Promise<void> {
    const { signal } = upload.aborter;
    try {
      if (upload.isWaiting) {
        this._tell(upload, await uploadedBytes(this.settings, token));
      }
      const piece = upload.file.slice(upload.sentBytes, upload.sentBytes + PIECE_BYTES);
      this._tell(upload, await sendPiece(this.settings, token, upload.sentBytes, piece, signal));
    } catch (error) {
      if (!isAway(error) || signal.aborted) {
        throw error;
      }
      upload.isWaiting = true;
      this._changed.emit();
      await new Promise(resolve => setTimeout(resolve, RETRY_MS));
    }
  }

  private _tell(upload: Upload, sentBytes: number): void {
    upload.sentBytes = sentBytes;
    upload.isWaiting = false;
    this._changed.emit();
  }

  private _queue: Promise<void> = Promise.resolve();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _arrived = new Signal<this, Upload>(this);
}

function isAway(error: unknown): boolean {
  return error instanceof ApiError && ['server-away', 'manager-away'].includes(error.code);
}
