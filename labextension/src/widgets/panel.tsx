/** The panel "Backend.AI": its head, and the section Sessions. */

import { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, refreshIcon, SidePanel, stopIcon, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import React from 'react';

import { ISession } from '../api';
import { baiIcon } from '../icons';
import { Sessions } from '../model';
import { CommandIDs } from '../tokens';
import { describeAge, describeSlots, lookOf, sentenceOf } from '../words';
import { StateIcon } from './state';

export function createPanel(commands: CommandRegistry, model: Sessions, translator: ITranslator): SidePanel {
  const trans = translator.load('bai_jupyter');
  const panel = new SidePanel({ translator });
  panel.id = 'jp-bai-panel';
  panel.addClass('jp-bai-Panel');
  panel.title.icon = baiIcon;
  panel.title.caption = trans.__('Backend.AI');
  panel.node.setAttribute('role', 'region');
  panel.node.setAttribute('aria-label', trans.__('Backend.AI'));
  const head = ReactWidget.create(
    <>
      <h2>{trans.__('Backend.AI')}</h2>
      <button
        className="jp-bai-IconButton"
        title={trans.__('Refresh')}
        aria-label={trans.__('Refresh sessions')}
        onClick={() => void commands.execute(CommandIDs.refresh)}
      >
        <refreshIcon.react tag="span" aria-hidden="true" />
      </button>
    </>
  );
  head.addClass('jp-bai-Head');
  panel.header.addWidget(head);
  panel.addWidget(new SessionsSection(commands, model, trans));
  return panel;
}

/** The list of sessions; asks for news only while it is on the screen. */
class SessionsSection extends ReactWidget {
  constructor(
    private readonly commands: CommandRegistry,
    private readonly model: Sessions,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-bai-Sessions');
    this.title.label = trans.__('Sessions');
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.watch(true);
  }

  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.watch(this.isVisible);
  }

  protected onBeforeHide(msg: Message): void {
    this.watch(false);
    super.onBeforeHide(msg);
  }

  private watch(isWatched: boolean): void {
    this.model.isWatched = isWatched;
    if (isWatched) {
      void this.model.refresh();
    }
  }

  protected render(): JSX.Element {
    const end = (session: ISession) =>
      void this.commands.execute(CommandIDs.endSession, { id: session.id, name: session.name });
    const launch = this.commands.hasCommand('launcher:create')
      ? () => void this.commands.execute('launcher:create')
      : null;
    return (
      <UseSignal signal={this.model.changed}>
        {() => <SessionsView model={this.model} trans={this.trans} end={end} launch={launch} />}
      </UseSignal>
    );
  }
}

interface IViewProps {
  model: Sessions;
  trans: TranslationBundle;
  end: (session: ISession) => void;
  launch: (() => void) | null;
}

function SessionsView({ model, trans, end, launch }: IViewProps): JSX.Element {
  const list = model.list;
  return (
    <>
      <Trouble model={model} trans={trans} />
      {list === null && model.error === null && <Loading trans={trans} />}
      {list?.length === 0 && (
        <div className="jp-bai-Hint">
          <p>{trans.__('No sessions. Choose an environment in the Launcher to start one.')}</p>
          {launch && (
            <button className="jp-bai-Button" onClick={launch}>
              {trans.__('Open Launcher')}
            </button>
          )}
        </div>
      )}
      {list !== null && list.length > 0 && <SessionList list={list} trans={trans} end={end} />}
      <Announcer list={list} trans={trans} />
    </>
  );
}

/** What is wrong, in one place; what was known before stays below it. */
function Trouble({ model, trans }: Pick<IViewProps, 'model' | 'trans'>): JSX.Element | null {
  if (!model.error) {
    return null;
  }
  const known = model.list !== null && model.updatedAt;
  return (
    <div className="jp-bai-Trouble" role="status">
      <p>{model.error.message}</p>
      {known && <p>{trans.__('Last update %1.', model.updatedAt!.toLocaleTimeString())}</p>}
      <button className="jp-bai-Button" onClick={() => void model.refresh()}>
        {trans.__('Try again')}
      </button>
    </div>
  );
}

function Loading({ trans }: { trans: TranslationBundle }): JSX.Element {
  return (
    <div className="jp-bai-Loading" aria-busy="true" aria-label={trans.__('Sessions are being loaded')}>
      <div />
      <div />
    </div>
  );
}

