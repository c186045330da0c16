/** What was refused, in the words of the form that asked: the manager names a field as its API does. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

export interface INamed {
  /** The API's; may be of several parts, `options.timeout`. */
  name: string;
  /** What people read; what follows a comma explains it. */
  label: string;
}

/** `Sessions at once: 'x' is not a number …` for what begins with `max_concurrent_sessions`. */
export function inWordsOf(fields: INamed[], sentence: string): string {
  const found = fieldOf(fields, sentence);
  return found ? found.label.split(/[,:]/)[0] + sentence.slice(pathIn(sentence).length) : sentence;
}

/** The field that a sentence begins with. */
export function fieldOf<T extends INamed>(fields: T[], sentence: string): T | undefined {
  const path = pathIn(sentence);
  return path === '' ? undefined : fields.find(({ name }) => `.${path}.`.includes(`.${name}.`));
}

function pathIn(sentence: string): string {
  return /^([a-z][\w.[\]]*): /i.exec(sentence)?.[1] ?? '';
}

/** What a kernel or a run is asked for, as the dialog calls it. */
export function resourceFields(trans: TranslationBundle): INamed[] {
  return [
    { name: 'image', label: trans.__('Environment') },
    { name: 'preset', label: trans.__('Preset') },
    { name: 'resources.cpu', label: trans.__('CPU') },
    { name: 'resources.mem', label: trans.__('Memory') },
    { name: 'resources', label: trans.__('Resources') },
    { name: 'resource_opts', label: trans.__('Shared memory') },
    { name: 'mounts', label: trans.__('Folders') },
    { name: 'mount_map', label: trans.__('Folders') },
    { name: 'project', label: trans.__('Project') },
    { name: 'resource_group', label: trans.__('Group') },
    { name: 'session', label: trans.__('Session') },
    { name: 'starts_at', label: trans.__('Not before') },
    { name: 'parameters', label: trans.__('Parameters') }
  ];
}
