/** Folders, what is in the one that is open, and files on their way into it. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';

import {
  answerInvitation,
  ApiError,
  beginUpload,
  changeMember,
  createFolder,
  downloadUrl,
  dropUpload,
  getUser,
  IFile,
  IFilePage,
  IFolder,
  IInvitation,
  IMount,
  IMember,
  inviteTo,
  listFiles,
  listFolders,
  listInvitations,
  listMembers,
  makeDirectory,
  purgeFolder,
  renameFolder,
  restoreFolder,
  sendPiece,
  trashFolder,
  uploadedBytes
} from './api';
import { IArrival } from './drops';
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

/** Others are in each of their owner's sessions anyway. */
export function isAttachable({ isMine, name }: IMyFolder): boolean {
  return !(isMine && (name === 'home' || name.startsWith('.')));
}

/** By id: of an own folder and a shared one that are called the same, each has its own mounts. */
export function isMountOf(mount: IMount, { id, name }: IFolder): boolean {
  return mount.folder === null ? mount.name === name : mount.folder === id;
}

/** All folders of one owner on one volume, which a limit counts together; those in the trash count. */
export interface ITogether {
  /** One of them, which says whose they are and where. */
  folder: IMyFolder;
  used: number;
  limit: number;
  isHard: boolean;
}

/** What is limited together, where the user may know how much is used: own ones first. */
export function togetherIn(folders: readonly IMyFolder[]): ITogether[] {
  const found = new Map<string, ITogether>();
  for (const folder of folders) {
    const { quota_scope_used: used, quota_scope_max_size: limit, quota_scope_kind: kind } = folder;
    const key = `${folder.quota_scope_id} ${folder.host}`;
    if (used !== null && limit !== null && !found.has(key)) {
      found.set(key, { folder, used, limit, isHard: kind === 'hard' });
    }
  }
  return [...found.values()].sort((a, b) => Number(b.folder.isMine) - Number(a.folder.isMine));
}

/** The user's folders, in three lists, and what limits them together. */
export interface IFolders {
  usable: IMyFolder[];
  trashed: IMyFolder[];
  invitations: IInvitation[];
  together: ITogether[];
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

  /** Out of the trash, for good. */
  async purge(id: string): Promise<void> {
    await purgeFolder(this.settings, id);
    await this.refresh();
  }

  async members(id: string): Promise<IMember[]> {
    return listMembers(this.settings, id);
  }

