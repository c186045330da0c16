/** The tab *Backend.AI Admin*: one table for each of the cluster's lists. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { TabPanel } from '@lumino/widgets';
import React from 'react';

import { AdminList } from '../admin';
import { tablesOf } from '../adminTables';
import { baiIcon } from '../icons';
import { Section } from './section';
import { IActor, TableView } from './table';

export function createAdmin(
  settings: ServerConnection.ISettings,
  actorOn: (model: AdminList) => IActor,
  trans: TranslationBundle
): MainAreaWidget {
  const content = new TabPanel({ tabsMovable: false });
  content.addClass('jp-bai-Admin');
  const models = tablesOf(trans).map(table => {
    const model = new AdminList(settings, table.name, table.intervalSeconds);
    const view = <TableView table={table} model={model} trans={trans} actor={actorOn(model)} />;
    content.addWidget(new Section(table.label, [model], view));
    return model;
  });
  content.tabBar.node.setAttribute('aria-label', trans.__('Lists of the cluster'));
  const tab = new MainAreaWidget({ content });
  tab.toolbar.hide(); // there is nothing in it
  tab.title.label = trans.__('Backend.AI Admin');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => models.forEach(model => model.dispose()));
  return tab;
}
