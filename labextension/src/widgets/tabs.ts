/** Tabs in a tab of the main area, and tabs in these. What is not in front is not asked for. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import { TabPanel, Widget } from '@lumino/widgets';

import { Section } from './section';

/** `label` says what the inner tabs are. */
export function createTabs(sections: (Section | TabPanel)[], label: string): MainAreaWidget<TabPanel> {
  const tab = new MainAreaWidget({ content: createPanel(sections, label) });
  tab.toolbar.hide(); // there is nothing in it
  tab.node.addEventListener('keydown', focusFilter);
  return tab;
}

/** `/` leads to the field that filters the list in front, except where it is typed. */
function focusFilter(event: KeyboardEvent): void {
  const isTyped = (event.target as Element).matches('input:not([type=checkbox]), textarea, select, [contenteditable]');
  if (event.key !== '/' || isTyped || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const fields = (event.currentTarget as Element).querySelectorAll<HTMLInputElement>('input[type=search]');
  const field = [...fields].find(one => one.offsetParent !== null);
  if (field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
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
