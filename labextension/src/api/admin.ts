/** The lists of the cluster, and how it is: for admins. */

import { requestAPI, Settings, withBody } from './request';

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

/** Sessions that have a container on an agent and are not ending, as the list of sessions has them. */
export async function sessionsOn(settings: Settings, agent: string): Promise<AdminRow[]> {
  return (await requestAPI<{ sessions: AdminRow[] }>(settings, `${adminPath('agents', agent)}/sessions`)).sessions;
}

/** What hosts join a resource group with, told this once, and where they look for the manager. */
export interface IJoinToken {
  token: string;
  url: string;
}

/** Good for so many hosts, and so many seconds. */
export async function makeJoinToken(
  settings: Settings,
  asked: { resource_group: string; uses: number; expires_s: number }
): Promise<IJoinToken> {
  return requestAPI(settings, 'admin/join-tokens', withBody('POST', asked));
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
  /** ISO 8601; when what then still runs there is ended. */
  drain_by: string | null;
  isolated: boolean;
  /** ISO 8601. */
  heard_at: string | null;
  version: string;
  /** Why its container engine does not answer. */
  engine_trouble: string | null;
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

/**
 * How many a policy binds, and names of those who hold more than a change of it would allow, or would have no GPU-hours of it left this
 * week.
 */
export interface IPolicyEffect {
  people: number;
  projects: number;
  domains: number;
  above: string[];
  used_up: string[];
}

/** Of a change, which is not made. Throws what is wrong with it. */
export async function policyEffect(settings: Settings, name: string, values: object): Promise<IPolicyEffect> {
  return requestAPI(settings, `${adminPath('policies', name)}/effect`, withBody('POST', values));
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
