/** What admins fill in to make or change something: fields, what may stand in them, and what is asked then. Pure. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import {
  addAdmin,
  AdminRow,
  changeAdmin,
  getAnnouncement,
  IPolicyEffect,
  IScope,
  issueKeypair,
  listAllAdmin,
  makeJoinToken,
  policyEffect,
  setAdmin,
  setAnnouncement
} from './api';
import { readCount, readHours, readSlots, readSpan, sizeText, slotsOf, slotsText, spanText } from './typed';

type Settings = ServerConnection.ISettings;
type Values = Record<string, string>;

export interface IEditField {
  name: string;
  label: string;
  /** Where several can be chosen, a line each. */
  value?: string;
  placeholder?: string;
  /** `[value, label]` of what can be chosen; a text if there are none. */
  options?: [string, string][];
  /** Any number of the options. */
  isMany?: boolean;
  isOptional?: boolean;
  isSecret?: boolean;
  /** Of many lines, such as a file. */
  isLong?: boolean;
  /** A moment as `<input type="datetime-local">` has it. */
  isMoment?: boolean;
}

/** A field, and what is sent for what stands in it: the text itself if nothing else is said; nothing for `undefined`. */
interface IPart extends IEditField {
  read?: (text: string) => unknown;
}

/** Something that is told once. */
export interface ISecret {
  title: string;
  /** What it is, and what it reads. */
  facts: [string, string][];
  note: string;
  /** What can be copied, and saved as a file if it has a name. */
  taken?: { text: string; name?: string };
}

export interface IEdit {
  title: string;
  /** What is to be known before, a paragraph each. */
  notes?: string[];
  fields: IEditField[];
  verb: string;
  /** What would come of what is filled in so far. Throws what is wrong with it. */
  preview?: (values: Values) => Promise<string>;
  /** Throws what is wrong with the values, and what the manager refuses. */
  run: (values: Values) => Promise<ISecret | void>;
}

/** What is sent for what was filled in; `options.pending` is the field `pending` of `options`. Throws what is wrong. */
function propertiesOf(parts: IPart[], values: Values): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const { name, read } of parts) {
    const value = (read ?? String)(values[name]);
    const path = name.split('.');
    const last = path.pop()!;
    const place = path.reduce((inside, one) => (inside[one] ??= {}) as Record<string, unknown>, found);
    if (value !== undefined) {
      place[last] = value;
    }
  }
  return found;
}

/** In what order a resource group's sessions get their turn. */
export function ordersOf(trans: TranslationBundle): [string, string][] {
  return [
    ['fifo', trans.__('who came first')],
    ['lifo', trans.__('who came last')]
  ];
}

/** Whom a change of limits is about, in sentences. */
export function describeEffect(effect: IPolicyEffect, trans: TranslationBundle): string {
  const { people, projects, domains, above, used_up } = effect;
  const bound = [
    ...(people > 0 ? [trans._n('Binds one person.', 'Binds %1 people.', people)] : []),
    ...(projects > 0 ? [trans._n('Binds one project.', 'Binds %1 projects.', projects)] : []),
    ...(domains > 0 ? [trans._n('Binds one domain.', 'Binds %1 domains.', domains)] : [])
  ];
  const named = (names: string[]) => {
    const some = names.slice(0, 5).join(', ');
    return names.length > 5 ? trans.__('%1 and %2 more', some, names.length - 5) : some;
  };
  return [
    ...(bound.length > 0 ? bound : [trans.__('Binds nobody yet.')]),
    ...(above.length > 0
      ? [trans._n('%2 is above the new limits: what runs goes on.', '%1 are above the new limits: %2. What runs goes on.', above.length, named(above))]
      : []),
    ...(used_up.length > 0
      ? [
          trans._n(
            '%2 has used up the GPU-hours of this week: sessions with GPUs are warned and stopped, and new ones wait for Monday.',
            '%1 have used up the GPU-hours of this week: %2. Their sessions with GPUs are warned and stopped, and new ones wait for Monday.',
            used_up.length,
            named(used_up)
          )
        ]
      : [])
  ].join(' ');
}

