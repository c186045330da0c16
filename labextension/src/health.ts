/** How the cluster is: each thing that was looked at, in a sentence, with what to do about it. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { formatPart } from './amounts';
import { changeHealth, getHealth, IHealth } from './api';
import { momentOf } from './tables';
import { VERSION } from './versions';
import { Watched } from './watched';

export class Health extends Watched<IHealth> {
  constructor(private readonly settings: ServerConnection.ISettings) {
    super('health', 10);
  }

  /** Pause new sessions, or let them go on. */
  async pause(isFrozen: boolean): Promise<void> {
    await this.change(() => changeHealth(this.settings, isFrozen));
  }

  protected load(): Promise<IHealth> {
    return getHealth(this.settings);
  }
}

export interface ICheck {
  name: string;
  state: 'well' | 'attention' | 'failed';
  said: string;
}

/** From this part of a volume on it is told. */
const FULL = 0.85;

export function checksOf(health: IHealth, trans: TranslationBundle): ICheck[] {
  return [
    sessionsOf(health, trans),
    agentsOf(health, trans),
    enginesOf(health, trans),
    isolationOf(health, trans),
    devicesOf(health, trans),
    volumesOf(health, trans),
    versionsOf(health, trans),
    errorsOf(health, trans)
  ];
}

function sessionsOf({ is_frozen }: IHealth, trans: TranslationBundle): ICheck {
  return {
    name: trans.__('New sessions'),
    state: is_frozen ? 'attention' : 'well',
    said: is_frozen
      ? trans.__('Paused: new ones are refused, and what waits keeps its place. What runs goes on.')
      : trans.__('Are taken.')
  };
}

function agentsOf({ agents }: IHealth, trans: TranslationBundle): ICheck {
  const ready = agents.filter(one => one.status === 'ALIVE' && one.schedulable);
  const drained = agents.filter(one => one.status === 'ALIVE' && !one.schedulable);
  const lost = agents.filter(one => one.status === 'LOST');
  const said = [
    trans._n('One is ready.', '%1 are ready.', ready.length),
    ...drained.map(one =>
      one.drain_by
        ? trans.__('%1 is drained: it takes no new sessions until it is resumed, and what is left there at %2 is ended.', one.name, momentOf(one.drain_by))
        : trans.__('%1 is drained: it takes no new sessions until it is resumed.', one.name)
    ),
    ...lost.map(one =>
      trans.__('%1 has not answered since %2. Its sessions are kept; look at that host and its log.', one.name, momentOf(one.heard_at))
    )
  ];
  const none = agents.length === 0 ? trans.__('There is none: sessions wait. Start one with `bai agent run`.') : '';
  return {
    name: trans.__('Agents'),
    state: ready.length === 0 ? 'failed' : lost.length + drained.length > 0 ? 'attention' : 'well',
    said: none || said.join(' ')
  };
}

/** Of agents that answer: what the others' engines do is not known. */
function enginesOf({ agents }: IHealth, trans: TranslationBundle): ICheck {
  const silent = agents.filter(one => one.status === 'ALIVE' && one.engine_trouble);
  return {
    name: trans.__('Container engines'),
    state: silent.length > 0 ? 'failed' : 'well',
    said:
      silent.length > 0
        ? trans.__('%1 What runs there may go on; nothing new can start.', silent.map(one => one.engine_trouble).join(' '))
        : trans.__('Each agent that answers reaches its own.')
  };
}

function isolationOf({ agents }: IHealth, trans: TranslationBundle): ICheck {
  const open = agents.filter(one => !one.isolated).map(one => one.name);
  return {
    name: trans.__('Isolation'),
    state: open.length > 0 ? 'attention' : 'well',
    said:
      open.length > 0
        ? trans.__('Not isolated, since these run sessions without containers: %1.', open.join(', '))
        : trans.__('Each session has containers of its own.')
  };
}

function devicesOf({ agents }: IHealth, trans: TranslationBundle): ICheck {
  const sick = agents.filter(one => one.sick.length > 0).map(one => `${one.name}: ${one.sick.join(', ')}`);
  return {
    name: trans.__('Devices'),
    state: sick.length > 0 ? 'attention' : 'well',
    said: sick.length > 0 ? trans.__('Something is wrong with %1.', sick.join('; ')) : trans.__('All are well.')
  };
}

function volumesOf({ volumes }: IHealth, trans: TranslationBundle): ICheck {
  const away = volumes.filter(one => one.trouble);
  const full = volumes.filter(one => one.capacity_bytes && one.used_bytes! >= FULL * one.capacity_bytes);
  const said = [
    ...away.map(one => `${one.name}: ${one.trouble}`),
    ...full.map(one => trans.__('%1 is nearly full: %2.', one.name, formatPart(one.used_bytes!, one.capacity_bytes!, trans)))
  ];
  return {
    name: trans.__('Storage'),
    state: away.length > 0 ? 'failed' : full.length > 0 ? 'attention' : 'well',
    said: said.join(' ') || trans._n('There is room in the one volume.', 'There is room in all %1 volumes.', volumes.length)
  };
}

function versionsOf({ versions, agents }: IHealth, trans: TranslationBundle): ICheck {
  const { manager, extension } = versions;
  const parts: [string, string][] = [
    [trans.__('this page'), VERSION],
    [trans.__('this Jupyter server'), extension],
    ...agents.map((one): [string, string] => [one.name, one.version])
  ];
  const others = parts.filter(([, version]) => version !== manager).map(([name, version]) => `${name} ${version}`);
  return {
    name: trans.__('Versions'),
    state: others.length > 0 ? 'attention' : 'well',
    said:
      others.length > 0
        ? trans.__('The manager has %1; others are: %2. Update what is older, and reload the page.', manager, others.join(', '))
        : trans.__('All have %1.', manager)
  };
}

function errorsOf({ errors, error_count }: IHealth, trans: TranslationBundle): ICheck {
  const [newest] = errors;
  return {
    name: trans.__('Errors'),
    state: newest ? 'attention' : 'well',
    said: newest
      ? trans._n(
          'One since the manager started, at %2: %3',
          '%1 since the manager started, the last at %2: %3',
          error_count,
          momentOf(newest.created_at),
          newest.message
        )
      : trans.__('None since the manager started.')
  };
}
