/** What a notebook's kernel runs on: shown in its toolbar, chosen in a dialog, kept in its metadata. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { describeSlots, keepUnits } from '../amounts';
import { askedBy, getSession, IChoice, ISession, judge, lastChoices, Slots } from '../api';
import { Draft } from '../draft';
import { KernelStatuses } from '../model';
import { Ask, isToBeAsked, loadOffer, over, readChoice } from '../resources';
import { CommandIDs, IKernelStatuses, NAME } from '../tokens';
import { Chip } from '../widgets/chip';
import { ResourceDialog } from '../widgets/resources';
import { lookOf } from '../words';
import { applyChoice, choiceOf, isLocal, kernelNameOf, METADATA_KEY, pathOf, setChoice, startWith, takeChoice } from './choice';
import { sessions } from './sessions';

export const resources: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:resources`,
  description: 'Lets users choose what the kernel of a notebook runs on.',
  autoStart: true,
  requires: [INotebookTracker, IKernelStatuses],
  optional: [IToolbarWidgetRegistry, ISettingRegistry, ICommandPalette, IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    statuses: KernelStatuses,
    toolbars: IToolbarWidgetRegistry | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const chooser = new Chooser(app, statuses, trans);

    app.commands.addCommand(CommandIDs.resources, {
      label: trans.__('Resources…'),
      caption: trans.__('Choose what the kernel of this notebook runs on'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => notebooks.currentWidget !== null,
      execute: async () => {
        if (notebooks.currentWidget) {
          await chooser.choose(notebooks.currentWidget);
        }
      }
    });
    palette?.addItem({ command: CommandIDs.resources, category: 'Backend.AI' });
    notebooks.currentChanged.connect(() => app.commands.notifyCommandChanged(CommandIDs.resources));
    toolbars?.addFactory<NotebookPanel>(
      'Notebook',
      'bai-resources',
      panel =>
        new Chip(panel, trans, statuses, {
          choice: () => choiceOf(app, panel),
          isLocal: () => isLocal(app, kernelNameOf(panel)),
          open: () => void chooser.choose(panel),
          look: () => {
            const status = statusBar ? null : statuses.get(panel.sessionContext.session?.kernel?.id);
            return status ? lookOf(status, trans) : null; // Notebook 7 has no status bar
          }
        })
    );
    void registry?.load(resources.id).catch(console.warn); // its schema adds to toolbar and menu
    void registry?.load(sessions.id).then(settings => {
      const apply = () => {
        chooser.ask = settings.get('ask').composite as Ask;
      };
      settings.changed.connect(apply);
      apply();
    }, console.warn);
    notebooks.widgetAdded.connect((_, panel) => chooser.hold(panel));
  }
};

class Chooser {
  ask: Ask = 'unless-now';

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly statuses: KernelStatuses,
    private readonly trans: TranslationBundle
  ) {}

  async choose(panel: NotebookPanel): Promise<void> {
    await panel.context.ready;
    await this._show(panel, choiceOf(this.app, panel), false);
  }

  /**
   * The kernel would start when the file has been read; here that waits until it is known whether its user is to be
   * shown first what it starts on. Not by a context that is ready without a kernel: what listens for one, as the
   * manager of ipywidgets does, takes the kernel of a context that has become ready. A file that cannot be written is
   * read and started in one go, so nothing is waited for before.
   */
  hold(panel: NotebookPanel): void {
    const context = panel.sessionContext;
    const initialize = context.initialize.bind(context);
    context.initialize = async () => {
      context.initialize = initialize;
      if (!panel.context.canSave) {
        await this._recall(panel);
      }
      const isForeign = this._asks(panel);
      if (context.kernelPreference.shouldStart !== false && (isForeign || this._isNew(panel))) {
        await this._ask(panel, isForeign);
      }
      return !context.isDisposed && initialize();
    };
  }

  /** What was chosen before for a notebook that cannot be written is in this page's copy of it again. */
  private async _recall(panel: NotebookPanel): Promise<void> {
    const asked = await askedBy(this.app.serviceManager.serverSettings, pathOf(this.app, panel)).catch(() => null);
    if (asked?.kernelspec && !panel.isDisposed) {
      await this.app.serviceManager.kernelspecs.refreshSpecs();
      const context = panel.sessionContext;
      setChoice(panel, readChoice(asked.choice), asked.kernelspec);
      context.kernelPreference = { ...context.kernelPreference, name: asked.kernelspec.name };
    }
  }

  private async _ask(panel: NotebookPanel, isForeign: boolean): Promise<void> {
    const context = panel.sessionContext;
    const isRunning = Boolean(await this.app.serviceManager.sessions.findByPath(context.path));
    const toShow = isRunning ? null : isForeign ? await this._unheard(panel) : await this._unsure(panel);
    if (toShow && !context.isDisposed) {
      context.kernelPreference = { ...context.kernelPreference, shouldStart: false };
      await this._show(panel, toShow, isForeign, startWith);
    }
  }

  /** What a notebook asks for that somebody else may have written: it starts nothing by itself. */
  private async _unheard(panel: NotebookPanel): Promise<IChoice | null> {
    const asked = await askedBy(this.app.serviceManager.serverSettings, pathOf(this.app, panel)).catch(() => null);
    const isHeard = asked?.is_heard ?? true; // an answer that fails leaves it to the server, which asks itself
    return isHeard ? null : choiceOf(this.app, panel);
  }

  /** What the kernel of a new notebook would start on, if the settings say that it is to be asked about. */
  private async _unsure(panel: NotebookPanel): Promise<IChoice | null> {
    const settings = this.app.serviceManager.serverSettings;
    const asked = choiceOf(this.app, panel);
    const last = await lastChoices(settings).catch(() => ({}) as Record<string, unknown>);
    const choice = over(asked, readChoice(last[asked.image!]));
    const { ask } = this;
    const verdicts = ask === 'always' ? [] : await judge(settings, [choice]).catch(() => []);
    return isToBeAsked(ask, verdicts[0]) ? choice : null;
  }

  /** Whether it names no kernel itself, and was opened with an environment of ours, as by a card of the launcher. */
  private _isNew(panel: NotebookPanel): boolean {
    const isOpenedWith = !panel.model?.defaultKernelName && !panel.sessionContext.kernelPreference.id;
    return this.ask !== 'never' && isOpenedWith && choiceOf(this.app, panel).image !== undefined;
  }

  /** Whether a notebook asks for anything. What one with a local kernel asks for, nobody hears. */
  private _asks(panel: NotebookPanel): boolean {
    const isHeard = !isLocal(this.app, panel.model?.defaultKernelName ?? '');
    return isHeard && Object.keys(readChoice(panel.model?.getMetadata(METADATA_KEY))).length > 0;
  }

  private async _show(panel: NotebookPanel, asked: IChoice, isForeign: boolean, take = takeChoice): Promise<void> {
    const { trans } = this;
    const settings = this.app.serviceManager.serverSettings;
    let draft: Draft;
    try {
      const [offer, session] = await Promise.all([loadOffer(settings), this._sessionOf(panel)]);
      draft = new Draft(settings, offer, asked, session);
    } catch (error) {
      await showErrorMessage(trans.__('Resources cannot be chosen now'), error as Error);
      return;
    }
    const dialog = new ResourceDialog({
      draft,
      notebook: panel.title.label,
      purpose: panel.sessionContext.session?.kernel ? 'change' : 'start',
      note: isForeign
        ? trans.__(
            '%1 comes from somewhere else and asks for what is chosen here. Nothing starts until you agree; then it is not asked again.',
            panel.title.label
          )
        : undefined,
      trans,
      take: async (choice, slots) => {
        if (draft.running && slots) {
          await this._resize(panel, choice, draft.running.session, slots);
        } else {
          await take(this.app, panel, choice);
        }
      }
    });
    await dialog.launch();
  }

  /** The one that the notebook's kernel runs in, if that can be said. */
  private async _sessionOf(panel: NotebookPanel): Promise<ISession | undefined> {
    const kernel = panel.sessionContext.session?.kernel;
    const id = kernel && (await this.statuses.ask(kernel.id))?.session_id;
    return id ? getSession(this.app.serviceManager.serverSettings, id).catch(() => undefined) : undefined;
  }

  private async _resize(panel: NotebookPanel, choice: IChoice, session: ISession, slots: Slots): Promise<void> {
    await applyChoice(this.app, panel, choice, session.id, slots);
    const has = keepUnits(describeSlots({ ...session.slots, ...slots }));
    Notification.success(this.trans.__('%1 has %2 now. Nothing was restarted.', panel.title.label, has), {
      autoClose: 5000
    });
  }
}
