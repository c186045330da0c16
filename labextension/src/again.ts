/** Sessions that are over: which ones lately, and what one of them ran on, to use that again. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { IChoice, IEnded, ISession, ISessionDetail, listEnded } from './api';
import { isOver, Sessions } from './model';
import { withAmountsOf } from './resizing';
import { IOffer, mountsWith, readChoice } from './resources';
import { Watched } from './watched';

/** One's own that ended today. */
export class Ended extends Watched<{ sessions: IEnded[]; total: number }> {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    sessions: Sessions
  ) {
    super('ended-sessions', 30);
    sessions.changed.connect(() => this._follow(sessions));
  }

  protected load(): Promise<{ sessions: IEnded[]; total: number }> {
    return listEnded(this.settings, startOf(new Date()));
  }

  /** One that is missing among those that live is among these now. */
  private _follow({ value }: Sessions): void {
    const ids = (value ?? []).map(session => session.id);
    const isMissing = this._live.some(id => !ids.includes(id));
    this._live = ids;
    if (isMissing && this.isWatched) {
      void this.refresh();
    }
  }

  private _live: string[] = [];
}

/** The beginning of a day, where the page is. */
export function startOf(day: Date): Date {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate());
}

/** Whether a notebook can have what it ran on. */
export function isReusable(session: Pick<ISession, 'status' | 'type' | 'clusterSize'>): boolean {
  return isOver(session) && session.type === 'interactive' && session.clusterSize === 1;
}

/** What it ran on, with the names that its folders have now. `project`: whose limits it counted for, if that is known. */
export function choiceOfSession(
  session: ISessionDetail,
  project: string | null,
  { folders, presets }: Pick<IOffer, 'folders' | 'presets'>
): IChoice {
  const mounts = session.mounts
    .filter(({ folder, name }) => folder !== null && !name.startsWith('.')) // those are mounted in any case
    .map(({ folder, name, read_only }) => [folders.find(({ id }) => id === folder)?.name ?? name, read_only] as const)
    .reduce<string[]>((all, [name, isReadOnly]) => mountsWith(all, name, isReadOnly ? 'ro' : 'rw'), []);
  const asked = readChoice({
    image: session.image,
    kernelspec: session.jupyterKernels[0]?.kernelspec,
    mounts,
    resource_group: session.resourceGroup,
    project
  });
  return withAmountsOf(session, asked, presets);
}

/** What is the same and what is not, before anything is started. */
export function describeAgain({ name, image }: ISession, { images }: Pick<IOffer, 'images'>, trans: TranslationBundle): string {
  return images.some(one => one.name === image)
    ? trans.__('A new notebook gets a session like %1, with its folders. Its variables and other files are gone.', name)
    : trans.__('%1 ran %2, which is not there any more. Choose the environment of the new notebook.', name, image);
}
