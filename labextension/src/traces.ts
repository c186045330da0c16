/** What a session used in the last minutes, as parts of what it has. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';

/** So far back a trace goes. */
export const TRACE_S = 300;

/** A line that has just begun would be a dot in more, and cross the box at once in less. */
const LEAST_S = 60;

/** While nobody looks nothing is asked; a line across that would say what nobody knows. */
const GAP_S = 30;

export interface IPoint {
  /** In seconds. */
  at: number;
  /** 0 to 1. */
  part: number;
}

/** By what is used: `cpu`, `mem`, or a kind of accelerator. */
export type Traces = ReadonlyMap<string, IPoint[]>;

/** With one more point of each that is told of; what was long ago is forgotten. */
export function addPoints(traces: Traces, at: number, parts: Record<string, number>): Traces {
  const names = new Set([...traces.keys(), ...Object.keys(parts)]);
  const kept = [...names].map((name): [string, IPoint[]] => {
    const recent = (traces.get(name) ?? []).filter(one => at - one.at <= TRACE_S && one.at < at);
    const told = parts[name];
    return [name, told === undefined ? recent : [...recent, { at, part: Math.min(Math.max(told, 0), 1) }]];
  });
  return new Map(kept.filter(([, points]) => points.length > 0));
}

/** A line in a box of 1 by 1, now at its end; empty if there is none to draw yet. It spans what is known, or `LEAST_S`. */
export function lineOf(points: IPoint[]): string {
  const [first, now] = [points[0]?.at ?? 0, points[points.length - 1]?.at ?? 0];
  const wide = Math.max(LEAST_S, now - first);
  const steps = points.map(({ at, part }, place) => {
    const isNext = place > 0 && at - points[place - 1].at <= GAP_S;
    return `${isNext ? 'L' : 'M'}${Number((1 - (now - at) / wide).toFixed(4))} ${Number((1 - part).toFixed(3))}`;
  });
  return steps.some(step => step.startsWith('L')) ? steps.join('') : '';
}

/** `In the last 4 min between 5 % and 90 %`; of two points or more. */
export function describeTrace(points: IPoint[], trans: TranslationBundle): string {
  const parts = points.map(({ part }) => Math.round(100 * part));
  const minutes = Math.ceil((points[points.length - 1].at - points[0].at) / 60);
  const [least, most] = [Math.min(...parts), Math.max(...parts)];
  return trans._n('In the last minute between %2 % and %3 %', 'In the last %1 min between %2 % and %3 %', minutes, least, most);
}
