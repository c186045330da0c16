/** The tab of one session: how it is and what it has, what happened to it, what it prints and serves. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon } from '@jupyterlab/ui-components';
import { TabPanel } from '@lumino/widgets';
import React from 'react';

import { keepUnits } from '../amounts';
import { IContainer } from '../api';
import { baiIcon } from '../icons';
import { SessionLog } from '../model';
import {
  describeAction,
  describeMoment,
  describeResult,
  describeSpan,
  Detail,
  factsOf,
  SessionApps,
  SessionAudit,
  SessionDetail,
  SessionHistory,
  stepsOf,
  usesOf
} from '../session';
import { describePermission, ILook, lookOf } from '../words';
import { AppList, ShowApp } from './apps';
import { createLogSection } from './log';
import { Fact, Limits } from './facts';
import { Meter } from './meter';
import { Bar, Loading, Section, Trouble, useChanges } from './section';
import { Actions, Announcer, Has, Run } from './sessions';
import { StateIcon } from './state';
import { createTabs } from './tabs';

/** What can be done from it. */
export interface ISessionActor {
  run: Run;
  has: Has;
  showApp: ShowApp;
}

export type SessionTab = MainAreaWidget<TabPanel>;

export interface ISessionOf {
  id: string;
  /** What it is called until that was asked. */
  name: string;
  /** For admins, a keypair of the person whose it is: it can be looked at and ended, and not worked in. */
  owner?: string;
}

export function createSession(
  settings: ServerConnection.ISettings,
  { id, name, owner }: ISessionOf,
  actor: ISessionActor,
  trans: TranslationBundle
): SessionTab {
  const detail = new SessionDetail(settings, id, owner);
  const history = new SessionHistory(settings, id, owner);
  const log = new SessionLog(settings, id, owner);
  const apps = new SessionApps(settings, detail);
  const audit = new SessionAudit(settings, id, owner);

  const prints = createLogSection(log, name, trans);
  prints.title.label = trans.__('Log');
  const tab = createTabs(
    [
      new Section(trans.__('Overview'), [detail], <Overview model={detail} actor={actor} trans={trans} />),
      new Section(trans.__('Timeline'), [history], <Timeline model={history} trans={trans} />),
      prints,
      ...(owner === undefined
        ? [new Section(trans.__('Apps'), [detail, apps], <OwnApps model={apps} show={actor.showApp} trans={trans} />)]
        : []),
      new Section(trans.__('Audit'), [audit], <Audit model={audit} trans={trans} />)
    ],
    trans.__('About the session')
  );
  tab.content.addClass('jp-bai-Session');
  tab.title.icon = baiIcon;
  const call = () => {
    const known = detail.value?.name ?? name;
    tab.title.label = known;
    tab.title.caption = trans.__('Session %1', known);
  };
  call();
  detail.changed.connect(call);
  tab.disposed.connect(() => [detail, history, log, apps, audit].forEach(model => model.dispose()));
  return tab;
}

interface IOverviewProps {
  model: SessionDetail;
  actor: ISessionActor;
  trans: TranslationBundle;
}

function Overview({ model, actor, trans }: IOverviewProps): JSX.Element {
  useChanges(model);
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('The session is being loaded')} />
      {model.value && <Known session={model.value} {...{ model, actor, trans }} />}
      <Announcer list={model.value && [model.value]} trans={trans} />
    </>
  );
}

function Known({ session, model, actor, trans }: IOverviewProps & { session: Detail }): JSX.Element {
  const now = new Date();
  const look = lookOf(session, trans);
  const uses = usesOf(session, id => model.cpusOf(id), trans);
  const isCluster = session.clusterSize > 1;
  return (
    <>
      <div className="jp-bai-Session-state">
        <StateIcon look={look} />
        <strong>{look.word}</strong>
        {session.reason && <p>{keepUnits(session.reason.text)}</p>}
        {session.status === 'PULLING' && session.progress !== null && <Bar percent={session.progress} label={look.word} />}
      </div>
      <div className="jp-bai-Session-actions">
        <Actions session={session} run={actor.run} has={actor.has} trans={trans} isInTab isOthers={model.owner !== undefined} />
      </div>
      {uses.length > 0 && <h3 className="jp-bai-Title">{trans.__('In use')}</h3>}
      {uses.map(({ host, uses: own, devices }) => (
        <React.Fragment key={host}>
          {isCluster && <p className="jp-bai-Session-line">{host}</p>}
          {own.map(use => (
            <Meter key={use.slot} label={host} use={use} />
          ))}
          {devices.map(one => (
            <p key={one} className="jp-bai-Session-line">
              <bdi dir="ltr">{keepUnits(one)}</bdi>
            </p>
          ))}
        </React.Fragment>
      ))}
      <h3 className="jp-bai-Title">{trans.__('About')}</h3>
      <dl className="jp-bai-Facts">
        {factsOf(session, now, trans).map(([label, text]) => (
          <Fact key={label} label={label}>
            {keepUnits(text)}
          </Fact>
        ))}
        <Fact label={trans.__('Id')}>
          {session.id} <Copy text={session.id} label={trans.__('Copy the id')} />
        </Fact>
      </dl>
      <h3 className="jp-bai-Title">{trans.__('Folders')}</h3>
      {session.mounts.length === 0 && <p className="jp-bai-Session-line">{trans.__('None is mounted.')}</p>}
      <dl className="jp-bai-Facts">
        {session.mounts.map(mount => (
          <Fact key={mount.target} label={mount.name}>
            <bdi dir="ltr">{mount.target}</bdi> · {describePermission(mount.read_only ? 'ro' : 'rw', trans)}
          </Fact>
        ))}
      </dl>
      {isCluster && <Containers containers={session.kernels} trans={trans} />}
      <Limits session={session} now={now} trans={trans} />
    </>
  );
}

