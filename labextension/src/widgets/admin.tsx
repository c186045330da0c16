/** The tab *Backend.AI Admin*: one table for each of the cluster's lists. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { AdminList } from '../admin';
import { tablesFor } from '../adminTables';
import { Health } from '../health';
import { baiIcon } from '../icons';
import { createHealth, IHealthActor } from './health';
import { Section } from './section';
import { IActor, TableView } from './table';
import { createPanel, createTabs } from './tabs';

export function createAdmin(
  settings: ServerConnection.ISettings,
  role: string,
  actorOn: (model: AdminList) => IActor,
  /** Of superadmins. */
  health: { model: Health; actor: IHealthActor } | null,
  trans: TranslationBundle
): MainAreaWidget {
  const tables = tablesFor(role, trans).map(table => ({ table, model: new AdminList(settings, table.name, table.intervalSeconds) }));
  const parts = new Map<string, Section[]>();
  if (health) {
    const section = createHealth(health.model, health.actor, trans);
    parts.set(section.title.label, [section]);
  }
  for (const { table, model } of tables) {
    const view = <TableView table={table} model={model} trans={trans} actor={actorOn(model)} />;
    const part = table.part ?? table.label;
    parts.set(part, [...(parts.get(part) ?? []), new Section(table.label, [model], view)]);
  }
  const sections = [...parts].map(([part, inside]) => (inside.length > 1 ? createPanel(inside, part) : inside[0]));
  const tab = createTabs(sections, trans.__('Lists of the cluster'));
  tab.content.addClass('jp-bai-Admin');
  tab.title.label = trans.__('Backend.AI Admin');
  tab.title.icon = baiIcon;
  tab.disposed.connect(() => [...tables, health].forEach(one => one?.model.dispose()));
  return tab;
}
