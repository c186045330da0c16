/** The tab *My Environments*: images that one made from sessions. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { IPlainTable } from '../tables';
import { Environments } from '../environments';
import { baiIcon } from '../icons';
import { Loading, Section, Trouble, useChanges } from './section';
import { IActor, Rows } from './table';
import { createTabs } from './tabs';

interface IEnvironmentsProps {
  model: Environments;
  table: IPlainTable;
  actor: IActor;
  trans: TranslationBundle;
}

export function createEnvironments(props: IEnvironmentsProps): MainAreaWidget {
  const { model, trans } = props;
  const tab = createTabs([new Section(trans.__('Mine'), [model], <Mine {...props} />)], trans.__('Environments'));
  tab.title.label = trans.__('My Environments');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => model.dispose());
  return tab;
}

function Mine({ model, table, actor, trans }: IEnvironmentsProps): JSX.Element {
  useChanges(model);
  const found = model.value;
  return (
    <>
      <Trouble model={model} trans={trans} />
      <div className="jp-bai-Table-head">
        <span>{trans.__('What you made with Save as Environment. Only you can use it.')}</span>
      </div>
      <Loading model={model} label={trans.__('Your environments are being loaded')} />
      {found?.length === 0 && (
        <p className="jp-bai-Hint">
          {trans.__('You have none yet. Save as Environment… in the menu Kernel makes one of what a container has become.')}
        </p>
      )}
      {Boolean(found?.length) && <Rows table={table} rows={found!.map(one => ({ ...one }))} trans={trans} actor={actor} />}
    </>
  );
}
