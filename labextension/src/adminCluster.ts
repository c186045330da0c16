/** Lists of what the cluster stands on: its agents, where folders lie, and what went wrong. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

import { formatPart, formatSize, IUse, usesOf } from './amounts';
import { AdminRow, changeAdmin } from './api';
import { columnsOf, ITable, shown } from './tables';
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
      confirm: trans.__('It takes no new sessions until it is resumed. Those that run there go on.'),
      run: (settings, row) => changeAdmin(settings, 'agents', shown(row.name), { schedulable: false })
    },
    {
      verb: trans.__('Resume'),
      label: row => (row.schedulable ? '' : trans.__('Resume %1', shown(row.name))),
      run: (settings, row) => changeAdmin(settings, 'agents', shown(row.name), { schedulable: true })
    }
  ]
};
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
