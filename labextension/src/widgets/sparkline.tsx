/** A small line of the last minutes, with a sentence that says the same for who does not see it. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { keepUnits } from '../amounts';
import { describeTrace, IPoint, lineOf } from '../traces';

/** Nothing until there are two points. */
export function Sparkline({ points, trans }: { points: IPoint[]; trans: TranslationBundle }): JSX.Element {
  const line = lineOf(points);
  const said = line && keepUnits(describeTrace(points, trans));
  return (
    <span className="jp-bai-Sparkline" title={said}>
      {line && (
        <>
          <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
            <path d={line} />
          </svg>
          <span className="jp-bai-Announcer">{said}</span>
        </>
      )}
    </span>
  );
}
