/** Amounts in words: slots, sizes, limits and what is used of them. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

import { IBudget, ICapacity, IPreset, ISession, Slots } from './api';

/** What a kind of slot is called. */
export const UNITS: Record<string, string> = {
  cpu: 'CPU',
  'cuda.device': 'GPU',
  'cuda.shares': 'GPU',
  'rocm.device': 'AMD GPU',
  'rocm.shares': 'AMD GPU',
  'mock.device': 'mock GPU',
  'mock.shares': 'mock GPU'
};

/** `2 CPU · 8 GiB · 0.5 GPU`: CPU, memory, then the rest by name. */
export function describeSlots(slots: Slots): string {
  return inOrder(Object.keys(slots))
    .filter(name => Number(slots[name]) > 0)
    .map(name => describeAmount(name, slots[name]))
    .join(' · ');
}

/** What all containers of a session have together. */
export function heldBy({ slots, clusterSize }: Pick<ISession, 'slots' | 'clusterSize'>): Slots {
  return Object.fromEntries(Object.entries(slots).map(([name, amount]) => [name, `${Number(amount) * clusterSize}`]));
}

/** `2 CPU · 8 GiB`, and `6 CPU · 24 GiB · 3 containers` of several. */
export function describeHeld(session: Pick<ISession, 'slots' | 'clusterSize'>, trans: TranslationBundle): string {
  const slots = describeSlots(heldBy(session));
  return session.clusterSize > 1 ? `${slots} · ${trans.__('%1 containers', session.clusterSize)}` : slots;
}

function describeAmount(name: string, amount: string): string {
  return name === 'mem' ? formatSize(Number(amount)) : `${Number(amount)} ${UNITS[name] ?? name}`;
}

