/** Who one is at the manager, and what one has in each new session. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { IEdit } from './adminEdits';
import { IPlainTable, IRowAction, momentOf } from './tables';
import { formatSize } from './amounts';
import {
  addDotfile,
  changeDotfile,
  getAccount,
  getBootstrap,
  getDotfile,
  IAccount,
  IListedDotfile,
  ILogged,
  listDotfiles,
  listLog,
  newSshKeypair,
  removeDotfile,
  setBootstrap
} from './api';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

const INTERVAL_SECONDS = 60;

export class Account extends Watched<IAccount> {
  constructor(private readonly settings: Settings) {
    super('account', INTERVAL_SECONDS);
  }

  protected load(): Promise<IAccount> {
    return getAccount(this.settings);
  }
}

export class Dotfiles extends Watched<IListedDotfile[]> {
  constructor(private readonly settings: Settings) {
    super('dotfiles', INTERVAL_SECONDS);
  }

  protected load(): Promise<IListedDotfile[]> {
    return listDotfiles(this.settings);
  }
}

export class Bootstrap extends Watched<string> {
  constructor(private readonly settings: Settings) {
    super('bootstrap-script', INTERVAL_SECONDS);
  }

  /** Throws what the manager refuses. */
  save(script: string): Promise<void> {
    return this.change(() => setBootstrap(this.settings, script));
  }

  protected load(): Promise<string> {
    return getBootstrap(this.settings);
  }
}

export const LOG_PAGE = 50;

export interface ILogPage {
  items: ILogged[];
  offset: number;
  total: number;
}

/** What was done in one's name, newest first. */
export class AccessLog extends Watched<ILogPage> {
  constructor(private readonly settings: Settings) {
    super('access-log', INTERVAL_SECONDS);
  }

  open(offset: number): void {
    this._offset = offset;
    void this.refresh();
  }

  protected async load(): Promise<ILogPage> {
    const offset = this._offset;
    return { ...(await listLog(this.settings, offset, LOG_PAGE)), offset };
  }

  private _offset = 0;
}

/** `[what, how it is]`, in the order of interest. */
export function factsOf(account: IAccount, trans: TranslationBundle): [string, string][] {
  const facts: [string, string | null][] = [
    [trans.__('E-mail'), account.email],
    [trans.__('Name'), account.full_name],
    [trans.__('Role'), roleOf(account.role, trans)],
    [trans.__('Domain'), account.domain_name],
    [trans.__('Projects'), account.projects.join(', ') || trans.__('none')],
    [trans.__('Policy'), account.resource_policy]
  ];
  return facts.filter((fact): fact is [string, string] => Boolean(fact[1]));
}

function roleOf(role: string, trans: TranslationBundle): string {
  const words: Record<string, string> = {
    user: trans.__('user'),
    admin: trans.__('admin of the domain'),
    superadmin: trans.__('superadmin')
  };
  return words[role] ?? role;
}

export function keypairTable(trans: TranslationBundle): IPlainTable {
  return {
    label: trans.__('Keypairs'),
    keyOf: row => `${row.access_key}`,
    columns: [
      { label: trans.__('Access key'), text: row => `${row.access_key}` },
      {
        label: trans.__('State'),
        text: row => (row.is_used ? trans.__('in use here') : row.is_active ? trans.__('active') : trans.__('inactive'))
      },
      { label: trans.__('Policy'), text: row => `${row.resource_policy}` },
      { label: trans.__('Used last'), text: row => momentOf(row.last_used) || trans.__('never') },
      { label: trans.__('Made'), text: row => momentOf(row.created_at) }
    ],
    actions: []
  };
}

