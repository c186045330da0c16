/** *Session*: all about one, in a tab of the main area. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { IApp, ISession } from '../api';
import { CommandIDs, NAME } from '../tokens';
import { showAppTab } from '../widgets/appTab';
import { showTab } from '../widgets/mainTab';
import { createSession, SessionTab } from '../widgets/session';

const TAB_ID = 'jp-bai-session-';

export const sessionTab: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:session-tab`,
  description: 'Shows all about one session in a tab.',
  autoStart: true,
  optional: [ILabShell, ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    shell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const tracker = new WidgetTracker<SessionTab>({ namespace: 'bai-session' });
    const owners = new WeakMap<SessionTab, string>();
    const actorFor = (owner: object) => ({
      run: (command: string, { id, name }: { id: string; name: string }) =>
        void app.commands.execute(command, { id, name, ...owner }),
      has: (command: string) => app.commands.hasCommand(command),
      showApp: (session: ISession, served: IApp) => showAppTab(app, session, served, trans)
    });
    app.commands.addCommand(CommandIDs.showSession, {
      label: trans.__('Show Details of Session…'),
      describedBy: {
        args: {
          type: 'object',
          properties: { id: { type: 'string' }, name: { type: 'string' }, owner: { type: 'string' } },
          required: ['id']
        }
      },
      execute: async args => {
        const id = args['id'] as string;
        await showTab(app.shell, TAB_ID + id, () => {
          const name = (args['name'] ?? id) as string;
          const owner = args['owner'] as string | undefined;
          const of = owner === undefined ? {} : { owner };
          const tab = createSession(app.serviceManager.serverSettings, { id, name, ...of }, actorFor(of), trans);
          tab.id = TAB_ID + id;
          if (owner !== undefined) {
            owners.set(tab, owner);
          }
          void tracker.add(tab);
          return tab;
        });
      }
    });
    if (shell !== null) {
      void restorer?.restore(tracker, {
        command: CommandIDs.showSession,
        name: tab => tab.id,
        args: tab => {
          const owner = owners.get(tab);
          const args = { id: tab.id.slice(TAB_ID.length), name: tab.title.label };
          return owner === undefined ? args : { ...args, owner };
        }
      });
    }
  }
};
