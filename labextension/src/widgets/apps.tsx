/** The section Apps: what a running session serves, each in a tab of the browser. */

import { TranslationBundle } from '@jupyterlab/translation';
import { launchIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { IApp } from '../api';
import { Apps, isShown } from '../model';
import { describeApp } from '../words';
import { Loading, Section, Trouble, useChanges } from './section';

interface IViewProps {
  model: Apps;
  trans: TranslationBundle;
}

export function createApps(model: Apps, trans: TranslationBundle): Section {
  return new Section(trans.__('Apps'), [model.sessions, model], <AppsView model={model} trans={trans} />);
}

function AppsView({ model, trans }: IViewProps): JSX.Element {
  useChanges(model.sessions, model);
  const session = model.session;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Apps are being loaded')} />
      {session === null && model.sessions.value !== null && (
        <p className="jp-bai-Hint">{trans.__('No session is running. The apps of one that runs are shown here.')}</p>
      )}
      {session !== null && (
        <div className="jp-bai-Tools">
          <select
            className="jp-bai-Field"
            aria-label={trans.__('Session')}
            value={session.id}
            onChange={event => model.choose(event.target.value)}
          >
            {model.running.map(one => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </select>
        </div>
      )}
      {session !== null && model.value?.length === 0 && (
        <p className="jp-bai-Hint">
          {trans.__('%1 serves no apps. A port appears here as soon as a program listens there.', session.name)}
        </p>
      )}
      {session !== null && model.value !== null && (
        <ul className="jp-bai-List" aria-label={trans.__('Apps of %1', session.name)}>
          {model.value.map(app => (
            <App key={`${session.id} ${app.name}`} app={app} sessionId={session.id} model={model} trans={trans} />
          ))}
        </ul>
      )}
    </>
  );
}

function App({ app, sessionId, model, trans }: IViewProps & { app: IApp; sessionId: string }): JSX.Element {
  const [isStarting, setStarting] = React.useState(false);
  const [error, setError] = React.useState('');
  const { name, details } = describeApp(app, trans);

  const open = async () => {
    const tab = window.open('about:blank'); // now: what opens later, a browser takes for unwanted
    setStarting(true);
    setError('');
    try {
      const link = await model.start(sessionId, app);
      if (tab === null) {
        setError(trans.__('The browser does not let %1 open a tab. Allow it for this page.', name));
      } else {
        tab.opener = null;
        tab.location.replace(link);
      }
    } catch (refused) {
      tab?.close();
      setError((refused as Error).message);
    } finally {
      setStarting(false);
    }
  };

  return (
    <li className="jp-bai-Row jp-bai-Row-plain">
      <div className="jp-bai-Row-first jp-bai-Row-wide">
        <span className="jp-bai-Row-name" title={name}>
          <bdi>{name}</bdi>
        </span>
        {isShown(app) && (
          <button
            className="jp-bai-Button"
            disabled={isStarting}
            aria-label={trans.__('Open %1 in a new tab', name)}
            onClick={() => void open()}
          >
            <launchIcon.react tag="span" aria-hidden="true" />
            {isStarting ? trans.__('Starting') : trans.__('Open')}
          </button>
        )}
      </div>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Row-meta">{details}</div>
        {error && (
          <p className="jp-bai-Refusal" role="alert">
            {error}
          </p>
        )}
      </div>
    </li>
  );
}
