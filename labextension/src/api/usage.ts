/** What was held. */

import { requestAPI, Settings } from './request';

/** What was held from a day on, such as `2026-11-30`, in UTC. */
export interface IUsed {
  date: string;
  core_hours: number;
  gib_hours: number;
  gpu_hours: number;
}

/** Day by day from one to another, of `me`, `all` or a project's id. */
export async function usageByDay(settings: Settings, first: string, last: string, scope: string): Promise<IUsed[]> {
  const query = new URLSearchParams({ start: first.replace(/-/g, ''), end: last.replace(/-/g, ''), scope });
  return (await requestAPI<{ days: IUsed[] }>(settings, `usage?${query}`)).days;
}

/** What one session held in a time. */
export interface ISessionUse {
  session_id: string;
  name: string;
  image: string;
  /** Of the keypair that it counts for. */
  access_key: string | null;
  core_hours: number;
  gib_hours: number;
  gpu_hours: number;
}

/** Those that held most, the largest first, and how many there are. */
export interface ICosts {
  sessions: ISessionUse[];
  total_count: number;
}

/** From one day to another, of `me`, `all` or a project's id. */
export async function usageBySession(settings: Settings, first: string, last: string, scope: string): Promise<ICosts> {
  const query = new URLSearchParams({ start: first.replace(/-/g, ''), end: last.replace(/-/g, ''), scope });
  return requestAPI(settings, `usage/sessions?${query}`);
}
