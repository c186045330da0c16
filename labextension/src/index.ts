/** The plugins of this extension, and nothing else. */

import { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { admin } from './plugins/admin';
import { copies } from './plugins/copies';
import { drive } from './plugins/drive';
import { imports } from './plugins/imports';
import { kernels } from './plugins/kernels';
import { liveSession } from './plugins/liveSession';
import { notice } from './plugins/notice';
import { outputs } from './plugins/outputs';
import { resources } from './plugins/resources';
import { runs } from './plugins/runs';
import { sessions } from './plugins/sessions';
import { sidebar } from './plugins/sidebar';
import { statusItem } from './plugins/statusItem';
import { terminals } from './plugins/terminals';

const plugins: JupyterFrontEndPlugin<any>[] = [
  sessions,
  kernels,
  drive,
  copies,
  sidebar,
  statusItem,
  notice,
  liveSession,
  outputs,
  resources,
  runs,
  admin,
  imports,
  terminals
];

export default plugins;