export function logTable(trans: TranslationBundle): IPlainTable {
  return {
    label: trans.__('Access log'),
    keyOf: row => `${row.id}`,
    columns: [
      { label: trans.__('When'), text: row => momentOf(row.at) },
      { label: trans.__('What'), text: row => `${row.action}` },
      { label: trans.__('Of what'), text: row => `${row.target}` },
      { label: trans.__('How it went'), text: row => resultOf(Number(row.result), trans) },
      { label: trans.__('Access key'), text: row => `${row.access_key ?? ''}` }
    ],
    actions: []
  };
}

/** `status` as HTTP has it. */
export function resultOf(status: number, trans: TranslationBundle): string {
  if (status < 400) {
    return trans.__('done');
  }
  return status < 500 ? trans.__('refused (%1)', status) : trans.__('failed (%1)', status);
}

export function dotfileTable(settings: Settings, trans: TranslationBundle): IPlainTable {
  const actions: IRowAction[] = [
    {
      verb: trans.__('Change'),
      label: row => trans.__('Change %1', `${row.path}`),
      edit: (_, row) => changedDotfile(settings, `${row.path}`, trans)
    },
    {
      verb: trans.__('Delete'),
      label: row => trans.__('Delete %1', `${row.path}`),
      confirm: trans.__('Sessions that have it keep it; new ones do not get it. Its content is gone.'),
      run: (_, row) => removeDotfile(settings, `${row.path}`)
    }
  ];
  return {
    label: trans.__('Dotfiles'),
    keyOf: row => `${row.path}`,
    columns: [
      { label: trans.__('Path below /home/work'), text: row => `${row.path}` },
      { label: trans.__('Size'), text: row => formatSize(Number(row.size)) },
      { label: trans.__('Permissions'), text: row => `${row.permission}` }
    ],
    actions,
    addition: { label: trans.__('New Dotfile'), edit: () => newDotfile(settings, trans) }
  };
}

function newDotfile(settings: Settings, trans: TranslationBundle): IEdit {
  return {
    title: trans.__('New Dotfile'),
    fields: [
      { name: 'path', label: trans.__('Path below /home/work'), placeholder: '.bashrc' },
      ...dotfileFields('644', '', trans)
    ],
    verb: trans.__('Create'),
    run: ({ path, permission, data }) => addDotfile(settings, { path, permission, data })
  };
}

async function changedDotfile(settings: Settings, path: string, trans: TranslationBundle): Promise<IEdit> {
  const { permission, data } = await getDotfile(settings, path);
  return {
    title: trans.__('Change %1', path),
    fields: dotfileFields(permission, data, trans),
    verb: trans.__('Save'),
    run: values => changeDotfile(settings, { path, permission: values.permission, data: values.data })
  };
}

function dotfileFields(permission: string, data: string, trans: TranslationBundle): IEdit['fields'] {
  return [
    { name: 'permission', label: trans.__('Permissions'), value: permission, placeholder: '644' },
    { name: 'data', label: trans.__('Content'), value: data, isLong: true, isOptional: true }
  ];
}

/** Where there is none yet, nothing is lost. */
export function newSshKeypairEdit(settings: Settings, account: IAccount, trans: TranslationBundle): IEdit {
  const replaced = trans.__(
    'It takes the place of the one that you have (%1), also in new sessions. Where that one lets you in, add the new public key.',
    account.ssh_fingerprint ?? ''
  );
  return {
    title: trans.__('New SSH Keypair'),
    notes: [
      ...(account.ssh_fingerprint ? [replaced] : []),
      trans.__('New sessions have it in .ssh. The private key is shown once.')
    ],
    fields: [],
    verb: trans.__('Create'),
    run: async () => {
      const made = await newSshKeypair(settings);
      return {
        title: trans.__('New SSH Keypair'),
        facts: [
          [trans.__('Fingerprint'), made.fingerprint],
          [trans.__('Public key'), made.public_key.trim()],
          [trans.__('Private key'), made.private_key.trim()]
        ],
        note: trans.__('The private key is not shown again. Copy it or save it now, where only you can read it (chmod 600).'),
        taken: { name: 'id_ed25519', text: made.private_key }
      };
    }
  };
}
