/** The dialog in which resources are chosen, for a notebook's kernel or its run; each choice shows what would happen. */

import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import React from 'react';

import { describeSlots, keepUnits } from '../amounts';
import { IChoice, IImage, ISession, IVerdict, Slots } from '../api';
import { CUSTOM, Draft } from '../draft';
import { inWordsOf, resourceFields } from '../refusals';
import { Access, fit, fromAmount, ISlider, readChoice, readMount, slidersOf } from '../resources';
import { IRunFields } from '../runs';
import { describePermission, ILook, lookOfResize, lookOfVerdict } from '../words';
import { useChanges } from './section';
import { StateIcon } from './state';

interface IOptions {
  draft: Draft;
  /** The notebook, as its user calls it. */
  notebook: string;
  /** To start its kernel, to end the one that runs for another, or to run it from start to end beside. */
  purpose: 'start' | 'change' | 'run';
  /** What else is said of a run; written as it is filled in. */
  run?: IRunFields;
  /** What is to be known before anything is chosen. */
  note?: string;
  trans: TranslationBundle;
  /** Takes the choice; what it throws is shown, and the dialog stays. `slots`: what its session is given as it runs. */
  take: (choice: IChoice, slots: Slots | null) => Promise<void>;
}

/** Resolves with a button that accepts once the choice was taken. */
export class ResourceDialog extends Dialog<unknown> {
  constructor(private readonly options: IOptions) {
    const { draft, trans, purpose } = options;
    const body = new Body(options, () => this._follow());
    const titles = {
      start: trans.__('Start kernel'),
      change: trans.__('Change resources'),
      run: trans.__('Run on cluster')
    };
    super({
      title: titles[purpose],
      body,
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Start') })]
    });
    this._view = body;
    this.addClass('jp-bai-Resources');
    this.node.setAttribute('aria-label', trans.__('Resources for %1', options.notebook));
    draft.changed.connect(this._follow, this);
    this._follow();
  }

  dispose(): void {
    this.options.draft.dispose();
    super.dispose();
  }

  /** Keys are the dialog's as soon as it is seen; Lab's own waits until the page is idle, and they would go nowhere. */
  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this._accept.focus();
  }

  /** Tab goes round; Lab's own would leave the body out, which was not drawn yet when it looked for the first control. */
  handleEvent(event: Event): void {
    const isTab = event instanceof KeyboardEvent && event.type === 'keydown' && event.key === 'Tab' && !event.shiftKey;
    if (isTab && document.activeElement === this._accept) {
      event.preventDefault();
      event.stopPropagation();
      this._view.node.querySelector<HTMLElement>('select, input, button, summary')?.focus();
    } else {
      super.handleEvent(event);
    }
  }

  resolve(index?: number): void {
    if (index === 0) {
      super.resolve(index);
    } else if (!this._isBusy && this._accept.getAttribute('aria-disabled') !== 'true') {
      void this._take();
    }
  }

  private async _take(): Promise<void> {
    this._isBusy = true;
    this._view.refusal = '';
    this._follow();
    try {
      await this.options.take(this.options.draft.choice, this._slots);
      super.resolve(1);
    } catch (refused) {
      this._view.refusal = (refused as Error).message;
    } finally {
      this._isBusy = false;
      if (!this.isDisposed) {
        this._follow();
      }
    }
  }

  /** The button says what will happen; its reason for not doing so stands above it. */
  private _follow(): void {
    const { draft, trans, purpose } = this.options;
    const verdict = (this._slots ? draft.verdict?.resize : draft.verdict)?.verdict;
    const start = purpose === 'run' ? trans.__('Run') : trans.__('Start');
    const begin = verdict === 'wait' ? trans.__('Queue') : start;
    const change = this._slots ? trans.__('Apply now') : trans.__('Restart and apply');
    const label = purpose === 'change' ? change : begin;
    this._accept.querySelector('.jp-Dialog-buttonLabel')!.textContent = label;
    this._accept.setAttribute('aria-label', label);
    this._accept.setAttribute('aria-disabled', `${this._isBusy || verdict === 'refused'}`);
    this._accept.setAttribute('aria-describedby', VERDICT_ID);
  }

  /** What the session is given as it runs; `null` if its kernel is to be restarted. */
  private get _slots(): Slots | null {
    const { draft } = this.options;
    return this._view.restarts ? null : draft.slotsFor(draft.choice);
  }

  private get _accept(): HTMLElement {
    return this.node.querySelector<HTMLElement>('.jp-Dialog-button.jp-mod-accept')!;
  }

  private readonly _view: Body;
  private _isBusy = false;
}

