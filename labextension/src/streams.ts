/** What a cell prints, in fewer messages. Knows no widgets of ours. */

import type { KernelMessage } from '@jupyterlab/services';

/**
 * The same messages, with those joined that print to the same stream of the same cell one after the other. A joined one
 * has the header of its last: who has shown it has shown all up to there.
 */
export function joined(messages: readonly KernelMessage.IMessage[]): KernelMessage.IMessage[] {
  const runs: KernelMessage.IMessage[][] = [];
  for (const msg of messages) {
    const run = runs[runs.length - 1];
    if (run !== undefined && isContinued(run[run.length - 1], msg)) {
      run.push(msg);
    } else {
      runs.push([msg]);
    }
  }
  return runs.map(run => (run.length === 1 ? run[0] : whole(run as KernelMessage.IStreamMsg[])));
}

function isContinued(before: KernelMessage.IMessage, msg: KernelMessage.IMessage): boolean {
  return (
    isStream(before) &&
    isStream(msg) &&
    before.content.name === msg.content.name &&
    parent(before) === parent(msg)
  );
}

function isStream(msg: KernelMessage.IMessage): msg is KernelMessage.IStreamMsg {
  return msg.channel === 'iopub' && msg.header.msg_type === 'stream';
}

function parent(msg: KernelMessage.IMessage): string | undefined {
  return (msg.parent_header as Partial<KernelMessage.IHeader>).msg_id;
}

function whole(run: KernelMessage.IStreamMsg[]): KernelMessage.IStreamMsg {
  const last = run[run.length - 1];
  return { ...last, content: { ...last.content, text: run.map(msg => msg.content.text).join('') } };
}

/** One after the other. What cannot be shown is told, and holds nothing up. */
export async function showEach<T>(
  messages: T[],
  show: (msg: T) => Promise<void>,
  tell: (fault: unknown) => void = console.warn
): Promise<void> {
  for (const msg of messages) {
    await show(msg).catch(tell);
  }
}
