/** What of a choice a session that runs can be given as it is: other amounts of CPU and memory. Pure. */

import { IChoice, IPreset, ISession, Slots } from './api';
import { fromAmount, readChoice, readMount, toAmount, toNumber } from './resources';

const RESIZABLE = ['cpu', 'mem'];

/** A choice that differs in one of these needs another kernel, and mostly another session. */
const FIXED = ['kernelspec', 'session', 'resource_group', 'project'] as const;

/**
 * The amounts that would make what the session has into `after`; `null` if it differs in nothing, or in more than these.
 * `before` is the choice that the notebook's kernel runs on.
 */
export function resizeTo(session: ISession, before: IChoice, after: IChoice, presets: IPreset[]): Slots | null {
  const canChange = session.status === 'RUNNING' && session.isolated === true && !session.unreachable;
  const isElsewhere = after.session !== undefined || FIXED.some(key => before[key] !== after[key]);
  const wanted = amountsOf(after, presets);
  if (!canChange || isElsewhere || after.image !== session.image || !hasMounts(session, before, after) || !wanted) {
    return null;
  }
  const has = (slot: string) => Number(session.slots[slot] ?? 0);
  const becomes = (slot: string) => wanted[slot] ?? (RESIZABLE.includes(slot) ? has(slot) : 0);
  const changes = Object.keys({ ...session.slots, ...wanted }).filter(slot => becomes(slot) !== has(slot));
  const isPossible = changes.length > 0 && changes.every(slot => RESIZABLE.includes(slot));
  return isPossible ? Object.fromEntries(changes.map(slot => [slot, `${wanted[slot]}`])) : null;
}

/** A choice that leaves the amounts open, with those that its session has: a preset if one is just that. */
export function withAmountsOf(session: ISession, asked: IChoice, presets: IPreset[]): IChoice {
  if (asked.session || asked.preset || asked.resources) {
    return asked;
  }
  const slots = Object.entries(session.slots).filter(([, amount]) => Number(amount) > 0);
  const resources = Object.fromEntries(slots.map(([slot, amount]) => [slot, toAmount(slot, fromAmount(slot, amount))]));
  const isSame = ({ resource_slots }: IPreset) =>
    Object.keys({ ...resource_slots, ...session.slots }).every(
      slot => Number(resource_slots[slot] ?? 0) === Number(session.slots[slot] ?? 0)
    );
  const preset = presets.find(isSame)?.name;
  return readChoice({ ...asked, ...(preset ? { preset } : { resources }) });
}

/** By kind, as numbers; `undefined` where policy decides. */
function amountsOf({ preset, resources }: IChoice, presets: IPreset[]): Record<string, number> | undefined {
  const slots = resources ?? presets.find(one => one.name === preset)?.resource_slots;
  return slots && Object.fromEntries(Object.entries(slots).map(([slot, amount]) => [slot, toNumber(slot, amount)]));
}

/** Whether all that is chosen is there already, and as it is chosen, and nothing that was is to go. */
function hasMounts(session: ISession, before: IChoice, after: IChoice): boolean {
  const there = new Map(session.mounts.map(mount => [mount.name, mount.read_only]));
  const [had, chosen] = [before.mounts ?? [], after.mounts ?? []];
  const folders = new Set(chosen.map(one => readMount(one).folder));
  const isThere = (one: string) => {
    const { folder, access } = readMount(one);
    return there.has(folder) && (had.includes(one) || there.get(folder) === (access === 'ro'));
  };
  const isKept = (one: string) => folders.has(readMount(one).folder) || !there.has(readMount(one).folder);
  return chosen.every(isThere) && had.every(isKept);
}