const VERDICT_ID = 'jp-bai-verdict';

/** What would happen, to the session that runs if it would be given `slots`, and how that is shown. */
function outlookOf(verdict: IVerdict | undefined, slots: Slots | null, trans: TranslationBundle): [IVerdict, ILook] | [] {
  if (slots) {
    return verdict?.resize ? [verdict.resize, lookOfResize(verdict.resize, trans)] : [];
  }
  return verdict ? [verdict, lookOfVerdict(verdict, trans)] : [];
}

/** A refusal in the words of this dialog. */
function sayWhy(sentence: string, trans: TranslationBundle): string {
  return keepUnits(inWordsOf(resourceFields(trans), sentence));
}

class Body extends ReactWidget {
  constructor(
    private readonly options: IOptions,
    private readonly changed: () => void
  ) {
    super();
    this.addClass('jp-bai-Resources-body');
  }

  /** Whether the kernel is to be restarted also where that is not necessary. */
  restarts = false;

  /** Why the choice could not be taken. */
  set refusal(sentence: string) {
    this._refusal = sentence;
    this.update();
  }

  protected render(): JSX.Element {
    return (
      <View
        {...this.options}
        refusal={this._refusal}
        restarts={this.restarts}
        setRestarts={restarts => {
          this.restarts = restarts;
          this.update();
          this.changed();
        }}
      />
    );
  }

  private _refusal = '';
}

interface IViewProps extends IOptions {
  refusal: string;
  restarts: boolean;
  setRestarts: (restarts: boolean) => void;
}

function View(props: IViewProps): JSX.Element {
  const { draft, purpose, run, note, trans, refusal, restarts, setRestarts } = props;
  useChanges(draft);
  const { choice, offer } = draft;
  const isJoining = !!choice.session;
  const [startsAt, setStartsAt] = React.useState(run?.startsAt ?? '');
  const [isMoreOpen, setMoreOpen] = React.useState(
    isJoining || !!choice.resource_group || !!choice.project
  );
  return (
    <>
      {note && <p className="jp-bai-Resources-note">{note}</p>}
      <Environments draft={draft} trans={trans} />
      {!isJoining && <Presets draft={draft} restarts={restarts} trans={trans} />}
      {!isJoining && offer.folders.length > 0 && <Folders draft={draft} trans={trans} />}
      <details
        className="jp-bai-Resources-more"
        open={isMoreOpen}
        onToggle={event => setMoreOpen(event.currentTarget.open)}
      >
        <summary>
          {purpose === 'run' ? trans.__('Group, project') : trans.__('Group, project, join a running session')}
        </summary>
        {!isJoining && (
          <>
            <Choice
              label={trans.__('Resource group')}
              value={choice.resource_group}
              none={trans.__('any')}
              names={offer.groups}
              choose={resource_group => draft.change({ resource_group })}
            />
            <Choice
              label={trans.__('Project whose limits count')}
              value={choice.project}
              none={trans.__('as usual')}
              names={offer.projects}
              choose={project => draft.change({ project })}
            />
          </>
        )}
        {purpose !== 'run' && (
          <Choice
            label={trans.__('Session')}
            value={choice.session}
            none={trans.__('a new one')}
            names={offer.sessions.map(session => session.name)}
            choose={session => draft.change({ session })}
          />
        )}
      </details>
      {run && <RunFields run={run} begin={setStartsAt} trans={trans} />}
      <Consequence {...{ draft, startsAt, purpose, restarts, setRestarts, trans }} />
      {refusal && (
        <p className="jp-bai-Refusal" role="alert" ref={node => node?.scrollIntoView({ block: 'nearest' })}>
          {sayWhy(refusal, trans)}
        </p>
      )}
    </>
  );
}

