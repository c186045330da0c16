/** Lists of what the cluster stands on: its agents, where folders lie, and what went wrong. Pure. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { formatPart, formatSize, IUse, usesOf } from './amounts';
import { AdminRow, changeAdmin, endSession, sessionsOn } from './api';
import { describeEnd } from './session';
import { columnsOf, inTurn, ITable, IWays, shown } from './tables';
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
      verb: trans.__('Resume'),
      label: row => (row.schedulable ? '' : trans.__('Resume %1', shown(row.name))),
      run: (settings, row) => changeAdmin(settings, 'agents', shown(row.name), { schedulable: true })
    }
  ],
  addition: { label: trans.__('Add agent…'), edit: edits => edits.newAgent() }
};
}

/** How agents can be drained: what runs there goes on, or is ended. */
async function drainOf(settings: ServerConnection.ISettings, rows: AdminRow[], trans: TranslationBundle): Promise<IWays> {
  const names = rows.map(row => shown(row.name));
  const found = (await Promise.all(names.map(name => sessionsOn(settings, name)))).flat();
  const sessions = [...new Map(found.map(one => [one.session_id, one])).values()]; // one may be on several
  const drain = () => inTurn(names, name => changeAdmin(settings, 'agents', name, { schedulable: false }), trans);
  const endAll = async () => {
    await drain();
    await inTurn(sessions, one => endSession(settings, shown(one.session_id), shown(one.access_key)), trans);
  };
  const rest = trans._n('No new sessions until it is resumed.', 'No new sessions on these %1 until they are resumed.', names.length);
  const running = trans._n('One session runs there: %2.', '%1 sessions run there: %2.', sessions.length, namesOf(sessions, trans));
  const choice = trans.__('What runs goes on until it ends by itself, unless you end it now.');
  const end = {
    verb: trans.__('End sessions now…'),
    confirm: {
      title: trans._n('End the session on %2?', 'End %1 sessions on %2?', sessions.length, names.join(', ')),
      body: `${namesOf(sessions, trans)}. ${describeEnd(false, trans, sessions.length)}`,
      verb: trans.__('End sessions')
    },
    run: endAll
  };
  return {
    title: trans.__('Drain %1?', names.join(', ')),
    body: sessions.length === 0 ? trans.__('%1 No session runs there.', rest) : `${rest} ${running} ${choice}`,
    ways: [...(sessions.length === 0 ? [] : [end]), { verb: trans.__('Drain'), run: drain }]
  };
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
  return row.schedulable ? trans.__('Ready') : trans.__('Draining');
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
