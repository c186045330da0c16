/** An app of a session in a tab of the main area. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { IFrame, MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { IApp, ISession, startApp } from '../api';
import { baiIcon } from '../icons';
import { describeApp } from '../words';
import { showTab } from './mainTab';

const ALLOWED: IFrame.SandboxExceptions[] = [
  'allow-scripts',
  'allow-forms',
  'allow-modals',
  'allow-popups',
  'allow-downloads',
  'allow-pointer-lock'
];

/** Starts it if need be. */
export function showAppTab(
  { shell, serviceManager }: JupyterFrontEnd,
  session: ISession,
  app: IApp,
  trans: TranslationBundle
): Promise<void> {
  return showTab(shell, `jp-bai-app-${session.id}-${app.name}`, async () => {
    const link = await startApp(serviceManager.serverSettings, session.id, app.name);
    return createAppTab(link, describeApp(app, trans).name, session.name, trans);
  });
}

function createAppTab(link: string, name: string, session: string, trans: TranslationBundle): MainAreaWidget {
  const frame = new IFrame({ sandbox: sandboxOf(link, window.location.href), referrerPolicy: 'no-referrer' });
  frame.url = link;
  frame.node.querySelector('iframe')!.title = trans.__('%1 of %2', name, session);
  const tab = new MainAreaWidget({ content: frame });
  tab.title.label = name;
  tab.title.caption = trans.__('%1 of %2', name, session);
  tab.title.icon = baiIcon;
  return tab;
}

/** What comes from this page's origin must not have it: it would be the user's. */
function sandboxOf(link: string, page: string): IFrame.SandboxExceptions[] {
  const isApart = new URL(link, page).origin !== new URL(page).origin;
  return isApart ? [...ALLOWED, 'allow-same-origin'] : ALLOWED;
}