interface IRunFieldsProps {
  /** Where what is written is kept. */
  run: IRunFields;
  begin: (startsAt: string) => void;
  trans: TranslationBundle;
}

function RunFields({ run, begin, trans }: IRunFieldsProps): JSX.Element {
  const id = React.useId();
  return (
    <details className="jp-bai-Resources-more">
      <summary>{trans.__('Start time, parameters')}</summary>
      <div className="jp-bai-Resources-pair">
        <label htmlFor={`${id}-at`}>{trans.__('Not before')}</label>
        <input
          id={`${id}-at`}
          className="jp-bai-Field"
          type="datetime-local"
          defaultValue={run.startsAt}
          onChange={event => {
            run.startsAt = event.target.value;
            begin(run.startsAt);
          }}
        />
      </div>
      <div className="jp-bai-Resources-pair">
        <label htmlFor={`${id}-parameters`}>{trans.__('Parameters')}</label>
        <textarea
          id={`${id}-parameters`}
          className="jp-bai-Field jp-bai-Resources-parameters"
          rows={3}
          spellCheck={false}
          placeholder={'epochs = 10\nname = "baseline"'}
          aria-describedby={`${id}-about`}
          defaultValue={run.parameters}
          onKeyDown={event => event.key === 'Enter' && event.stopPropagation()}
          onChange={event => (run.parameters = event.target.value)}
        />
      </div>
      <p id={`${id}-about`} className="jp-bai-Hint">
        {trans.__('One a line. They are set behind the cell with the tag parameters, or else before the first.')}
      </p>
    </details>
  );
}

interface IPartProps {
  draft: Draft;
  trans: TranslationBundle;
}

/** One entry for each Jupyter kernel of each image. */
function Environments({ draft, trans }: IPartProps): JSX.Element {
  const { choice, offer } = draft;
  const entries = offer.images.flatMap(image => image.kernelspecs.map(({ name }) => ({ image, name })));
  const place = entries.findIndex(({ image, name }) => image.name === choice.image && name === choice.kernelspec);
  const id = React.useId();
  if (entries.length === 0) {
    return <p>{trans.__('There is no environment that you may use yet. Tell your admin.')}</p>;
  }
  return (
    <div className="jp-bai-Resources-pair">
      <label htmlFor={id}>{trans.__('Environment')}</label>
      <select
        id={id}
        className="jp-bai-Field"
        value={place}
        onChange={event => {
          const chosen = entries[Number(event.target.value)];
          draft.change({ image: chosen.image.name, kernelspec: chosen.name });
        }}
      >
        {entries.map(({ image, name }, number) => (
          <option key={number} value={number}>
            {nameOf(image, name)}
          </option>
        ))}
      </select>
    </div>
  );
}

function nameOf(image: IImage, kernelspec: string): string {
  const found = image.kernelspecs.find(one => one.name === kernelspec);
  return `${found?.display_name ?? kernelspec} · ${image.name}`;
}

type PresetProps = IPartProps & Pick<IViewProps, 'restarts'>;

function Presets({ draft, restarts, trans }: PresetProps): JSX.Element {
  const { offer, row, choice } = draft;
  const sliders = slidersOf(offer.capacity, choice.resource_group, trans);
  const group = choice.resource_group ?? (offer.groups.length === 1 ? offer.groups[0] : undefined);
  const free = offer.capacity.scaling_groups[group ?? '']?.remaining ?? {};
  const most = sliders.filter(({ max }) => max > 0).map(({ slot, max }) => [slot, `${fromSlider(slot, max)}`]);
  return (
    <fieldset className="jp-bai-Resources-part">
      <legend>{trans.__('Preset')}</legend>
      {group && (
        <p className="jp-bai-Resources-free">
          {keepUnits(trans.__('Free in group %1: %2', group, describeSlots(free) || trans.__('nothing')))}
        </p>
      )}
      {offer.presets.map(preset => (
        <PresetRow
          key={preset.name}
          draft={draft}
          restarts={restarts}
          name={preset.name}
          label={preset.name}
          amounts={describeSlots(preset.resource_slots)}
          trans={trans}
        />
      ))}
      <PresetRow
        draft={draft}
        restarts={restarts}
        name={CUSTOM}
        label={trans.__('Custom')}
        amounts={trans.__('up to %1', describeSlots(Object.fromEntries(most)))}
        trans={trans}
      />
      {row === CUSTOM && sliders.map(slider => <Slider key={slider.slot} slider={slider} draft={draft} trans={trans} />)}
    </fieldset>
  );
}

