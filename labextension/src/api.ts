/** The one place that talks to the server extension, with a typed function for each thing it can be asked. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IPage, Listed } from './drive';

export interface IReason {
  code: string;
  text: string;
}

export interface IQueue {
  position: number | null;
  of: number | null;
  estimate_s: number | null;
}

/** A folder in a session: where, and whether nothing can be written there. */
export interface IMount {
  /** The folder's id; `null` for a home. */
  folder: string | null;
  /** The folder's. */
  name: string;
  target: string;
  read_only: boolean;
}

/** A session as the manager shows it; of its view, what the panel uses. */
export interface ISession {
  id: string;
  name: string;
  image: string;
  status: string;
  reason: IReason | null;
  queue: IQueue | null;
  unreachable: boolean;
  isolated: boolean | null;
  /** Of each of its containers. */
  slots: Record<string, string>;
  /** How many containers it has. */
  clusterSize: number;
  /** Figures of what it uses, of its accelerators among others; `null` if none are known. */
  liveStat: Record<string, number | null> | null;
  mounts: IMount[];
  /** Milliseconds since it was asked for. */
  age: number;
  /** Milliseconds since it runs; `null` if it does not yet. */
  runningFor: number | null;
  progress: number | null;
  /** By the names of the checks; empty once it has ended. */
  idleChecks: Record<string, IIdleCheck>;
}

/** One container of a session. */
export interface IContainer {
  id: string;
  role: string;
  /** What the others call it. */
  host: string;
  status: string;
  agent: string;
  exitCode: number | null;
  liveStat: Record<string, number | null> | null;
}

/** What stops or suspends a session by itself. */
export interface IIdleCheck {
  /** Seconds until it does, if nothing changes. */
  remaining: number;
  extra: {
    /** When it does; ISO 8601. */
    stops_at?: string;
    suspends_at?: string;
    /** Seconds. */
    limit: number;
    /** Whose limit: `user kim`. */
    policy: string;
    /** What it did last. */
    last?: string;
    /** Whether something runs in it. */
    running?: boolean;
    /** How often it can be kept for a while. */
    extensions_left?: number;
    /** Of each figure in percent, what is used and what has to be. */
    resources?: Record<string, [number, number]>;
  };
}

/** All of a session's view that its tab shows. */
export interface ISessionDetail extends ISession {
  agent: string | null;
  resourceGroup: string;
  /** ISO 8601. */
  creationTime: string;
  terminationTime: string | null;
  kernels: IContainer[];
}

/** A session came to a status. */
export interface IChange {
  status: string;
  /** ISO 8601. */
  at: string;
  reason: IReason | null;
}

export interface IProjectOf {
  name: string | null;
  owner: string;
}

/** Something that was done to a session. */
export interface IAuditEntry {
  id: number;
  /** ISO 8601. */
  at: string;
  /** `DELETE session:end` */
  action: string;
  /** The keypair's that did it. */
  access_key: string | null;
  /** Of HTTP. */
  result: number;
}

/** What one kernel is doing: `bai` of the kernel model, and the `kernel_status` event. */
export interface IKernelStatus {
  status: string | null;
  reason: IReason | null;
  session_id: string | null;
  queue: IQueue | null;
  progress: number | null;
  is_dead: boolean;
  /** What was not done as asked although the kernel runs. */
  notice: string | null;
}

/** A run of a cell whose output the notebook's file may lack. */
export interface IExecution {
  msg_id: string;
  cell_id: string;
}

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

export interface IFile {
  name: string;
  type: string;
  size: number;
}

/** Some of a directory's entries, in the order of their names. */
export interface IFilePage {
  items: IFile[];
  total: number;
  offset: number;
}

export interface IApp {
  name: string;
  protocol: string;
  ports: number[];
}

export type Slots = Record<string, string>;

export interface IPreset {
  name: string;
  resource_slots: Slots;
  /** Whether a session with it would start now. */
  allocatable: boolean;
}

/** What the user may use and uses at each level (`Infinity`: no limit), and what is free. */
export interface ICapacity {
  keypair_limits: Slots;
  keypair_using: Slots;
  user_limits: Slots;
  user_using: Slots;
  group_limits: Slots;
  group_using: Slots;
  domain_limits: Slots;
  domain_using: Slots;
  scaling_groups: Record<string, { using: Slots; remaining: Slots }>;
  presets: IPreset[];
}

