/** The tab *Usage*: what is in use now, and what was held before, as charts and figures. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { IUsed } from '../api';
import { baiIcon } from '../icons';
import { Capacity } from '../model';
import { Costs, costTable, csvOf, Figure, figuresOf, pointAfter, pointAt, rounded, SPANS, Step, Usage } from '../usage';
import { Bars } from './bars';
import { createCapacity } from './capacity';
import { save } from './save';
import { Loading, Section, Trouble, useChanges } from './section';
import { IActor, Rows } from './table';
import { createTabs } from './tabs';

/** `scopes` are what can be looked at: `[value, label]`. */
export function createUsage(
  capacity: Capacity,
  usage: Usage,
  costs: Costs,
  scopes: [string, string][],
  show: IActor['show'],
  trans: TranslationBundle
): MainAreaWidget {
  const now = createCapacity(capacity, trans);
  now.title.label = trans.__('Now');
  const history = new Section(trans.__('History'), [usage], <History model={usage} scopes={scopes} trans={trans} />);
  history.addClass('jp-bai-Usage');
  const cost = new Section(trans.__('Cost'), [costs], <Cost {...{ model: costs, scopes, show, trans }} />);
  const tab = createTabs([history, cost, now], trans.__('Usage'));
  tab.title.label = trans.__('Backend.AI Usage');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => [capacity, usage, costs].forEach(model => model.dispose()));
  return tab;
}

interface IHistoryProps {
  model: Usage;
  scopes: [string, string][];
  trans: TranslationBundle;
}

function History({ model, scopes, trans }: IHistoryProps): JSX.Element {
  useChanges(model);
  const { value, step, scope } = model;
  const steps: [Step, string][] = [
    ['day', trans.__('day')],
    ['week', trans.__('week')],
    ['month', trans.__('month')]
  ];
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        <Choice label={trans.__('By')} value={step} options={steps} choose={one => model.show(one as Step, scope)} />
        {scopes.length > 1 && (
          <Choice label={trans.__('Of')} value={scope} options={scopes} choose={one => model.show(step, one)} />
        )}
        <button
          className="jp-bai-Button jp-bai-Table-addition"
          disabled={value === null}
          onClick={() => save(csvOf(value!), `usage-by-${step}.csv`, 'text/csv')}
        >
          {trans.__('Download CSV')}
        </button>
      </div>
      <Loading model={model} label={trans.__('Usage is being loaded')} />
      {value && <Charts rows={value} step={step} trans={trans} />}
      {value && <Figures rows={value} step={step} trans={trans} />}
    </>
  );
}

interface ICostProps {
  model: Costs;
  scopes: [string, string][];
  show: IActor['show'];
  trans: TranslationBundle;
}

/** Which sessions held most. */
function Cost({ model, scopes, show, trans }: ICostProps): JSX.Element {
  useChanges(model);
  const { value, days, scope } = model;
  const spans = SPANS.map((one): [string, string] => [`${one}`, trans.__('the last %1 days', one)]);
  const count = value?.sessions.length ?? 0;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        <Choice label={trans.__('In')} value={`${days}`} options={spans} choose={one => model.show(Number(one), scope)} />
        {scopes.length > 1 && (
          <Choice label={trans.__('Of')} value={scope} options={scopes} choose={one => model.show(days, one)} />
        )}
        <span role="status">
          {value &&
            (count === 0 ? trans.__('Nothing was held in this time.') : trans.__('%1 of %2, the largest first', count, value.total_count))}
        </span>
      </div>
      <Loading model={model} label={trans.__('Usage is being loaded')} />
      {value && count > 0 && (
        <Rows
          table={costTable(scope === 'me', trans)}
          rows={value.sessions.map(one => ({ ...one }))}
          trans={trans}
          actor={{ act: () => undefined, add: () => undefined, show }}
        />
      )}
    </>
  );
}

interface IChoiceProps {
  label: string;
  value: string;
  options: [string, string][];
  choose: (value: string) => void;
}

