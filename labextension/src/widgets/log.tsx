/** What a session prints, in a tab of the main area. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { baiIcon } from '../icons';
import { SessionLog } from '../model';
import { Loading, Section, Trouble, useChanges } from './section';

export function createLog(model: SessionLog, name: string, trans: TranslationBundle): MainAreaWidget {
  const content = createLogSection(model, name, trans);
  const tab = new MainAreaWidget({ content });
  tab.title.label = content.title.label;
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => model.dispose());
  return tab;
}

export function createLogSection(model: SessionLog, name: string, trans: TranslationBundle): Section {
  const title = trans.__('Log of %1', name);
  const section = new Section(title, [model], <LogView model={model} label={title} trans={trans} />);
  section.addClass('jp-bai-Log');
  return section;
}

interface IViewProps {
  model: SessionLog;
  label: string;
  trans: TranslationBundle;
}

/** Stays at the end while its end is in view. */
function LogView({ model, label, trans }: IViewProps): JSX.Element {
  useChanges(model);
  const text = React.useRef<HTMLPreElement>(null);
  const isAtEnd = React.useRef(true);
  React.useEffect(() => {
    if (text.current && isAtEnd.current) {
      text.current.scrollTop = text.current.scrollHeight;
    }
  }, [model.value]);
  const onScroll = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: React.UIEvent) => {
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < 24;
  };
  return (
    <>
      <Trouble model={model} trans={trans} />
      <Loading model={model} label={label} />
      {model.value === '' && <p className="jp-bai-Hint">{trans.__('Nothing was printed yet.')}</p>}
      {model.value && (
        <pre ref={text} tabIndex={0} role="log" aria-live="off" aria-label={label} onScroll={onScroll}>
          {model.value}
        </pre>
      )}
    </>
  );
}
