/** What a notebook's kernel is to run on, and what there is to choose from. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { describeSlots, inOrder, UNITS } from './amounts';
import {
  getCapacity,
  ICapacity,
  IChoice,
  IFolder,
  IImage,
  IPreset,
  ISession,
  IVerdict,
  listFolders,
  listImages,
  listProjects,
  listSessions,
  Slots
} from './api';

type Settings = ServerConnection.ISettings;

const GIB = 1024 ** 3;
const TEXTS = ['image', 'kernelspec', 'preset', 'session', 'resource_group', 'project'] as const;

/** What there is to choose from. */
export interface IOffer {
  images: IImage[];
  presets: IPreset[];
  /** Those that can be left out: the home folder is always mounted. */
  folders: IFolder[];
  /** One's own that run. */
  sessions: ISession[];
  groups: string[];
  projects: string[];
  capacity: ICapacity;
}

export async function loadOffer(settings: Settings): Promise<IOffer> {
  const [images, capacity, folders, sessions, projects] = await Promise.all([
    listImages(settings),
    getCapacity(settings),
    listFolders(settings),
    listSessions(settings),
    listProjects(settings)
  ]);
  return {
    images: images.filter(image => image.kernelspecs.length > 0),
    presets: capacity.presets,
    folders: folders.filter(one => one.status === 'ready' && one.name !== 'home' && !one.name.startsWith('.')),
    sessions: sessions.filter(session => session.status === 'RUNNING'),
    groups: Object.keys(capacity.scaling_groups),
    projects,
    capacity
  };
}

/** The choice in a value that anybody may have written; what is of another kind is left out. */
export function readChoice(raw: unknown): IChoice {
  const given = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>;
  const choice: IChoice = {};
  for (const key of TEXTS) {
    if (typeof given[key] === 'string' && given[key]) {
      choice[key] = given[key];
    }
  }
  const mounts = Array.isArray(given.mounts) ? given.mounts.filter(name => typeof name === 'string') : [];
  if (mounts.length > 0) {
    choice.mounts = mounts;
  }
  if (typeof given.resources === 'object' && given.resources !== null) {
    const amounts = Object.entries(given.resources).map(([slot, amount]) => [slot, String(amount)]);
    if (amounts.length > 0) {
      choice.resources = Object.fromEntries(amounts);
    }
  }
  return choice;
}

/** What `asked` leaves open is as in `below`, whose amounts were not said of another preset. */
export function over(asked: IChoice, below: IChoice): IChoice {
  const { preset, resources, ...rest } = below;
  const amounts = asked.preset || asked.resources ? {} : { preset, resources };
  return readChoice({ ...rest, ...amounts, ...asked });
}

/** When a new notebook's resources are asked for before its kernel starts; what the settings hold. */
export type Ask = 'always' | 'unless-now' | 'never';

/** Whether to ask, by what the manager says of a start as it would be; a manager that says nothing is no reason to. */
export function isToBeAsked(ask: Ask, verdict: IVerdict | undefined): boolean {
  return ask === 'always' || (ask === 'unless-now' && verdict !== undefined && verdict.verdict !== 'now');
}

/** Whether the kernel may write in a folder that is mounted. */
export type Access = 'rw' | 'ro';

const READ_ONLY = ':ro';

/** Of an entry of `IChoice.mounts`. */
export function readMount(mount: string): { folder: string; access: Access } {
  return mount.endsWith(READ_ONLY)
    ? { folder: mount.slice(0, -READ_ONLY.length), access: 'ro' }
    : { folder: mount, access: 'rw' };
}

/** The mounts of a choice with that folder so, in its place if it is among them; `null`: without it. */
export function mountsWith(mounts: string[], folder: string, access: Access | null): string[] {
  const mount = access === 'ro' ? `${folder}${READ_ONLY}` : folder;
  const isThere = mounts.some(one => readMount(one).folder === folder);
  return (isThere || access === null ? mounts : [...mounts, mount]).flatMap(one =>
    readMount(one).folder !== folder ? [one] : access === null ? [] : [mount]
  );
}

