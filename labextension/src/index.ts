/** The plugins of this extension, and nothing else. */

import { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { account } from './plugins/account';
import { admin } from './plugins/admin';
import { again } from './plugins/again';
import { copies } from './plugins/copies';
import { drive } from './plugins/drive';
import { environments } from './plugins/environments';
import { imports } from './plugins/imports';
import { kernels } from './plugins/kernels';
import { liveSession } from './plugins/liveSession';
import { myEnvironments } from './plugins/myEnvironments';
import { news } from './plugins/news';
import { notice } from './plugins/notice';
import { outputs } from './plugins/outputs';
import { resources } from './plugins/resources';
import { running } from './plugins/running';
import { runs } from './plugins/runs';
import { sessions } from './plugins/sessions';
import { sessionTab } from './plugins/sessionTab';
import { sidebar } from './plugins/sidebar';
import { statusItem } from './plugins/statusItem';
import { terminals } from './plugins/terminals';
import { usage } from './plugins/usage';

const plugins: JupyterFrontEndPlugin<any>[] = [
  sessions,
  kernels,
  drive,
  copies,
  sidebar,
  statusItem,
  notice,
  news,
  liveSession,
  outputs,
  resources,
  again,
  runs,
  running,
  admin,
  account,
  imports,
  environments,
  myEnvironments,
  terminals,
  sessionTab,
  usage
];

export default plugins;
