/** Lists of what the cluster stands on: its agents, where folders lie, and what went wrong. Pure. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { formatPart, formatSize, IUse, usesOf } from './amounts';
import { IEdit } from './adminEdits';
import { AdminRow, changeAdmin, endSession, sessionsOn } from './api';
import { describeEnd, describeMoment } from './session';
import { columnsOf, inTurn, ITable, IWay, IWays, momentOf, shown } from './tables';
import { slotsOf } from './typed';

export function agentTable(trans: TranslationBundle): ITable {
  const { field } = columnsOf(trans);
  return {
  name: 'agents',
  label: trans.__('Agents'),
  keyOf: row => shown(row.id),
  columns: [
    field(trans.__('Name'), 'name'),
    { label: trans.__('State'), text: row => agentState(row, trans) },
    field(trans.__('Group'), 'resource_group'),
    { label: trans.__('In use'), uses: row => usesOf(slotsOf(row.slots), slotsOf(row.used), trans), text: () => '' },
    { label: trans.__('Devices'), text: row => devicesOf(row, trans) },
    field(trans.__('Runtime'), 'runtime'),
    field(trans.__('Version'), 'version')
  ],
  actions: [
    {
      verb: trans.__('Drain'),
      label: row => (row.schedulable ? trans.__('Drain %1', shown(row.name)) : ''),
      together: count => ({ label: trans._n('Drain %1 agent', 'Drain %1 agents', count) }),
      ask: (settings, rows) => drainOf(settings, rows, trans)
    },
    {
      verb: trans.__('Left there…'),
      label: row => (row.schedulable || !row.sessions ? '' : trans.__('What is left on %1', shown(row.name))),
      ask: (settings, rows) => drainOf(settings, rows, trans)
    },
    {
      verb: trans.__('Resume'),
      label: row => (row.schedulable ? '' : trans.__('Resume %1', shown(row.name))),
      run: (settings, row) => changeAdmin(settings, 'agents', shown(row.name), { schedulable: true })
    }
  ],
  addition: { label: trans.__('Add agent…'), edit: edits => edits.newAgent() }
};
}

/** How agents can be drained: what runs there goes on, or is ended, now or at a time. */
async function drainOf(settings: ServerConnection.ISettings, rows: AdminRow[], trans: TranslationBundle): Promise<IWays> {
  const names = rows.map(row => shown(row.name));
  const isDrained = rows.every(row => row.schedulable === false);
  const found = (await Promise.all(names.map(name => sessionsOn(settings, name)))).flat();
  const all = [...new Map(found.map(one => [one.session_id, one])).values()]; // one may be on several
  const [sessions, ending] = [all.filter(one => !one.ending_since), all.filter(one => one.ending_since)];
  const drainBy = (moment: Date | null) =>
    inTurn(names, name => changeAdmin(settings, 'agents', name, { schedulable: false, drain_by: moment?.toISOString() ?? null }), trans);
  const drain = () => drainBy(null);
  const endAll = async () => {
    await drain();
    await inTurn(sessions, one => endSession(settings, shown(one.session_id), shown(one.access_key)), trans);
  };
  const rest = trans._n('No new sessions until it is resumed.', 'No new sessions on these %1 until they are resumed.', names.length);
  const running = trans._n('One session runs there: %2.', '%1 sessions run there: %2.', sessions.length, namesOf(sessions, trans));
  const choice = trans.__('What runs goes on until it ends by itself, unless you end it now, or later with a warning.');
  const still = ending.length > 0 ? trans.__('Still ending: %1.', endingOf(ending)) : '';
  const end: IWay = {
    verb: trans.__('End sessions now…'),
    confirm: {
      title: trans._n('End the session on %2?', 'End %1 sessions on %2?', sessions.length, names.join(', ')),
      body: `${namesOf(sessions, trans)}. ${describeEnd(false, trans, sessions.length)}`,
      verb: trans.__('End sessions')
    },
    run: endAll
  };
  return {
    title: isDrained ? trans.__('Left on %1', names.join(', ')) : trans.__('Drain %1?', names.join(', ')),
    body: [rest, ...(sessions.length === 0 ? [trans.__('No session runs there.')] : [running, choice]), still].filter(Boolean).join(' '),
    ways: [
      ...(sessions.length === 0 ? [] : [end, { verb: trans.__('End later…'), edit: () => drainEdit(names, drainBy, trans) }]),
      { verb: isDrained ? trans.__('End none') : trans.__('Drain'), run: drain }
    ]
  };
}

