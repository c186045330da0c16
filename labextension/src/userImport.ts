/** Many users from a file: read, judged line by line, then made one after the other. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';

import { addAdmin, AdminRow, ApiError, listAllAdmin, userRefusal } from './api';
import { IRecord, QuoteError, readCsv } from './csv';
import { inWordsOf } from './refusals';

type Settings = ServerConnection.ISettings;

/** What the first line of a file may name; the e-mail address alone has to be there. */
export const COLUMNS = ['email', 'username', 'password', 'role', 'domain', 'projects'];

export const EXAMPLE = `email,username,password,role,projects
kim@example.org,kim,at least 8 characters,user,vision
lee@example.org,lee,at least 8 characters,admin,vision nlp
`;

/** What the manager calls otherwise than a file does. */
const AS_COLUMNS = [
  { name: 'group_ids', label: 'projects' },
  { name: 'domain_name', label: 'domain' }
];

const MOST_LINES = 1000;
const MOST_BYTES = 2 ** 20;

/** One user of a file, and what is known of it. */
export interface IUserLine {
  /** Where it is in the file. */
  line: number;
  email: string;
  /** What would be sent; `null` if it is refused without being asked for. */
  user: object | null;
  state: 'asked' | 'good' | 'refused' | 'made' | 'unknown';
  /** What would happen, has happened, or why nothing does. */
  said: string;
}

/** Throws what is wrong with the file as a whole. */
export function readUsers(text: string, projects: AdminRow[], trans: TranslationBundle): IUserLine[] {
  const [head, ...records] = recordsOf(text, trans);
  const names = (head?.cells ?? []).map(name => name.toLowerCase());
  const strange = names.filter((name, place) => !COLUMNS.includes(name) || names.indexOf(name) !== place);
  if (!names.includes('email') || strange.length > 0) {
    // A first line that names no column may be a user, with a password.
    const found = names.some(name => COLUMNS.includes(name)) ? names.join(', ') : trans.__('none of these');
    throw new Error(
      trans.__('The first line has to name the columns: email, and any of %1. It has: %2.', COLUMNS.slice(1).join(', '), found)
    );
  }
  if (records.length === 0 || records.length > MOST_LINES) {
    throw new Error(trans.__('The file has %1 lines with users; 1 to %2 are taken at once.', records.length, MOST_LINES));
  }
  const seen = new Map<string, number>();
  return records.map(({ line, cells }) => {
    const given = Object.fromEntries(names.map((name, place) => [name, cells[place] ?? '']));
    const isTorn = cells.some(cell => cell.includes('\n'));
    const email = isTorn ? '' : given.email;
    try {
      if (isTorn) {
        throw new Error(trans.__('A value in it has several lines: look at its quotes.'));
      }
      if (cells.length > names.length) {
        throw new Error(trans.__('It has %1 values, and the first line names %2 columns.', cells.length, names.length));
      }
      if (!email) {
        throw new Error(trans.__('It has no e-mail address.'));
      }
      for (const one of [email.toLowerCase(), ...(given.username ? [`@${given.username}`] : [])]) {
        if (seen.has(one)) {
          throw new Error(trans.__('Line %1 has the same e-mail address or name.', seen.get(one)!));
        }
        seen.set(one, line);
      }
      return { line, email, user: userOf(given, projects, trans), state: 'asked' as const, said: '' };
    } catch (refused) {
      return { line, email, user: null, state: 'refused' as const, said: (refused as Error).message };
    }
  });
}

/** Throws which line has quotes that cannot be read. */
function recordsOf(text: string, trans: TranslationBundle): IRecord[] {
  try {
    return readCsv(text);
  } catch (error) {
    throw error instanceof QuoteError ? new Error(trans.__('Line %1 has quotes that do not end where its value does.', error.line)) : error;
  }
}

/** As one is made by hand. Throws what is wrong with its domain and projects. */
function userOf(given: Record<string, string>, projects: AdminRow[], trans: TranslationBundle): object {
  const wanted = given.projects?.split(/[\s,;|]+/).filter(Boolean) ?? [];
  const found = wanted.map(name => projectOf(name, given.domain ?? '', projects, trans));
  const domain = given.domain || (found[0]?.domain_name as string | undefined);
  return {
    email: given.email,
    username: given.username || given.email,
    password: given.password ?? '',
    role: given.role?.toLowerCase() || 'user',
    ...(domain ? { domain_name: domain } : {}),
    ...(found.length > 0 ? { group_ids: found.map(one => one.id) } : {})
  };
}

