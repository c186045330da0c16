/** A tab of the main area that has tabs itself. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TabPanel } from '@lumino/widgets';

import { Section } from './section';

/** `label` says what the inner tabs are. */
export function createTabs(sections: Section[], label: string): MainAreaWidget<TabPanel> {
  const content = new TabPanel({ tabsMovable: false });
  content.addClass('jp-bai-Tabs');
  content.tabBar.node.setAttribute('aria-label', label);
  sections.forEach(section => content.addWidget(section));
  const tab = new MainAreaWidget({ content });
  tab.toolbar.hide(); // there is nothing in it
  return tab;
}
