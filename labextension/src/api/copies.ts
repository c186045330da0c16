/** Copies between folders and the server's own files. */

import { ApiError, responseOf, Settings, withBody } from './request';

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
