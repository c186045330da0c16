/** What the sections of the panel have in common: asking only while they are seen, trouble, rows, bars. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal } from '@lumino/signaling';
import React from 'react';

import { Watched } from '../watched';

/** Shows models, and has them kept fresh while it is on the screen. */
export class Section extends ReactWidget {
  constructor(
    label: string,
    private readonly models: Watched<unknown>[],
    private readonly body: JSX.Element
  ) {
    super();
    this.addClass('jp-bai-Section');
    this.title.label = label;
  }

  refresh(): void {
    if (this._isWatching) {
      this.models.forEach(model => void model.refresh());
    }
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._watch(true);
  }

  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this._watch(this.isVisible);
  }

  protected onBeforeHide(msg: Message): void {
    this._watch(false);
    super.onBeforeHide(msg);
  }

  protected onBeforeDetach(msg: Message): void {
    this._watch(false);
    super.onBeforeDetach(msg);
  }

  protected render(): JSX.Element {
    return this.body;
  }

  private _watch(isWatching: boolean): void {
    if (isWatching !== this._isWatching) {
      this._isWatching = isWatching;
      this.models.forEach(model => (isWatching ? model.watch() : model.unwatch()));
    }
  }

  private _isWatching = false;
}

/** Draw again whenever one of them changes. */
export function useChanges(...models: { changed: ISignal<any, unknown> }[]): void {
  const [, draw] = React.useReducer((times: number) => times + 1, 0);
  React.useEffect(() => {
    const slot = () => draw();
    models.forEach(model => model.changed.connect(slot));
    draw(); // what changed before
    return () => models.forEach(model => model.changed.disconnect(slot));
  }, models);
}

interface ITroubleProps {
  model: Watched<unknown>;
  trans: TranslationBundle;
}

/** What is wrong, in one place; what was known before stays below it. */
export function Trouble({ model, trans }: ITroubleProps): JSX.Element | null {
  if (!model.error) {
    return null;
  }
  const known = model.value !== null && model.updatedAt;
  return (
    <div className="jp-bai-Trouble" role="status">
      <p>{model.error.message}</p>
      {known && <p>{trans.__('Last update %1.', model.updatedAt!.toLocaleTimeString())}</p>}
      <button className="jp-bai-Button" onClick={() => void model.refresh()}>
        {trans.__('Try again')}
      </button>
    </div>
  );
}

/** Until something is known for the first time. */
export function Loading({ model, label }: { model: Watched<unknown>; label: string }): JSX.Element | null {
  if (model.value !== null || model.error !== null) {
    return null;
  }
  return (
    <div className="jp-bai-Loading" aria-busy="true" aria-label={label}>
      <div />
      <div />
    </div>
  );
}

export function Bar({ percent, label }: { percent: number; label: string }): JSX.Element {
  return (
    <div
      className="jp-bai-Bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(percent)}
    >
      <div style={{ inlineSize: `${percent}%` }} />
    </div>
  );
}

/** What makes an element a row of a list. */
export interface IPlace {
  ref: (node: HTMLLIElement | null) => void;
  tabIndex: number;
  onFocus: () => void;
}

interface IRows {
  /** For the list. */
  onKeyDown: (event: React.KeyboardEvent) => void;
  /** For the row of that id. */
  row: (id: string) => IPlace;
}

/**
 * Up and Down go through the rows, Home and End to the ends; Tab goes on to a row's buttons. `keys` are what other keys
 * do with the row that has the focus itself.
 */
export function useRows(ids: string[], keys: Record<string, (id: string) => void>): IRows {
  const [current, setCurrent] = React.useState<string | null>(null);
  const rows = React.useRef(new Map<string, HTMLLIElement>());
  const index = Math.max(0, ids.indexOf(current ?? ''));

  const go = (to: number) => {
    const next = ids[Math.min(Math.max(to, 0), ids.length - 1)];
    setCurrent(next);
    rows.current.get(next)?.focus();
  };
  const moves: Record<string, () => void> = {
    ArrowDown: () => go(index + 1),
    ArrowUp: () => go(index - 1),
    Home: () => go(0),
    End: () => go(ids.length - 1)
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const target = event.target as HTMLElement;
    const move = target.matches('input:not([type=checkbox]), select') ? undefined : moves[event.key];
    const key = target === rows.current.get(ids[index]) ? keys[event.key] : undefined;
    const act = move ?? (key && (() => key(ids[index])));
    if (act) {
      event.preventDefault();
      act();
    }
  };
  const row = (id: string): IPlace => ({
    ref: node => void (node ? rows.current.set(id, node) : rows.current.delete(id)),
    tabIndex: ids[index] === id ? 0 : -1,
    onFocus: () => setCurrent(id)
  });
  return { onKeyDown, row };
}
