/** The model of sessions, and the commands on them. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { SessionLog, Sessions } from '../model';
import { describeEnd, describeEndOf, renaming } from '../session';
import { CommandIDs, ISessions, NAME } from '../tokens';
import { FormDialog } from '../widgets/formDialog';
import { createLog } from '../widgets/log';
import { showTab } from '../widgets/mainTab';

export const sessions: JupyterFrontEndPlugin<Sessions> = {
  id: `${NAME}:sessions`,
  description: 'Keeps the list of Backend.AI sessions fresh.',
  autoStart: true,
  provides: ISessions,
  optional: [ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const model = new Sessions(app.serviceManager.serverSettings);

    if (registry) {
      void registry.load(sessions.id).then(settings => {
        const apply = () => {
          model.intervalSeconds = settings.get('refreshSeconds').composite as number;
        };
        settings.changed.connect(apply);
        apply();
      }, console.warn);
    }

    app.commands.addCommand(CommandIDs.refresh, {
      label: trans.__('Refresh Sessions'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => model.refresh()
    });
    const describedBy = {
      args: {
        type: 'object',
        properties: { id: { type: 'string' }, name: { type: 'string' }, owner: { type: 'string' } },
        required: ['id']
      }
    };
    /** A command on one session, that is asked about first if `body` says what it does to it. */
    const add = (command: string, on: ISessionAction) =>
      app.commands.addCommand(command, {
        label: on.label,
        describedBy,
        execute: async args => {
          const [id, name] = [args['id'] as string, (args['name'] ?? args['id']) as string];
          const owner = args['owner'] as string | undefined;
          if (on.confirm && !(await isSure(on.confirm, name, owner === undefined))) {
            return;
          }
          try {
            await on.run(id, name, owner);
          } catch (error) {
            await showErrorMessage(on.failed(name), error as Error);
          }
        }
      });
    add(CommandIDs.endSession, {
      label: trans.__('End Session…'),
      confirm: {
        title: name => trans.__('End %1?', name),
        body: isOwn => describeEnd(isOwn, trans),
        verb: trans.__('End session')
      },
      run: (id, _, owner) => model.end(id, owner),
      failed: name => trans.__('%1 was not ended', name)
    });
    app.commands.addCommand(CommandIDs.endSessions, {
      label: trans.__('End Sessions…'),
      describedBy: {
        args: { type: 'object', properties: { ids: { type: 'array', items: { type: 'string' } } }, required: ['ids'] }
      },
      execute: async args => {
        const all = (model.value ?? []).filter(({ id }) => (args['ids'] as string[]).includes(id));
        const [ids, names] = [all.map(one => one.id), all.map(one => one.name)];
        const confirmation = {
          title: () => trans._n('End %1 session?', 'End %1 sessions?', all.length),
          body: () => describeEndOf(names, trans),
          verb: trans._n('End session', 'End sessions', all.length)
        };
        if (all.length > 0 && (await isSure(confirmation, '', true))) {
          await model
            .endAll(ids, trans)
            .catch(error => showErrorMessage(trans.__('Not all sessions were ended'), error as Error));
        }
      }
    });
    add(CommandIDs.extendSession, {
      label: trans.__('Keep Session'),
      run: id => model.keep(id),
      failed: name => trans.__('%1 is not kept', name)
    });
    add(CommandIDs.restartSession, {
      label: trans.__('Restart Session…'),
      confirm: {
        title: name => trans.__('Restart %1?', name),
        body: () => trans.__('Its container starts again, and every kernel in it. Files and packages stay; variables are gone.'),
        verb: trans.__('Restart session')
      },
      run: id => model.restart(id),
      failed: name => trans.__('%1 was not restarted', name)
    });
    add(CommandIDs.renameSession, {
      label: trans.__('Rename Session…'),
      run: async (id, name) => {
        const edit = renaming(name, wanted => model.rename(id, wanted), trans);
        await new FormDialog(edit, async values => void (await edit.run(values)), trans).launch();
      },
      failed: name => trans.__('%1 was not renamed', name)
    });
    add(CommandIDs.showLog, {
      label: trans.__('Show Log of Session…'),
      run: async (id, name) => {
        const make = () => createLog(new SessionLog(app.serviceManager.serverSettings, id), name, trans);
        await showTab(app.shell, `jp-bai-log-${id}`, make);
      },
      failed: name => trans.__('The log of %1 cannot be shown', name)
    });
    palette?.addItem({ command: CommandIDs.refresh, category: 'Backend.AI' });
    return model;
  }
};

interface IConfirmation {
  title: (name: string) => string;
  /** What is lost and what is kept. */
  body: (isOwn: boolean) => string;
  verb: string;
}

interface ISessionAction {
  label: string;
  confirm?: IConfirmation;
  /** `owner`: for admins, a keypair of the person whose it is, if it is not their own. */
  run: (id: string, name: string, owner?: string) => Promise<void>;
  failed: (name: string) => string;
}

async function isSure({ title, body, verb }: IConfirmation, name: string, isOwn: boolean): Promise<boolean> {
  const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: verb })];
  return (await showDialog({ title: title(name), body: body(isOwn), buttons, defaultButton: 0 })).button.accept;
}
