// Puts what the terminal's web page needs beside the built panel: the agent serves it from there.
import { copyFileSync, mkdirSync } from 'node:fs';

const target = new URL('../bai_jupyter/extension/labextension/terminal/', import.meta.url);
const xterm = new URL('node_modules/@xterm/', import.meta.url);
const files = {
  'xterm.js': 'xterm/lib/xterm.js',
  'xterm.css': 'xterm/css/xterm.css',
  'addon-fit.js': 'addon-fit/lib/addon-fit.js',
  'LICENSE.xterm': 'xterm/LICENSE',
  'LICENSE.addon-fit': 'addon-fit/LICENSE'
};
mkdirSync(target, { recursive: true });
for (const [name, source] of Object.entries(files)) {
  copyFileSync(new URL(source, xterm), new URL(name, target));
}
