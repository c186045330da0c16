/** Environments: those that can be started, and those that one made of sessions. */

import { URLExt } from '@jupyterlab/coreutils';

import { requestAPI, Settings } from './request';

/** An environment, and the Jupyter kernels in it. */
export interface IImage {
  name: string;
  kernelspecs: { name: string; display_name?: string }[];
  /** As an agent has it. */
  size_bytes: number;
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