/** An environment, and the Jupyter kernels in it. */
export interface IImage {
  name: string;
  kernelspecs: { name: string; display_name?: string }[];
  /** As an agent has it. */
  size_bytes: number;
}

/** What a kernel is to run on, as a notebook keeps it in its metadata `bai`; all else is left to policy and habit. */
export interface IChoice {
  image?: string;
  kernelspec?: string;
  preset?: string;
  resources?: Slots;
  /** Folders by name or id: `data`, or `data:ro` where the kernel is not to write. */
  mounts?: string[];
  session?: string;
  resource_group?: string;
  project?: string;
}

/** What would happen to a choice. */
export interface IVerdict {
  verdict: 'now' | 'wait' | 'refused';
  reason: IReason | null;
  estimate_s: number | null;
}

/** A notebook that is to be run from start to end. */
export interface IRunRequest {
  choice: IChoice;
  parameters?: Record<string, unknown>;
  /** Not before that time; ISO 8601. */
  starts_at?: string;
}

/** A notebook that a batch session runs. */
export interface IRun {
  /** The session's id, and what it is called. */
  session: string;
  name: string;
  /** Where its result is, as far as it has come. */
  result: string;
}

/** A variable that was not saved, or of which that is doubtful. */
export interface INotSaved {
  name: string;
  why: string;
}

/** What was saved just now of a kernel's variables. */
export interface ISave {
  jupyter_kernel_id: string;
  /** Why nothing was; the rest is `null` then. */
  refused: IReason | null;
  variables: number;
  bytes: number;
  left_out: INotSaved[];
  doubtful: INotSaved[];
}

/** Variables that lie ready for a kernel to begin with. */
export interface ISaved {
  /** The id of the session whose they are, and what it is called. */
  session: string;
  name: string;
  /** The kernel whose they are. */
  kernel: string;
  /** When, as ISO 8601 has it. */
  at: string;
  variables: number;
  bytes: number;
}

/** A kernelspec as notebooks name it. */
export interface IKernelspecName {
  name: string;
  display_name: string;
  language: string;
}

export interface IMember {
  id: string;
  email: string;
  permission: 'ro' | 'rw' | 'wd';
}

/** Whose credentials the server has. */
export interface IUser {
  id: string;
  role: string;
}

/** A line of a list of the cluster's, as the manager has it. */
export type AdminRow = Record<string, unknown>;

/** What may use a resource group: `domain:NAME` or `project:ID`, and what it is called. */
export interface IScope {
  scope: string;
  name: string;
}

export interface IAdminPage {
  items: AdminRow[];
  total: number;
}

/** A refusal, with its code and the sentence for people. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string
  ) {
    super(message);
  }
}

type Settings = ServerConnection.ISettings;

/** Ask the server extension. Throws `ApiError`; without an answer its code is `server-away`. */
async function requestAPI<T>(settings: Settings, path: string, init: RequestInit = {}): Promise<T> {
  const response = await responseOf(settings, path, init);
  const text = await response.text();
  let body: any = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // Not ours, perhaps a proxy's page: told by its status alone.
  }
  if (!response.ok) {
    throw new ApiError(body?.code ?? 'http', body?.message ?? `The server answered ${response.status}.`);
  }
  return body;
}

async function responseOf(settings: Settings, path: string, init: RequestInit): Promise<Response> {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', path);
  const request = () => ServerConnection.makeRequest(url, init, settings);
  try {
    // A network that changes breaks what is on its way; what only reads is asked once more.
    return await (init.method === undefined ? request().catch(request) : request());
  } catch {
    throw new ApiError('server-away', 'The Jupyter server does not answer.');
  }
}

/** A directory of the drive of folders, with a part of its entries. */
export async function getPage(settings: Settings, { path, offset, match }: IPage): Promise<Listed> {
  const query = URLExt.objectToQueryString({ offset, match });
  return requestAPI(settings, `pages/${URLExt.encodeParts(path)}${query}`);
}

export async function listSessions(settings: Settings): Promise<ISession[]> {
  return (await requestAPI<{ sessions: ISession[] }>(settings, 'sessions')).sessions;
}

