/** What was saved of a kernel's variables, in words. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

import { formatSize } from './amounts';
import { INotSaved, ISave, ISaved } from './api';

/** So many are named; the rest are counted. */
const MOST_NAMED = 5;

/** `Saved 3 variables, 1.2 KiB. Not saved: f (an open file).`, or why nothing was; whether all was. */
export function describeSave(save: ISave, trans: TranslationBundle): { isWhole: boolean; text: string } {
  if (save.refused) {
    return { isWhole: false, text: save.refused.text };
  }
  const said = [trans.__('saved %1.', describeAmount(save, trans))];
  if (save.left_out.length > 0) {
    said.push(trans.__('Not saved: %1.', listed(save.left_out, trans)));
  }
  if (save.doubtful.length > 0) {
    said.push(trans.__('Doubtful: %1.', listed(save.doubtful, trans)));
  }
  return { isWhole: said.length === 1, text: said.join(' ') };
}

function listed(those: INotSaved[], trans: TranslationBundle): string {
  const named = those.slice(0, MOST_NAMED).map(({ name, why }) => `${name} (${why})`);
  const rest = those.length - named.length;
  return [...named, ...(rest > 0 ? [trans._n('and %1 more', 'and %1 more', rest)] : [])].join(', ');
}

/** `demo · 3 variables, 1.2 KiB · 30 Nov 2026, 14:05`; with its kernel where another reads the same. */
export function describeSaved(one: ISaved, all: ISaved[], trans: TranslationBundle): string {
  const text = wordsOf(one, trans);
  const isAlone = all.filter(other => wordsOf(other, trans) === text).length === 1;
  return isAlone ? text : `${text} · ${one.kernel}`;
}

function wordsOf(one: ISaved, trans: TranslationBundle): string {
  const at = new Date(one.at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  return `${one.name} · ${describeAmount(one, trans)} · ${at}`;
}

function describeAmount({ variables, bytes }: Pick<ISave, 'variables' | 'bytes'>, trans: TranslationBundle): string {
  return trans._n('%1 variable, %2', '%1 variables, %2', variables, formatSize(bytes));
}
