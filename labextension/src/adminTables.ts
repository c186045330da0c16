/** The lists of *Backend.AI Admin*, for whom, and in which order. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

import { agentTable, errorTable, folderTable, settingTable, volumeTable } from './adminCluster';
import { ordersOf } from './adminEdits';
import { addAdmin, AdminRow, changeAdmin, endSession, IScope, removeAdmin } from './api';
import { describeEnd } from './session';
import { columnsOf, IChange, IColumn, IDeed, IPlainTable, ITable, momentOf, reasonOf, shown, sizeOf } from './tables';

const OVER = ['TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR'];

/** What an admin of a domain can do there; all else is only looked at. */
const OF_DOMAIN = ['sessions', 'queue', 'users', 'projects', 'keypairs'];

/** For somebody of that role. `now` says which months are the last ones, in UTC. */
export function tablesFor(role: string, trans: TranslationBundle, now = new Date()): ITable[] {
  const tables = tablesOf(trans, now).filter(({ isOfAll }) => role === 'superadmin' || !isOfAll);
  return tables.map(table =>
    role === 'superadmin' || OF_DOMAIN.includes(table.name) ? table : { ...table, actions: [], addition: undefined }
  );
}

function tablesOf(trans: TranslationBundle, now: Date): ITable[] {
  const { field, is, slots, limit } = columnsOf(trans);
  const seconds = (label: string, name: string): IColumn => ({
    label,
    text: row => describeSeconds(Number(row[name] ?? 0), trans)
  });
  const byName = (row: AdminRow) => shown(row.name);
  const [active, inactive] = [trans.__('active'), trans.__('inactive')];
  const change = (edit: IChange['edit']): IChange => ({
    verb: trans.__('Change'),
    label: row => trans.__('Change %1', shown(row.name)),
    edit
  });
  /** `confirm` says what is lost and what is kept. */
  const remove = (list: string, keyOf: (row: AdminRow) => string, confirm: string): IDeed => ({
    verb: trans.__('Delete'),
    label: row => trans.__('Delete %1', shown(row.name)),
    confirm,
    run: (settings, row) => removeAdmin(settings, list, keyOf(row))
  });

  const session: Omit<IPlainTable, 'label'> = {
    keyOf: row => shown(row.session_id),
    session: row => ({
      id: shown(row.session_id),
      name: shown(row.name),
      owner: shown(row.access_key),
      user: shown(row.user_id)
    }),
    columns: [
      field(trans.__('Name'), 'name'),
      field(trans.__('Owner'), 'user_email'),
      { label: trans.__('State'), status: row => shown(row.status), text: row => reasonOf(row)?.text ?? '' },
      slots(trans.__('Resources'), 'requested_slots'),
      field(trans.__('Group'), 'scaling_group'),
      field(trans.__('Project'), 'group_name'),
      field(trans.__('Environment'), 'image'),
      { label: trans.__('Asked for'), text: row => momentOf(row.created_at) }
    ],
    actions: [
      {
        verb: trans.__('End'),
        label: row => (OVER.includes(shown(row.status)) ? '' : trans.__('End %1', shown(row.name))),
        confirm: describeEnd(false, trans),
        together: count => ({
          label: trans._n('End %1 session', 'End %1 sessions', count),
          confirm: describeEnd(false, trans, count)
        }),
        run: (settings, row) => endSession(settings, shown(row.session_id), shown(row.access_key))
      }
    ]
  };

  return [
    agentTable(trans),
    { ...session, name: 'sessions', label: trans.__('Sessions') },
    { ...session, name: 'queue', label: trans.__('Queue') },
    {
      name: 'users',
      part: trans.__('People'),
      label: trans.__('Users'),
      keyOf: row => shown(row.email),
      columns: [
        field(trans.__('E-mail'), 'email'),
        field(trans.__('Name'), 'username'),
        field(trans.__('Role'), 'role'),
        field(trans.__('Status'), 'status'),
        field(trans.__('Domain'), 'domain_name'),
        { label: trans.__('Projects'), text: row => namesOf(row.groups) },
        field(trans.__('Policy'), 'resource_policy')
      ],
      actions: [
        {
          verb: trans.__('Deactivate'),
          label: row => (row.status === 'active' ? trans.__('Deactivate %1', shown(row.email)) : ''),
          confirm: trans.__('They cannot log in or call until they are activated again. Sessions that run go on.'),
          run: (settings, row) => changeAdmin(settings, 'users', shown(row.email), { is_active: false })
        },
        {
          verb: trans.__('Activate'),
          label: row => (row.status === 'active' ? '' : trans.__('Activate %1', shown(row.email))),
          run: (settings, row) => changeAdmin(settings, 'users', shown(row.email), { is_active: true })
        },
        {
          verb: trans.__('Issue keypair'),
          label: row => trans.__('Issue keypair for %1', shown(row.email)),
          edit: (edits, row) => edits.newKeypair(row)
        }
      ],
      addition: { label: trans.__('New user'), edit: edits => edits.newUser() },
      importing: trans.__('From CSV…')
    },
    {
      name: 'projects',
      part: trans.__('People'),
      label: trans.__('Projects'),
      keyOf: row => shown(row.id),
      columns: [
        field(trans.__('Name'), 'name'),
        field(trans.__('Domain'), 'domain_name'),
        is(trans.__('Status'), 'is_active', active, inactive),
        limit(slots(trans.__('Limits'), 'total_resource_slots')),
        field(trans.__('Policy'), 'resource_policy'),
        { label: trans.__('Groups'), text: row => ((row.scaling_groups as string[]) ?? []).join(', ') }
      ],
      actions: [
        change((edits, row) => edits.project(row)),
        {
          verb: trans.__('Members'),
          label: row => trans.__('Members of %1', shown(row.name)),
          edit: (edits, row) => edits.members(row)
        },
        remove(
          'projects',
          row => shown(row.id),
          trans.__('Its members stay users. While it has folders, or sessions that are not over, it is kept.')
        )
      ],
      addition: { label: trans.__('New project'), edit: edits => edits.newProject() }
    },
    {
      name: 'domains',
      part: trans.__('People'),
      label: trans.__('Domains'),
      keyOf: byName,
      columns: [
        field(trans.__('Name'), 'name'),
        is(trans.__('Status'), 'is_active', active, inactive),
        limit(slots(trans.__('Limits'), 'total_resource_slots')),
        field(trans.__('Policy'), 'resource_policy'),
        { label: trans.__('Groups'), text: row => ((row.scaling_groups as string[]) ?? []).join(', ') },
        field(trans.__('Description'), 'description')
      ],
      actions: [
        change((edits, row) => edits.domain(row)),
        remove('domains', byName, trans.__('While it has users, or projects beside its default one, it is kept.'))
      ],
      addition: { label: trans.__('New domain'), edit: edits => edits.newDomain() }
    },
    {
      name: 'keypairs',
      part: trans.__('People'),
      label: trans.__('Keypairs'),
      keyOf: row => shown(row.access_key),
      columns: [
        field(trans.__('Access key'), 'access_key'),
        field(trans.__('Owner'), 'user_id'),
        is(trans.__('Status'), 'is_active', active, inactive),
        field(trans.__('Policy'), 'resource_policy'),
        field(trans.__('Sessions'), 'concurrency_used'),
        { label: trans.__('Used last'), text: row => momentOf(row.last_used) }
      ],
      actions: [
        {
          verb: trans.__('Deactivate'),
          label: row => (row.is_active ? trans.__('Deactivate %1', shown(row.access_key)) : ''),
          confirm: trans.__('Nobody can call with it until it is activated again. Sessions that run go on.'),
          run: (settings, row) => changeAdmin(settings, 'keypairs', shown(row.access_key), { is_active: false })
        },
        {
          verb: trans.__('Activate'),
          label: row => (row.is_active ? '' : trans.__('Activate %1', shown(row.access_key))),
          run: (settings, row) => changeAdmin(settings, 'keypairs', shown(row.access_key), { is_active: true })
        }
      ]
    },
    {
      name: 'policies',
      label: trans.__('Policies'),
      keyOf: byName,
      columns: [
        field(trans.__('Name'), 'name'),
        limit(slots(trans.__('Limits'), 'total_resource_slots')),
        {
          label: trans.__('Other resources'),
          text: row => (row.default_for_unspecified === 'LIMITED' ? trans.__('none') : trans.__('any'))
        },
        limit(field(trans.__('Sessions at once'), 'max_concurrent_sessions')),
        { label: trans.__('GPU-hours a week'), text: row => (row.gpu_hours_per_week ? shown(row.gpu_hours_per_week) : trans.__('no limit')) },
        seconds(trans.__('Longest life'), 'max_session_lifetime'),
        seconds(trans.__('Suspended when idle for'), 'suspend_after'),
        seconds(trans.__('Stopped when idle for'), 'idle_timeout')
      ],
      actions: [
        change((edits, row) => edits.policy(row)),
        remove('policies', byName, trans.__('While it binds anybody or anything, it is kept.'))
      ],
      addition: { label: trans.__('New policy'), edit: edits => edits.newPolicy() }
    },
    {
      name: 'presets',
      label: trans.__('Presets'),
      keyOf: byName,
      columns: [
        field(trans.__('Name'), 'name'),
        slots(trans.__('Resources'), 'resource_slots'),
        { label: trans.__('Shared memory'), text: row => sizeOf(row.shared_memory) }
      ],
      actions: [
        change((edits, row) => edits.preset(row)),
        remove('presets', byName, trans.__('It is not offered any more. What was started with it goes on.'))
      ],
      addition: { label: trans.__('New preset'), edit: edits => edits.newPreset() }
    },
    {
      name: 'resource-groups',
      label: trans.__('Groups'),
      keyOf: byName,
      columns: [
        field(trans.__('Name'), 'name'),
        is(trans.__('Status'), 'is_active', active, inactive),
        { label: trans.__('Who may use it'), text: row => describeScopes(row.scopes, trans) },
        { label: trans.__('Who goes first'), text: row => ordersOf(trans).find(([name]) => name === row.scheduler)?.[1] ?? '' },
        field(trans.__('Description'), 'description')
      ],
      actions: [
        change((edits, row) => edits.group(row)),
        {
          verb: trans.__('Who may use it'),
          label: row => trans.__('Who may use %1', shown(row.name)),
          edit: (edits, row) => edits.scopes(row)
        },
        remove(
          'resource-groups',
          byName,
          trans.__('While it has agents, join tokens, or sessions that are not over, it is kept.')
        )
      ],
      addition: { label: trans.__('New group'), edit: edits => edits.newGroup() }
    },
    {
      name: 'images',
      label: trans.__('Images'),
      keyOf: row => `${shown(row.name)} ${shown(row.architecture)}`,
      columns: [
        field(trans.__('Name'), 'name'),
        field(trans.__('Architecture'), 'architecture'),
        { label: trans.__('Size'), text: row => sizeOf(row.size_bytes) },
        is(trans.__('For whom'), 'is_private', trans.__('its owner'), trans.__('everybody')),
        { label: trans.__('Aliases'), text: row => ((row.aliases as string[]) ?? []).join(', ') },
        { label: trans.__('On agents'), text: row => ((row.agents as string[]) ?? []).join(', ') }
      ],
      actions: [
        {
          verb: trans.__('Aliases'),
          label: row => trans.__('Aliases of %1', shown(row.name)),
          edit: (edits, row) => edits.aliases(row)
        },
        {
          verb: trans.__('Look again'),
          label: row => (row.is_private ? '' : trans.__('Look again at %1', shown(row.name))), // it would be everybody's
          run: (settings, row) => addAdmin(settings, 'images', { name: row.name })
        },
        {
          verb: trans.__('Forget'),
          label: row => trans.__('Forget %1', shown(row.name)),
          confirm: trans.__(
            'No new sessions of it; those that run go on. One that was made of a session is removed from the agents, too; any other can be added again.'
          ),
          run: (settings, row) => removeAdmin(settings, 'images', shown(row.name))
        }
      ],
      addition: { label: trans.__('Add image'), edit: edits => edits.newImage() }
    },
    volumeTable(trans),
    folderTable(trans),
    errorTable(trans),
    settingTable(trans),
    {
      name: 'usage',
      part: trans.__('Usage'),
      label: trans.__('This month'),
      keyOf: row => `${shown(row.domain_name)}/${shown(row.name)}`,
      columns: [
        field(trans.__('Project'), 'name'),
        field(trans.__('Domain'), 'domain_name'),
        field(trans.__('Sessions'), 'sessions'),
        field(trans.__('Core-hours'), 'core_hours'),
        field(trans.__('GiB-hours of memory'), 'gib_hours')
      ],
      actions: []
    },
    {
      name: 'months',
      part: trans.__('Usage'),
      label: trans.__('By month'),
      keyOf: row => `${shown(row.domain_name)}/${shown(row.name)}`,
      columns: [
        field(trans.__('Project'), 'name'),
        field(trans.__('Domain'), 'domain_name'),
        {
          label: trans.__('Core-hours by month'),
          text: () => '',
          bars: row => monthsUntil(now).map(month => hoursIn(row, month))
        },
        ...monthsUntil(now).map(month => ({
          label: monthName(month),
          text: (row: AdminRow) => hoursIn(row, month).toLocaleString()
        }))
      ],
      actions: [],
      intervalSeconds: 300 // what is asked of the manager is long
    }
  ];
}