/** Makes forms of what is asked of the cluster's things. Who is no superadmin sets no limits, and makes none of those. */
export class Edits {
  constructor(
    private readonly settings: Settings,
    private readonly trans: TranslationBundle,
    private readonly isSuper = true
  ) {}

  async newUser(): Promise<IEdit> {
    const { trans } = this;
    const projects = (await listAllAdmin(this.settings, 'projects')).filter(one => one.is_active);
    const roles: [string, string][] = [
      ['user', trans.__('user')],
      ['admin', trans.__('admin of the domain')],
      ['superadmin', trans.__('superadmin')]
    ];
    return {
      title: trans.__('New User'),
      fields: [
        { name: 'email', label: trans.__('E-mail'), placeholder: 'kim@example.org' },
        { name: 'username', label: trans.__('Name') },
        { name: 'password', label: trans.__('Password'), isSecret: true },
        {
          name: 'project',
          label: trans.__('Project'),
          options: projects.map(one => [`${one.id}`, `${one.domain_name}/${one.name}`])
        },
        {
          name: 'role',
          label: trans.__('Role'),
          options: roles.slice(0, this.isSuper ? 3 : 2)
        }
      ],
      verb: trans.__('Create'),
      run: ({ project, ...user }) => {
        const domain = projects.find(one => one.id === project)?.domain_name;
        return addAdmin(this.settings, 'users', { ...user, domain_name: domain, group_ids: [project] });
      }
    };
  }

  async newKeypair({ email }: AdminRow): Promise<IEdit> {
    const { trans } = this;
    const policies: [string, string][] = this.isSuper ? await this._names('policies') : [['default', 'default']];
    return {
      title: trans.__('New Keypair for %1', `${email}`),
      fields: [
        { name: 'resource_policy', label: trans.__('Policy'), value: 'default', options: policies }
      ],
      verb: trans.__('Issue'),
      run: async ({ resource_policy }) => {
        const { access_key, secret_key } = await issueKeypair(this.settings, `${email}`, resource_policy);
        return {
          title: trans.__('Keypair of %1', `${email}`),
          facts: [
            [trans.__('Access key'), access_key],
            [trans.__('Secret key'), secret_key]
          ],
          note: trans.__('The secret key is shown this once only. Pass both on in private.')
        };
      }
    };
  }

  newPolicy(): IEdit {
    return this._making('policies', this.trans.__('New Policy'), this._limits({}));
  }

  policy(row: AdminRow): IEdit {
    const [name, parts] = [`${row.name}`, this._limits(row)];
    const preview = async (values: Values) =>
      describeEffect(await policyEffect(this.settings, name, propertiesOf(parts, values)), this.trans);
    return { ...this._changing('policies', name, this.trans.__('Limits of %1', name), parts), preview };
  }

  newPreset(): IEdit {
    return this._making('presets', this.trans.__('New Preset'), this._preset({}));
  }

  preset(row: AdminRow): IEdit {
    return this._changing('presets', `${row.name}`, this.trans.__('Preset %1', `${row.name}`), this._preset(row));
  }

  async announcement(): Promise<IEdit> {
    const { trans } = this;
    const value = await getAnnouncement(this.settings);
    const label = trans.__('What everybody reads above their sessions; nothing takes it away');
    return {
      title: trans.__('Announcement'),
      fields: [{ name: 'message', label, value, isLong: true, isOptional: true }],
      verb: trans.__('Announce'),
      run: ({ message }) => setAnnouncement(this.settings, message)
    };
  }

