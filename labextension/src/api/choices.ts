/** What a kernel is to run on: what there is of it, and what would happen. */

import { IReason, requestAPI, Settings, Slots, withBody } from './request';

export interface IPreset {
  name: string;
  resource_slots: Slots;
  /** Whether a session with it would start now. */
  allocatable: boolean;
}

/** Of accelerators in a week; `level` as in the names of limits: `keypair`, `user`, `group`, `domain`. */
export interface IBudget {
  level: string;
  gpu_hours_limit: number;
  gpu_hours_used: number;
  resets_at: string;
}

/** What the user may use and uses at each level (`Infinity`: no limit), and what is free. */
export interface ICapacity {
  keypair_limits: Slots;
  keypair_using: Slots;
  user_limits: Slots;
  user_using: Slots;
  group_limits: Slots;
  group_using: Slots;
  domain_limits: Slots;
  domain_using: Slots;
  budgets: IBudget[];
  scaling_groups: Record<string, { using: Slots; remaining: Slots }>;
  presets: IPreset[];
}

/** What a kernel is to run on, as a notebook keeps it in its metadata `bai`; all else is left to policy and habit. */
export interface IChoice {
  image?: string;
  kernelspec?: string;
  preset?: string;
  resources?: Slots;
  /** Folders by name or id: `data`, or `data:ro` where the kernel is not to write. */
  mounts?: string[];
  session?: string;
  resource_group?: string;
  project?: string;
}

/** What would happen to a choice. */
export interface IVerdict {
  verdict: 'now' | 'wait' | 'refused';
  reason: IReason | null;
  estimate_s: number | null;
  /** And to the session that runs, were it given those amounts as it runs; `null` where that was not asked. */
  resize?: IVerdict | null;
}

/** Of a session that a choice would take the place of: what it could be given instead, for each choice. */
export interface IReplaced {
  instead_of: string;
  resizes: (Slots | null)[];
}

/** Names of those that a session may count for. */
export async function listProjects(settings: Settings): Promise<string[]> {
  return (await requestAPI<{ projects: string[] }>(settings, 'projects')).projects;
}

/** What would happen to each choice. Starts and changes nothing. */
export async function judge(settings: Settings, choices: IChoice[], change?: IReplaced): Promise<IVerdict[]> {
  const asked = withBody('POST', { choices, ...change });
  return (await requestAPI<{ verdicts: IVerdict[] }>(settings, 'verdicts', asked)).verdicts;
}

/** By image: what a kernel of it runs on of which nobody says more. */
export async function lastChoices(settings: Settings): Promise<Record<string, unknown>> {
  return (await requestAPI<{ choices: Record<string, unknown> }>(settings, 'last-choices')).choices;
}

export async function getCapacity(settings: Settings): Promise<ICapacity> {
  return requestAPI(settings, 'capacity');
}
