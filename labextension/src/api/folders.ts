/** Folders, and who has them. */

import { folderPath, requestAPI, Settings, withBody } from './request';

/** A folder as the manager shows it; of its view, what the panel uses. */
export interface IFolder {
  id: string;
  name: string;
  /** What it is called in the drive; `null` if it cannot be used now. */
  drive_name: string | null;
  status: string;
  permission: 'ro' | 'rw' | 'wd';
  /** Whether the user may manage it. */
  is_owner: boolean;
  ownership_type: 'user' | 'group';
  /** The id of its owner, if it is a person's. */
  user: string | null;
  user_email: string | null;
  group_name: string | null;
  /** Bytes; `null` is no limit. */
  max_size: number | null;
  quota_kind: 'hard' | 'soft' | null;
  /** Bytes, as they were counted last. */
  cur_size: number;
  /** The volume that it lies on. */
  host: string;
  quota_scope_id: string;
  /** Bytes that all folders of its owner on that volume may hold together; `null` is no limit. */
  quota_scope_max_size: number | null;
  quota_scope_kind: 'hard' | 'soft' | null;
  /** Bytes that they hold, as they were counted last; `null` for others, and without a limit. */
  quota_scope_used: number | null;
}

export interface IInvitation {
  id: string;
  inviter: string;
  perm: string;
  vfolder_name: string;
}

export interface IMember {
  id: string;
  email: string;
  permission: 'ro' | 'rw' | 'wd';
}

export async function listFolders(settings: Settings): Promise<IFolder[]> {
  return (await requestAPI<{ folders: IFolder[] }>(settings, 'folders')).folders;
}

/** `quota` is a size such as `10g`, or nothing. */
export async function createFolder(settings: Settings, name: string, quota: string): Promise<void> {
  await requestAPI(settings, 'folders', withBody('POST', { name, quota }));
}

export async function renameFolder(settings: Settings, id: string, name: string): Promise<void> {
  await requestAPI(settings, folderPath(id), withBody('PATCH', { name }));
}

export async function trashFolder(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, folderPath(id), { method: 'DELETE' });
}

export async function restoreFolder(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, `${folderPath(id)}/restore`, { method: 'POST' });
}

/** Out of the trash, for good. */
export async function purgeFolder(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, `${folderPath(id)}/purge`, { method: 'POST' });
}

/** With whom a folder of one's own is shared. */
export async function listMembers(settings: Settings, id: string): Promise<IMember[]> {
  return (await requestAPI<{ members: IMember[] }>(settings, `${folderPath(id)}/members`)).members;
}

/** `null` takes the folder away from that person. */
export async function changeMember(
  settings: Settings,
  id: string,
  member: string,
  permission: string | null
): Promise<void> {
  await requestAPI(settings, `${folderPath(id)}/members`, withBody('PATCH', { member, permission }));
}

/** False if that person has the folder already, or was invited before. */
export async function inviteTo(settings: Settings, id: string, person: string, permission: string): Promise<boolean> {
  const init = withBody('POST', { person, permission });
  return (await requestAPI<{ invited: string[] }>(settings, `${folderPath(id)}/invite`, init)).invited.length > 0;
}

export async function listInvitations(settings: Settings): Promise<IInvitation[]> {
  return (await requestAPI<{ invitations: IInvitation[] }>(settings, 'invitations')).invitations;
}

export async function answerInvitation(settings: Settings, id: string, isAccepted: boolean): Promise<void> {
  const method = isAccepted ? 'POST' : 'DELETE';
  await requestAPI(settings, `invitations/${encodeURIComponent(id)}`, { method });
}
