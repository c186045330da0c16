/** From facts to words and shapes: the same status has the same word, icon and colour everywhere. Pure. */

import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import { formatSize, keepUnits } from './amounts';
import { IApp, IKernelStatus, IMount, IQueue, IReason, ISession, IVerdict } from './api';
import { IMyFolder, ITogether } from './folders';
import { clockIcon, crossIcon, dotIcon, progressIcon, ringIcon, warningIcon } from './icons';
import { canKeep, ENDS_SOON } from './news';

/** How a state looks: its word, its icon, and the role of its colour (a CSS class). */
export interface ILook {
  word: string;
  icon: LabIcon;
  role: 'waiting' | 'progress' | 'running' | 'attention' | 'ended' | 'failed';
}

interface IState {
  status: string | null;
  queue: IQueue | null;
  progress: number | null;
  unreachable?: boolean;
  is_dead?: boolean;
  reason: IReason | null;
}

const SUSPENDED = ['suspended', 'idle-suspended'];

export function lookOf(state: IState, trans: TranslationBundle): ILook {
  if (state.unreachable || state.reason?.code === 'unreachable') {
    return { word: trans.__('Unreachable'), icon: warningIcon, role: 'attention' };
  }
  switch (state.status) {
    case 'PENDING':
      return { word: queuedWord(state.queue, trans), icon: clockIcon, role: 'waiting' };
    case 'SCHEDULED':
      return { word: trans.__('Assigned'), icon: clockIcon, role: 'waiting' };
    case 'TERMINATED':
      return { word: trans.__('Ended'), icon: ringIcon, role: 'ended' };
    case 'CANCELLED':
      return { word: trans.__('Cancelled'), icon: ringIcon, role: 'ended' };
    case 'ERROR':
      return { word: trans.__('Failed'), icon: crossIcon, role: 'failed' };
  }
  if (state.is_dead) {
    return { word: trans.__('Ended'), icon: crossIcon, role: 'failed' };
  }
  if (state.status === 'RUNNING' && ENDS_SOON.includes(state.reason?.code ?? '')) {
    return { word: trans.__('Stops soon'), icon: warningIcon, role: 'attention' };
  }
  if (state.status === 'RUNNING' && state.reason?.code === 'held') {
    return { word: trans.__('Held'), icon: warningIcon, role: 'attention' };
  }
  if (state.status === 'RUNNING' && SUSPENDED.includes(state.reason?.code ?? '')) {
    return { word: trans.__('Suspended'), icon: ringIcon, role: 'running' };
  }
  if (state.status === 'RUNNING') {
    return { word: trans.__('Running'), icon: dotIcon, role: 'running' };
  }
  return { word: progressWord(state, trans), icon: progressIcon, role: 'progress' };
}

/** The same, with what the kernel does meanwhile where all is well: `Running, busy`. */
export function lookOfKernel(state: IState, doing: string, trans: TranslationBundle): ILook {
  const look = lookOf(state, trans);
  return look.icon === dotIcon && doing ? { ...look, word: trans.__('%1, %2', look.word, doing) } : look;
}

function queuedWord(queue: IQueue | null, trans: TranslationBundle): string {
  return queue?.position ? trans.__('Queued, %1', ordinal(queue.position, trans)) : trans.__('Queued');
}

function progressWord(state: IState, trans: TranslationBundle): string {
  switch (state.status) {
    case 'PREPARING':
      return trans.__('Preparing');
    case 'PULLING':
      return state.progress === null ? trans.__('Pulling') : trans.__('Pulling %1 %', Math.floor(state.progress));
    case 'RESTARTING':
      return trans.__('Restarting');
    case 'TERMINATING':
      return trans.__('Ending');
    default:
      return trans.__('Starting');
  }
}

export function ordinal(place: number, trans: TranslationBundle): string {
  switch (new Intl.PluralRules('en', { type: 'ordinal' }).select(place)) {
    case 'one':
      return trans.__('%1st', place);
    case 'two':
      return trans.__('%1nd', place);
    case 'few':
      return trans.__('%1rd', place);
    default:
      return trans.__('%1th', place);
  }
}

/** When a session that is not asked for yet would start. */
export function lookOfVerdict(verdict: IVerdict, trans: TranslationBundle): ILook {
  switch (verdict.verdict) {
    case 'now':
      return { word: trans.__('Starts now'), icon: dotIcon, role: 'running' };
    case 'wait':
      return { word: waitWord(verdict.estimate_s, trans), icon: clockIcon, role: 'waiting' };
    default:
      return { word: trans.__('Not possible'), icon: warningIcon, role: 'attention' };
  }
}

/** What runs is given other amounts as it is. */
export function lookOfResize(trans: TranslationBundle): ILook {
  return { word: trans.__('Without a restart'), icon: dotIcon, role: 'running' };
}

/** Whether a session is frozen. */
export function isSuspended(status: IKernelStatus | null | undefined): boolean {
  return status?.status === 'RUNNING' && SUSPENDED.includes(status.reason?.code ?? '');
}

