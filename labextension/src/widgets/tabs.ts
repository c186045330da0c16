/** Tabs in a tab of the main area, and tabs in these. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TabPanel, Widget } from '@lumino/widgets';

import { focusSearch } from './choosing';
import { Section } from './section';

/** `label` says what the inner tabs are. */
export function createTabs(sections: (Section | TabPanel)[], label: string): MainAreaWidget<TabPanel> {
  const tab = new MainAreaWidget({ content: createPanel(sections, label) });
  tab.toolbar.hide(); // there is nothing in it
  tab.node.addEventListener('keydown', focusSearch);
  return tab;
}

/** `label` says what its tabs are; as one of others it is called so, too. */
export function createPanel(sections: Widget[], label: string): TabPanel {
  const panel = new TabPanel({ tabsMovable: false });
  panel.addClass('jp-bai-Tabs');
  panel.tabBar.node.setAttribute('aria-label', label);
  panel.title.label = label;
  sections.forEach(section => panel.addWidget(section));
  return panel;
}
