/** *Terminal*: that of a session, in Lab's own terminal widget. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IThemeManager, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITerminal, Terminal } from '@jupyterlab/terminal';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { terminalIcon } from '@jupyterlab/ui-components';

import { SessionTerminal } from '../terminals';
import { CommandIDs, NAME } from '../tokens';

/** Lab's settings of terminals are ours, too. */
const LABS_OWN = '@jupyterlab/terminal-extension:plugin';

export const terminals: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:terminals`,
  description: "Opens a session's terminal in a tab of the main area.",
  autoStart: true,
  optional: [ILabShell, ISettingRegistry, IThemeManager, ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    shell: ILabShell | null,
    registry: ISettingRegistry | null,
    themes: IThemeManager | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null
  ) => {
    if (shell === null) {
      return; // Notebook 7 has no room for a tab
    }
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const tracker = new WidgetTracker<MainAreaWidget<Terminal>>({ namespace: 'bai-terminal' });
    const settings = registry?.load(LABS_OWN).catch(() => null); // disabled: the widget's own defaults

    /** What they say; a command for each new terminal is none for one that goes on. */
    const options = async () => {
      const { initialCommand: _, ...all } = ((await settings)?.composite ?? {}) as Partial<ITerminal.IOptions>;
      return all;
    };
    const onEach = (change: (terminal: Terminal) => void) =>
      tracker.forEach(({ content }) => void content.ready.then(() => content.isDisposed || change(content)));
    const apply = async () => {
      const all = Object.entries(await options()) as [keyof ITerminal.IOptions, never][];
      onEach(terminal => all.forEach(([name, value]) => terminal.setOption(name, value)));
    };
    void settings?.then(own => own?.changed.connect(() => void apply()));
    themes?.themeChanged.connect(() => onEach(one => one.setOption('theme', one.getOption('theme'))));

    /** Nothing is awaited before the widget listens, and is found by who asks for it again. */
    const open = (id: string, name: string, now: Partial<ITerminal.IOptions>) => {
      const terminal = new SessionTerminal(app.serviceManager.serverSettings, id, name, trans);
      const content = new Terminal(terminal, now, translator ?? undefined);
      content.title.label = name;
      content.title.caption = trans.__('Terminal of %1', name);
      content.title.icon = terminalIcon;
      const tab = new MainAreaWidget({ content, reveal: content.ready });
      tab.id = `jp-bai-terminal-${id}`;
      tab.disposed.connect(() => terminal.dispose());
      shell.add(tab, 'main', { type: 'Terminal' });
      void tracker.add(tab);
    };
    app.commands.addCommand(CommandIDs.openTerminal, {
      label: trans.__('Open Terminal of Session…'),
      describedBy: {
        args: { type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } }, required: ['id'] }
      },
      execute: async args => {
        const id = args['id'] as string;
        const now = await options();
        if (!tracker.find(tab => tab.id === `jp-bai-terminal-${id}`)) {
          open(id, (args['name'] ?? id) as string, now);
        }
        shell.activateById(`jp-bai-terminal-${id}`);
      }
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.openTerminal,
      name: tab => sessionOf(tab).sessionId,
      args: tab => ({ id: sessionOf(tab).sessionId, name: sessionOf(tab).name })
    });
  }
};

function sessionOf(tab: MainAreaWidget<Terminal>): SessionTerminal {
  return tab.content.session as SessionTerminal;
}
