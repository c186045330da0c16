/** Notebooks: what their kernels are to run on, runs of copies, and those from elsewhere. */

import { URLExt } from '@jupyterlab/coreutils';

import { IChoice } from './choices';
import { requestAPI, Settings, withBody } from './request';

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

/** A kernelspec as notebooks name it. */
export interface IKernelspecName {
  name: string;
  display_name: string;
  language: string;
}

/** What a notebook asks for as it was saved, and whether a start would follow that. */
export interface IAsked {
  choice: unknown;
  is_heard: boolean;
  /** To start it with, if it cannot be written and that choice was made for it here. */
  kernelspec: IKernelspecName | null;
}

export async function askedBy(settings: Settings, path: string): Promise<IAsked> {
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

/** The same, written into a notebook that is not open. */
export async function writeChoice(settings: Settings, path: string, choice: IChoice): Promise<IKernelspecName> {
  const address = `${notebookPath(path)}/choice`;
  return (await requestAPI<{ kernelspec: IKernelspecName }>(settings, address, withBody('PUT', choice))).kernelspec;
}

/** Run a copy of a saved notebook from start to end in a session of its own. Throws what the manager refuses. */
export async function runNotebook(settings: Settings, path: string, request: IRunRequest): Promise<IRun> {
  return requestAPI(settings, `${notebookPath(path)}/runs`, withBody('POST', request));
}

/** Have the server fetch the notebook at an address into a folder; where it is then. Throws what is wrong with it. */
export async function importNotebook(settings: Settings, url: string, folder: string): Promise<string> {
  return (await requestAPI<{ path: string }>(settings, 'imports', withBody('POST', { url, folder }))).path;
}

function notebookPath(path: string): string {
  return `notebooks/${URLExt.encodeParts(path)}`;
}
