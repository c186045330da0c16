/** A list of the cluster's as a table: searched, turned page by page, with what can be done to each row. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { AdminList, IShown, PAGE } from '../admin';
import { IAddition, IColumn, IPlainTable, IRowAction, ISessionRef, ITable, reasonOf } from '../tables';
import { keepUnits } from '../amounts';
import { AdminRow } from '../api';
import { lookOf } from '../words';
import { Bars } from './bars';
import { Box, IChoosing, Search, Together, useChoosing } from './choosing';
import { Meter } from './meter';
import { Loading, Trouble, useChanges } from './section';
import { StateIcon } from './state';

/** Carries out what a button says, asking first where that is due. */
export interface IActor {
  /** With rows for which the action has a label. */
  act: (action: IRowAction, rows: AdminRow[]) => void;
  add: (addition: IAddition) => void;
  /** Make many of a file, if that is offered. */
  import?: () => void;
  /** Open a session's tab, if rows are about sessions. */
  show?: (session: ISessionRef) => void;
}

interface ITableProps {
  table: ITable;
  model: AdminList;
  trans: TranslationBundle;
  actor: IActor;
}

export function TableView(props: ITableProps): JSX.Element {
  const { table, model, trans, actor } = props;
  useChanges(model);
  const [text, setText] = React.useState(model.text);
  const choosing = useChoosing();
  const chosen = (model.value?.items ?? []).filter(row => choosing.chosen.has(table.keyOf(row)));
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        <Search
          text={text}
          placeholder={trans.__('Search')}
          label={trans.__('Search in %1', table.label)}
          change={wanted => {
            setText(wanted);
            model.search(wanted);
          }}
        />
        {model.value && <Pages model={model} shown={model.value} trans={trans} />}
        {chosen.length > 0 && (
          <Together count={chosen.length} trans={trans}>
            {table.actions.map(action => {
              const able = chosen.filter(row => action.label(row));
              return action.together && able.length > 0 ? (
                <button key={action.verb} className="jp-bai-Button" onClick={() => actor.act(action, able)}>
                  {action.together(able.length).label}
                </button>
              ) : null;
            })}
          </Together>
        )}
        {table.addition && (
          <button className="jp-bai-Button jp-bai-Table-addition" onClick={() => actor.add(table.addition!)}>
            {table.addition.label}
          </button>
        )}
        {table.importing && actor.import && (
          <button className="jp-bai-Button" onClick={actor.import}>
            {table.importing}
          </button>
        )}
      </div>
      <Loading model={model} label={trans.__('%1 are being loaded', table.label)} />
      {model.value && model.value.total > 0 && <Rows {...props} rows={model.value.items} choosing={choosing} />}
    </>
  );
}

/** Which of the rows are shown, and the ones before and after. */
function Pages({ model, shown, trans }: { model: AdminList; shown: IShown; trans: TranslationBundle }): JSX.Element {
  const { offset, items, total } = shown;
  const last = offset + items.length;
  return (
    <>
      <span role="status">
        {total === 0 ? trans.__('Nothing') : trans.__('%1 to %2 of %3', offset + 1, last, total)}
      </span>
      {total > PAGE && (
        <>
          <button className="jp-bai-Button" disabled={offset === 0} onClick={() => model.turn(-1)}>
            {trans.__('Previous')}
          </button>
          <button className="jp-bai-Button" disabled={last >= total} onClick={() => model.turn(1)}>
            {trans.__('Next')}
          </button>
        </>
      )}
    </>
  );
}

interface IRowsProps extends Pick<ITableProps, 'trans' | 'actor'> {
  table: IPlainTable;
  rows: AdminRow[];
  /** Where several rows can be chosen. */
  choosing?: IChoosing;
}

export function Rows({ table, rows, trans, actor, choosing }: IRowsProps): JSX.Element {
  const [first, ...others] = table.columns;
  const keys = rows.map(table.keyOf);
  const boxes = table.actions.some(({ together }) => together) ? choosing : undefined;
  return (
    <div className="jp-bai-Table-frame" tabIndex={0} role="group" aria-label={table.label}>
      <table className="jp-bai-Table">
        <caption className="jp-bai-Announcer">{table.label}</caption>
        <thead>
          <tr>
            {boxes && (
              <td>
                <Box keys={keys} label={trans.__('Choose all that are shown')} choosing={boxes} />
              </td>
            )}
            {table.columns.map(({ label }) => (
              <th key={label} scope="col">
                {label}
              </th>
            ))}
            {table.actions.length > 0 && <th scope="col">{trans.__('Actions')}</th>}
          </tr>
        </thead>
        <tbody onKeyDown={moveBetweenBoxes}>
          {rows.map(row => (
            <tr key={table.keyOf(row)}>
              {boxes && (
                <td>
                  <Box keys={[table.keyOf(row)]} label={trans.__('Choose %1', first.text(row))} choosing={boxes} />
                </td>
              )}
              <th scope="row">
                {table.session && actor.show ? (
                  <button
                    className="jp-bai-Link"
                    aria-label={trans.__('Details of %1', first.text(row))}
                    onClick={() => actor.show!(table.session!(row))}
                  >
                    <bdi>{first.text(row)}</bdi>
                  </button>
                ) : (
                  <bdi>{first.text(row)}</bdi>
                )}
              </th>
              {others.map(column => (
                <td key={column.label}>
                  <Cell column={column} row={row} name={first.text(row)} trans={trans} />
                </td>
              ))}
              {table.actions.length > 0 && (
                <td>
                  {table.actions
                    .filter(action => action.label(row))
                    .map(action => (
                      <button
                        key={action.verb}
                        className="jp-bai-Button"
                        aria-label={action.label(row)}
                        onClick={() => actor.act(action, [row])}
                      >
                        {action.verb}
                      </button>
                    ))}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Up and Down go from one row's box to the next one's; Space is the box's own. */
function moveBetweenBoxes(event: React.KeyboardEvent<HTMLElement>): void {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const boxes = [...event.currentTarget.querySelectorAll<HTMLInputElement>('input[type=checkbox]')];
  const place = boxes.indexOf(event.target as HTMLInputElement);
  if (step && place >= 0) {
    event.preventDefault();
    boxes[place + step]?.focus();
  }
}

interface ICellProps {
  column: IColumn;
  row: AdminRow;
  /** What the row is called. */
  name: string;
  trans: TranslationBundle;
}

function Cell({ column, row, name, trans }: ICellProps): JSX.Element {
  if (column.uses) {
    return (
      <>
        {column.uses(row).map(use => (
          <Meter key={use.slot} label={name} use={use} />
        ))}
      </>
    );
  }
  if (column.bars) {
    return <Bars heights={column.bars(row)} />;
  }
  const text = keepUnits(column.text(row));
  if (!column.status) {
    return <bdi className={column.isLong ? 'jp-bai-Table-long' : undefined}>{text}</bdi>;
  }
  const look = lookOf({ status: column.status(row), queue: null, progress: null, reason: reasonOf(row) }, trans);
  return (
    <>
      <span className="jp-bai-Table-state">
        <StateIcon look={look} />
        {look.word}
      </span>
      <span className="jp-bai-Table-reason">{text}</span>
    </>
  );
}
