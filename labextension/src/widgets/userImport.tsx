/** The dialog that makes users of a file: what each line would do is shown before, and what it did after. */

import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { COLUMNS, EXAMPLE, IUserLine, UserImport } from '../userImport';
import { save } from './save';
import { useChanges } from './section';

const SUMMARY_ID = 'jp-bai-import-summary';

export class ImportDialog extends Dialog<unknown> {
  constructor(
    private readonly model: UserImport,
    private readonly trans: TranslationBundle
  ) {
    super({
      title: trans.__('Users from CSV'),
      body: new Body(model, trans),
      buttons: [Dialog.cancelButton({ label: trans.__('Close') }), Dialog.okButton()],
      focusNodeSelector: 'input'
    });
    this.addClass('jp-bai-ImportDialog');
    this.node.setAttribute('aria-label', trans.__('Users from CSV'));
    model.changed.connect(this._follow, this);
    this._follow();
  }

  dispose(): void {
    this.model.changed.disconnect(this._follow, this);
    this.model.stop();
    super.dispose();
  }

  /** It stays after the users were made, to say which. */
  resolve(index?: number): void {
    if (index === 0) {
      super.resolve(index);
    } else if (this.model.phase === 'ready') {
      void this.model.make();
    }
  }

  private _follow(): void {
    const accept = this.node.querySelector<HTMLElement>('.jp-Dialog-button.jp-mod-accept')!;
    const count = this.model.count('good');
    const label = count > 0 ? this.trans._n('Create one user', 'Create %1 users', count) : this.trans.__('Create');
    accept.querySelector('.jp-Dialog-buttonLabel')!.textContent = label;
    accept.setAttribute('aria-label', label);
    accept.hidden = this.model.phase === 'done';
    if (accept.hidden) {
      accept.parentElement!.querySelector<HTMLElement>('.jp-mod-reject')!.focus();
    }
    accept.setAttribute('aria-disabled', `${this.model.phase !== 'ready'}`);
    accept.setAttribute('aria-describedby', SUMMARY_ID);
  }
}

class Body extends ReactWidget {
  constructor(
    private readonly model: UserImport,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-bai-Form');
  }

  protected render(): JSX.Element {
    return <View model={this.model} trans={this.trans} />;
  }
}

interface IViewProps {
  model: UserImport;
  trans: TranslationBundle;
}

function View({ model, trans }: IViewProps): JSX.Element {
  useChanges(model);
  const id = React.useId();
  const choose = async (event: React.ChangeEvent<HTMLInputElement>) => {
    const file = event.target.files?.[0];
    if (file) {
      await model.read(file);
    }
  };
  return (
    <>
      <p id={`${id}-about`}>
        {trans.__('The first line names the columns: email, and any of %1. Each line after it is one user.', COLUMNS.slice(1).join(', '))}
      </p>
      <label htmlFor={`${id}-file`}>{trans.__('File')}</label>
      <input
        id={`${id}-file`}
        type="file"
        accept=".csv,.tsv,.txt,text/csv"
        aria-describedby={`${id}-about`}
        disabled={model.phase === 'making'}
        onClick={event => (event.currentTarget.value = '')} // so that the same one can be chosen again
        onChange={event => void choose(event)}
      />
      <div className="jp-bai-Actions">
        <button type="button" className="jp-bai-Button" onClick={() => save(EXAMPLE, 'users.csv', 'text/csv')}>
          {trans.__('Download an example')}
        </button>
      </div>
      <p id={SUMMARY_ID} role="status">
        {summaryOf(model, trans)}
      </p>
      {model.problem && (
        <p className="jp-bai-Refusal" role="alert">
          {model.problem}
        </p>
      )}
      {model.lines.length > 0 && <Lines lines={model.lines} trans={trans} />}
    </>
  );
}

function summaryOf(model: UserImport, trans: TranslationBundle): string {
  const { lines, phase } = model;
  const [good, refused, made, asked] = (['good', 'refused', 'made', 'asked'] as const).map(state => model.count(state));
  const left = refused > 0 ? trans._n('One line is refused.', '%1 lines are refused.', refused) : '';
  switch (phase) {
    case 'none':
      return trans.__('No file is chosen. Nothing is created before you say so.');
    case 'checking':
      return trans.__('Looking at the lines: %1 of %2.', lines.length - asked, lines.length);
    case 'ready':
      return [trans._n('One user would be created.', '%1 users would be created.', good), left].filter(Boolean).join(' ');
    case 'making':
      return trans.__('Creating: %1 done, %2 to go.', made, good);
    case 'done':
      return [
        made === 0 ? trans.__('No user was created.') : trans._n('One user was created.', '%1 users were created.', made),
        left,
        good > 0 ? trans._n('One was not begun.', '%1 were not begun.', good) : ''
      ]
        .filter(Boolean)
        .join(' ');
  }
}

function Lines({ lines, trans }: { lines: IUserLine[]; trans: TranslationBundle }): JSX.Element {
  const words: Record<IUserLine['state'], string> = {
    asked: '',
    good: trans.__('Would be created'),
    refused: trans.__('Refused'),
    made: trans.__('Created'),
    unknown: trans.__('Not known')
  };
  return (
    <div className="jp-bai-Table-frame" tabIndex={0} role="group" aria-label={trans.__('Lines of the file')}>
      <table className="jp-bai-Table">
        <caption className="jp-bai-Announcer">{trans.__('Lines of the file')}</caption>
        <thead>
          <tr>
            {[trans.__('Line'), trans.__('E-mail'), trans.__('State'), trans.__('How, or why not')].map(head => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {lines.map(({ line, email, state, said }) => (
            <tr key={line}>
              <th scope="row">{line}</th>
              <td>
                <bdi>{email}</bdi>
              </td>
              <td className="jp-bai-ImportDialog-state">{words[state]}</td>
              <td>{said}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