function fromSlider(slot: string, value: number): number {
  return slot === 'mem' ? value * 1024 ** 3 : value;
}

interface IPresetRowProps extends PresetProps {
  name: string;
  label: string;
  amounts: string;
}

function PresetRow({ draft, restarts, name, label, amounts, trans }: IPresetRowProps): JSX.Element {
  const isChosen = draft.row === name;
  const inItsPlace = isChosen ? draft.choice : readChoice({ ...draft.choice, preset: name, resources: {} });
  const slots = restarts ? null : draft.slotsFor(inItsPlace);
  const [verdict, look] = outlookOf(draft.verdicts.get(name), slots, trans);
  const id = React.useId();
  return (
    <div className="jp-bai-Preset">
      <input
        type="radio"
        name="jp-bai-preset"
        id={id}
        checked={isChosen}
        aria-describedby={`${id}-verdict`}
        onChange={() => draft.choosePreset(name)}
      />
      <label htmlFor={id}>
        <bdi>{label}</bdi>
      </label>
      <bdi dir="ltr">{keepUnits(amounts)}</bdi>
      <span id={`${id}-verdict`} className="jp-bai-Preset-verdict">
        {look && <Word look={look} />}
      </span>
      {verdict?.verdict === 'refused' && !isChosen && (
        <span className="jp-bai-Preset-reason">{sayWhy(verdict.reason?.text ?? '', trans)}</span>
      )}
    </div>
  );
}

function Word({ look }: { look: ILook }): JSX.Element {
  return (
    <>
      <StateIcon look={look} />
      {keepUnits(look.word)}
    </>
  );
}

/** PageUp and PageDown move by a tenth, as the browser has it. */
function Slider({ slider, draft, trans }: IPartProps & { slider: ISlider }): JSX.Element {
  const { slot, label, min, max, step } = slider;
  const value = fromAmount(slot, draft.choice.resources?.[slot] ?? '0');
  const unit = slot === 'mem' ? ' GiB' : '';
  const id = React.useId();
  const [text, setText] = React.useState<string | null>(null);
  const choose = (number: number) => draft.chooseAmount(slot, fit(slider, number));
  return (
    <div className="jp-bai-Slider">
      <label htmlFor={id}>{label}</label>
      <input
        type="range"
        aria-label={label}
        aria-valuetext={trans.__('%1 of %2', value, `${max}${unit}`)}
        {...{ min, max, step, value }}
        onChange={event => choose(event.target.valueAsNumber)}
      />
      <input
        id={id}
        className="jp-bai-Field"
        type="number"
        {...{ min, max, step }}
        value={text ?? value}
        onChange={event => {
          setText(event.target.value); // also while it is no number yet
          choose(event.target.valueAsNumber);
        }}
        onBlur={() => setText(null)}
      />
      <bdi dir="ltr">{keepUnits(trans.__('of %1', `${max}${unit}`))}</bdi>
    </div>
  );
}

function Folders({ draft, trans }: IPartProps): JSX.Element {
  const { offer, choice } = draft;
  const asked = (choice.mounts ?? []).map(mount => readMount(mount).folder);
  const missing = asked.filter(name => !offer.folders.some(folder => folder.name === name));
  return (
    <fieldset className="jp-bai-Resources-part jp-bai-Resources-folders">
      <legend>{trans.__('Folders, beside your home')}</legend>
      {offer.folders.map(folder => (
        <Folder
          key={folder.id}
          name={folder.name}
          about={describePermission(folder.permission, trans)}
          canWrite={folder.permission !== 'ro'}
          draft={draft}
          trans={trans}
        />
      ))}
      {missing.map(name => (
        <Folder
          key={name}
          name={name}
          about={trans.__('not there, or not shared with you')}
          canWrite={false}
          draft={draft}
          trans={trans}
        />
      ))}
    </fieldset>
  );
}

