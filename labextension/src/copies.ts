/** Files and directories copied or moved between folders and the Jupyter server's own files. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';

import { ApiError, copyFile, CopyWay, ICopyProgress } from './api';
import { DRIVE } from './drive';

/** What is asked for. A move is a copy whose source is deleted once all of it is there. */
export interface ITransfer {
  way: CopyWay;
  isMove: boolean;
  paths: string[];
  directory: string;
}

/** Which way things go that are taken from these drives to another, if it is between folders and the server's `own` files. */
export function wayBetween(from: string[], to: string, own: string): CopyWay | null {
  const areAll = (drive: string) => from.length > 0 && from.every(one => one === drive);
  if (to === DRIVE && areAll(own)) {
    return 'to-folder';
  }
  return to === own && areAll(DRIVE) ? 'to-server' : null;
}

/** How far a copy of several things is. */
export interface IStep extends ICopyProgress {
  name: string;
  /** Of all of them; the first is 1. */
  place: number;
}

/** What has become of them. */
export interface IOutcome {
  /** Where the copies are. */
  made: string[];
  skipped: number;
  /** Links and hidden files, which are not copied. */
  leftOut: number;
  /** A sentence for each of a move that was copied and is still where it was. */
  kept: string[];
  /** A sentence for each that could not be copied. */
  refused: string[];
}

export interface ICopyAsker {
  /** Another name for what is called so, since that is taken where it would go; `null` to leave it out. */
  otherName: (name: string, taken: string) => Promise<string | null>;
  tell: (step: IStep) => void;
}

/** One after the other, until all were tried or `signal` ends it. What is refused holds nobody up. */
export async function copyAll(
  settings: ServerConnection.ISettings,
  { way, isMove, paths, directory }: ITransfer,
  { otherName, tell }: ICopyAsker,
  signal: AbortSignal
): Promise<IOutcome> {
  const outcome: IOutcome = { made: [], skipped: 0, leftOut: 0, kept: [], refused: [] };
  for (const [index, path] of paths.entries()) {
    let name: string | null = path.slice(path.lastIndexOf('/') + 1);
    while (name !== null && !signal.aborted) {
      const called: string = name;
      tell({ name: called, place: index + 1, done: 0, total: 0 });
      try {
        const hear = (progress: ICopyProgress) => tell({ ...progress, name: called, place: index + 1 });
        const copied = await copyFile(settings, way, { path, directory, name, move: isMove }, signal, hear);
        outcome.made.push(copied.path);
        outcome.leftOut += copied.left_out;
        outcome.kept.push(...(copied.kept ? [copied.kept] : []));
        break;
      } catch (error) {
        if (signal.aborted) {
          break;
        }
        if ((error as ApiError).code !== 'file-exists') {
          outcome.refused.push((error as Error).message);
          break;
        }
        name = await otherName(called, (error as Error).message);
        outcome.skipped += name === null ? 1 : 0;
      }
    }
  }
  return outcome;
}

/** Of all that is copied, from 0 to 1: each of the things counts the same. */
export function partOf({ place, done, total }: IStep, count: number): number {
  return (place - 1 + (total > 0 ? done / total : 0)) / count;
}