/** When what is left is ended. */
function drainEdit(names: string[], drainBy: (moment: Date) => Promise<void>, trans: TranslationBundle): IEdit {
  const field = { name: 'by', label: trans.__('End what is left at'), value: localText(inHours(2, new Date())), isMoment: true };
  return {
    title: trans.__('Drain %1', names.join(', ')),
    notes: [
      trans.__('No new sessions from now on. Owners of those that run are warned 10 and 2 minutes before; what is left then is ended.'),
      trans.__('Files in folders are kept. Each can be started again as it was.')
    ],
    fields: [field],
    verb: trans.__('Drain'),
    run: ({ by }) => drainBy(new Date(by))
  };
}

/** The next full quarter of an hour after so many hours. */
function inHours(hours: number, now: Date): Date {
  const quarter = 15 * 60_000;
  return new Date(Math.ceil((now.getTime() + hours * 3_600_000) / quarter) * quarter);
}

/** As `<input type="datetime-local">` has it. */
function localText(moment: Date): string {
  return new Date(moment.getTime() - 60_000 * moment.getTimezoneOffset()).toISOString().slice(0, 16);
}

/** `demo (kim@lab.org) since 14:05:00`. */
function endingOf(sessions: AdminRow[]): string {
  return sessions.map(one => `${shown(one.name)} (${shown(one.user_email)}), ${momentOf(one.ending_since)}`).join('; ');
}

/** `demo (kim@lab.org), train (lee@lab.org) and 3 more`. */
function namesOf(sessions: AdminRow[], trans: TranslationBundle): string {
  const told = sessions.slice(0, 5).map(one => `${shown(one.name)} (${shown(one.user_email)})`);
  const more = sessions.length - told.length;
  return more > 0 ? trans.__('%1 and %2 more', told.join(', '), more) : told.join(', ');
}

export function volumeTable(trans: TranslationBundle): ITable {
  const { field } = columnsOf(trans);
  return {
    name: 'volumes',
    part: trans.__('Storage'),
    label: trans.__('Volumes'),
    keyOf: row => shown(row.name),
    columns: [
      field(trans.__('Name'), 'name'),
      { label: trans.__('In use'), uses: row => spaceOf(row, trans), text: () => '' },
      {
        label: trans.__('Free'),
        text: row => (row.trouble ? shown(row.trouble) : formatSize(Number(row.capacity_bytes) - Number(row.used_bytes)))
      },
      {
        label: trans.__('Limits of folders'),
        text: row => (row.quota_kind === 'hard' ? trans.__('hard: nobody can pass them') : trans.__('soft: sessions can pass them'))
      },
      field(trans.__('Kind'), 'backend'),
      field(trans.__('Agents'), 'agents')
    ],
    actions: [],
    isOfAll: true,
    intervalSeconds: 10
  };
}

export function folderTable(trans: TranslationBundle): ITable {
  const { field, size, moment, limit } = columnsOf(trans);
  return {
    name: 'folders',
    part: trans.__('Storage'),
    label: trans.__('Folders'),
    keyOf: row => shown(row.id),
    columns: [
      field(trans.__('Name'), 'name'),
      {
        label: trans.__('Whose'),
        text: row => (row.group_name ? trans.__('project %1', shown(row.group_name)) : shown(row.user_email))
      },
      field(trans.__('Volume'), 'host'),
      { label: trans.__('Holds'), text: row => formatSize(Number(row.cur_size ?? 0)) },
      limit(size(trans.__('Limit'), 'max_size')),
      field(trans.__('Status'), 'status'),
      moment(trans.__('Made'), 'created_at')
    ],
    actions: [],
    isOfAll: true,
    intervalSeconds: 10
  };
}

