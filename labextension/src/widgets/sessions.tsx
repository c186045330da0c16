/** The section Sessions. */

import { TranslationBundle } from '@jupyterlab/translation';
import { stopIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import React from 'react';

import { describeSlots } from '../amounts';
import { ISession } from '../api';
import { Sessions } from '../model';
import { CommandIDs } from '../tokens';
import { describeAge, lookOf, sentenceOf } from '../words';
import { Bar, IPlace, Loading, Section, Trouble, useChanges, useRows } from './section';
import { StateIcon } from './state';

export function createSessions(commands: CommandRegistry, model: Sessions, trans: TranslationBundle): Section {
  const end = (session: ISession) =>
    void commands.execute(CommandIDs.endSession, { id: session.id, name: session.name });
  const launch = () => void commands.execute('launcher:create');
  return new Section(
    trans.__('Sessions'),
    [model],
    (
      <SessionsView
        model={model}
        trans={trans}
        end={end}
        canLaunch={() => commands.hasCommand('launcher:create')}
        launch={launch}
      />
    )
  );
}

interface IViewProps {
  model: Sessions;
  trans: TranslationBundle;
  end: (session: ISession) => void;
  canLaunch: () => boolean;
  launch: () => void;
}

function SessionsView({ model, trans, end, canLaunch, launch }: IViewProps): JSX.Element {
  useChanges(model);
  const list = model.value;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Sessions are being loaded')} />
      {list?.length === 0 && (
        <div className="jp-bai-Hint">
          <p>{trans.__('No sessions. Choose an environment in the Launcher to start one.')}</p>
          {canLaunch() && (
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

/** Delete ends a session. */
function SessionList({ list, trans, end }: Pick<IViewProps, 'trans' | 'end'> & { list: ISession[] }): JSX.Element {
  const { onKeyDown, row } = useRows(
    list.map(session => session.id),
    { Delete: id => end(list.find(session => session.id === id)!) }
  );
  return (
    <ul className="jp-bai-List" aria-label={trans.__('Sessions')} onKeyDown={onKeyDown}>
      {list.map(session => (
        <Row key={session.id} session={session} trans={trans} end={end} place={row(session.id)} />
      ))}
    </ul>
  );
}

interface IRowProps {
  session: ISession;
  trans: TranslationBundle;
  end: (session: ISession) => void;
  place: IPlace;
}

function Row({ session, trans, end, place }: IRowProps): JSX.Element {
  const look = lookOf(session, trans);
  const sentence = sentenceOf(session);
  const slots = describeSlots(session.slots);
  const isEnding = ['TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR'].includes(session.status);
  const label = [session.name, look.word, sentence ?? slots].filter(Boolean).join(', ');
  const button = trans.__('End %1', session.name);
  return (
    <li {...place} className="jp-bai-Row" aria-label={label}>
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
