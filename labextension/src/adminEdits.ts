/** What admins fill in to make or change something: fields, what may stand in them, and what is asked then. Pure. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { AdminRow, changePolicy, createUser, issueKeypair, listAllAdmin, Slots } from './api';

type Settings = ServerConnection.ISettings;
type Values = Record<string, string>;

export interface IEditField {
  name: string;
  label: string;
  value?: string;
  placeholder?: string;
  /** `[value, label]` of what can be chosen; a text if there are none. */
  options?: [string, string][];
  isOptional?: boolean;
  isSecret?: boolean;
}

/** Something that is told once. */
export interface ISecret {
  title: string;
  /** What it is, and what it reads. */
  facts: [string, string][];
  note: string;
}

export interface IEdit {
  title: string;
  fields: IEditField[];
  verb: string;
  /** Throws what is wrong with the values, and what the manager refuses. */
  run: (values: Values) => Promise<ISecret | void>;
}

export async function newUser(settings: Settings, trans: TranslationBundle): Promise<IEdit> {
  const projects = (await listAllAdmin(settings, 'projects')).filter(one => one.is_active);
  return {
    title: trans.__('New User'),
    fields: [
      { name: 'email', label: trans.__('E-mail'), placeholder: 'kim@example.org' },
      { name: 'name', label: trans.__('Name') },
      { name: 'password', label: trans.__('Password'), isSecret: true },
      {
        name: 'project',
        label: trans.__('Project'),
        options: projects.map(one => [`${one.id}`, `${one.domain_name}/${one.name}`])
      },
      {
        name: 'role',
        label: trans.__('Role'),
        options: [
          ['user', trans.__('user')],
          ['admin', trans.__('admin of the domain')],
          ['superadmin', trans.__('superadmin')]
        ]
      }
    ],
    verb: trans.__('Create'),
    run: async values => {
      const domain = projects.find(one => one.id === values.project)?.domain_name;
      await createUser(settings, { ...values, domain: `${domain ?? ''}` });
    }
  };
}

export async function newKeypair(settings: Settings, { email }: AdminRow, trans: TranslationBundle): Promise<IEdit> {
  const policies = (await listAllAdmin(settings, 'policies')).map(one => `${one.name}`);
  return {
    title: trans.__('New Keypair for %1', `${email}`),
    fields: [
      {
        name: 'policy',
        label: trans.__('Policy'),
        value: 'default',
        options: policies.map(name => [name, name])
      }
    ],
    verb: trans.__('Issue'),
    run: async ({ policy }) => {
      const { access_key, secret_key } = await issueKeypair(settings, `${email}`, policy);
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

export function policyEdit(settings: Settings, row: AdminRow, trans: TranslationBundle): IEdit {
  const span = (name: string, label: string): IEditField => ({
    name,
    label,
    value: spanText(Number(row[name] ?? 0)),
    placeholder: trans.__('no limit'),
    isOptional: true
  });
  const isUnlimited = (row.max_concurrent_sessions ?? null) === null; // once there is a limit, it cannot be taken away
  return {
    title: trans.__('Limits of %1', `${row.name}`),
    fields: [
      {
        name: 'total_resource_slots',
        label: trans.__('Of resources, such as cpu=8, mem=32g'),
        value: slotsText(slotsOf(row.total_resource_slots)),
        placeholder: trans.__('no limit'),
        isOptional: true
      },
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
        isOptional: isUnlimited
      },
      span('max_session_lifetime', trans.__('Longest life, such as 12 h or 7 d')),
      span('suspend_after', trans.__('Suspended when idle for, such as 30 min')),
      span('idle_timeout', trans.__('Stopped when idle for, such as 2 h'))
    ],
    verb: trans.__('Change'),
    run: async values => {
      const seconds = (name: string) => readSpan(values[name], trans);
      const sessions = values.max_concurrent_sessions.trim();
      await changePolicy(settings, `${row.name}`, {
        total_resource_slots: readSlots(values.total_resource_slots, trans),
        default_for_unspecified: values.default_for_unspecified,
        ...(sessions === '' ? {} : { max_concurrent_sessions: readCount(sessions, trans) }),
        max_session_lifetime: seconds('max_session_lifetime'),
        suspend_after: seconds('suspend_after'),
        idle_timeout: seconds('idle_timeout')
      });
    }
  };
}

/** GraphQL has objects as text. */
export function slotsOf(value: unknown): Slots {
  return (typeof value === 'string' ? JSON.parse(value) : value) ?? {};
}

const SIZES: [string, number][] = [
  ['g', 1024 ** 3],
  ['m', 1024 ** 2],
  ['k', 1024]
];

/** `cpu=8, mem=32g`: exactly what it is, as it may be typed. */
export function slotsText(slots: Slots): string {
  return Object.entries(slots)
    .filter(([, amount]) => Number.isFinite(Number(amount)))
    .map(([slot, amount]) => `${slot}=${slot === 'mem' ? sizeText(Number(amount)) : amount}`)
    .join(', ');
}

function sizeText(bytes: number): string {
  const [unit, size] = SIZES.find(one => bytes > 0 && bytes % one[1] === 0) ?? ['', 1];
  return `${bytes / size}${unit}`;
}

/** Throws what is no amount; how much is too much, the manager knows. */
export function readSlots(text: string, trans: TranslationBundle): Slots {
  const parts = text.split(/[,\s]+/).filter(Boolean);
  return Object.fromEntries(
    parts.map(part => {
      const found = /^([a-z][\w.-]*)=(\d+(?:\.\d+)?[kmgt]?)$/i.exec(part);
      if (found === null) {
        throw new Error(trans.__('%1 is no amount of a resource: write such as cpu=8 or mem=32g.', part));
      }
      return [found[1], found[2]];
    })
  );
}

const SPANS: [string, number][] = [
  ['d', 86400],
  ['h', 3600],
  ['min', 60],
  ['s', 1]
];

/** `2 h`: exactly what it is, as it may be typed; nothing for no limit. */
export function spanText(seconds: number): string {
  const [unit, size] = SPANS.find(one => seconds % one[1] === 0)!;
  return seconds > 0 ? `${seconds / size} ${unit}` : '';
}

/** Seconds; nothing is no limit, 0. Throws what is no time. */
export function readSpan(text: string, trans: TranslationBundle): number {
  const found = /^\s*(\d+)\s*(d|h|min|m|s)\s*$/.exec(text);
  if (found === null && text.trim() !== '') {
    throw new Error(trans.__('%1 is no time: write such as 90 s, 30 min, 2 h or 7 d, or nothing for no limit.', text));
  }
  const unit = found?.[2] === 'm' ? 'min' : found?.[2];
  return found === null ? 0 : Number(found[1]) * SPANS.find(one => one[0] === unit)![1];
}

export function readCount(text: string, trans: TranslationBundle): number {
  if (!/^\s*\d{1,9}\s*$/.test(text)) {
    throw new Error(trans.__('%1 is no number.', text));
  }
  return Number(text);
}
