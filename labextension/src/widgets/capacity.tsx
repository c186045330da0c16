/** The section Resources: what one uses of one's limits, and which presets would start now. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { describeSlots, ILevel, keepUnits, levelsOf, whyNot } from '../amounts';
import { ICapacity, IPreset } from '../api';
import { clockIcon, dotIcon } from '../icons';
import { Capacity } from '../model';
import { ILook } from '../words';
import { Meter } from './meter';
import { Loading, Section, Trouble, useChanges } from './section';
import { StateIcon } from './state';

export function createCapacity(model: Capacity, trans: TranslationBundle): Section {
  return new Section(trans.__('Resources'), [model], <CapacityView model={model} trans={trans} />);
}

function CapacityView({ model, trans }: { model: Capacity; trans: TranslationBundle }): JSX.Element {
  useChanges(model);
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Resources are being loaded')} />
      {model.value && <Known capacity={model.value} trans={trans} />}
    </>
  );
}

function Known({ capacity, trans }: { capacity: ICapacity; trans: TranslationBundle }): JSX.Element {
  const levels = levelsOf(capacity, trans);
  return (
    <>
      {levels.map(level => (
        <Level key={level.name} level={level} />
      ))}
      {levels.length === 0 && <p className="jp-bai-Hint">{trans.__('Nothing limits how much you may use.')}</p>}
      <h3 className="jp-bai-Title">{trans.__('Free now')}</h3>
      <dl className="jp-bai-Facts">
        {Object.entries(capacity.scaling_groups).map(([name, { remaining }]) => (
          <React.Fragment key={name}>
            <dt title={name}>
              <bdi>{name}</bdi>
            </dt>
            <dd>
              <bdi dir="ltr">{keepUnits(describeSlots(remaining)) || trans.__('nothing')}</bdi>
            </dd>
          </React.Fragment>
        ))}
      </dl>
      <h3 className="jp-bai-Title">{trans.__('Presets')}</h3>
      {capacity.presets.length === 0 && <p className="jp-bai-Hint">{trans.__('There are no presets.')}</p>}
      <ul className="jp-bai-List" aria-label={trans.__('Presets')}>
        {capacity.presets.map(preset => (
          <Preset key={preset.name} preset={preset} capacity={capacity} trans={trans} />
        ))}
      </ul>
    </>
  );
}

function Level({ level }: { level: ILevel }): JSX.Element {
  return (
    <section className="jp-bai-Level" aria-label={level.name}>
      <h3 className="jp-bai-Title">{level.name}</h3>
      {[...level.uses, ...(level.budget ? [level.budget] : [])].map(use => (
        <Meter key={use.slot} label={level.name} use={use} />
      ))}
    </section>
  );
}

interface IPresetProps {
  preset: IPreset;
  capacity: ICapacity;
  trans: TranslationBundle;
}

function Preset({ preset, capacity, trans }: IPresetProps): JSX.Element {
  const look: ILook = preset.allocatable
    ? { word: trans.__('Starts now'), icon: dotIcon, role: 'running' }
    : { word: trans.__('Not now'), icon: clockIcon, role: 'waiting' };
  return (
    <li className="jp-bai-Row">
      <StateIcon look={look} />
      <div className="jp-bai-Row-first jp-bai-Row-wide">
        <span className="jp-bai-Row-name" title={preset.name}>
          <bdi>{preset.name}</bdi>
        </span>
        <span className="jp-bai-Row-word">{look.word}</span>
      </div>
      <div className="jp-bai-Row-rest">
        {!preset.allocatable && <div className="jp-bai-Row-sentence">{keepUnits(whyNot(preset, capacity, trans))}</div>}
        <div className="jp-bai-Row-meta">
          <bdi dir="ltr">{describeSlots(preset.resource_slots)}</bdi>
        </div>
      </div>
    </li>
  );
}