/** Also one that has ended. `owner`: for admins, a keypair of the person whose it is; so in all calls that take it. */
export async function getSession(settings: Settings, id: string, owner?: string): Promise<ISessionDetail> {
  return requestAPI(settings, sessionPath(id, '', owner));
}

/** Each change of its status, oldest first. */
export async function sessionHistory(settings: Settings, id: string, owner?: string): Promise<IChange[]> {
  return (await requestAPI<{ changes: IChange[] }>(settings, sessionPath(id, '/history', owner))).changes;
}

/** The newest of what was done to it, as far as one may see that. */
export async function sessionAudit(settings: Settings, id: string, owner?: string): Promise<IAuditEntry[]> {
  return (await requestAPI<{ entries: IAuditEntry[] }>(settings, sessionPath(id, '/audit', owner))).entries;
}

/** The name of the project that it counts for, `null` if that is gone, and its owner's e-mail address. */
export async function sessionProject(settings: Settings, id: string, owner?: string): Promise<IProjectOf> {
  return requestAPI(settings, sessionPath(id, '/project', owner));
}

export async function endSession(settings: Settings, id: string, owner?: string): Promise<void> {
  await requestAPI(settings, sessionPath(id, '', owner), { method: 'DELETE' });
}

/** Keep a session that would be stopped for being idle. */
export async function extendSession(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}/extend`, { method: 'POST' });
}

/** What its container and the programs in it printed last. */
export async function sessionLog(settings: Settings, id: string, owner?: string): Promise<string> {
  return (await requestAPI<{ logs: string }>(settings, sessionPath(id, '/logs', owner))).logs;
}

/** Its container, with its files, and every kernel in it. */
export async function restartSession(settings: Settings, id: string): Promise<void> {
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}/restart`, { method: 'POST' });
}

/** Begin to make an image of it, for oneself alone; what the image is called, and the task that makes it. */
export async function commitSession(settings: Settings, id: string, name: string): Promise<{ image: string; task: string }> {
  return requestAPI(settings, `sessions/${encodeURIComponent(id)}/commit`, withBody('POST', { name }));
}

/** How that ended, if it did in a while. */
export async function commitEnd(settings: Settings, task: string): Promise<{ status: string; message: string }> {
  return requestAPI(settings, `commits/${encodeURIComponent(task)}`);
}