  /** `null` takes the folder away from that person. */
  async changeMember(id: string, member: string, permission: string | null): Promise<void> {
    await changeMember(this.settings, id, member, permission);
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
    this._userId ??= (await getUser(this.settings))?.id ?? null;
    const byName = folders
      .map(folder => ({ ...folder, isMine: folder.user === this._userId }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      usable: byName.filter(folder => folder.status !== TRASHED),
      trashed: byName.filter(folder => folder.status === TRASHED),
      invitations,
      together: togetherIn(byName)
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

  /** Where one of the entries is downloaded. */
  urlOf({ name, type }: IFile): string {
    return downloadUrl(this.settings, this.folder!.id, this.pathOf(name), type === 'DIRECTORY');
  }

  /** Where all that is shown is downloaded, as a zip file. */
  get archiveUrl(): string {
    return downloadUrl(this.settings, this.folder!.id, this.path, true);
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

/** What is kept of a file on its way, for the page that comes after a reload. The file itself cannot be. */
export interface IBegun {
  folderId: string;
  path: string;
  size: number;
  lastModified: number;
  token: string;
  sentBytes: number;
}

/** One file on its way. */
export class Upload {
  constructor(
    readonly folder: IFolder,
    readonly path: string,
    readonly file: File,
    /** Directories of the folder that are known to be there. */
    readonly directories: Set<string>,
    begun?: IBegun
  ) {
    this.token = begun?.token ?? null;
    this.sentBytes = begun?.sentBytes ?? 0;
    this.isWaiting = begun !== undefined;
    this.isResumed = begun !== undefined;
  }

  aborter = new AbortController();

  /** What its pieces are sent with, once the manager has agreed to it. */
  token: string | null;

  sentBytes: number;

  /** An earlier page began it, and nobody has heard yet how far that came. */
  isResumed: boolean;

  isPaused = false;

  /** Nothing answers at the moment; it goes on by itself. */
  isWaiting: boolean;

  /** Why it was given up. */
  error: string | null = null;
}

const KEPT_AT = '@bai-jupyter/labextension:uploads';

/** Files on their way, one after the other, and those that did not arrive. */
export class Uploads {
  /** `storage` lives as long as the tab. */
  constructor(
    private readonly settings: Settings,
    private readonly storage: Pick<Storage, 'getItem' | 'setItem'>
  ) {
    this.begun = readBegun(storage.getItem(KEPT_AT));
  }

  list: Upload[] = [];

  /** Begun before the page was loaded anew: each goes on once its file is here again. */
  begun: IBegun[];

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** A file has arrived. */
  get arrived(): ISignal<this, Upload> {
    return this._arrived;
  }

  /** Directories above `path` other than `directories` are made. */
  async start(folder: IFolder, path: string, file: File, directories = new Set([parentOf(path)])): Promise<void> {
    const upload = new Upload(folder, path, file, directories, this._takeBegun(folder, path, file));
    this.list = [...this.list, upload];
    this._changed.emit();
    await this._run(upload);
  }

  /** What was dropped into, or chosen for, a directory of a folder. */
  async startAll(folder: IFolder, directory: string, arrivals: IArrival[]): Promise<void> {
    const directories = new Set([directory]);
    const below = (path: string) => (directory ? `${directory}/${path}` : path);
    await Promise.all(arrivals.map(({ path, file }) => this.start(folder, below(path), file, directories)));
  }

  /** With the file that is here again. Throws if it is another one. */
  async resume(begun: IBegun, folder: IFolder, file: File, otherwise: string): Promise<void> {
    if (!isSameFile(begun, file)) {
      throw new Error(otherwise);
    }
    await this.start(folder, begun.path, file);
  }

  /** What has come of it is not wanted any more. */
  async forget(begun: IBegun): Promise<void> {
    this.begun = this.begun.filter(one => one !== begun);
    this._keep();
    this._changed.emit();
    await dropUpload(this.settings, begun.token).catch(() => undefined); // the manager drops it by itself, later
  }

  /** What has come is kept. */
  pause(upload: Upload): void {
    upload.isPaused = true;
    upload.aborter.abort();
    this._changed.emit();
  }

  /** After a pause from where it stopped, after a failure from the beginning. */
  async goOn(upload: Upload): Promise<void> {
    upload.aborter = new AbortController();
    upload.isPaused = false;
    upload.error = null;
    upload.isWaiting = upload.token !== null; // of the piece that was on its way, some may have come
    this._changed.emit();
    await this._run(upload);
  }

  /** Stop it, or take note that it has failed. */
  remove(upload: Upload): void {
    if (upload.isPaused && upload.token !== null) {
      void dropUpload(this.settings, upload.token).catch(() => undefined);
    }
    upload.isPaused = false;
    upload.aborter.abort();
    this.list = this.list.filter(one => one !== upload);
    this._keep();
    this._changed.emit();
  }

  private async _run(upload: Upload): Promise<void> {
    const { signal } = upload.aborter;
    const sent = this._queue.then(() => this._send(upload));
    this._queue = sent.catch(() => undefined);
    try {
      await sent;
      this.remove(upload);
      this._arrived.emit(upload);
    } catch (error) {
      if (!signal.aborted) {
        upload.error = (error as Error).message;
        this._changed.emit();
      }
    }
  }

  private async _send(upload: Upload): Promise<void> {
    const { signal } = upload.aborter;
    signal.throwIfAborted();
    await this._makeParent(upload);
    if (upload.isResumed) {
      await this._findBegun(upload);
    }
    upload.token ??= await beginUpload(this.settings, upload.folder.id, upload.path, upload.file.size);
    const { token } = upload;
    this._keep();
    try {
      while (upload.sentBytes < upload.file.size) {
        signal.throwIfAborted();
        await this._sendPiece(upload, token, signal);
      }
    } catch (error) {
      if (!upload.isPaused) {
        upload.token = null;
        upload.sentBytes = 0;
        this._keep();
        await dropUpload(this.settings, token).catch(() => undefined); // the manager drops it by itself, later
      }
      throw error;
    }
  }

  /** What has come of it, or that nobody knows it any more: then it begins anew. */
  private async _findBegun(upload: Upload): Promise<void> {
    upload.isResumed = false;
    try {
      this._tell(upload, await uploadedBytes(this.settings, upload.token!));
    } catch (error) {
      if (!isAway(error)) {
        upload.token = null;
        this._tell(upload, 0);
      }
    }
  }

  /** What is known of this very file from before the page was loaded anew. */
  private _takeBegun(folder: IFolder, path: string, file: File): IBegun | undefined {
    const found = this.begun.find(one => one.folderId === folder.id && one.path === path);
    if (found === undefined) {
      return undefined;
    }
    if (!isSameFile(found, file)) {
      void this.forget(found);
      return undefined;
    }
    this.begun = this.begun.filter(one => one !== found);
    return found;
  }

  private _keep(): void {
    const moving = this.list.flatMap(({ folder, path, file, token, sentBytes }) =>
      token ? [{ folderId: folder.id, path, size: file.size, lastModified: file.lastModified, token, sentBytes }] : []
    );
    this.storage.setItem(KEPT_AT, JSON.stringify([...this.begun, ...moving]));
  }

  private async _makeParent({ folder, path, directories }: Upload): Promise<void> {
    const parent = parentOf(path);
    if (!directories.has(parent)) {
      await makeDirectory(this.settings, folder.id, parent);
      directories.add(parent);
    }
  }

  private async _sendPiece(upload: Upload, token: string, signal: AbortSignal): Promise<void> {
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
    this._keep();
    this._changed.emit();
  }

  private _queue: Promise<void> = Promise.resolve();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _arrived = new Signal<this, Upload>(this);
}

function readBegun(kept: string | null): IBegun[] {
  try {
    return JSON.parse(kept ?? '[]');
  } catch {
    return [];
  }
}

/** A name counts too: files that a program writes one after the other have the same size and moment. */
function isSameFile(begun: IBegun, { name, size, lastModified }: File): boolean {
  return nameOf(begun.path) === name && begun.size === size && begun.lastModified === lastModified;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function isAway(error: unknown): boolean {
  return error instanceof ApiError && ['server-away', 'manager-away'].includes(error.code);
}
