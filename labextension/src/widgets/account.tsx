/** The tab *My Account*: who one is, what one has in each new session, and what was done in one's name. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { AccessLog, Account, Bootstrap, dotfileTable, Dotfiles, factsOf, keypairTable, LOG_PAGE, logTable } from '../account';
import { AdminRow } from '../api';
import { baiIcon } from '../icons';
import { Watched } from '../watched';
import { Pages } from './pages';
import { Loading, Section, Trouble, useChanges } from './section';
import { IActor, Rows } from './table';
import { createTabs } from './tabs';

/** `actorOn` carries out what is done to what a model shows; `renew` makes another SSH keypair. */
export function createAccount(
  settings: ServerConnection.ISettings,
  actorOn: (model: Watched<unknown>) => IActor,
  renew: (model: Account) => void,
  trans: TranslationBundle
): MainAreaWidget {
  const [me, dotfiles, bootstrap, log] = [
    new Account(settings),
    new Dotfiles(settings),
    new Bootstrap(settings),
    new AccessLog(settings)
  ] as const;
  const table = dotfileTable(settings, trans);
  const sections = [
    new Section(trans.__('Me'), [me], <Me model={me} renew={renew} trans={trans} />),
    new Section(table.label, [dotfiles], <Files model={dotfiles} table={table} actor={actorOn(dotfiles)} trans={trans} />),
    new Section(trans.__('Bootstrap script'), [bootstrap], <Script model={bootstrap} trans={trans} />),
    new Section(trans.__('Access log'), [log], <Log model={log} actor={actorOn(log)} trans={trans} />)
  ];
  const tab = createTabs(sections, trans.__('My account'));
  tab.title.label = trans.__('My Account');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => [me, dotfiles, bootstrap, log].forEach(model => model.dispose()));
  return tab;
}

interface IMeProps {
  model: Account;
  renew: (model: Account) => void;
  trans: TranslationBundle;
}

function Me({ model, renew, trans }: IMeProps): JSX.Element {
  useChanges(model);
  const account = model.value;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('Your account is being loaded')} />
      {account && (
        <>
          <h3 className="jp-bai-Title">{trans.__('Who I am')}</h3>
          <dl className="jp-bai-Facts jp-mod-words">
            {factsOf(account, trans).map(([label, text]) => (
              <React.Fragment key={label}>
                <dt>{label}</dt>
                <dd>
                  <bdi>{text}</bdi>
                </dd>
              </React.Fragment>
            ))}
          </dl>
          <h3 className="jp-bai-Title">{trans.__('Keypairs')}</h3>
          <Rows table={keypairTable(trans)} rows={rowsOf(account.keypairs)} trans={trans} actor={NOBODY} />
          <h3 className="jp-bai-Title">{trans.__('SSH keypair')}</h3>
          <p className="jp-bai-Hint">
            {account.ssh_fingerprint ? <code>{account.ssh_fingerprint}</code> : trans.__('You have none yet.')}
          </p>
          <div className="jp-bai-Tools">
            <button className="jp-bai-Button" onClick={() => renew(model)}>
              {trans.__('New SSH keypair')}
            </button>
          </div>
        </>
      )}
    </>
  );
}

/** Where nothing can be done to a row. */
const NOBODY: IActor = { act: () => undefined, add: () => undefined };

interface IFilesProps {
  model: Dotfiles;
  table: ReturnType<typeof dotfileTable>;
  actor: IActor;
  trans: TranslationBundle;
}

function Files({ model, table, actor, trans }: IFilesProps): JSX.Element {
  useChanges(model);
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        <span>{trans.__('Each new session has these files in its home.')}</span>
        <button className="jp-bai-Button jp-bai-Table-addition" onClick={() => actor.add(table.addition!)}>
          {table.addition!.label}
        </button>
      </div>
      <Loading model={model} label={trans.__('Dotfiles are being loaded')} />
      {model.value?.length === 0 && <p className="jp-bai-Hint">{trans.__('You have none yet.')}</p>}
      {Boolean(model.value?.length) && <Rows table={table} rows={rowsOf(model.value!)} trans={trans} actor={actor} />}
    </>
  );
}

/** What is typed stays until it is saved. */
function Script({ model, trans }: { model: Bootstrap; trans: TranslationBundle }): JSX.Element {
  useChanges(model);
  const id = React.useId();
  const [typed, setTyped] = React.useState<string | null>(null);
  const [said, setSaid] = React.useState('');
  const [refusal, setRefusal] = React.useState('');
  const saved = model.value;

  const save = async () => {
    try {
      await model.save(typed!);
      setSaid(trans.__('Saved. New sessions run it.'));
    } catch (refused) {
      setRefusal((refused as Error).message);
    }
  };
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={trans.__('The script is being loaded')} />
      {saved !== null && (
        <div className="jp-bai-Form">
          <p id={`${id}-about`}>
            {trans.__('A shell script that runs first in each of your new sessions. Left empty, nothing runs. Put no passwords into it.')}
          </p>
          <label htmlFor={id}>{trans.__('Script')}</label>
          <textarea
            id={id}
            className="jp-bai-Field jp-bai-Text"
            rows={16}
            wrap="off"
            spellCheck={false}
            aria-describedby={`${id}-about`}
            value={typed ?? saved}
            onChange={event => {
              setTyped(event.target.value);
              setSaid('');
              setRefusal('');
            }}
          />
          {refusal && (
            <p className="jp-bai-Refusal" role="alert">
              {refusal}
            </p>
          )}
          <div className="jp-bai-Actions">
            <button
              className="jp-bai-Button jp-mod-styled jp-mod-accept"
              disabled={typed === null || typed === saved}
              onClick={() => void save()}
            >
              {trans.__('Save')}
            </button>
            <span role="status">{said}</span>
          </div>
        </div>
      )}
    </>
  );
}

function Log({ model, actor, trans }: { model: AccessLog; actor: IActor; trans: TranslationBundle }): JSX.Element {
  useChanges(model);
  const page = model.value;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        {page && (
          <Pages offset={page.offset} size={LOG_PAGE} total={page.total} open={to => model.open(to)} trans={trans} />
        )}
      </div>
      <Loading model={model} label={trans.__('The log is being loaded')} />
      {page && page.items.length > 0 && <Rows table={logTable(trans)} rows={rowsOf(page.items)} trans={trans} actor={actor} />}
    </>
  );
}

function rowsOf(items: object[]): AdminRow[] {
  return items.map(one => ({ ...one }));
}
