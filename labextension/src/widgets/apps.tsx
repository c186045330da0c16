/** The section Apps: what a running session serves, each in a tab of Lab or of the browser. */

import { TranslationBundle } from '@jupyterlab/translation';
import { launchIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { IApp, ISession } from '../api';
import { Apps, isShown } from '../model';
import { describeApp } from '../words';
import { Loading, Section, Trouble, useChanges } from './section';

/** Show an app in a tab of the main area. */
export type ShowApp = (session: ISession, app: IApp) => Promise<void>;

interface IViewProps {
  model: Apps;
  show: ShowApp;
  trans: TranslationBundle;
}

export function createApps(model: Apps, show: ShowApp, trans: TranslationBundle): Section {
  return new Section(trans.__('Apps'), [model.sessions, model], <AppsView model={model} show={show} trans={trans} />);
}

function AppsView({ model, show, trans }: IViewProps): JSX.Element {
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
      {session !== null && model.value !== null && <AppList apps={model.value} {...{ session, model, show, trans }} />}
    </>
  );
}

interface IAppsProps {
  session: ISession;
  model: Pick<Apps, 'start'>;
  show: ShowApp;
  trans: TranslationBundle;
}

/** What one session serves. */
export function AppList({ apps, ...about }: IAppsProps & { apps: IApp[] }): JSX.Element {
  const { session, trans } = about;
  return (
    <>
      {apps.length === 0 && (
        <p className="jp-bai-Hint">
          {trans.__('%1 serves no apps. A port appears here as soon as a program listens there.', session.name)}
        </p>
      )}
      <ul className="jp-bai-List" aria-label={trans.__('Apps of %1', session.name)}>
        {apps.map(app => (
          <App key={`${session.id} ${app.name}`} app={app} {...about} />
        ))}
      </ul>
    </>
  );
}

function App({ app, session, model, show, trans }: IAppsProps & { app: IApp }): JSX.Element {
  const [isStarting, setStarting] = React.useState(false);
  const [error, setError] = React.useState('');
  const { name, details } = describeApp(app, trans);

  const attempt = async (open: () => Promise<void>) => {
    setStarting(true);
    setError('');
    try {
      await open();
    } catch (refused) {
      setError((refused as Error).message);
    } finally {
      setStarting(false);
    }
  };
  const openTab = async () => {
    const tab = window.open('about:blank'); // now: what opens later, a browser takes for unwanted
    if (tab === null) {
      throw new Error(trans.__('The browser does not let %1 open a tab. Allow it for this page.', name));
    }
    try {
      const link = await model.start(session.id, app);
      tab.opener = null;
      tab.location.replace(link);
    } catch (refused) {
      tab.close();
      throw refused;
    }
  };

  return (
    <li className="jp-bai-Row jp-bai-Row-plain">
      <div className="jp-bai-Row-first jp-bai-Row-wide">
        <span className="jp-bai-Row-name" title={name}>
          <bdi>{name}</bdi>
        </span>
        {isShown(app) && (
          <>
            <button
              className="jp-bai-Button"
              disabled={isStarting}
              aria-label={trans.__('Open %1', name)}
              onClick={() => void attempt(() => show(session, app))}
            >
              {isStarting ? trans.__('Starting') : trans.__('Open')}
            </button>
            <button
              className="jp-bai-IconButton"
              disabled={isStarting}
              title={trans.__('Open %1 in a tab of the browser', name)}
              aria-label={trans.__('Open %1 in a tab of the browser', name)}
              onClick={() => void attempt(openTab)}
            >
              <launchIcon.react tag="span" aria-hidden="true" />
            </button>
          </>
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
