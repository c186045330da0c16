/** Lists that are searched, and of whose rows several are chosen to do one thing to all of them. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

interface ISearchProps {
  text: string;
  change: (text: string) => void;
  placeholder: string;
  label: string;
}

/** `/` leads to it, where `focusSearch` listens. */
export function Search({ text, change, placeholder, label }: ISearchProps): JSX.Element {
  return (
    <input
      className="jp-bai-Field"
      type="search"
      value={text}
      placeholder={placeholder}
      aria-label={label}
      onChange={event => change(event.target.value)}
    />
  );
}

/** `/` leads to the field that searches the list in front, except where it is typed. */
export function focusSearch(event: KeyboardEvent): void {
  const isTyped = (event.target as Element).matches('input:not([type=checkbox]), textarea, select, [contenteditable]');
  if (event.key !== '/' || isTyped || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const fields = (event.currentTarget as Element).querySelectorAll<HTMLInputElement>('input[type=search]');
  const field = [...fields].find(one => one.offsetParent !== null);
  if (field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
}

/** By the keys of rows. */
export interface IChoosing {
  chosen: ReadonlySet<string>;
  choose: (keys: string[], isChosen: boolean) => void;
}

export function useChoosing(): IChoosing {
  const [chosen, setChosen] = React.useState<ReadonlySet<string>>(new Set());
  const choose = (keys: string[], isChosen: boolean) =>
    setChosen(new Set(isChosen ? [...chosen, ...keys] : [...chosen].filter(key => !keys.includes(key))));
  return { chosen, choose };
}

interface IBoxProps {
  /** Of the rows that it stands for. */
  keys: string[];
  label: string;
  choosing: IChoosing;
  /** -1 where the row itself takes the keys. */
  tabIndex?: number;
}

export function Box({ keys, label, choosing: { chosen, choose }, tabIndex }: IBoxProps): JSX.Element {
  return (
    <input
      type="checkbox"
      aria-label={label}
      tabIndex={tabIndex}
      checked={keys.every(key => chosen.has(key))}
      onChange={event => choose(keys, event.target.checked)}
    />
  );
}

interface ITogetherProps {
  count: number;
  trans: TranslationBundle;
  children: React.ReactNode;
}

/** What can be done with all that are chosen and shown. */
export function Together({ count, trans, children }: ITogetherProps): JSX.Element {
  return (
    <div className="jp-bai-Tools" role="group" aria-label={trans.__('With those chosen')}>
      <span role="status">{trans.__('%1 chosen', count)}</span>
      {children}
    </div>
  );
}
