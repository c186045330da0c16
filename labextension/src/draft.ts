/** What a notebook's kernel is to run on, while somebody chooses it. Knows no widgets. */

import { ServerConnection } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, IReplaced, IChoice, ISession, IVerdict, judge, Slots } from './api';
import { resizeTo, withAmountsOf } from './resizing';
import { Access, fromAmount, IOffer, mountsWith, readChoice, readMount, toAmount } from './resources';

type Settings = ServerConnection.ISettings;

/** Where amounts of one's own are kept among the verdicts; presets are kept by name. */
export const CUSTOM = '';

/** Where nothing is known that would be enough. */
const LEAST: Slots = { cpu: '1', mem: '1g' };

/** As many choices the server has judged at once. */
const LARGEST_QUESTION = 32;

/** Changes follow one another while a slider moves; the manager is asked when it rests. */
const REST_MS = 250;

/** The session of the kernel that is to be changed, and the choice that it runs on. */
interface IRunning {
  session: ISession;
  choice: IChoice;
}

/** A choice on its way, and what the manager says of it and of each preset in its place. */
export class Draft {
  /** `session`: that of the kernel which is to be changed. */
  constructor(
    private readonly settings: Settings,
    readonly offer: IOffer,
    asked: IChoice,
    session?: ISession
  ) {
    this._choice = begin(session ? withAmountsOf(session, asked, offer.presets) : asked, offer);
    this.running = session && { session, choice: this._choice };
    void this._ask();
  }

  readonly running: IRunning | undefined;

  /** Of a session of its own for each, in place of the one that runs; and of that one, where it would do. */
  verdicts = new Map<string, IVerdict>();

  /** Why there are no verdicts. */
  error: ApiError | null = null;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get choice(): IChoice {
    return this._choice;
  }

  /** The preset, or `CUSTOM`. */
  get row(): string {
    return this._choice.preset ?? CUSTOM;
  }

  /** What the manager says of the choice; `undefined` while that is not known. */
  get verdict(): IVerdict | undefined {
    return this.verdicts.get(this.row);
  }

  /** What the session that runs would be given for a choice, as it runs; `null` if another one is needed. */
  slotsFor(choice: IChoice): Slots | null {
    const { running, offer } = this;
    return running ? resizeTo(running.session, running.choice, choice, offer.presets) : null;
  }

  /** What is empty in `part` is left open. */
  change(part: IChoice): void {
    this._choice = readChoice({ ...this._choice, ...part });
    if (Object.keys(part).every(key => ['preset', 'resources'].includes(key))) {
      this.verdicts.delete(CUSTOM); // what was said of the presets in its place holds
    } else {
      this.verdicts.clear();
    }
    this._changed.emit();
    clearTimeout(this._timer);
    this._timer = setTimeout(() => void this._ask(), REST_MS);
  }

  /** A preset, or amounts of one's own, which begin with those of the preset before. */
  choosePreset(name: string): void {
    const { preset, resources } = this._choice;
    this._ownAmounts = resources ?? this._ownAmounts;
    if (name === CUSTOM) {
      this.change({ preset: '', resources: this._ownAmounts ?? amountsOf(this.offer, preset) ?? LEAST });
    } else {
      this.change({ preset: name, resources: {} });
    }
  }

  chooseAmount(slot: string, value: number): void {
    const resources = { ...this._choice.resources };
    if (value > 0) {
      resources[slot] = toAmount(slot, value);
    } else {
      delete resources[slot];
    }
    this.change({ resources });
  }

  /** `null` if it is not mounted. */
  accessTo(folder: string): Access | null {
    return this._choice.mounts?.map(readMount).find(one => one.folder === folder)?.access ?? null;
  }

  mount(folder: string, access: Access | null): void {
    this.change({ mounts: mountsWith(this._choice.mounts ?? [], folder, access) });
  }

  dispose(): void {
    clearTimeout(this._timer);
    this._question += 1;
    Signal.clearData(this);
  }

  private async _ask(): Promise<void> {
    const question = (this._question += 1);
    const presets = this._choice.session ? [] : this.offer.presets;
    const rows = new Map([[this.row, this._choice]]);
    presets.forEach(({ name: preset }) => rows.set(preset, readChoice({ ...this._choice, preset, resources: {} })));
    const unknown = [...rows].filter(([row]) => !this.verdicts.has(row)).slice(0, LARGEST_QUESTION);
    if (unknown.length === 0) {
      return;
    }
    let error: ApiError | null = null;
    let verdicts: IVerdict[] = [];
    try {
      const choices = unknown.map(([, choice]) => choice);
      verdicts = await judge(this.settings, choices, this.running && this._replaced(this.running, choices));
    } catch (refused) {
      error = refused as ApiError;
    }
    if (question === this._question) {
      this.error = error;
      verdicts.forEach((verdict, place) => this.verdicts.set(unknown[place][0], verdict));
      this._changed.emit();
    }
  }

  private _replaced({ session }: IRunning, choices: IChoice[]): IReplaced {
    return { instead_of: session.id, resizes: choices.map(choice => this.slotsFor(choice)) };
  }

  private _choice: IChoice;
  private _ownAmounts: Slots | undefined;
  private _question = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private readonly _changed = new Signal<this, void>(this);
}

/** What was asked for, made whole: an image that is there, and a preset or amounts. */
function begin(asked: IChoice, offer: IOffer): IChoice {
  const image = offer.images.find(one => one.name === asked.image) ?? offer.images[0];
  const choice: IChoice = { ...asked, image: image?.name };
  if (!image?.kernelspecs.some(one => one.name === asked.kernelspec)) {
    choice.kernelspec = image?.kernelspecs[0]?.name;
  }
  if (asked.resources) {
    const resources = { ...amountsOf(offer, asked.preset), ...asked.resources };
    return readChoice({ ...choice, preset: '', resources });
  }
  const preset = offer.presets.find(one => one.name === asked.preset) ?? offer.presets[0];
  return readChoice(preset ? { ...choice, preset: preset.name } : { ...choice, preset: '', resources: LEAST });
}

/** What is in a preset, as one would ask for it oneself; without what no agent offers, for which there is no slider. */
function amountsOf(offer: IOffer, preset: string | undefined): Slots | undefined {
  const slots = offer.presets.find(one => one.name === preset)?.resource_slots;
  const offered = new Set(Object.values(offer.capacity.scaling_groups).flatMap(group => Object.keys(group.remaining)));
  const amounts = Object.entries(slots ?? {})
    .filter(([slot]) => offered.has(slot))
    .map(([slot, amount]) => [slot, toAmount(slot, fromAmount(slot, amount))]);
  return slots && Object.fromEntries(amounts);
}
