/** What a table says of its rows, and what can be done to one. Pure. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { Edits, IEdit } from './adminEdits';
import { describeSlots, formatSize, IUse } from './amounts';
import { AdminRow, IReason } from './api';
import { slotsOf } from './typed';

export interface IColumn {
  label: string;
  text: (row: AdminRow) => string;
  /** It may be of any length, and without spaces. */
  isLong?: boolean;
  /** Shown as bars instead of the text. */
  uses?: (row: AdminRow) => IUse[];
  /** Shown as a small chart, before the figures that say the same in the columns beside it. */
  bars?: (row: AdminRow) => number[];
  /** For a session's state: its status, whose word and icon are shown in front of the text. */
  status?: (row: AdminRow) => string;
}

type Settings = ServerConnection.ISettings;

interface IAction {
  verb: string;
  /** The button's name; empty where it cannot be done to that row. */
  label: (row: AdminRow) => string;
  /** What it is called with so many rows, and what is asked then; without it, none can be chosen for it. */
  together?: (count: number) => { label: string; confirm?: string };
}

/** Done at once, or after a question. */
export interface IDeed extends IAction {
  /** What is lost and what is kept; without it nothing is asked. */
  confirm?: string;
  run: (settings: Settings, row: AdminRow) => Promise<void>;
}

/** What there is now decides in which ways it can be done; one of them is chosen. */
export interface IQuestion extends IAction {
  ask: (settings: Settings, rows: AdminRow[]) => Promise<IWays>;
}

export interface IWays {
  title: string;
  /** What is lost and what is kept. */
  body: string;
  ways: IWay[];
}

export interface IWay {
  verb: string;
  /** Asked once more, with what is lost. */
  confirm?: { title: string; body: string; verb: string };
  run?: () => Promise<void>;
  /** Something is filled in first, in place of `run`. */
  edit?: () => IEdit;
}

/** Something is filled in first. */
export interface IChange extends IAction {
  edit: (edits: Edits, row: AdminRow) => IEdit | Promise<IEdit>;
}

export type IRowAction = IDeed | IQuestion | IChange;

/** What can be made that is not in a list yet. */
export interface IAddition {
  label: string;
  edit: (edits: Edits) => IEdit | Promise<IEdit>;
}

/** A session, and whose it is. */
export interface ISessionRef {
  id: string;
  name: string;
  /** For admins, the keypair's that it counts for, and the id of its user, as far as they are known. */
  owner?: string;
  user?: string;
}

export interface ITable {
  /** What the server calls it. */
  name: string;
  label: string;
  /** What those of one kind are called together, if it is one of several. */
  part?: string;
  /** What a row is known by. */
  keyOf: (row: AdminRow) => string;
  /** The first one names the row. */
  columns: IColumn[];
  actions: IRowAction[];
  /** The session that a row is about; its name opens that one's tab. */
  session?: (row: AdminRow) => ISessionRef;
  addition?: IAddition;
  /** What the button says that makes many of a file. */
  importing?: string;
  /** Whether it is of the cluster as a whole: superadmins alone see it. */
  isOfAll?: boolean;
  /** How often it is asked for, if not every few seconds. */
  intervalSeconds?: number;
}

/** What is said of rows, wherever they come from. */
export type IPlainTable = Omit<ITable, 'name'>;

/** Makes columns of a row's fields, `(label, name)`. */
export function columnsOf(trans: TranslationBundle) {
  return {
    field: (label: string, name: string): IColumn => ({ label, text: row => shown(row[name]) }),
    /** One of two words. */
    is: (label: string, name: string, yes: string, no: string): IColumn => ({ label, text: row => (row[name] ? yes : no) }),
    slots: (label: string, name: string): IColumn => ({ label, text: row => describeSlots(slotsOf(row[name])) }),
    size: (label: string, name: string): IColumn => ({ label, text: row => sizeOf(row[name]) }),
    moment: (label: string, name: string): IColumn => ({ label, text: row => momentOf(row[name]) }),
    /** Nothing is no limit. */
    limit: (column: IColumn): IColumn => ({ ...column, text: row => column.text(row) || trans.__('no limit') })
  };
}

/** One after the other; one that is refused hinders no others. Throws the first refusal, with how many there were. */
export async function inTurn<T>(all: T[], act: (one: T) => Promise<void>, trans: TranslationBundle): Promise<void> {
  const refused: Error[] = [];
  for (const one of all) {
    await act(one).catch(error => refused.push(error as Error));
  }
  if (refused.length > 0) {
    const [{ message }] = refused;
    throw all.length === 1 ? refused[0] : new Error(trans.__('%1 of %2 were refused. The first: %3', refused.length, all.length, message));
  }
}

export function shown(value: unknown): string {
  return value === null || value === undefined ? '' : `${value}`;
}

export function reasonOf(row: AdminRow): IReason | null {
  return JSON.parse(shown(row.status_data) || '{}').reason ?? null;
}

export function momentOf(value: unknown): string {
  return value ? new Date(`${value}`).toLocaleString() : '';
}

export function sizeOf(value: unknown): string {
  return value ? formatSize(Number(value)) : '';
}