  /** Another host: what is to be run there. */
  async newAgent(): Promise<IEdit> {
    const { trans } = this;
    const parts: IPart[] = [
      { name: 'resource_group', label: trans.__('Group'), value: 'default', options: await this._names('resource-groups') },
      { name: 'uses', label: trans.__('Hosts'), value: '1', read: text => readCount(text, trans) },
      { name: 'expires_s', label: trans.__('Good for, such as 1 h; at most 30 d'), value: '1 h', read: text => readSpan(text, trans) }
    ];
    return {
      title: trans.__('Add Agent'),
      notes: [trans.__('Makes a command that is run on each host that shall join. It holds a secret, and is good for as many hosts and as long as you say.')],
      fields: parts,
      verb: trans.__('Make command'),
      run: async values => {
        const asked = propertiesOf(parts, values) as { resource_group: string; uses: number; expires_s: number };
        const { token, url } = await makeJoinToken(this.settings, asked);
        const command = `bai agent join ${token}`;
        return {
          title: trans.__('Add Agent'),
          facts: [[trans.__('On each host'), command]],
          note: trans.__(
            'It is shown this once only, and leads to the manager at %1. If hosts reach it elsewhere, add --manager and that address. A host that has joined is in the list.',
            url
          ),
          taken: { text: command }
        };
      }
    };
  }

  async newDomain(): Promise<IEdit> {
    return this._making('domains', this.trans.__('New Domain'), await this._bounds({}));
  }

  async domain(row: AdminRow): Promise<IEdit> {
    return this._changing('domains', `${row.name}`, this.trans.__('Domain %1', `${row.name}`), await this._bounds(row));
  }

  async newProject(): Promise<IEdit> {
    const { trans } = this;
    const domain = { name: 'domain_name', label: trans.__('Domain'), options: await this._names('domains') };
    return this._making('projects', trans.__('New Project'), [domain, ...(await this._bounds({}))]);
  }

  async project(row: AdminRow): Promise<IEdit> {
    const { trans } = this;
    const parts = [{ name: 'name', label: trans.__('Name'), value: `${row.name}` }, ...(await this._bounds(row))];
    return this._changing('projects', `${row.id}`, trans.__('Project %1', `${row.name}`), parts);
  }

  /** Who is in a project: users of its domain. */
  async members(row: AdminRow): Promise<IEdit> {
    const users = (await listAllAdmin(this.settings, 'users')).filter(one => one.domain_name === row.domain_name);
    const isMember = (user: AdminRow) => (user.groups as { id: string }[]).some(one => one.id === row.id);
    const title = this.trans.__('Members of %1', `${row.name}`);
    const options = users.map((one): [string, string] => [`${one.uuid}`, `${one.email}`]);
    const chosen = users.filter(isMember).map(one => `${one.uuid}`);
    return this._choosing('projects', `${row.id}`, 'members', { title, label: this.trans.__('Users'), options, chosen });
  }

  newGroup(): IEdit {
    return this._making('resource-groups', this.trans.__('New Resource Group'), this._group({}));
  }

  group(row: AdminRow): IEdit {
    const title = this.trans.__('Resource Group %1', `${row.name}`);
    return this._changing('resource-groups', `${row.name}`, title, this._group(row));
  }

  /** Which domains and projects may use a resource group. */
  async scopes(row: AdminRow): Promise<IEdit> {
    const { trans } = this;
    const [domains, projects] = await Promise.all(['domains', 'projects'].map(list => listAllAdmin(this.settings, list)));
    const options = [
      ...domains.map((one): [string, string] => [`domain:${one.name}`, trans.__('domain %1', `${one.name}`)]),
      ...projects.map((one): [string, string] => [`project:${one.id}`, `${one.domain_name}/${one.name}`])
    ];
    const chosen = ((row.scopes ?? []) as IScope[]).map(one => one.scope);
    const title = trans.__('Who May Use %1', `${row.name}`);
    const label = trans.__('Domains and projects');
    return this._choosing('resource-groups', `${row.name}`, 'scopes', { title, label, options, chosen });
  }