interface IFolderProps extends IPartProps {
  name: string;
  about: string;
  /** Whether there is anything to choose between. */
  canWrite: boolean;
}

function Folder({ name, about, canWrite, draft, trans }: IFolderProps): JSX.Element {
  const access = draft.accessTo(name);
  const id = React.useId();
  return (
    <div className="jp-bai-Resources-folder">
      <label>
        <input
          type="checkbox"
          checked={access !== null}
          aria-describedby={id}
          onChange={event => draft.mount(name, event.target.checked ? 'rw' : null)}
        />
        <bdi title={name}>{name}</bdi>
      </label>
      {access !== null && canWrite ? (
        <select
          id={id}
          className="jp-bai-Field"
          aria-label={trans.__('What the kernel may do in %1', name)}
          value={access}
          onChange={event => draft.mount(name, event.target.value as Access)}
        >
          {(['rw', 'ro'] as const).map(one => (
            <option key={one} value={one}>
              {describePermission(one, trans)}
            </option>
          ))}
        </select>
      ) : (
        <span id={id}>{about}</span>
      )}
    </div>
  );
}

interface IChoiceProps {
  label: string;
  value: string | undefined;
  /** What leaving it open is called. */
  none: string;
  names: string[];
  choose: (name: string) => void;
}

function Choice({ label, value, none, names, choose }: IChoiceProps): JSX.Element {
  const id = React.useId();
  const shown = value && !names.includes(value) ? [...names, value] : names;
  return (
    <div className="jp-bai-Resources-pair">
      <label htmlFor={id}>{label}</label>
      <select id={id} className="jp-bai-Field" value={value ?? ''} onChange={event => choose(event.target.value)}>
        <option value="">{none}</option>
        {shown.map(name => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </div>
  );
}

type ConsequenceProps = IPartProps &
  Pick<IViewProps, 'purpose' | 'restarts' | 'setRestarts'> & {
    /** When a run may begin; empty for now. */
    startsAt: string;
  };

/** What happens if the choice is taken, in a sentence that a screen reader hears when it changes. */
function Consequence({ draft, startsAt, purpose, restarts, setRestarts, trans }: ConsequenceProps): JSX.Element {
  const { error, running } = draft;
  const slots = draft.slotsFor(draft.choice);
  const isResized = slots !== null && !restarts;
  const [verdict, look] = outlookOf(draft.verdict, isResized ? slots : null, trans);
  const isPossible = verdict !== undefined && verdict.verdict !== 'refused';
  const kept = trans.__('Nothing is restarted: what runs goes on, and variables stay.');
  const restarted = trans.__('The kernel is restarted: files and folders stay, variables are gone.');
  return (
    <div className="jp-bai-Resources-verdict">
      <p id={VERDICT_ID} role="status">
        {error && trans.__('It cannot be said when it would start. %1', error.message)}
        {isPossible && startsAt ? (
          <span>{trans.__('Not before %1.', new Date(startsAt).toLocaleString())}</span>
        ) : (
          look && <Word look={look} />
        )}
        {isResized && isPossible && <span>{keepUnits(describeResize(running!.session, slots, trans))}</span>}
        {verdict?.reason && <span>{sayWhy(verdict.reason.text, trans)}</span>}
      </p>
      {purpose === 'change' && (isPossible || !isResized) && <p>{isResized ? kept : restarted}</p>}
      {slots && (
        <label className="jp-bai-Resources-folder">
          <input type="checkbox" checked={restarts} onChange={event => setRestarts(event.target.checked)} />
          {trans.__('Restart the kernel all the same, in a new session')}
        </label>
      )}
      {purpose === 'run' && (
        <p>
          {trans.__(
            'A copy beside the notebook runs from its first cell to its last, also when this page and Jupyter are closed.'
          )}
        </p>
      )}
    </div>
  );
}

/** `From 2 CPU · 4 GiB to 4 CPU · 8 GiB.` */
function describeResize({ slots: has }: ISession, slots: Slots, trans: TranslationBundle): string {
  return trans.__('From %1 to %2.', describeSlots(has), describeSlots({ ...has, ...slots }));
}
