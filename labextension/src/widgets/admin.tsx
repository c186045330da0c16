/** The tab *Backend.AI Admin*: one table for each of the cluster's lists. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { AdminList } from '../admin';
import { tablesFor } from '../adminTables';
import { baiIcon } from '../icons';
import { Section } from './section';
import { IActor, TableView } from './table';
import { createTabs } from './tabs';

export function createAdmin(
  settings: ServerConnection.ISettings,
  role: string,
  actorOn: (model: AdminList) => IActor,
  trans: TranslationBundle
): MainAreaWidget {
  const tables = tablesFor(role, trans).map(table => ({ table, model: new AdminList(settings, table.name, table.intervalSeconds) }));
  const sections = tables.map(({ table, model }) => {
    const view = <TableView table={table} model={model} trans={trans} actor={actorOn(model)} />;
    return new Section(table.label, [model], view);
  });
  const tab = createTabs(sections, trans.__('Lists of the cluster'));
  tab.content.addClass('jp-bai-Admin');
  tab.title.label = trans.__('Backend.AI Admin');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => tables.forEach(({ model }) => model.dispose()));
  return tab;
}