/** The last six such as `202611`, the one of that moment last; as many as the server tells of. */
export function monthsUntil(now: Date): string[] {
  return [5, 4, 3, 2, 1, 0].map(back => {
    const first = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back));
    return first.toISOString().slice(0, 7).replace('-', '');
  });
}

function monthName(month: string): string {
  const first = new Date(`${month.slice(0, 4)}-${month.slice(4)}-01T00:00:00Z`);
  return first.toLocaleDateString(undefined, { month: 'short', year: 'numeric', timeZone: 'UTC' });
}

function hoursIn(row: AdminRow, month: string): number {
  return ((row.months ?? {}) as Record<string, number>)[month] ?? 0;
}

function namesOf(value: unknown): string {
  return ((value ?? []) as { name: string }[]).map(one => one.name).join(', ');
}

/** `domain default, default/vision`: domains as a whole, and projects with their domains. */
function describeScopes(value: unknown, trans: TranslationBundle): string {
  return ((value ?? []) as IScope[])
    .map(({ scope, name }) => (scope.startsWith('domain:') ? trans.__('domain %1', name) : name))
    .join(', ');
}

/** `2 h`, `20 min`; 0 is no limit. */
function describeSeconds(seconds: number, trans: TranslationBundle): string {
  if (seconds === 0) {
    return trans.__('no limit');
  }
  return seconds % 3600 === 0 ? trans.__('%1 h', seconds / 3600) : trans.__('%1 min', Math.round(seconds / 60));
}
