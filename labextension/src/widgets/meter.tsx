/** How much of a limit is used, as a bar with its words. */

import React from 'react';

import { IUse, keepUnits } from '../amounts';
import { warningIcon } from '../icons';
import { StateIcon } from './state';

/** From this part of a limit on, a bar warns. */
const NEARLY_ALL = 0.85;

export function Meter({ label, use }: { label: string; use: IUse }): JSX.Element {
  const part = use.limit === 0 ? 1 : Math.min(use.used / use.limit, 1);
  const isNearlyAll = part >= NEARLY_ALL;
  return (
    <div
      className={`jp-bai-Meter ${isNearlyAll ? 'jp-mod-warn' : ''}`}
      role="meter"
      aria-label={`${label}: ${use.slot}`}
      aria-valuemin={0}
      aria-valuemax={use.limit}
      aria-valuenow={use.used}
      aria-valuetext={use.text}
    >
      <div className="jp-bai-Bar">
        <div style={{ inlineSize: `${part * 100}%` }} />
      </div>
      {isNearlyAll && <StateIcon look={{ word: use.text, icon: warningIcon, role: 'attention' }} />}
      <bdi dir="ltr">{keepUnits(use.text)}</bdi>
    </div>
  );
}