function Choice({ label, value, options, choose }: IChoiceProps): JSX.Element {
  return (
    <label className="jp-bai-Choice">
      {label}
      <select className="jp-bai-Field" value={value} onChange={event => choose(event.target.value)}>
        {options.map(([one, text]) => (
          <option key={one} value={one}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

interface IRowsProps {
  rows: IUsed[];
  step: Step;
  trans: TranslationBundle;
}

/** One of each figure that was held at all, with one cursor for all of them. */
function Charts({ rows, step, trans }: IRowsProps): JSX.Element {
  const [cursor, setCursor] = React.useState<number | null>(null);
  const sum = (figure: Figure) => rows.reduce((total, row) => total + row[figure], 0);
  const held = figuresOf(trans).filter(([figure]) => sum(figure) > 0);
  if (held.length === 0) {
    return <p className="jp-bai-Hint">{trans.__('Nothing was held in this time.')}</p>;
  }
  const at = cursor === null ? null : Math.min(cursor, rows.length - 1); // days, weeks and months are not as many
  return (
    <div className="jp-bai-Charts">
      {held.map(([figure, name]) => (
        <figure key={figure}>
          <figcaption>
            <strong>{name}</strong>
            <span>
              {trans.__(
                '%1 in all, %2 at most',
                rounded(sum(figure)).toLocaleString(),
                rounded(Math.max(...rows.map(row => row[figure]))).toLocaleString()
              )}
            </span>
          </figcaption>
          <Chart {...{ rows, step, figure, name, at, setCursor, trans }} />
        </figure>
      ))}
    </div>
  );
}

interface IChartProps extends IRowsProps {
  figure: Figure;
  name: string;
  /** Where the cursor is. */
  at: number | null;
  setCursor: (at: number | null) => void;
}

/** Arrows, Home and End move its cursor, and so does the pointer; T leads to the same as a table. */
function Chart({ rows, step, figure, name, at, setCursor, trans }: IChartProps): JSX.Element {
  const chart = React.useRef<HTMLDivElement>(null);
  const last = rows.length - 1;
  const said = (place: number) =>
    trans.__('%1: %2', dateOf(rows[place].date, step), rounded(rows[place][figure]).toLocaleString());
  const onKeyDown = (event: React.KeyboardEvent) => {
    const next = pointAfter(event.key, at, rows.length);
    if (next !== null) {
      event.preventDefault();
      setCursor(next);
    } else if (event.key.toLowerCase() === 't') {
      chart.current!.closest('.jp-bai-Usage')!.querySelector<HTMLElement>('.jp-bai-Table-frame')!.focus();
    }
  };
  const onPointerMove = (event: React.PointerEvent) => {
    const { left, width } = chart.current!.getBoundingClientRect();
    setCursor(pointAt(event.clientX - left, width, rows.length));
  };
  return (
    <>
      <div
        ref={chart}
        className="jp-bai-Charts-chart"
        role="slider"
        tabIndex={0}
        aria-label={trans.__('%1 at', name)}
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={at ?? last}
        aria-valuetext={said(at ?? last)}
        onKeyDown={onKeyDown}
        onPointerMove={onPointerMove}
        onPointerLeave={() => document.activeElement === chart.current || setCursor(null)}
        onFocus={() => at === null && setCursor(last)}
        onBlur={() => setCursor(null)}
      >
        <Bars heights={rows.map(row => row[figure])} tall={96} cursor={at} />
      </div>
      <div className="jp-bai-Charts-axis">
        <span>{dateOf(rows[0].date, step)}</span>
        <strong aria-hidden="true">{at === null ? '' : said(at)}</strong>
        <span>{dateOf(rows[last].date, step)}</span>
      </div>
    </>
  );
}

/** The same, newest first. */
function Figures({ rows, step, trans }: IRowsProps): JSX.Element {
  const figures = figuresOf(trans);
  const label = { day: trans.__('Day'), week: trans.__('Week from'), month: trans.__('Month') }[step];
  return (
    <div className="jp-bai-Table-frame" tabIndex={0} role="group" aria-label={trans.__('Figures')}>
      <table className="jp-bai-Table jp-mod-figures">
        <caption className="jp-bai-Announcer">{trans.__('What was held, in UTC')}</caption>
        <thead>
          <tr>
            <th scope="col">{label}</th>
            {figures.map(([figure, name]) => (
              <th key={figure} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {[...rows].reverse().map(row => (
            <tr key={row.date}>
              <th scope="row">{dateOf(row.date, step)}</th>
              {figures.map(([figure]) => (
                <td key={figure}>{rounded(row[figure]).toLocaleString()}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function dateOf(date: string, step: Step): string {
  const parts: Intl.DateTimeFormatOptions =
    step === 'month' ? { month: 'short', year: 'numeric' } : { day: 'numeric', month: 'short' };
  return new Date(`${date}T00:00:00Z`).toLocaleDateString(undefined, { ...parts, timeZone: 'UTC' });
}
