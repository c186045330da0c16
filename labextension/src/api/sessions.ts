/** Sessions: how they are, what happened to them, what they serve, and what is done to them. */

import { IReason, openSocket, requestAPI, responseOf, Settings, Slots, withBody } from './request';

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
  /** `interactive`, `batch` … */
  type: string;
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

/** A session that is over, as the list of those says it. */
export interface IEnded
  extends Pick<ISession, 'id' | 'name' | 'type' | 'image' | 'status' | 'reason' | 'slots' | 'clusterSize'> {
  /** ISO 8601. */
  terminationTime: string;
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
    limit?: number;
    /** Whose limit: `user kim`. */
    policy?: string;
    /** Which one is emptied. */
    agent?: string;
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
  /** Jupyter's, with the names of their kernelspecs in its image. */
  jupyterKernels: { kernelspec: string }[];
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

export interface IApp {
  name: string;
  protocol: string;
  ports: number[];
}

export async function listSessions(settings: Settings): Promise<ISession[]> {
  return (await requestAPI<{ sessions: ISession[] }>(settings, 'sessions')).sessions;
}

/** One's own that ended since then, newest first; not all if they are many. */
export async function listEnded(settings: Settings, since: Date): Promise<{ sessions: IEnded[]; total: number }> {
  return requestAPI(settings, `ended-sessions?since=${since.toISOString()}`);
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

/** Throws what the manager refuses: a name that another one has, or is none. */
export async function renameSession(settings: Settings, id: string, name: string): Promise<void> {
  await requestAPI(settings, sessionPath(id, ''), withBody('PATCH', { name }));
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

export async function listApps(settings: Settings, sessionId: string): Promise<IApp[]> {
  return (await requestAPI<{ apps: IApp[] }>(settings, `sessions/${encodeURIComponent(sessionId)}/apps`)).apps;
}

/** Starts the app if it does not answer. The link is good for a minute. */
export async function startApp(settings: Settings, sessionId: string, app: string): Promise<string> {
  const path = `sessions/${encodeURIComponent(sessionId)}/apps/${encodeURIComponent(app)}`;
  return (await requestAPI<{ link: string }>(settings, path, { method: 'POST' })).link;
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

function sessionPath(id: string, part: string, owner?: string): string {
  const query = owner === undefined ? '' : `?owner=${encodeURIComponent(owner)}`;
  return `sessions/${encodeURIComponent(id)}${part}${query}`;
}

function attachedPath(sessionId: string): string {
  return `sessions/${encodeURIComponent(sessionId)}/folders`;
}
