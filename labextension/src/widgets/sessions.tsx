/** The section Sessions. */

import { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon, ellipsesIcon, stopIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import React from 'react';

import { Ended, isReusable } from '../again';
import { Announcement } from '../announcements';
import { describeAge, describeCost, describeHeld, heldBy, keepUnits } from '../amounts';
import { IEnded, ISession } from '../api';
import { isEnding, isKeepable, Sessions } from '../model';
import { describeMoment } from '../session';
import { isLong, sessionsWith } from '../sessionList';
import { CommandIDs } from '../tokens';
import { mismatchOf, ServerVersion } from '../versions';
import { ILook, lookOf, sentenceOf } from '../words';
import { Box, focusSearch, IChoosing, Search, Together, useChoosing } from './choosing';
import { Bar, IPlace, Loading, Section, Trouble, useChanges, useRows } from './section';
import { StateIcon } from './state';

export function createSessions(
  commands: CommandRegistry,
  model: Sessions,
  ended: Ended,
  server: ServerVersion,
  announcement: Announcement,
  trans: TranslationBundle
): Section {
  const run: Run = (command, { id, name }) => void commands.execute(command, { id, name });
  const endAll = (list: ISession[]) => void commands.execute(CommandIDs.endSessions, { ids: list.map(({ id }) => id) });
  const launch = () => void commands.execute('launcher:create');
  const section = new Section(
    trans.__('Sessions'),
    [model, ended, server, announcement],
    (
      <SessionsView
        model={model}
        ended={ended}
        server={server}
        announcement={announcement}
        trans={trans}
        run={run}
        has={command => commands.hasCommand(command)}
        endAll={endAll}
        launch={launch}
      />
    )
  );
  section.node.addEventListener('keydown', focusSearch);
  return section;
}

/** Carry a command out on a session. */
export type Run = (command: string, session: Pick<ISession, 'id' | 'name'>) => void;

/** Whether this page has a command: Notebook 7 lacks some. */
export type Has = (command: string) => boolean;

interface IViewProps {
  model: Sessions;
  ended: Ended;
  server: ServerVersion;
  announcement: Announcement;
  trans: TranslationBundle;
  run: Run;
  has: Has;
  /** End several, after one question. */
  endAll: (sessions: ISession[]) => void;
  launch: () => void;
}

function SessionsView({ model, ended, server, announcement, trans, run, has, endAll, launch }: IViewProps): JSX.Element {
  useChanges(model, ended, server, announcement);
  const list = model.value;
  const mismatch = mismatchOf(server.value, trans);
  return (
    <>
      {announcement.text && (
        <div className="jp-bai-Announcement" role="region" aria-label={trans.__('Announcement')}>
          <p>{announcement.text}</p>
          <button
            className="jp-bai-IconButton"
            title={trans.__('Dismiss the announcement')}
            aria-label={trans.__('Dismiss the announcement')}
            onClick={() => announcement.dismiss()}
          >
            <closeIcon.react tag="span" aria-hidden="true" />
          </button>
        </div>
      )}
      {mismatch && (
        <div className="jp-bai-Trouble" role="status">
          <p>{mismatch}</p>
        </div>
      )}
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Sessions are being loaded')} />
      {list?.length === 0 && (
        <div className="jp-bai-Hint">
          <p>{trans.__('No sessions. Choose an environment in the Launcher to start one.')}</p>
          {has('launcher:create') && (
            <button className="jp-bai-Button" onClick={launch}>
              {trans.__('Open Launcher')}
            </button>
          )}
        </div>
      )}
      {list !== null && list.length > 0 && <Filtered {...{ list, trans, run, has, endAll }} />}
      {model.error === null && <Trouble model={ended} trans={trans} />}
      <EndedToday {...{ ended, trans, run, has }} />
      <Announcer list={list} trans={trans} />
    </>
  );
}

interface IListProps extends Pick<IViewProps, 'trans' | 'run' | 'has' | 'endAll'> {
  list: ISession[];
}

/** With a field to filter them where they are many. */
function Filtered(props: IListProps): JSX.Element {
  const { list, trans } = props;
  const [text, setText] = React.useState('');
  const shown = sessionsWith(text, list, session => lookOf(session, trans).word);
  return (
    <>
      {(isLong(list) || text) && (
        <div className="jp-bai-Tools jp-bai-Filter">
          <Search text={text} change={setText} placeholder={trans.__('Filter')} label={trans.__('Filter sessions')} />
          <span role="status">{text && trans.__('%1 of %2', shown.length, list.length)}</span>
        </div>
      )}
      <SessionList {...props} list={shown} isOneAlone={list.filter(session => !isEnding(session)).length < 2} />
    </>
  );
}

/**
 * Enter opens a session's tab, Space chooses it, F2 renames it, Delete ends it, or all that are chosen if it is one of
 * them. Its actions are what a context menu would have.
 */
function SessionList({ list, isOneAlone, trans, run, has, endAll }: IListProps & { isOneAlone: boolean }): JSX.Element {
  const [current, setCurrent] = React.useState<string | null>(null);
  const toggle = (id: string) => setCurrent(id === current ? null : id);
  const choosing = useChoosing();
  const able = isOneAlone ? [] : list.filter(session => !isEnding(session));
  const chosen = able.filter(({ id }) => choosing.chosen.has(id));
  const isOneOf = (some: ISession[], id: string) => some.some(session => session.id === id);
  const choose = (id: string) => isOneOf(able, id) && choosing.choose([id], !choosing.chosen.has(id));
  const on = (command: string) => (id: string) => run(command, list.find(session => session.id === id)!);
  const end = (id: string) => (chosen.length > 1 && isOneOf(chosen, id) ? endAll(chosen) : on(CommandIDs.endSession)(id));
  const { onKeyDown, row } = useRows(
    list.map(session => session.id),
    { ' ': choose, Enter: on(CommandIDs.showSession), F2: on(CommandIDs.renameSession), Delete: end }
  );
  return (
    <>
      <ul className="jp-bai-List" aria-label={trans.__('Sessions')} onKeyDown={onKeyDown}>
        {list.map(session => (
          <Row
            key={session.id}
            session={session}
            trans={trans}
            run={run}
            has={has}
            place={row(session.id)}
            choosing={able.includes(session) ? choosing : null}
            isCurrent={session.id === current}
            toggle={() => toggle(session.id)}
          />
        ))}
      </ul>
      {chosen.length > 0 && (
        <div className="jp-bai-Foot">
          <Together count={chosen.length} trans={trans}>
            <button className="jp-bai-Button" onClick={() => endAll(chosen)}>
              {trans._n('End %1 session…', 'End %1 sessions…', chosen.length)}
            </button>
          </Together>
        </div>
      )}
    </>
  );
}

interface IRowProps {
  session: ISession;
  trans: TranslationBundle;
  run: Run;
  has: Has;
  place: IPlace;
  /** `null` where it cannot be chosen. */
  choosing: IChoosing | null;
  /** Whether its actions are shown. */
  isCurrent: boolean;
  toggle: () => void;
}

function Row({ session, trans, run, has, place, choosing, isCurrent, toggle }: IRowProps): JSX.Element {
  const look = lookOf(session, trans);
  const sentence = sentenceOf(session);
  const slots = describeHeld(session, trans);
  const cost = describeCost(heldBy(session), session.runningFor ?? 0, trans);
  const label = [session.name, look.word, sentence ?? slots, choosing?.chosen.has(session.id) ? trans.__('chosen') : ''];
  return (
    <SessionRow {...{ session, look, label, trans, run, place, choosing, isCurrent, toggle }}>
      {sentence && <div className="jp-bai-Row-sentence">{sentence}</div>}
      {session.status === 'PULLING' && session.progress !== null && <Bar percent={session.progress} label={look.word} />}
      <div className="jp-bai-Row-meta">
        <bdi dir="ltr">{slots}</bdi> · <span>{describeAge(session.age, trans)}</span>
        {session.isolated === false && <strong> · {trans.__('not isolated')}</strong>}
      </div>
      {isCurrent && cost && (
        <div className="jp-bai-Row-sentence">
          {trans.__('Held so far:')} <bdi dir="ltr">{keepUnits(cost)}</bdi>
        </div>
      )}
      {isCurrent && <Actions {...{ session, trans, run, has }} />}
    </SessionRow>
  );
}

interface ISessionRowProps extends Omit<IRowProps, 'session' | 'has' | 'choosing'> {
  session: Pick<ISession, 'id' | 'name' | 'status'>;
  look: ILook;
  /** What the row is called, of parts that may be empty. */
  label: string[];
  choosing?: IChoosing | null;
  /** Below its first line. */
  children: React.ReactNode;
}

/** Of one that lives, or that is over: its first line, and ways to its actions. */
function SessionRow(props: ISessionRowProps): JSX.Element {
  const { session, look, label, trans, run, place, choosing, isCurrent, toggle, children } = props;
  const actions = trans.__('Actions on %1', session.name);
  const end = trans.__('End %1', session.name);
  return (
    <li
      {...place}
      className="jp-bai-Row jp-bai-Row-two"
      aria-label={label.filter(Boolean).join(', ')}
      onDoubleClick={event => (event.target as Element).closest('button, input') ?? run(CommandIDs.showSession, session)}
      onContextMenu={event => {
        if (!event.shiftKey) { // with it, the browser's own is wanted, as everywhere in Lab
          event.preventDefault();
          event.stopPropagation();
          toggle();
        }
      }}
    >
      <StateIcon look={look} />
      <div className="jp-bai-Row-first">
        <span className="jp-bai-Row-name" title={session.name}>
          <bdi>{session.name}</bdi>
        </span>
        <span className="jp-bai-Row-word">{look.word}</span>
      </div>
      <div className="jp-bai-Row-buttons">
        <button
          className="jp-bai-IconButton"
          title={actions}
          aria-label={actions}
          aria-expanded={isCurrent}
          onClick={toggle}
        >
          <ellipsesIcon.react tag="span" aria-hidden="true" />
        </button>
        {!isEnding(session) && (
          <button
            className="jp-bai-IconButton"
            title={end}
            aria-label={end}
            onClick={() => run(CommandIDs.endSession, session)}
          >
            <stopIcon.react tag="span" aria-hidden="true" />
          </button>
        )}
      </div>
      {choosing && (
        <div className="jp-bai-Row-box">
          <Box keys={[session.id]} label={trans.__('Choose %1', session.name)} choosing={choosing} tabIndex={-1} />
        </div>
      )}
      <div className="jp-bai-Row-rest">{children}</div>
    </li>
  );
}

/** Those that ended today, to look at and to use again; of many the newest. */
function EndedToday({ ended, trans, run, has }: Pick<IViewProps, 'ended' | 'trans' | 'run' | 'has'>): JSX.Element | null {
  const [current, setCurrent] = React.useState<string | null>(null);
  const toggle = (id: string) => setCurrent(id === current ? null : id);
  const { sessions, total } = ended.value ?? { sessions: [], total: 0 };
  const show = (id: string) => run(CommandIDs.showSession, sessions.find(session => session.id === id)!);
  const { onKeyDown, row } = useRows(
    sessions.map(session => session.id),
    { Enter: show }
  );
  return total === 0 ? null : (
    <details className="jp-bai-Group">
      <summary>{trans.__('Ended today (%1)', total)}</summary>
      <ul className="jp-bai-List" aria-label={trans.__('Ended today')} onKeyDown={onKeyDown}>
        {sessions.map(session => (
          <EndedRow
            key={session.id}
            {...{ session, trans, run, has }}
            place={row(session.id)}
            isCurrent={session.id === current}
            toggle={() => toggle(session.id)}
          />
        ))}
      </ul>
      {total > sessions.length && <p className="jp-bai-Hint">{trans.__('These are the newest %1.', sessions.length)}</p>}
    </details>
  );
}

type IEndedRowProps = Omit<IRowProps, 'session' | 'choosing'> & { session: IEnded };

function EndedRow({ session, trans, run, has, place, isCurrent, toggle }: IEndedRowProps): JSX.Element {
  const look = lookOf({ ...session, queue: null, progress: null }, trans);
  const sentence = keepUnits(session.reason?.text ?? '');
  const ended = describeMoment(new Date(session.terminationTime), new Date());
  return (
    <SessionRow {...{ session, look, trans, run, place, isCurrent, toggle }} label={[session.name, look.word, sentence]}>
      {sentence && <div className="jp-bai-Row-sentence">{sentence}</div>}
      <div className="jp-bai-Row-meta">
        <bdi dir="ltr">{describeHeld(session, trans)}</bdi> · <span>{ended}</span>
      </div>
      {isCurrent && <Actions session={{ ...session, idleChecks: {} }} {...{ trans, run, has }} />}
    </SessionRow>
  );
}

interface IActionsProps extends Pick<IRowProps, 'trans' | 'run' | 'has'> {
  session: Pick<ISession, 'id' | 'name' | 'type' | 'status' | 'clusterSize' | 'idleChecks'>;
  /** In the session's own tab, which has what it prints, and where nothing else ends it. */
  isInTab?: boolean;
  /** Somebody else's: looked at and ended by an admin, no more. */
  isOthers?: boolean;
}

/** What can be done with a session. */
export function Actions({ session, trans, run, has, isInTab = false, isOthers = false }: IActionsProps): JSX.Element {
  const isRunning = session.status === 'RUNNING' && !isOthers;
  const offered: [string, string, boolean][] = [
    [trans.__('Details'), CommandIDs.showSession, !isInTab],
    [trans.__('Log'), CommandIDs.showLog, !isInTab],
    [trans.__('Terminal'), CommandIDs.openTerminal, isRunning && has(CommandIDs.openTerminal)],
    [trans.__('Keep'), CommandIDs.extendSession, isRunning && isKeepable(session)],
    [trans.__('Restart'), CommandIDs.restartSession, isRunning],
    [trans.__('Rename…'), CommandIDs.renameSession, !isOthers && !isEnding(session)],
    [trans.__('Save as environment…'), CommandIDs.commitSession, isRunning],
    [trans.__('Use again…'), CommandIDs.useAgain, !isOthers && isReusable(session)],
    [trans.__('End…'), CommandIDs.endSession, isInTab && !isEnding(session)]
  ];
  return (
    <div className="jp-bai-Actions">
      {offered
        .filter(([, , isPossible]) => isPossible)
        .map(([label, command]) => (
          <button key={command} className="jp-bai-Button" onClick={() => run(command, session)}>
            {label}
          </button>
        ))}
    </div>
  );
}

/** Tells a screen reader when a session's word changes; percentages in quarters only. Says nothing at first. */
export function Announcer({ list, trans }: { list: ISession[] | null; trans: TranslationBundle }): JSX.Element {
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
