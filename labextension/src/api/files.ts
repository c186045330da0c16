/** What is in folders, up and down. */

import { URLExt } from '@jupyterlab/coreutils';

import type { IPage, Listed } from '../drive';
import { folderPath, requestAPI, Settings, withBody } from './request';

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

/** A directory of the drive of folders, with a part of its entries. */
export async function getPage(settings: Settings, { path, offset, match }: IPage): Promise<Listed> {
  const query = URLExt.objectToQueryString({ offset, match });
  return requestAPI(settings, `pages/${URLExt.encodeParts(path)}${query}`);
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

/** Where the browser finds a zip file of some entries of a directory in the drive. */
export function archiveUrl(settings: Settings, directory: string, names: string[]): string {
  const url = URLExt.join(settings.baseUrl, 'bai', 'api', 'archive', URLExt.encodeParts(directory));
  return `${url}?${new URLSearchParams(names.map(name => ['name', name]))}`;
}