/** The manager's log. */
export function errorTable(trans: TranslationBundle): ITable {
  const { field, moment } = columnsOf(trans);
  return {
    name: 'errors',
    label: trans.__('Errors'),
    keyOf: row => `${shown(row.created_at)} ${shown(row.source)} ${shown(row.message)}`,
    columns: [
      moment(trans.__('When'), 'created_at'),
      field(trans.__('Severity'), 'severity'),
      field(trans.__('Where'), 'source'),
      field(trans.__('What'), 'message')
    ],
    actions: [],
    isOfAll: true,
    intervalSeconds: 10
  };
}

/** How the manager is set up; what was set at its start is only looked at. */
export function settingTable(trans: TranslationBundle): ITable {
  const { field } = columnsOf(trans);
  return {
    name: 'settings',
    label: trans.__('Settings'),
    keyOf: row => shown(row.name),
    columns: [
      field(trans.__('Name'), 'name'),
      { label: trans.__('Value'), text: row => (row.is_hidden ? trans.__('not shown') : valueOf(row.value)), isLong: true },
      { label: trans.__('Default'), text: row => (row.is_hidden ? '' : valueOf(row.default)), isLong: true },
      { label: trans.__('Set in'), text: row => sourceOf(row, trans), isLong: true },
      field(trans.__('What it is'), 'help')
    ],
    actions: [
      {
        verb: trans.__('Change'),
        label: row => (row.name === 'announcement' ? trans.__('Change the announcement') : ''),
        edit: edits => edits.announcement()
      }
    ],
    isOfAll: true,
    intervalSeconds: 30
  };
}

/** `8090`, `true`; what is made of several things as JSON. */
function valueOf(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : shown(value);
}

function sourceOf({ source, file }: AdminRow, trans: TranslationBundle): string {
  const places: Record<string, string> = {
    default: '',
    file: trans.__('the file %1', shown(file)),
    'command line': trans.__('the command line of its start'),
    program: trans.__('the program that started it'),
    database: trans.__('the database: by the API, or here')
  };
  return places[shown(source)] ?? shown(source);
}

/** Of a volume; nothing while it is not known. */
function spaceOf(row: AdminRow, trans: TranslationBundle): IUse[] {
  const [used, limit] = [Number(row.used_bytes), Number(row.capacity_bytes)];
  return Number.isFinite(used) ? [{ slot: 'disk', used, limit, text: formatPart(used, limit, trans) }] : [];
}

export function agentState(row: AdminRow, trans: TranslationBundle): string {
  if (row.status === 'LOST') {
    return trans.__('Unreachable');
  }
  if (row.status !== 'ALIVE') {
    return trans.__('Gone');
  }
  return row.schedulable ? trans.__('Ready') : describeDrain(row, new Date(), trans);
}

/** `Draining · 3 sessions left, by 18:00`. */
function describeDrain({ sessions, drain_by }: AdminRow, now: Date, trans: TranslationBundle): string {
  const [left, by] = [Number(sessions ?? 0), drain_by ? new Date(shown(drain_by)) : null];
  if (left === 0) {
    return trans.__('Draining · empty');
  }
  const told = trans._n('Draining · one session left', 'Draining · %1 sessions left', left);
  if (by === null) {
    return told;
  }
  const at = describeMoment(by, now);
  return by > now ? trans.__('%1, by %2', told, at) : trans.__('%1, which should have ended at %2', told, at);
}

interface IDevice {
  kind: string;
  model: string;
  health: string;
  figures: Record<string, number | null> | null;
}

/** `NVIDIA H200 42 %`, one after the other: accelerators only. */
function devicesOf(row: AdminRow, trans: TranslationBundle): string {
  return ((row.devices ?? []) as IDevice[])
    .filter(device => !['cpu', 'mem'].includes(device.kind))
    .map(({ model, health, figures }) => {
      const load = figures?.util_pct;
      const facts = [typeof load === 'number' ? trans.__('%1 %', Math.round(load)) : '', health === 'ok' ? '' : health];
      return [model, ...facts].filter(Boolean).join(' ');
    })
    .join(', ');
}
