/** *Save as environment…*: an image of what a session's container has become, for its owner alone. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { formatSize } from '../amounts';
import { getSession, IImage, ISession, listImages } from '../api';
import { KernelStatuses, Sessions } from '../model';
import { CommandIDs, IKernelStatuses, ISessions, NAME } from '../tokens';
import { FormDialog } from '../widgets/formDialog';

export const environments: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:environments`,
  description: 'Saves what a session has become as an environment of its own.',
  autoStart: true,
  requires: [ISessions, IKernelStatuses],
  optional: [INotebookTracker, ISettingRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sessions: Sessions,
    statuses: KernelStatuses,
    notebooks: INotebookTracker | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('bai_jupyter');
    const { serverSettings, kernelspecs } = app.serviceManager;

    /** Told when it is there, since it takes as long as what was installed is large. */
    const save = async (id: string, name: string) => {
      const { image, task } = await sessions.commit(id, name);
      const made = sessions.committed(task).then(async () => {
        await kernelspecs.refreshSpecs();
        return image;
      });
      Notification.promise(made, {
        pending: { message: trans.__('The environment %1 is being made.', name), options: { autoClose: false } },
        success: {
          message: () => trans.__('The environment %1 is ready. It is among the kernels.', image),
          options: { autoClose: 10000 }
        },
        error: {
          message: why => trans.__('The environment %1 was not made: %2', name, (why as Error).message),
          options: { autoClose: false }
        }
      });
    };
    const ask = async (id: string, name?: string) => {
      let session: ISession;
      let images: IImage[];
      try {
        [session, images] = await Promise.all([getSession(serverSettings, id), listImages(serverSettings)]);
      } catch (error) {
        await showErrorMessage(trans.__('No environment can be made'), error as Error);
        return;
      }
      const form = {
        title: trans.__('Save %1 as environment', session.name),
        notes: notesOf(session, images.find(one => one.name === session.image), trans),
        fields: [{ name: 'name', label: trans.__('Name'), value: name ?? session.name }],
        verb: trans.__('Save')
      };
      await new FormDialog(form, values => save(id, values.name), trans).launch();
    };

    app.commands.addCommand(CommandIDs.commitSession, {
      label: trans.__('Save Session as Environment…'),
      describedBy: {
        args: { type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } }, required: ['id'] }
      },
      execute: args => ask(args['id'] as string)
    });

    const inFront = () => statuses.get(notebooks?.currentWidget?.sessionContext.session?.kernel?.id)?.session_id;
    app.commands.addCommand(CommandIDs.commitKernel, {
      label: trans.__('Save as Environment…'),
      caption: trans.__("Keep what this kernel's container has become as an environment of your own"),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => Boolean(inFront()),
      execute: async () => {
        const id = inFront();
        if (id) {
          await ask(id, PathExt.basename(notebooks!.currentWidget!.context.path, '.ipynb'));
        }
      }
    });
    statuses.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.commitKernel));
    notebooks?.currentChanged.connect(() => app.commands.notifyCommandChanged(CommandIDs.commitKernel));
    palette?.addItem({ command: CommandIDs.commitKernel, category: 'Backend.AI' });
    void registry?.load(environments.id).catch(console.warn); // its schema adds to the menu
  }
};

const PACKAGES = ['/home/work/.local', '/home/work/.local/lib'];

/** What is kept and what is not, before it is done. */
function notesOf({ mounts }: ISession, from: IImage | undefined, trans: TranslationBundle): string[] {
  const targets = mounts.map(one => one.target);
  const hasPackages = !targets.some(one => PACKAGES.includes(one)); // those in a mounted folder stay there
  return [
    hasPackages
      ? trans.__(
          'Included: what was written into the container outside /home/work, and packages that pip or R put into ~/.local. Only you can use it.'
        )
      : trans.__('Included: what was written into the container outside /home/work. Only you can use it.'),
    targets.length
      ? trans.__(
          'Not included: running programs, variables, all else below /home/work, and mounted folders (%1).',
          targets.join(', ')
        )
      : trans.__('Not included: running programs, variables, and all else below /home/work.'),
    ...(from ? [trans.__('It comes from %1, %2, and is larger by what is included.', from.name, formatSize(from.size_bytes))] : [])
  ];
}
