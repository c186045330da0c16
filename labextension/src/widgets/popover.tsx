/** What the status bar's item opens: how the kernel is, what it uses of its limits, and what can be done with it. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal } from '@lumino/signaling';
import React from 'react';

import { describeCost, describeHeld, heldBy, keepUnits } from '../amounts';
import { ISession } from '../api';
import { isKeepable } from '../model';
import { deviceUses, kindsOf, ownUses, Use } from '../use';
import { ILook } from '../words';
import { Limits } from './facts';
import { Meter } from './meter';
import { useChanges } from './section';
import { Sparkline } from './sparkline';
import { StateIcon } from './state';

export interface IKernelActions {
  resources: () => void;
  /** One more folder for the session as it runs. */
  attach: () => void;
  /** For a while, though it is idle. */
  keep: (session: ISession) => void;
  details: (session: ISession) => void;
  log: (session: ISession) => void;
  end: (session: ISession) => void;
  /** All sessions. */
  sessions: () => void;
}

interface IOptions {
  /** `null` if the kernel is none of ours any more. */
  look: () => ILook | null;
  reason: () => string;
  /** Of its session, while it is measured. */
  use: Use;
  changed: ISignal<any, void>;
  close: () => void;
  actions: IKernelActions;
  trans: TranslationBundle;
}

export class KernelPopover extends ReactWidget {
  constructor(private readonly options: IOptions) {
    super();
    this.addClass('jp-bai-Popover');
    this.node.setAttribute('role', 'dialog');
    this.node.setAttribute('aria-label', options.trans.__('Kernel'));
    this.node.tabIndex = -1;
  }

  /** Escape is heard where the focus is. */
  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.node.focus();
  }

  protected render(): JSX.Element {
    return <View {...this.options} />;
  }
}

function View({ look, reason, use, changed, close, actions, trans }: IOptions): JSX.Element {
  useChanges(use, { changed });
  const state = look();
  const { session } = use;
  const kinds = session ? kindsOf(session) : [];
  const line = (name: string) => <Sparkline points={use.traces.get(name) ?? []} trans={trans} />;
  const cost = session && describeCost(heldBy(session), session.runningFor ?? 0, trans);
  const act = (run: () => void) => () => {
    close();
    run();
  };
  return (
    <>
      <p className="jp-bai-Popover-state">
        {state && <StateIcon look={state} />}
        {state?.word}
      </p>
      {reason() && <p>{keepUnits(reason())}</p>}
      {session && (
        <>
          {ownUses(session, use.cpus, trans).map(one => (
            <div key={one.slot} className="jp-bai-Popover-use">
              <Meter label={trans.__('Kernel')} use={one} />
              {line(one.slot)}
            </div>
          ))}
          {deviceUses(session, trans).map((said, place) => (
            <div key={kinds[place]} className="jp-bai-Popover-use">
              <bdi dir="ltr">{keepUnits(said)}</bdi>
              {line(kinds[place])}
            </div>
          ))}
          <p className="jp-bai-Popover-held">
            <bdi>{session.name}</bdi> · <bdi dir="ltr">{keepUnits(describeHeld(session, trans))}</bdi>
            {session.isolated === false && <strong> · {trans.__('not isolated')}</strong>}
          </p>
          {cost && (
            <p>
              {trans.__('Held so far:')} <bdi dir="ltr">{keepUnits(cost)}</bdi>
            </p>
          )}
          <Limits session={session} now={new Date()} trans={trans} />
        </>
      )}
      <div className="jp-bai-Popover-actions">
        <button className="jp-bai-Button" onClick={act(actions.resources)}>
          {trans.__('Resources…')}
        </button>
        {session && (
          <>
            <button className="jp-bai-Button" onClick={act(actions.attach)}>
              {trans.__('Attach folder…')}
            </button>
            {isKeepable(session) && (
              <button className="jp-bai-Button" onClick={act(() => actions.keep(session))}>
                {trans.__('Keep')}
              </button>
            )}
            <button className="jp-bai-Button" onClick={act(() => actions.details(session))}>
              {trans.__('Details')}
            </button>
            <button className="jp-bai-Button" onClick={act(() => actions.log(session))}>
              {trans.__('Log')}
            </button>
            <button className="jp-bai-Button" onClick={act(() => actions.end(session))}>
              {trans.__('End…')}
            </button>
          </>
        )}
        <button className="jp-bai-Button" onClick={act(actions.sessions)}>
          {trans.__('Sessions')}
        </button>
      </div>
    </>
  );
}
