/** Facts of a session, and what stops it by itself. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { keepUnits } from '../amounts';
import { ISession } from '../api';
import { limitsOf } from '../session';

/** In a list of definitions. */
export function Fact({ label, children }: { label: string; children: React.ReactNode }): JSX.Element {
  return (
    <>
      <dt title={label}>{label}</dt>
      <dd>
        <bdi>{children}</bdi>
      </dd>
    </>
  );
}

interface ILimitsProps {
  session: Pick<ISession, 'idleChecks'>;
  now: Date;
  trans: TranslationBundle;
}

/** Each with its window, what is left, and how it is now; what comes first is first. */
export function Limits({ session, now, trans }: ILimitsProps): JSX.Element | null {
  const limits = limitsOf(session.idleChecks, now, trans);
  return limits.length === 0 ? null : (
    <>
      <h3 className="jp-bai-Title">{trans.__('When it stops')}</h3>
      <dl className="jp-bai-Facts jp-bai-Limits">
        {limits.map(({ what, left, details }) => (
          <Fact key={what} label={what}>
            {keepUnits(left)}
            <span className="jp-bai-Session-details">{keepUnits(details.join(' · '))}</span>
          </Fact>
        ))}
      </dl>
    </>
  );
}
