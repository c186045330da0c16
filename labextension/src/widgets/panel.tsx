/** The panel "Backend.AI": its head, and its sections. */

import { ITranslator } from '@jupyterlab/translation';
import { ReactWidget, refreshIcon, SidePanel } from '@jupyterlab/ui-components';
import { AccordionPanel } from '@lumino/widgets';
import React from 'react';

import { baiIcon, usageIcon } from '../icons';
import { Section } from './section';

/** The first two sections are open at first. */
export function createPanel(sections: Section[], showUsage: () => void, translator: ITranslator): SidePanel {
  const trans = translator.load('bai_jupyter');
  const panel = new SidePanel({ translator });
  panel.id = 'jp-bai-panel';
  panel.addClass('jp-bai-Panel');
  panel.title.icon = baiIcon;
  panel.title.caption = trans.__('Backend.AI');
  panel.node.setAttribute('role', 'region');
  panel.node.setAttribute('aria-label', trans.__('Backend.AI'));
  const head = ReactWidget.create(
    <>
      <h2>{trans.__('Backend.AI')}</h2>
      <button className="jp-bai-IconButton" title={trans.__('Usage')} aria-label={trans.__('Usage')} onClick={showUsage}>
        <usageIcon.react tag="span" aria-hidden="true" />
      </button>
      <button
        className="jp-bai-IconButton"
        title={trans.__('Refresh')}
        aria-label={trans.__('Refresh')}
        onClick={() => sections.forEach(section => section.refresh())}
      >
        <refreshIcon.react tag="span" aria-hidden="true" />
      </button>
    </>
  );
  head.addClass('jp-bai-Head');
  panel.header.addWidget(head);
  sections.forEach(section => panel.addWidget(section));
  closeAllBut(2, panel.content as AccordionPanel);
  return panel;
}

/** A section that was closed before it had a size would have none when it is opened: then all open ones share alike. */
function closeAllBut(count: number, content: AccordionPanel): void {
  const sizeless = new Set<number>();
  for (let place = count; place < content.widgets.length; place++) {
    content.collapse(place);
    sizeless.add(place);
  }
  content.expansionToggled.connect((_, place) => {
    if (sizeless.delete(place)) {
      content.setRelativeSizes(content.widgets.map(section => (section.isHidden ? 0 : 1)));
    }
  });
}