/** CPU, memory, then the rest by name. */
export function inOrder(names: string[]): string[] {
  const order = (name: string) => ({ cpu: '0', mem: '1' })[name] ?? `2${name}`;
  return names.sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

/** `1.4 core-hours · 5.6 GiB-hours · 0.35 GPU-hours`: what was held for so long; empty if that is nothing yet. */
export function describeCost(slots: Slots, milliseconds: number, trans: TranslationBundle): string {
  const hours = milliseconds / 3600_000;
  return inOrder(Object.keys(slots))
    .map(slot => [slot, Number(slots[slot]) / (slot === 'mem' ? 1024 ** 3 : 1)] as const)
    .map(([slot, amount]) => [slot, Number((amount * hours).toFixed(2))] as const)
    .filter(([, cost]) => cost > 0)
    .map(([slot, cost]) => trans.__('%1 %2-hours', cost, { cpu: 'core', mem: 'GiB' }[slot as string] ?? UNITS[slot] ?? slot))
    .join(' · ');
}

/** `42 min`: no finer than minutes. */
export function describeAge(milliseconds: number, trans: TranslationBundle): string {
  const minutes = Math.floor(milliseconds / 60000);
  if (minutes < 1) {
    return trans.__('under 1 min');
  }
  if (minutes < 60) {
    return trans.__('%1 min', minutes);
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? trans.__('%1 h', hours) : trans.__('%1 days', Math.floor(hours / 24));
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Binary units, one decimal at most. */
export function formatSize(bytes: number): string {
  const unit = unitOf(bytes);
  return `${inUnit(bytes, unit)} ${SIZES[unit]}`;
}

/** `1.5 of 8 GiB`: both in the unit of the limit, unless next to nothing is used: `43 MiB of 2 GiB`. */
export function formatPart(bytes: number, limit: number, trans: TranslationBundle): string {
  const unit = unitOf(limit);
  if (bytes > 0 && inUnit(bytes, unit) === 0) {
    return trans.__('%1 of %2', formatSize(bytes), formatSize(limit));
  }
  return trans.__('%1 of %2 %3', inUnit(bytes, unit), inUnit(limit, unit), SIZES[unit]);
}

function unitOf(bytes: number): number {
  const unit = bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10);
  return Math.min(unit, SIZES.length - 1);
}

function inUnit(bytes: number, unit: number): number {
  return Number((bytes / 1024 ** unit).toFixed(1));
}

/** `4 of 8 CPU`, `1.5 of 8 GiB`: one decimal at most of what is used. */
export function describePart(slot: string, used: number, limit: number, trans: TranslationBundle): string {
  return slot === 'mem'
    ? formatPart(used, limit, trans)
    : trans.__('%1 of %2 %3', Number(used.toFixed(1)), limit, UNITS[slot] ?? slot);
}

/** How much of one kind of slot is used where it is limited. */
export interface IUse {
  slot: string;
  used: number;
  limit: number;
  /** `4 of 8 CPU` */
  text: string;
}

/** What limits one's sessions together, from the nearest level to the widest. */
export interface ILevel {
  name: string;
  uses: IUse[];
  /** Of accelerators, in this week. */
  budget: IUse | null;
}

/** The levels that limit anything. */
export function levelsOf(capacity: ICapacity, trans: TranslationBundle): ILevel[] {
  const levels: [string, string, Slots, Slots][] = [
    ['keypair', trans.__('Your keypair'), capacity.keypair_limits, capacity.keypair_using],
    ['user', trans.__('You'), capacity.user_limits, capacity.user_using],
    ['group', trans.__('Your project'), capacity.group_limits, capacity.group_using],
    ['domain', trans.__('Your domain'), capacity.domain_limits, capacity.domain_using]
  ];
  return levels
    .map(([level, name, limits, using]) => {
      const budget = capacity.budgets.find(one => one.level === level);
      return { name, uses: usesOf(limits, using, trans), budget: budget ? useOf(budget, trans) : null };
    })
    .filter(({ uses, budget }) => uses.length > 0 || budget !== null);
}

/** `3.5 of 10 GPU-h this week, resets Mon 01:00`, in local time. */
function useOf({ gpu_hours_used, gpu_hours_limit, resets_at }: IBudget, trans: TranslationBundle): IUse {
  const used = Number(gpu_hours_used.toFixed(2));
  const reset = new Date(resets_at).toLocaleString(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
  const text = trans.__('%1 of %2 GPU-h this week, resets %3', used, gpu_hours_limit, reset);
  return { slot: trans.__('GPU-hours'), used: gpu_hours_used, limit: gpu_hours_limit, text };
}

const MIB = 1024 ** 2;

/** As little as that would help nobody. */
const LEAST_GROWTH = 64 * MIB;

/**
 * Memory, in bytes, for a session that needs more than it has, or had: twice that, or what the tightest limit leaves.
 * `held` of it counts as in use: all, or nothing once it has ended. If none is left, twice that: the manager then
 * refuses with its figures.
 */
export function grownMemory(has: number, held: number, capacity: ICapacity): number {
  const levels: [Slots, Slots][] = [
    [capacity.keypair_limits, capacity.keypair_using],
    [capacity.user_limits, capacity.user_using],
    [capacity.group_limits, capacity.group_using],
    [capacity.domain_limits, capacity.domain_using]
  ];
  const left = Math.min(...levels.map(([limits, using]) => Number(limits.mem ?? Infinity) - Number(using.mem ?? 0)));
  const most = Math.min(2 * has, held + Math.floor(left / MIB) * MIB);
  return most - has < LEAST_GROWTH ? 2 * has : most;
}

/** Of each kind that is limited at all. */
export function usesOf(limits: Slots, using: Slots, trans: TranslationBundle): IUse[] {
  return inOrder(Object.keys(limits))
    .filter(slot => Number.isFinite(Number(limits[slot])))
    .map(slot => {
      const [used, limit] = [Number(using[slot] ?? 0), Number(limits[slot])];
      return { slot, used, limit, text: describePart(slot, used, limit, trans) };
    });
}

/** Why a preset would not start now. */
export function whyNot(preset: IPreset, capacity: ICapacity, trans: TranslationBundle): string {
  const levels = levelsOf(capacity, trans);
  for (const level of levels) {
    for (const use of level.uses) {
      if (use.used + Number(preset.resource_slots[use.slot] ?? 0) > use.limit) {
        return trans.__('Over a limit: %1, %2 in use.', level.name, use.text);
      }
    }
    if (level.budget !== null && level.budget.used >= level.budget.limit && hasAccelerator(preset.resource_slots)) {
      return trans.__('Over a limit: %1, %2.', level.name, level.budget.text);
    }
  }
  const offered = new Set(Object.values(capacity.scaling_groups).flatMap(group => Object.keys(group.remaining)));
  const missing = inOrder(Object.keys(preset.resource_slots)).find(slot => !offered.has(slot));
  if (missing !== undefined) {
    return trans.__('No agent offers %1.', UNITS[missing] ?? missing);
  }
  return trans.__('Waits until an agent has that much free, or one of your sessions ends.');
}

function hasAccelerator(slots: Slots): boolean {
  return Object.keys(slots).some(slot => slot !== 'cpu' && slot !== 'mem' && Number(slots[slot]) > 0);
}

/** A sentence whose figures stay with their units when it wraps. */
export function keepUnits(sentence: string): string {
  return sentence.replace(/(\d) (?=%|[KMGT]iB|CPU|GPU|GPU-h|core|min\b|h\b)/g, '$1\u00a0');
}