  newImage(): IEdit {
    const { trans } = this;
    return {
      ...this._making('images', trans.__('Add Image'), [], trans.__('Name, such as registry.example.org/python:3.12')),
      verb: trans.__('Add')
    };
  }

  aliases(row: AdminRow): IEdit {
    const { trans } = this;
    const value = ((row.aliases ?? []) as string[]).join(', ');
    return {
      title: trans.__('Aliases of %1', `${row.name}`),
      fields: [{ name: 'aliases', label: trans.__('Other names, with commas between'), value, isOptional: true }],
      verb: trans.__('Change'),
      run: ({ aliases }) => setAdmin(this.settings, 'images', `${row.name}`, 'aliases', aliases.split(/[,\s]+/).filter(Boolean))
    };
  }

  // Forms

  private _making(list: string, title: string, parts: IPart[], label = this.trans.__('Name')): IEdit {
    const all = [{ name: 'name', label }, ...parts];
    const run = async (values: Values) => addAdmin(this.settings, list, propertiesOf(all, values));
    return { title, fields: all, verb: this.trans.__('Create'), run };
  }

  private _changing(list: string, key: string, title: string, parts: IPart[]): IEdit {
    const run = async (values: Values) => changeAdmin(this.settings, list, key, propertiesOf(parts, values));
    return { title, fields: parts, verb: this.trans.__('Change'), run };
  }

  /** What belongs to something, of all that can; what does comes first. */
  private _choosing(
    list: string,
    key: string,
    part: string,
    field: Pick<IEditField, 'label'> & { title: string; options: [string, string][]; chosen: string[] }
  ): IEdit {
    const { title, label, options, chosen } = field;
    const isChosen = ([value]: [string, string]) => chosen.includes(value);
    const sorted = [...options.filter(isChosen), ...options.filter(one => !isChosen(one))];
    return {
      title,
      fields: [{ name: part, label, value: chosen.join('\n'), options: sorted, isMany: true, isOptional: true }],
      verb: this.trans.__('Change'),
      run: values => setAdmin(this.settings, list, key, part, values[part].split('\n').filter(Boolean))
    };
  }

  // Fields

  private _limits(row: AdminRow): IPart[] {
    const { trans } = this;
    const isUnlimited = (row.max_concurrent_sessions ?? null) === null; // once there is a limit, it cannot be taken away
    return [
      this._slots('total_resource_slots', trans.__('Of resources, such as cpu=8, mem=32g'), row, trans.__('no limit')),
      {
        name: 'default_for_unspecified',
        label: trans.__('Other resources'),
        value: `${row.default_for_unspecified}`,
        options: [
          ['UNLIMITED', trans.__('any')],
          ['LIMITED', trans.__('none')]
        ]
      },
      {
        name: 'max_concurrent_sessions',
        label: trans.__('Sessions at once'),
        value: `${row.max_concurrent_sessions ?? ''}`,
        placeholder: trans.__('no limit'),
        isOptional: isUnlimited,
        read: text => (text.trim() === '' ? undefined : readCount(text, trans))
      },
      {
        name: 'gpu_hours_per_week',
        label: trans.__('GPU-hours a week, such as 10'),
        value: row.gpu_hours_per_week ? `${row.gpu_hours_per_week}` : '',
        placeholder: trans.__('no limit'),
        isOptional: true,
        read: text => readHours(text, trans)
      },
      this._span('max_session_lifetime', trans.__('Longest life, such as 12 h or 7 d'), row.max_session_lifetime),
      this._span('suspend_after', trans.__('Suspended when idle for, such as 30 min'), row.suspend_after),
      this._span('idle_timeout', trans.__('Stopped when idle for, such as 2 h'), row.idle_timeout)
    ];
  }