/** The choice of a session of one's own with so many bytes of memory, all else as in one that had `slots`. */
export function withMemory(choice: IChoice, slots: Slots, bytes: number): IChoice {
  const amounts = choice.preset || choice.resources ? choice.resources : slots;
  return readChoice({ ...choice, resources: { ...amounts, mem: toAmount('mem', bytes / GIB) }, session: '' });
}

/** What somebody has chosen for a notebook's kernel, for a run: that has a session of its own. */
export function choiceToRun(choice: IChoice): IChoice {
  return readChoice({ ...choice, session: '' });
}

/** `gpu`, `2 CPU · 8 GiB`, or the session that is joined; nothing if policy and habit decide. */
export function describeChoice(choice: IChoice): string {
  if (choice.session) {
    return choice.session;
  }
  const amounts = Object.entries(choice.resources ?? {}).map(([slot, amount]) => [slot, `${toNumber(slot, amount)}`]);
  return [choice.preset ?? '', describeSlots(Object.fromEntries(amounts))].filter(Boolean).join(' · ');
}

const FACTORS: Record<string, number> = { '': 1, k: 1024, m: 1024 ** 2, g: GIB, t: 1024 * GIB };

/** An amount as people write it: memory in bytes, all else as it is; 0 if it is none. */
export function toNumber(slot: string, amount: string): number {
  const size = slot === 'mem' ? /^\s*([\d.]+)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(amount) : null;
  const number = size ? Number(size[1]) * FACTORS[size[2].toLowerCase()] : Number(amount);
  return Number.isFinite(number) ? number : 0;
}

/** One kind of slot as it is chosen: memory in GiB. */
export interface ISlider {
  slot: string;
  label: string;
  min: number;
  max: number;
  step: number;
}

/** What can be chosen of each kind: up to the tightest limit, or what the group has. */
export function slidersOf(capacity: ICapacity, group: string | undefined, trans: TranslationBundle): ISlider[] {
  const groups = Object.entries(capacity.scaling_groups).filter(([name]) => !group || name === group);
  const totals: Record<string, number> = {};
  for (const [, { using, remaining }] of groups) {
    for (const slot of Object.keys(remaining)) {
      const total = Number(using[slot] ?? 0) + Number(remaining[slot]);
      totals[slot] = Math.max(totals[slot] ?? 0, total);
    }
  }
  const limits = [capacity.keypair_limits, capacity.user_limits, capacity.group_limits, capacity.domain_limits];
  return inOrder(Object.keys(totals))
    .map(slot => {
      const most = Math.min(totals[slot], ...limits.map(level => Number(level[slot] ?? Infinity)));
      return slot === 'mem' ? memorySlider(most, trans) : deviceSlider(slot, most, trans);
    })
    .filter(slider => slider.max >= Math.max(slider.min, slider.step));
}

function memorySlider(bytes: number, trans: TranslationBundle): ISlider {
  const step = bytes < 8 * GIB ? 0.25 : 1;
  return { slot: 'mem', label: trans.__('Memory'), min: step, max: floorTo(bytes / GIB, step), step };
}

function deviceSlider(slot: string, most: number, trans: TranslationBundle): ISlider {
  const step = slot.endsWith('.shares') ? 0.1 : 1;
  const label = slot === 'cpu' ? trans.__('CPU') : (UNITS[slot] ?? slot);
  return { slot, label, min: slot === 'cpu' ? 1 : 0, max: floorTo(most, step), step };
}

function floorTo(number: number, step: number): number {
  return Number((Math.floor(number / step + 1e-9) * step).toFixed(2));
}

/** Within the slider's ends, on one of its steps. */
export function fit(slider: ISlider, value: number): number {
  const { min, max, step } = slider;
  const nearest = Math.round((Number.isFinite(value) ? value : min) / step) * step;
  return Number(Math.min(Math.max(nearest, min), max).toFixed(2));
}

/** How a slider's value is asked for: `2`, `8g`, `512m`. */
export function toAmount(slot: string, value: number): string {
  if (slot !== 'mem') {
    return `${value}`;
  }
  return Number.isInteger(value) ? `${value}g` : `${Math.round(value * 1024)}m`;
}

export function fromAmount(slot: string, amount: string): number {
  return slot === 'mem' ? toNumber(slot, amount) / GIB : toNumber(slot, amount);
}