/** `vision`, or `physics/vision` where several domains have one. */
function projectOf(name: string, domain: string, projects: AdminRow[], trans: TranslationBundle): AdminRow {
  const found = projects.filter(
    one => `${one.domain_name}/${one.name}` === name || (one.name === name && (!domain || one.domain_name === domain))
  );
  if (found.length === 0) {
    throw new Error(trans.__('There is no project %1 for you.', name));
  }
  if (found.length > 1) {
    const names = found.map(one => `${one.domain_name}/${one.name}`).join(', ');
    throw new Error(trans.__('There are several projects %1: say which, such as %2.', name, names));
  }
  return found[0];
}

/** An answer of the manager's, rather than none: what was asked has not been done. */
function isRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && !['server-away', 'manager-away', 'http', 'internal'].includes(error.code);
}

export type Phase = 'none' | 'checking' | 'ready' | 'making' | 'done';

/** One file; each of its users is made whole or not at all, and no line is without its outcome. */
export class UserImport {
  constructor(
    private readonly settings: Settings,
    private readonly trans: TranslationBundle
  ) {}

  lines: IUserLine[] = [];

  phase: Phase = 'none';

  /** What is wrong with the file, or why it did not go on. */
  problem = '';

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  count(state: IUserLine['state']): number {
    return this.lines.filter(line => line.state === state).length;
  }

  /** Say of each line what would happen. Makes nobody. Another file that is chosen meanwhile ends it. */
  async read(file: Pick<Blob, 'size' | 'text'>): Promise<void> {
    const question = this._begin('checking');
    this.lines = [];
    try {
      for await (const lines of this._judged(file)) {
        if (question !== this._question) {
          return;
        }
        this.lines = lines;
        this._changed.emit();
      }
      this.phase = this.count('good') > 0 ? 'ready' : 'done';
    } catch (error) {
      if (question !== this._question) {
        return;
      }
      this.phase = 'none';
      this.problem = (error as Error).message;
    }
    this._changed.emit();
  }

  /** Make all that can be, and say of each what has become of it. */
  async make(): Promise<void> {
    const question = this._begin('making');
    for (const line of this.lines.filter(one => one.state === 'good')) {
      if (question !== this._question) {
        return;
      }
      try {
        await addAdmin(this.settings, 'users', line.user!);
        line.state = 'made';
        line.said = '';
      } catch (error) {
        line.state = isRefusal(error) ? 'refused' : 'unknown';
        line.said = isRefusal(error)
          ? inWordsOf(AS_COLUMNS, error.message)
          : this.trans.__('Whether it was created is not known. %1', (error as Error).message);
      }
      this._changed.emit();
      if (line.state === 'unknown') {
        this.problem = this.trans.__('It stopped at line %1. Choose the file again to go on: who is there already is left as it is.', line.line);
        break;
      }
    }
    this.phase = 'done';
    this._changed.emit();
  }

  /** After the line that is under way. */
  stop(): void {
    this._question += 1;
  }

  /** The lines of the file, again after each that was judged. */
  private async *_judged(file: Pick<Blob, 'size' | 'text'>): AsyncGenerator<IUserLine[]> {
    const { settings, trans } = this;
    if (file.size > MOST_BYTES) {
      throw new Error(trans.__('The file has more than 1 MiB; 1 to %1 lines with users are taken at once.', MOST_LINES));
    }
    const text = await file.text();
    const projects = (await listAllAdmin(settings, 'projects')).filter(one => one.is_active);
    const lines = readUsers(text, projects, trans);
    yield lines;
    for (const line of lines) {
      if (line.user) {
        const refusal = await userRefusal(settings, line.user);
        line.state = refusal === null ? 'good' : 'refused';
        line.said = refusal === null ? describeUser(line.user, projects, trans) : inWordsOf(AS_COLUMNS, refusal);
        yield lines;
      }
    }
  }

  private _begin(phase: Phase): number {
    this.phase = phase;
    this.problem = '';
    this._question += 1;
    this._changed.emit();
    return this._question;
  }

  private readonly _changed = new Signal<this, void>(this);
  private _question = 0;
}

function describeUser(user: object, projects: AdminRow[], trans: TranslationBundle): string {
  const { role, password, domain_name, group_ids } = user as Record<string, string> & { group_ids?: string[] };
  const names = projects.filter(one => group_ids?.includes(`${one.id}`)).map(one => `${one.domain_name}/${one.name}`);
  const where = names.join(', ') || (domain_name ? `${domain_name}/default` : trans.__('your domain'));
  return password
    ? trans.__('As %1 in %2.', role, where)
    : trans.__('As %1 in %2, without a password: they cannot log in with one.', role, where);
}