/** Other amounts of `cpu` and `mem` for a session that runs. Throws what the manager refuses, with its figures. */
export async function resizeSession(settings: Settings, id: string, resources: Slots): Promise<void> {
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}/resize`, withBody('POST', { resources }));
}

/** Freeze a session; what it is doing then. */
export async function suspendSession(settings: Settings, id: string): Promise<IReason> {
  return (await requestAPI<{ reason: IReason }>(settings, `sessions/${encodeURIComponent(id)}/suspend`, { method: 'POST' }))
    .reason;
}

export async function resumeSession(settings: Settings, id: string): Promise<IReason> {
  return (await requestAPI<{ reason: IReason }>(settings, `sessions/${encodeURIComponent(id)}/resume`, { method: 'POST' }))
    .reason;
}

/** Save the variables of its kernels: what was saved of each. */
export async function saveVariables(settings: Settings, id: string): Promise<ISave[]> {
  const path = `sessions/${encodeURIComponent(id)}/save`;
  return (await requestAPI<{ kernels: ISave[] }>(settings, path, { method: 'POST' })).kernels;
}

/** Of kernels of one's own sessions, also of ended ones; newest first. */
export async function listSaved(settings: Settings): Promise<ISaved[]> {
  return (await requestAPI<{ saved: ISaved[] }>(settings, 'saved')).saved;
}

/** Restart a kernel of a session with what was saved of it, or of another. */
export async function wakeKernel(settings: Settings, id: string, into: string, saved: ISaved): Promise<void> {
  const body = { source: saved.session, kernel: saved.kernel, into };
  await requestAPI(settings, `sessions/${encodeURIComponent(id)}/wake`, withBody('POST', body));
}

/** One more folder for a session that runs, at `/home/work/NAME` or `path`; what it has then. */
export async function attachFolder(
  settings: Settings,
  sessionId: string,
  folder: string,
  isReadOnly: boolean,
  path: string
): Promise<IMount[]> {
  const body = { folder, read_only: isReadOnly, path: path || undefined };
  return (await requestAPI<{ mounts: IMount[] }>(settings, attachedPath(sessionId), withBody('POST', body))).mounts;
}

/** By force also if it is in use, which ends what uses it. */
export async function detachFolder(
  settings: Settings,
  sessionId: string,
  target: string,
  isForced: boolean
): Promise<void> {
  const path = `${attachedPath(sessionId)}/${encodeURIComponent(target)}?force=${isForced}`;
  await requestAPI(settings, path, { method: 'DELETE' });
}

/** Of the server extension. */
export async function serverVersion(settings: Settings): Promise<string> {
  return (await requestAPI<{ versions: { extension: string } }>(settings, 'status')).versions.extension;
}

/** `null` while the manager does not answer. */
export async function getUser(settings: Settings): Promise<IUser | null> {
  return (await requestAPI<{ user: IUser | null }>(settings, 'status')).user;
}

export interface IOwnKeypair {
  access_key: string;
  is_active: boolean;
  resource_policy: string;
  created_at: string;
  last_used: string | null;
  /** This server's. */
  is_used: boolean;
}

/** Whose credentials the server has, and what else they have; nothing secret. */
export interface IAccount {
  email: string;
  full_name: string | null;
  role: string;
  domain_name: string;
  resource_policy: string;
  projects: string[];
  keypairs: IOwnKeypair[];
  ssh_fingerprint: string | null;
}

/** The private key is told this once. */
export interface ISshKeypair {
  fingerprint: string;
  public_key: string;
  private_key: string;
}

/** A file that each new session has. */
export interface IDotfile {
  path: string;
  permission: string;
  data: string;
}

export interface IListedDotfile {
  path: string;
  permission: string;
  /** Bytes. */
  size: number;
}

/** Something that was done in one's name. */
export interface ILogged {
  id: number;
  at: string;
  access_key: string | null;
  action: string;
  target: string;
  /** An HTTP status. */
  result: number;
}

export async function getAccount(settings: Settings): Promise<IAccount> {
  return requestAPI(settings, 'account');
}

/** A new one, in the place of the one before. */
export async function newSshKeypair(settings: Settings): Promise<ISshKeypair> {
  return requestAPI(settings, 'account/ssh-keypair', { method: 'POST' });
}

export async function listDotfiles(settings: Settings): Promise<IListedDotfile[]> {
  return (await requestAPI<{ dotfiles: IListedDotfile[] }>(settings, 'account/dotfiles')).dotfiles;
}

export async function getDotfile(settings: Settings, path: string): Promise<IDotfile> {
  return requestAPI(settings, dotfilePath(path));
}

/** Throws what the manager refuses, as all of these do. */
export async function addDotfile(settings: Settings, dotfile: IDotfile): Promise<void> {
  await requestAPI(settings, 'account/dotfiles', withBody('POST', dotfile));
}

export async function changeDotfile(settings: Settings, { path, permission, data }: IDotfile): Promise<void> {
  await requestAPI(settings, dotfilePath(path), withBody('PATCH', { permission, data }));
}

export async function removeDotfile(settings: Settings, path: string): Promise<void> {
  await requestAPI(settings, dotfilePath(path), { method: 'DELETE' });
}

/** The script that runs first in each new session; empty if there is none. */
export async function getBootstrap(settings: Settings): Promise<string> {
  return (await requestAPI<{ script: string }>(settings, 'account/bootstrap-script')).script;
}

export async function setBootstrap(settings: Settings, script: string): Promise<void> {
  await requestAPI(settings, 'account/bootstrap-script', withBody('PUT', { script }));
}

/** What was done in one's name, newest first. */
export async function listLog(
  settings: Settings,
  offset: number,
  limit: number
): Promise<{ items: ILogged[]; total: number }> {
  return requestAPI(settings, `account/log?${new URLSearchParams({ offset: `${offset}`, limit: `${limit}` })}`);
}

/** What was held from a day on, such as `2026-11-30`, in UTC. */
export interface IUsed {
  date: string;
  core_hours: number;
  gib_hours: number;
  gpu_hours: number;
}

/** Day by day from one to another, of `me`, `all` or a project's id. */
export async function usageByDay(settings: Settings, first: string, last: string, scope: string): Promise<IUsed[]> {
  const query = new URLSearchParams({ start: first.replace(/-/g, ''), end: last.replace(/-/g, ''), scope });
  return (await requestAPI<{ days: IUsed[] }>(settings, `usage?${query}`)).days;
}

/** What one session held in a time. */
export interface ISessionUse {
  session_id: string;
  name: string;
  image: string;
  /** Of the keypair that it counts for. */
  access_key: string | null;
  core_hours: number;
  gib_hours: number;
  gpu_hours: number;
}

/** Those that held most, the largest first, and how many there are. */
export interface ICosts {
  sessions: ISessionUse[];
  total_count: number;
}

/** From one day to another, of `me`, `all` or a project's id. */
export async function usageBySession(settings: Settings, first: string, last: string, scope: string): Promise<ICosts> {
  const query = new URLSearchParams({ start: first.replace(/-/g, ''), end: last.replace(/-/g, ''), scope });
  return requestAPI(settings, `usage/sessions?${query}`);
}

/** Some of a list of the cluster's, for superadmins: what has `text` in it. */
export async function listAdmin(
  settings: Settings,
  list: string,
  offset: number,
  limit: number,
  text: string
): Promise<IAdminPage> {
  const query = new URLSearchParams({ offset: `${offset}`, limit: `${limit}`, text });
  return requestAPI(settings, `admin/${list}?${query}`);
}

/** All of a list of the cluster's, to choose from. */
export async function listAllAdmin(settings: Settings, list: string): Promise<AdminRow[]> {
  const found: AdminRow[] = [];
  for (;;) {
    const { items, total } = await listAdmin(settings, list, found.length, LARGEST_ADMIN_PAGE, '');
    found.push(...items);
    if (items.length === 0 || found.length >= total) {
      return found;
    }
  }
}

const LARGEST_ADMIN_PAGE = 100;

/** One more in a list. Throws what the manager refuses, as all of these do. */
export async function addAdmin(settings: Settings, list: string, values: object): Promise<void> {
  await requestAPI(settings, `admin/${list}`, withBody('POST', values));
}

/** What admins tell everybody; empty if it is nothing. */
export async function getAnnouncement(settings: Settings): Promise<string> {
  return (await requestAPI<{ message: string }>(settings, 'announcement')).message;
}

export async function setAnnouncement(settings: Settings, message: string): Promise<void> {
  await requestAPI(settings, 'announcement', withBody('PUT', { message }));
}

/** A volume that folders lie on. */
export interface IVolume {
  name: string;
  /** Why nothing is known of its space; that is there otherwise. */
  trouble: string | null;
  used_bytes?: number;
  capacity_bytes?: number;
}

export interface IHealthOfAgent {
  name: string;
  status: string;
  schedulable: boolean;
  isolated: boolean;
  /** ISO 8601. */
  heard_at: string | null;
  version: string;
  /** Devices with which something is wrong. */
  sick: string[];
}

/** How the cluster is. */
export interface IHealth {
  versions: { extension: string; manager: string };
  /** Whether new sessions are paused. */
  is_frozen: boolean;
  agents: IHealthOfAgent[];
  volumes: IVolume[];
  /** The newest of so many since the manager started. */
  errors: { created_at: string; source: string; message: string }[];
  error_count: number;
}

export async function getHealth(settings: Settings): Promise<IHealth> {
  return requestAPI(settings, 'admin/health');
}

/** Pause new sessions, or let them go on. */
export async function changeHealth(settings: Settings, isFrozen: boolean): Promise<void> {
  await requestAPI(settings, 'admin/health', withBody('PATCH', { is_frozen: isFrozen }));
}

/** Why a user such as this one would not be made; `null` if it would. Makes nobody. */
export async function userRefusal(settings: Settings, user: object): Promise<string | null> {
  return (await requestAPI<{ refusal: string | null }>(settings, 'admin/user-refusals', withBody('POST', user))).refusal;
}

/** Some of what one in a list is. */
export async function changeAdmin(settings: Settings, list: string, key: string, values: object): Promise<void> {
  await requestAPI(settings, adminPath(list, key), withBody('PATCH', values));
}

export async function removeAdmin(settings: Settings, list: string, key: string): Promise<void> {
  await requestAPI(settings, adminPath(list, key), { method: 'DELETE' });
}

/** What belongs to one in a list, such as a project's members: these and no others. */
export async function setAdmin(
  settings: Settings,
  list: string,
  key: string,
  part: string,
  items: string[]
): Promise<void> {
  await requestAPI(settings, `${adminPath(list, key)}/${part}`, withBody('PUT', { items }));
}

/** One more keypair for somebody; its secret is told this once. */
export async function issueKeypair(
  settings: Settings,
  email: string,
  resource_policy: string
): Promise<{ access_key: string; secret_key: string }> {
  return requestAPI(settings, `${adminPath('users', email)}/keypairs`, withBody('POST', { resource_policy }));
}

function adminPath(list: string, key: string): string {
  return `admin/${list}/${encodeURIComponent(key)}`;
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

export async function listFiles(
  settings: Settings,
  id: string,
  path: string,
  offset: number,
  limit: number
): Promise<IFilePage> {
  const query = new URLSearchParams({ path, offset: `${offset}`, limit: `${limit}` });
  return requestAPI(settings, `${folderPath(id)}/files?${query}`);
}

export async function makeDirectory(settings: Settings, id: string, path: string): Promise<void> {
  await requestAPI(settings, `${folderPath(id)}/directories`, withBody('POST', { path }));
}

/** Where the browser finds a file, or a directory as a zip file. */
export function downloadUrl(settings: Settings, id: string, path: string, isDirectory: boolean): string {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', folderPath(id), 'download');
  return `${url}?${new URLSearchParams({ path, archive: `${isDirectory}` })}`;
}

/** The token that this file's pieces are sent with. An empty file is there at once. */
export async function beginUpload(settings: Settings, id: string, path: string, size: number): Promise<string> {
  return (await requestAPI<{ token: string }>(settings, `${folderPath(id)}/uploads`, withBody('POST', { path, size })))
    .token;
}

/** How much of the file has come then. */
export async function sendPiece(
  settings: Settings,
  token: string,
  offset: number,
  piece: Blob,
  signal: AbortSignal
): Promise<number> {
  const headers = {
    'Content-Type': 'application/offset+octet-stream',
    'Upload-Token': token,
    'Upload-Offset': `${offset}`
  };
  return (await requestAPI<{ offset: number }>(settings, 'uploads', { method: 'PATCH', body: piece, headers, signal }))
    .offset;
}

/** How much of the file has come. */
export async function uploadedBytes(settings: Settings, token: string): Promise<number> {
  return (await requestAPI<{ offset: number }>(settings, 'uploads', { headers: { 'Upload-Token': token } })).offset;
}

export async function dropUpload(settings: Settings, token: string): Promise<void> {
  await requestAPI(settings, 'uploads', { method: 'DELETE', headers: { 'Upload-Token': token } });
}

/** From the server's own files into folders, or out of them. */
export type CopyWay = 'to-folder' | 'to-server';

/** Bytes. */
export interface ICopyProgress {
  done: number;
  total: number;
}

export interface ICopied {
  /** Where the copy is. */
  path: string;
  /** Links and hidden files. */
  left_out: number;
  /** Why the source of a move is not deleted. */
  kept?: string;
}

/**
 * Have the server copy a file or directory, and hear how far it is; paths in folders begin with a folder's name in the
 * drive. After a move the source is deleted, or the answer says why not. Throws what is refused: `file-exists` if the name is taken. `signal` ends it, and then there is no copy.
 */
export async function copyFile(
  settings: Settings,
  way: CopyWay,
  what: { path: string; directory: string; name: string; move: boolean },
  signal: AbortSignal,
  tell: (progress: ICopyProgress) => void
): Promise<ICopied> {
  let last: any = null;
  const response = await responseOf(settings, `copies/${way}`, { ...withBody('POST', what), signal });
  for await (const line of linesOf(response)) {
    last = line;
    if (last?.done !== undefined) {
      tell(last);
    }
  }
  if (last?.path === undefined) {
    const broken = response.ok ? 'The copy was broken off.' : `The server answered ${response.status}.`;
    throw new ApiError(last?.code ?? 'http', last?.message ?? broken);
  }
  return last;
}

/** The JSON of each line as it comes; nothing of what is none, perhaps a proxy's page. */
async function* linesOf(response: Response): AsyncGenerator<unknown> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: '' }));
    const lines = (text + (value ?? '')).split('\n');
    text = done ? '' : lines.pop()!;
    for (const line of lines) {
      try {
        yield JSON.parse(line);
      } catch {
        // see above
      }
    }
    if (done) {
      return;
    }
  }
}

/** Where the browser finds a zip file of some entries of a directory in the drive. */
export function archiveUrl(settings: Settings, directory: string, names: string[]): string {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', 'archive', URLExt.encodeParts(directory));
  return `${url}?${new URLSearchParams(names.map(name => ['name', name]))}`;
}

export async function listApps(settings: Settings, sessionId: string): Promise<IApp[]> {
  return (await requestAPI<{ apps: IApp[] }>(settings, `sessions/${encodeURIComponent(sessionId)}/apps`)).apps;
}

/** Starts the app if it does not answer. The link is good for a minute. */
export async function startApp(settings: Settings, sessionId: string, app: string): Promise<string> {
  const path = `sessions/${encodeURIComponent(sessionId)}/apps/${encodeURIComponent(app)}`;
  return (await requestAPI<{ link: string }>(settings, path, { method: 'POST' })).link;
}

export async function listImages(settings: Settings): Promise<IImage[]> {
  return (await requestAPI<{ images: IImage[] }>(settings, 'images')).images;
}

/** An image that was made from a session. */
export interface IEnvironment {
  name: string;
  size_bytes: number;
  /** The image that the session was of; `null` if that is not known. */
  base: string | null;
  created_at: string;
}

/** One's own, newest first. */
export async function listEnvironments(settings: Settings): Promise<IEnvironment[]> {
  return (await requestAPI<{ environments: IEnvironment[] }>(settings, 'environments')).environments;
}

/** Throws what the manager refuses: one that sessions use. */
export async function removeEnvironment(settings: Settings, name: string): Promise<void> {
  await requestAPI(settings, `environments/${URLExt.encodeParts(name)}`, { method: 'DELETE' });
}

/** Names of those that a session may count for. */
export async function listProjects(settings: Settings): Promise<string[]> {
  return (await requestAPI<{ projects: string[] }>(settings, 'projects')).projects;
}

/** What would happen to each choice. Starts nothing. */
export async function judge(settings: Settings, choices: IChoice[]): Promise<IVerdict[]> {
  return (await requestAPI<{ verdicts: IVerdict[] }>(settings, 'verdicts', withBody('POST', { choices }))).verdicts;
}

/** By image: what a kernel of it runs on of which nobody says more. */
export async function lastChoices(settings: Settings): Promise<Record<string, unknown>> {
  return (await requestAPI<{ choices: Record<string, unknown> }>(settings, 'last-choices')).choices;
}

/** What a notebook asks for as it was saved, and whether a start would follow that. */
export async function askedBy(settings: Settings, path: string): Promise<{ choice: unknown; is_heard: boolean }> {
  return requestAPI(settings, `${notebookPath(path)}/choice`);
}

/**
 * Have a choice followed once the notebook holds it and names that kernelspec. Throws what the manager refuses.
 * `sessionId`: one that runs and has what is chosen already.
 */
export async function confirmChoice(
  settings: Settings,
  path: string,
  choice: IChoice,
  sessionId?: string
): Promise<IKernelspecName> {
  const query = sessionId === undefined ? '' : `?session=${encodeURIComponent(sessionId)}`;
  const address = `${notebookPath(path)}/choice${query}`;
  return (await requestAPI<{ kernelspec: IKernelspecName }>(settings, address, withBody('POST', choice))).kernelspec;
}

/** Run a copy of a saved notebook from start to end in a session of its own. Throws what the manager refuses. */
export async function runNotebook(settings: Settings, path: string, request: IRunRequest): Promise<IRun> {
  return requestAPI(settings, `${notebookPath(path)}/runs`, withBody('POST', request));
}

/** Have the server fetch the notebook at an address into a folder; where it is then. Throws what is wrong with it. */
export async function importNotebook(settings: Settings, url: string, folder: string): Promise<string> {
  return (await requestAPI<{ path: string }>(settings, 'imports', withBody('POST', { url, folder }))).path;
}

export async function getCapacity(settings: Settings): Promise<ICapacity> {
  return requestAPI(settings, 'capacity');
}

/** `bai` of a kernel's model; `null` for a local kernel and for one that is gone. */
export async function kernelStatus(settings: Settings, kernelId: string): Promise<IKernelStatus | null> {
  return (await kernelModel(settings, kernelId)).bai ?? null;
}

/** Whether the server keeps what cells say in this local kernel, as one that runs in a session does. */
export async function keepsOutput(settings: Settings, kernelId: string): Promise<boolean> {
  return (await kernelModel(settings, kernelId)).bai_keeps_output ?? false;
}

/** What we add to Jupyter's model of a kernel. */
async function kernelModel(
  settings: Settings,
  kernelId: string
): Promise<{ bai?: IKernelStatus; bai_keeps_output?: boolean }> {
  const url = URLExt.join(settings.baseUrl, 'api', 'kernels', encodeURIComponent(kernelId));
  const response = await ServerConnection.makeRequest(url, {}, settings);
  return response.ok ? response.json() : {};
}

export async function listExecutions(settings: Settings, kernelId: string): Promise<IExecution[]> {
  return (await requestAPI<{ executions: IExecution[] }>(settings, executionsPath(kernelId))).executions;
}

/** A saved notebook holds all the output of these. */
export async function settleExecutions(settings: Settings, kernelId: string, msgIds: string[]): Promise<void> {
  const query = new URLSearchParams(msgIds.map(id => ['msg_id', id]));
  await requestAPI(settings, `${executionsPath(kernelId)}?${query}`, { method: 'DELETE' });
}

/**
 * The messages of these executions, each from its beginning or after the IOPub message `after`; closed with code 1000
 * when nothing more can come.
 */
export function openOutputs(
  settings: Settings,
  kernelId: string,
  seen: { msg_id: string; after: string | null }[]
): WebSocket {
  const query = new URLSearchParams();
  for (const { msg_id, after } of seen) {
    query.append('msg_id', msg_id);
    query.append('after', after ?? '');
  }
  const socket = openSocket(settings, `kernels/${encodeURIComponent(kernelId)}/outputs`, query);
  socket.binaryType = 'arraybuffer';
  return socket;
}

/** A session's terminal, in the words of Jupyter's own ones; closed with code 1000 when its shell has ended. */
export function openTerminal(settings: Settings, sessionId: string): WebSocket {
  return openSocket(settings, `sessions/${encodeURIComponent(sessionId)}/terminal`);
}

/** Whether whoever has this page may open one: a socket that is refused does not say why. */
export async function mayOpenTerminal(settings: Settings, sessionId: string): Promise<boolean> {
  const { status } = await responseOf(settings, `sessions/${encodeURIComponent(sessionId)}/terminal`, {});
  return status !== 403;
}

function openSocket(settings: Settings, path: string, query = new URLSearchParams()): WebSocket {
  if (settings.appendToken && settings.token) {
    query.append('token', settings.token);
  }
  return new settings.WebSocket(`${URLExt.join(settings.wsUrl, 'bai', 'api', path)}?${query}`);
}

function withBody(method: string, body: unknown): RequestInit {
  return { method, body: JSON.stringify(body) };
}

function sessionPath(id: string, part: string, owner?: string): string {
  const query = owner === undefined ? '' : `?owner=${encodeURIComponent(owner)}`;
  return `sessions/${encodeURIComponent(id)}${part}${query}`;
}

function dotfilePath(path: string): string {
  return `account/dotfiles/${URLExt.encodeParts(path)}`;
}

function folderPath(id: string): string {
  return `folders/${encodeURIComponent(id)}`;
}

function attachedPath(sessionId: string): string {
  return `sessions/${encodeURIComponent(sessionId)}/folders`;
}

function notebookPath(path: string): string {
  return `notebooks/${URLExt.encodeParts(path)}`;
}

function executionsPath(kernelId: string): string {
  return `kernels/${encodeURIComponent(kernelId)}/executions`;
}