  private _preset(row: AdminRow): IPart[] {
    const { trans } = this;
    return [
      { ...this._slots('resource_slots', trans.__('Resources, such as cpu=2, mem=8g'), row), isOptional: false },
      {
        name: 'shared_memory',
        label: trans.__('Shared memory, such as 1g'),
        value: row.shared_memory ? sizeText(Number(row.shared_memory)) : '',
        placeholder: trans.__('as the engine has it'),
        isOptional: true,
        read: text => text.trim() || '0'
      }
    ];
  }

  /** What is said of a domain or project as a whole. */
  private async _bounds(row: AdminRow): Promise<IPart[]> {
    const { trans } = this;
    const isBound = Boolean(row.resource_policy); // once there is a policy, only another can take its place
    const none: [string, string][] = isBound ? [] : [['', trans.__('none')]];
    const [description, activity] = [this._description(row), this._activity(row)];
    if (!this.isSuper) {
      return [description, activity];
    }
    return [
      description,
      this._slots('total_resource_slots', trans.__('Limits, such as cpu=64, mem=256g'), row, trans.__('no limit')),
      {
        name: 'resource_policy',
        label: trans.__('Policy'),
        value: `${row.resource_policy ?? ''}`,
        options: [...none, ...(await this._names('policies'))],
        isOptional: true,
        read: text => text || undefined
      },
      activity
    ];
  }

  private _group(row: AdminRow): IPart[] {
    const { trans } = this;
    const options = JSON.parse(`${row.scheduler_opts ?? '{}'}`);
    const named = (name: string, label: string, value: unknown, choices: [string, string][]): IPart => ({
      name,
      label,
      value: `${value ?? choices[0][0]}`,
      options: choices
    });
    return [
      this._description(row),
      named('scheduler', trans.__('Who goes first, of those that wait'), row.scheduler, ordersOf(trans)),
      named('scheduler_opts.agent_selection_strategy', trans.__('Agents'), options.agent_selection_strategy, [
        ['dispersed', trans.__('spread over all')],
        ['concentrated', trans.__('fill one after the other')]
      ]),
      this._span('scheduler_opts.pending_timeout', trans.__('Longest wait, such as 2 h'), options.pending_timeout),
      {
        name: 'scheduler_opts.config.num_retries_to_skip',
        label: trans.__('How many may pass one that finds no room'),
        value: `${options.config?.num_retries_to_skip ?? ''}`,
        placeholder: trans.__('no limit'),
        isOptional: true,
        read: text => (text.trim() === '' ? 0 : readCount(text, trans))
      },
      this._choice('is_public', trans.__('In lists of those who may use it'), row, [trans.__('shown'), trans.__('hidden')]),
      this._activity(row)
    ];
  }

  private _slots(name: string, label: string, row: AdminRow, placeholder?: string): IPart {
    const value = slotsText(slotsOf(row[name]));
    return { name, label, value, placeholder, isOptional: true, read: text => readSlots(text, this.trans) };
  }

  private _span(name: string, label: string, seconds: unknown): IPart {
    return {
      name,
      label,
      value: spanText(Number(seconds ?? 0)),
      placeholder: this.trans.__('no limit'),
      isOptional: true,
      read: text => readSpan(text, this.trans)
    };
  }

  private _description(row: AdminRow): IPart {
    return { name: 'description', label: this.trans.__('Description'), value: `${row.description ?? ''}`, isOptional: true };
  }

  private _activity(row: AdminRow): IPart {
    const { trans } = this;
    return this._choice('is_active', trans.__('Status'), row, [trans.__('active'), trans.__('inactive')]);
  }

  /** Of two; the first one where nothing is known. */
  private _choice(name: string, label: string, row: AdminRow, [yes, no]: [string, string]): IPart {
    const options: [string, string][] = [
      ['true', yes],
      ['false', no]
    ];
    return { name, label, value: `${row[name] ?? true}`, options, read: text => text === 'true' };
  }

  private async _names(list: string): Promise<[string, string][]> {
    return (await listAllAdmin(this.settings, list)).map(({ name }) => [`${name}`, `${name}`]);
  }
}
