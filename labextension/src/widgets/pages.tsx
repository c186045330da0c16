/** Where in a long list one is, and the ways to the rest of it. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { IListing, IPage, isPart } from '../drive';

interface IPagesProps {
  offset: number;
  size: number;
  total: number;
  open: (offset: number) => unknown;
  trans: TranslationBundle;
  /** Beside the buttons. */
  children?: React.ReactNode;
}

export function Pages({ offset, size, total, open, trans, children }: IPagesProps): JSX.Element {
  const end = Math.min(offset + size, total);
  const [first, last, all] = [offset + 1, end, total].map(one => one.toLocaleString());
  return (
    <div className="jp-bai-Tools" role="group" aria-label={trans.__('Pages')}>
      {children}
      <button className="jp-bai-Button" disabled={offset === 0} onClick={() => open(Math.max(0, offset - size))}>
        {trans.__('Previous')}
      </button>
      <button className="jp-bai-Button" disabled={end >= total} onClick={() => open(end)}>
        {trans.__('Next')}
      </button>
      <span role="status">{total > 0 ? trans.__('%1 to %2 of %3', first, last, all) : trans.__('None.')}</span>
    </div>
  );
}

/** Below a file browser, if it does not show all that is there. */
export class Pager extends ReactWidget {
  constructor(
    private readonly turn: (page: IPage) => void,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-bai-Pager');
    this.hide();
  }

  tell(listing: IListing | null): void {
    this._listing = listing;
    this.setHidden(!listing || !isPart(listing));
    this.update();
  }

  protected render(): JSX.Element | null {
    const listing = this._listing;
    if (!listing) {
      return null;
    }
    const { path, offset, match, total, limit } = listing;
    const find = (text: string) => this.turn({ path, offset: 0, match: text });
    return (
      <Pages
        offset={offset}
        size={limit}
        total={total}
        open={to => this.turn({ path, offset: to, match })}
        trans={this.trans}
      >
        <input
          key={path}
          type="search"
          className="jp-bai-Field"
          aria-label={this.trans.__('Find in all pages')}
          placeholder={this.trans.__('Find in all pages')}
          defaultValue={match}
          onKeyDown={event => event.key === 'Enter' && find(event.currentTarget.value)}
          onInput={event => event.currentTarget.value === '' && find('')}
        />
      </Pages>
    );
  }

  private _listing: IListing | null = null;
}
