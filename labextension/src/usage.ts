/** What was held in the last days, weeks or months, as sums and as a file. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { AdminRow, getUser, ICosts, IUsed, listAllAdmin, usageByDay, usageBySession } from './api';
import { IPlainTable, shown } from './tables';
import { Watched } from './watched';

type Settings = ServerConnection.ISettings;

export type Step = 'day' | 'week' | 'month';

/** So many are shown at once. */
const COUNTS: Record<Step, number> = { day: 30, week: 12, month: 12 };

/** The first days of the last days, weeks or months, such as `2026-11-30`, in UTC; the one of that moment last. */
export function beginsUntil(now: Date, step: Step): string[] {
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  const monday = day - ((now.getUTCDay() + 6) % 7);
  const first = {
    day: (back: number) => [month, day - back],
    week: (back: number) => [month, monday - 7 * back],
    month: (back: number) => [month - back, 1]
  };
  return Array.from({ length: COUNTS[step] }, (_, place) => {
    const [inMonth, onDay] = first[step](COUNTS[step] - 1 - place);
    return new Date(Date.UTC(year, inMonth, onDay)).toISOString().slice(0, 10);
  });
}

/** What was held from each of these days on to the next; the last one is open. */
export function sumFrom(begins: string[], days: IUsed[]): IUsed[] {
  return begins.map((date, place) => {
    const next = begins[place + 1];
    const inside = days.filter(day => day.date >= date && (next === undefined || day.date < next));
    const sum = (name: Figure) => inside.reduce((total, day) => total + day[name], 0);
    return { date, core_hours: sum('core_hours'), gib_hours: sum('gib_hours'), gpu_hours: sum('gpu_hours') };
  });
}

export type Figure = 'core_hours' | 'gib_hours' | 'gpu_hours';

/** The figures there are, and what each is called. */
export function figuresOf(trans: TranslationBundle): [Figure, string][] {
  return [
    ['core_hours', trans.__('CPU core-hours')],
    ['gib_hours', trans.__('Memory GiB-hours')],
    ['gpu_hours', trans.__('GPU-hours')]
  ];
}

export function csvOf(rows: IUsed[]): string {
  const names = ['date', 'core_hours', 'gib_hours', 'gpu_hours'] as const;
  const lines = rows.map(row => names.map(name => (name === 'date' ? row.date : rounded(row[name]))).join(','));
  return [names.join(','), ...lines, ''].join('\r\n');
}

/** Two decimals at most. */
export function rounded(hours: number): number {
  return Number(hours.toFixed(2));
}

/** Which of so many points is there, of a chart that is so wide. */
export function pointAt(x: number, width: number, count: number): number {
  return Math.min(count - 1, Math.max(0, Math.floor((x / width) * count)));
}

/** Where a key leads from a point, the last one if there is none yet; `null` for keys that lead nowhere. */
export function pointAfter(key: string, at: number | null, count: number): number | null {
  const last = count - 1;
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return Math.max(0, (at ?? count) - 1);
    case 'ArrowRight':
    case 'ArrowUp':
      return Math.min(last, (at ?? last - 1) + 1);
    case 'Home':
      return 0;
    case 'End':
      return last;
    default:
      return null;
  }
}

/** What somebody may look at: oneself; for admins all whom they reach, and each of their projects. */
export async function scopesOf(settings: Settings, trans: TranslationBundle): Promise<[string, string][]> {
  const me: [string, string] = ['me', trans.__('me')];
  const role = (await getUser(settings))?.role;
  if (role !== 'superadmin' && role !== 'admin') {
    return [me];
  }
  const projects = await listAllAdmin(settings, 'projects');
  const all = role === 'superadmin' ? trans.__('everybody') : trans.__('my domain');
  return [
    me,
    ['all', all],
    ...projects.map((one): [string, string] => [`${one.id}`, trans.__('project %1/%2', `${one.domain_name}`, `${one.name}`)])
  ];
}

/** What one scope held; `step` and `scope` say what is shown. */
export class Usage extends Watched<IUsed[]> {
  constructor(
    private readonly settings: Settings,
    private readonly now = () => new Date()
  ) {
    super('usage', 60);
  }

  get step(): Step {
    return this._step;
  }

  get scope(): string {
    return this._scope;
  }

  show(step: Step, scope: string): void {
    this._step = step;
    this._scope = scope;
    this.forget();
  }

  protected async load(): Promise<IUsed[]> {
    const now = this.now();
    const begins = beginsUntil(now, this._step);
    const days = await usageByDay(this.settings, begins[0], now.toISOString().slice(0, 10), this._scope);
    return sumFrom(begins, days);
  }

  private _step: Step = 'day';
  private _scope = 'me';
}

/** So many days of which it can be asked which sessions held most. */
export const SPANS = [7, 30, 365];

/** Which sessions held most; `days` and `scope` say when, up to now, and whose. */
export class Costs extends Watched<ICosts> {
  constructor(
    private readonly settings: Settings,
    private readonly now = () => new Date()
  ) {
    super('costs', 60);
  }

  get days(): number {
    return this._days;
  }

  get scope(): string {
    return this._scope;
  }

  show(days: number, scope: string): void {
    this._days = days;
    this._scope = scope;
    this.forget();
  }

  protected load(): Promise<ICosts> {
    const now = this.now();
    const first = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() - this._days + 1));
    const [begin, end] = [first, now].map(day => day.toISOString().slice(0, 10));
    return usageBySession(this.settings, begin, end, this._scope);
  }

  private _days = SPANS[0];
  private _scope = 'me';
}

/** `isOwn`: whether the sessions are one's own; of others the keypair is shown, and they are asked for by it. */
export function costTable(isOwn: boolean, trans: TranslationBundle): IPlainTable {
  const hours = figuresOf(trans).map(([figure, label]) => ({
    label,
    text: (row: AdminRow) => rounded(Number(row[figure])).toLocaleString()
  }));
  const keypair = { label: trans.__('Keypair'), text: (row: AdminRow) => shown(row.access_key) };
  return {
    label: trans.__('Sessions that held most'),
    keyOf: row => shown(row.session_id),
    columns: [
      { label: trans.__('Session'), text: row => shown(row.name) },
      { label: trans.__('Environment'), text: row => shown(row.image) },
      ...hours,
      ...(isOwn ? [] : [keypair])
    ],
    actions: [],
    session: row => ({
      id: shown(row.session_id),
      name: shown(row.name),
      ...(isOwn ? {} : { owner: shown(row.access_key) })
    })
  };
}
