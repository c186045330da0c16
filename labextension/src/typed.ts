/** Amounts as admins type them: resources, times and numbers, shown exactly and read again. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

import { Slots } from './api';

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

export function sizeText(bytes: number): string {
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

/** Hours, also parts of one; nothing is no limit. */
export function readHours(text: string, trans: TranslationBundle): number {
  if (!/^\s*(\d{1,7}([.,]\d{1,3})?)?\s*$/.test(text)) {
    throw new Error(trans.__('%1 is no number of hours: write such as 10 or 2.5, or nothing for no limit.', text));
  }
  return Number(text.replace(',', '.'));
}

export function readCount(text: string, trans: TranslationBundle): number {
  if (!/^\s*\d{1,9}\s*$/.test(text)) {
    throw new Error(trans.__('%1 is no number.', text));
  }
  return Number(text);
}