function Copy({ text, label }: { text: string; label: string }): JSX.Element {
  return (
    <button
      className="jp-bai-IconButton"
      title={label}
      aria-label={label}
      onClick={() => void navigator.clipboard.writeText(text)}
    >
      <copyIcon.react tag="span" aria-hidden="true" />
    </button>
  );
}

/** Of nothing but its name. */
function lookOfStatus(status: string, trans: TranslationBundle): ILook {
  return lookOf({ status, queue: null, progress: null, reason: null }, trans);
}

function Containers({ containers, trans }: { containers: IContainer[]; trans: TranslationBundle }): JSX.Element {
  const wordOf = ({ status, exitCode }: IContainer) => {
    const { word } = lookOfStatus(status, trans);
    return exitCode === null ? word : trans.__('%1, code %2', word, exitCode);
  };
  return (
    <>
      <h3 className="jp-bai-Title">{trans.__('Containers')}</h3>
      <Table
        label={trans.__('Containers')}
        heads={[trans.__('Name'), trans.__('Role'), trans.__('State'), trans.__('Agent')]}
        rows={containers.map(one => [one.id, one.host, one.role, wordOf(one), one.agent])}
      />
    </>
  );
}

/** Each row begins with its key. */
function Table({ label, heads, rows }: { label: string; heads: string[]; rows: string[][] }): JSX.Element {
  return (
    <div className="jp-bai-Table-frame" tabIndex={0} role="group" aria-label={label}>
      <table className="jp-bai-Table">
        <caption className="jp-bai-Announcer">{label}</caption>
        <thead>
          <tr>
            {heads.map(head => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([key, first, ...others]) => (
            <tr key={key}>
              <th scope="row">
                <bdi>{first}</bdi>
              </th>
              {others.map((text, place) => (
                <td key={heads[place + 1]}>
                  <bdi>{text}</bdi>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What it was, for how long and why; newest last, as it happened. */
function Timeline({ model, trans }: { model: SessionHistory; trans: TranslationBundle }): JSX.Element {
  useChanges(model);
  const now = new Date();
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('The timeline is being loaded')} />
      {model.value && (
        <ol className="jp-bai-List" aria-label={trans.__('Timeline')}>
          {stepsOf(model.value, now).map(({ status, at, lasted, sentence }, place) => (
            <li key={place} className="jp-bai-Row">
              <StateIcon look={lookOfStatus(status, trans)} />
              <div className="jp-bai-Row-first jp-bai-Row-wide">
                <span className="jp-bai-Row-name">{lookOfStatus(status, trans).word}</span>
                <span className="jp-bai-Row-word">{describeMoment(at, now)}</span>
              </div>
              <div className="jp-bai-Row-rest">
                {sentence && <div className="jp-bai-Row-sentence">{keepUnits(sentence)}</div>}
                {lasted !== null && (
                  <div className="jp-bai-Row-meta">
                    <span>{trans.__('for %1', describeSpan(lasted, trans))}</span>
                  </div>
                )}
              </div>
            </li>
          ))}
        </ol>
      )}
    </>
  );
}

function OwnApps({ model, show, trans }: { model: SessionApps; show: ShowApp; trans: TranslationBundle }): JSX.Element {
  const { detail } = model;
  useChanges(detail, model);
  const session = detail.value;
  const isRunning = session?.status === 'RUNNING';
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Apps are being loaded')} />
      {session && !isRunning && <p className="jp-bai-Hint">{trans.__('It does not run. Its apps are shown here while it does.')}</p>}
      {isRunning && model.value && <AppList apps={model.value} {...{ session, model, show, trans }} />}
    </>
  );
}

function Audit({ model, trans }: { model: SessionAudit; trans: TranslationBundle }): JSX.Element {
  useChanges(model);
  const now = new Date();
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('The record is being loaded')} />
      {model.value?.length === 0 && <p className="jp-bai-Hint">{trans.__('Nothing that you did to it is on record.')}</p>}
      {model.value && model.value.length > 0 && (
        <Table
          label={trans.__('What was done to it, newest first')}
          heads={[trans.__('When'), trans.__('What'), trans.__('On record as'), trans.__('Keypair'), trans.__('Result')]}
          rows={model.value.map(({ id, at, action, access_key, result }) => [
            `${id}`,
            describeMoment(new Date(at), now),
            describeAction(action, trans),
            action,
            access_key ?? '',
            describeResult(result, trans)
          ])}
        />
      )}
    </>
  );
}
