/** Our own icons: one 16 px grid, one path each, in the colour of their surroundings. */

import { LabIcon } from '@jupyterlab/ui-components';

function icon(name: string, path: string, attributes = ''): LabIcon {
  const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" width="16"><path ${attributes} d="${path}"/></svg>`;
  return new LabIcon({ name: `bai:${name}`, svgstr });
}

const FILL = 'fill="currentColor" fill-rule="evenodd"';

/** Two machines, one above the other, joined: the panel's icon takes Lab's sidebar colour. */
export const baiIcon = icon(
  'bai',
  'M3 2h10a1 1 0 0 1 1 1v3a1 1 0 0 1-1 1H8.750v2H13a1 1 0 0 1 1 1v3a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1v-3a1 1 0 0 1 1-1h4.250V7H3a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1Zm.5 1.500v2h9v-2Zm0 7v2h9v-2ZM4.500 4h1.500v1H4.500Zm0 7h1.500v1H4.500Z',
  'class="jp-icon3 jp-icon-selectable" fill="#616161" fill-rule="evenodd"'
);

export const dotIcon = icon('dot', 'M8 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z', FILL);

export const ringIcon = icon('ring', 'M8 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8Zm0 1.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5Z', FILL);

export const clockIcon = icon(
  'queue',
  'M8 1.750a6.250 6.250 0 1 1 0 12.500 6.250 6.250 0 0 1 0-12.500Zm0 1.500a4.750 4.750 0 1 0 0 9.500 4.750 4.750 0 0 0 0-9.500ZM7.250 4.750h1.500v3l2 1.250-.75 1.200L7.250 8.500Z',
  FILL
);

export const progressIcon = icon(
  'progress',
  'M8 1.750a6.250 6.250 0 1 1-6.250 6.250h1.500A4.750 4.750 0 1 0 8 3.250ZM4.500 8.750h7v-1.500h-7Z',
  FILL
);

export const warningIcon = icon('warning', 'M8 1.500 15 14H1ZM7.250 6v4h1.500V6Zm0 5v1.500h1.500V11Z', FILL);

export const crossIcon = icon(
  'cross',
  'M4.100 3 8 6.900 11.900 3 13 4.100 9.100 8 13 11.900 11.900 13 8 9.100 4.100 13 3 11.900 6.900 8 3 4.100Z',
  FILL
);

/** Bars on a line */
export const usageIcon = icon(
  'usage',
  'M2 2h1.500v10.500H14V14H2ZM5 8h2v3.500H5ZM8 5h2v6.500H8ZM11 6.500h2v5h-2Z',
  'class="jp-icon3" fill="#616161"'
);

/** A plug */
export const attachIcon = icon(
  'attach',
  'M5 1.500h1.500V5h3V1.500H11V5h1.500v3.500a4 4 0 0 1-3.750 3.990V15h-1.500v-2.510A4 4 0 0 1 3.500 8.500V5H5ZM5 6.500v2a2.500 2.500 0 0 0 2.500 2.500h1A2.500 2.500 0 0 0 11 8.500v-2Z',
  FILL
);

/** A folder of the cluster: the file browser's icon takes Lab's sidebar colour, too. */
export const browserIcon = icon(
  'file-browser',
  'M2.500 2.500h4l1.500 1.500h5.500a1 1 0 0 1 1 1v7.500a1 1 0 0 1-1 1h-11a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1Zm.5 1.500v8h10v-6.500H7.400L5.900 4Zm1.500 3h7v1.300h-7Zm0 2.300h7v1.300h-7Z',
  'class="jp-icon3 jp-icon-selectable" fill="#616161" fill-rule="evenodd"'
);
