/** The plugins of this extension, and nothing else. */

import { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { drive } from './plugins/drive';
import { kernels } from './plugins/kernels';
import { notice } from './plugins/notice';
import { outputs } from './plugins/outputs';
import { resources } from './plugins/resources';
import { sessions } from './plugins/sessions';
import { sidebar } from './plugins/sidebar';
import { statusItem } from './plugins/statusItem';

const plugins: JupyterFrontEndPlugin<any>[] = [sessions, kernels, drive, sidebar, statusItem, notice, outputs, resources];

export default plugins;