/** Up and Down go through the rows, Home and End to the ends, Delete ends a session; Tab goes on to a row's button. */
function SessionList({ list, trans, end }: Pick<IViewProps, 'trans' | 'end'> & { list: ISession[] }): JSX.Element {
  const [current, setCurrent] = React.useState<string | null>(null);
  const rows = React.useRef(new Map<string, HTMLLIElement>());
  const index = Math.max(
    0,
    list.findIndex(session => session.id === current)
  );

  const go = (to: number) => {
    const next = list[Math.min(Math.max(to, 0), list.length - 1)];
    setCurrent(next.id);
    rows.current.get(next.id)?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const moves: Record<string, () => void> = {
      ArrowDown: () => go(index + 1),
      ArrowUp: () => go(index - 1),
      Home: () => go(0),
      End: () => go(list.length - 1),
      Delete: () => end(list[index])
    };
    if (moves[event.key]) {
      event.preventDefault();
      moves[event.key]();
    }
  };

  return (
    <ul className="jp-bai-List" aria-label={trans.__('Sessions')} onKeyDown={onKeyDown}>
      {list.map((session, place) => (
        <Row
          key={session.id}
          session={session}
          trans={trans}
          end={end}
          isCurrent={place === index}
          onFocus={() => setCurrent(session.id)}
          keep={node => (node ? rows.current.set(session.id, node) : rows.current.delete(session.id))}
        />
      ))}
    </ul>
  );
}

interface IRowProps {
  session: ISession;
  trans: TranslationBundle;
  end: (session: ISession) => void;
  isCurrent: boolean;
  onFocus: () => void;
  keep: (node: HTMLLIElement | null) => void;
}

function Row({ session, trans, end, isCurrent, onFocus, keep }: IRowProps): JSX.Element {
  const look = lookOf(session, trans);
  const sentence = sentenceOf(session);
  const slots = describeSlots(session.slots);
  const isEnding = ['TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR'].includes(session.status);
  const label = [session.name, look.word, sentence ?? slots].filter(Boolean).join(', ');
  const button = trans.__('End %1', session.name);
  return (
    <li ref={keep} className="jp-bai-Row" tabIndex={isCurrent ? 0 : -1} aria-label={label} onFocus={onFocus}>
      <StateIcon look={look} />
      <div className="jp-bai-Row-first">
        <span className="jp-bai-Row-name" title={session.name}>
          <bdi>{session.name}</bdi>
        </span>
        <span className="jp-bai-Row-word">{look.word}</span>
      </div>
      {!isEnding && (
        <button className="jp-bai-IconButton" title={button} aria-label={button} onClick={() => end(session)}>
          <stopIcon.react tag="span" aria-hidden="true" />
        </button>
      )}
      <div className="jp-bai-Row-rest">
        {sentence && <div className="jp-bai-Row-sentence">{sentence}</div>}
        {session.status === 'PULLING' && session.progress !== null && <Bar percent={session.progress} label={look.word} />}
        <div className="jp-bai-Row-meta">
          <bdi dir="ltr">{slots}</bdi> · <span>{describeAge(session.age, trans)}</span>
          {session.isolated === false && <strong> · {trans.__('not isolated')}</strong>}
        </div>
      </div>
    </li>
  );
}

export function Bar({ percent, label }: { percent: number; label: string }): JSX.Element {
  return (
    <div
      className="jp-bai-Bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(percent)}
    >
      <div style={{ inlineSize: `${percent}%` }} />
    </div>
  );
}

/** Tells a screen reader when a session's word changes; percentages in quarters only. Says nothing at first. */
function Announcer({ list, trans }: { list: ISession[] | null; trans: TranslationBundle }): JSX.Element {
  const known = React.useRef(new Map<string, string>());
  const [text, setText] = React.useState('');
  React.useEffect(() => {
    const changes: string[] = [];
    for (const session of list ?? []) {
      const progress = session.progress === null ? null : Math.floor(session.progress / 25) * 25;
      const word = lookOf({ ...session, progress }, trans).word;
      const before = known.current.get(session.id);
      known.current.set(session.id, word);
      if (before !== undefined && before !== word) {
        changes.push(`${session.name}: ${word}`);
      }
    }
    if (changes.length > 0) {
      setText(changes.join('. '));
    }
  }, [list]);
  return (
    <div className="jp-bai-Announcer" aria-live="polite">
      {text}
    </div>
  );
}