/** Rounded up, coarser when later, as the manager says it in sentences. */
function waitWord(seconds: number | null, trans: TranslationBundle): string {
  if (seconds === null) {
    return trans.__('Has to wait');
  }
  if (seconds < 60) {
    return trans.__('In under a minute');
  }
  if (seconds > 8 * 3600) {
    return trans.__('In more than 8 h');
  }
  const minutes = Math.ceil(seconds / 60);
  const step = minutes < 10 ? 1 : minutes < 60 ? 5 : 15;
  const rounded = Math.ceil(minutes / step) * step;
  const [hours, rest] = [Math.floor(rounded / 60), rounded % 60];
  if (hours === 0) {
    return trans.__('In about %1 min', rest);
  }
  return rest ? trans.__('In about %1 h %2 min', hours, rest) : trans.__('In about %1 h', hours);
}

export function describePermission(permission: string, trans: TranslationBundle): string {
  return permission === 'ro' ? trans.__('read only') : trans.__('read and write');
}

/** `read only · from kim@lab.org`; nothing of the owner for one's own. */
export function describeFolder(folder: IMyFolder, trans: TranslationBundle): string {
  const facts = [describePermission(folder.permission, trans)];
  if (folder.ownership_type === 'group') {
    facts.push(trans.__('project %1', folder.group_name ?? ''));
  } else if (!folder.isMine) {
    facts.push(trans.__('from %1', folder.user_email ?? ''));
  }
  if (folder.max_size === null) {
    facts.push(formatSize(folder.cur_size));
  }
  return facts.join(' · ');
}

/** `Your folders on local:data, a soft limit` */
export function describeTogether({ folder, isHard }: ITogether, trans: TranslationBundle): string {
  const owner = folder.group_name ?? folder.user_email ?? '';
  const whose = folder.isMine ? trans.__('Your folders on %1', folder.host) : trans.__('Folders of %1 on %2', owner, folder.host);
  return isHard ? whose : trans.__('%1, a soft limit', whose);
}

/** `/home/work/data, read only` */
export function describeMount(mount: IMount, trans: TranslationBundle): string {
  return describeFolderIn(mount.target, mount.read_only, trans);
}

/** A folder in a session, by its name or where it is. */
export function describeFolderIn(name: string, isReadOnly: boolean, trans: TranslationBundle): string {
  return isReadOnly ? trans.__('%1, read only', name) : name;
}

/** The second line of a session: its sentence, unless it is well; then only what it has and for how long. */
export function sentenceOf(session: ISession): string | null {
  const code = session.reason?.code ?? '';
  const isWell = session.status === 'RUNNING' && !session.unreachable && !['held', ...SUSPENDED, ...ENDS_SOON].includes(code);
  return isWell ? null : keepUnits(session.reason?.text ?? '');
}

/** What the strip in a notebook says, or `null` while there is nothing to say. */
export interface INotice {
  look: ILook;
  text: string;
  /** What the user can do about it. */
  actions: NoticeAction[];
  progress: number | null;
}

export type NoticeAction = 'cancel' | 'restart' | 'keep' | 'dismiss' | 'grow' | 'more' | 'interrupt' | 'end';

export function noticeOf(status: IKernelStatus | null | undefined, trans: TranslationBundle): INotice | null {
  if (!status?.reason) {
    return null;
  }
  const look = lookOf(status, trans);
  const text = keepUnits(status.reason.text);
  switch (look.role) {
    case 'running':
      if (SUSPENDED.includes(status.reason.code)) {
        return { look, text, actions: ['dismiss'], progress: null };
      }
      return status.notice ? { look, text: status.notice, actions: ['dismiss'], progress: null } : null;
    case 'attention':
      return { look, text, actions: actionsOnWarning(status.reason.code), progress: null };
    case 'ended':
    case 'failed':
      return { look, text, actions: status.reason.code === 'oom-killed' ? ['more', 'restart'] : ['restart'], progress: null };
    default:
      return {
        look,
        text,
        actions: status.status === 'TERMINATING' ? [] : ['cancel'],
        progress: status.status === 'PULLING' ? status.progress : null
      };
  }
}

function actionsOnWarning(code: string): NoticeAction[] {
  if (code === 'held') {
    return ['grow', 'interrupt', 'end'];
  }
  if (!ENDS_SOON.includes(code)) {
    return [];
  }
  return [canKeep(code) ? 'keep' : 'dismiss'];
}

/** A port that was asked for, or found, has no other name than its number. */
export function describeApp(app: IApp, trans: TranslationBundle): { name: string; details: string } {
  const ports = app.ports.join(', ');
  if (app.protocol === 'preopen' || app.protocol === 'discovered') {
    const why = app.protocol === 'preopen' ? trans.__('asked for with the session') : trans.__('a program listens there');
    return { name: trans.__('Port %1', ports), details: why };
  }
  const details = trans._n('%2, port %3', '%2, ports %3', app.ports.length, app.protocol.toUpperCase(), ports);
  return { name: app.name, details };
}
