/** *Health* in *Backend.AI Admin*: what was looked at, each with its state and a sentence. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { keepUnits } from '../amounts';
import { checksOf, Health, ICheck } from '../health';
import { crossIcon, dotIcon, warningIcon } from '../icons';
import { ILook } from '../words';
import { Loading, Section, Trouble, useChanges } from './section';
import { StateIcon } from './state';

export interface IHealthActor {
  /** Pause new sessions, after a question, or let them go on. */
  pause: (isFrozen: boolean) => void;
  /** Ask what is to be told to everybody. */
  announce: () => void;
}

export function createHealth(model: Health, actor: IHealthActor, trans: TranslationBundle): Section {
  const section = new Section(trans.__('Health'), [model], <View model={model} actor={actor} trans={trans} />);
  section.addClass('jp-bai-Health');
  return section;
}

interface IViewProps {
  model: Health;
  actor: IHealthActor;
  trans: TranslationBundle;
}

function View({ model, actor, trans }: IViewProps): JSX.Element {
  useChanges(model);
  const health = model.value;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Health is being looked at')} />
      {health && (
        <>
          <ul className="jp-bai-List" aria-label={trans.__('Health')}>
            {checksOf(health, trans).map(check => (
              <Row key={check.name} check={check} trans={trans} />
            ))}
          </ul>
          <div className="jp-bai-Tools">
            <button className="jp-bai-Button" onClick={() => actor.pause(!health.is_frozen)}>
              {health.is_frozen ? trans.__('Take new sessions again') : trans.__('Pause new sessions…')}
            </button>
            <button className="jp-bai-Button" onClick={actor.announce}>
              {trans.__('Announcement…')}
            </button>
          </div>
        </>
      )}
    </>
  );
}

function Row({ check, trans }: { check: ICheck; trans: TranslationBundle }): JSX.Element {
  const looks: Record<ICheck['state'], ILook> = {
    well: { word: trans.__('OK'), icon: dotIcon, role: 'running' },
    attention: { word: trans.__('Attention'), icon: warningIcon, role: 'attention' },
    failed: { word: trans.__('Failed'), icon: crossIcon, role: 'failed' }
  };
  const look = looks[check.state];
  return (
    <li className="jp-bai-Row">
      <StateIcon look={look} />
      <div className="jp-bai-Row-first jp-bai-Row-wide">
        <span className="jp-bai-Row-name">{check.name}</span>
        <span className="jp-bai-Row-word">{look.word}</span>
      </div>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Row-sentence">{keepUnits(check.said)}</div>
      </div>
    </li>
  );
}
