/** Who one is, and what one has in each session. */

import { URLExt } from '@jupyterlab/coreutils';

import { requestAPI, Settings, withBody } from './request';

/** Whose credentials the server has. */
export interface IUser {
  id: string;
  role: string;
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

function dotfilePath(path: string): string {
  return `account/dotfiles/${URLExt.encodeParts(path)}`;
}
