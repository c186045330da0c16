/** What is said of a run beside its resources: when it begins, and parameters. Knows no widgets. */

import { TranslationBundle } from '@jupyterlab/translation';

import { IRunRequest } from './api';

/** As somebody writes it. */
export interface IRunFields {
  /** Local time as `<input type="datetime-local">` has it; empty for now. */
  startsAt: string;
  /** `name = value` on each line. */
  parameters: string;
}

const WORDS: Record<string, unknown> = { True: true, False: false, None: null };

/** What the server is asked for. Throws a sentence about what cannot be read. */
export function readRun({ startsAt, parameters }: IRunFields, trans: TranslationBundle): Omit<IRunRequest, 'choice'> {
  const read = readParameters(parameters, trans);
  return {
    ...(Object.keys(read).length > 0 ? { parameters: read } : {}),
    ...(startsAt ? { starts_at: new Date(startsAt).toISOString() } : {})
  };
}

/** Values are JSON, or Python's `True`, `False` and `None`. Empty lines and those with `#` in front say nothing. */
export function readParameters(text: string, trans: TranslationBundle): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const line of text.split('\n').map(one => one.trim())) {
    if (line === '' || line.startsWith('#')) {
      continue;
    }
    const [, name, value] = /^([^=\s]+)\s*=\s*(.+)$/.exec(line) ?? [];
    if (name === undefined) {
      throw new Error(trans.__('Parameters: "%1" is not written as name = value.', line));
    }
    if (Object.hasOwn(found, name)) {
      throw new Error(trans.__('Parameters: %1 is set twice.', name));
    }
    found[name] = readValue(name, value, trans);
  }
  return found;
}

function readValue(name: string, value: string, trans: TranslationBundle): unknown {
  if (Object.hasOwn(WORDS, value)) {
    return WORDS[value];
  }
  try {
    return JSON.parse(value);
  } catch {
    throw new Error(
      trans.__('Parameters: %1 is %2, which is neither a number, a text in double quotes, a list, True, False nor None.', name, value)
    );
  }
}
