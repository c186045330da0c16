/** What an open notebook's kernel is to run on: read from its metadata and kernelspec, and kept there. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { NotebookPanel } from '@jupyterlab/notebook';

import { confirmChoice, IChoice, IKernelspecName, resizeSession, Slots } from '../api';
import { DRIVE } from '../drive';
import { over, readChoice } from '../resources';

export const METADATA_KEY = 'bai';

/** Start the notebook's kernel anew on a choice. Throws what the manager refuses. */
export async function takeChoice(app: JupyterFrontEnd, panel: NotebookPanel, choice: IChoice): Promise<void> {
  const kernelspec = await keepChoice(app, panel, choice);
  await app.serviceManager.kernelspecs.refreshSpecs();
  await panel.sessionContext.ready; // a first kernel that is still being started is then the one that is replaced
  await panel.sessionContext.changeKernel({ name: kernelspec.name });
}

/** The kernel that a notebook is about to start, on a choice. Throws what the manager refuses. */
export async function startWith(app: JupyterFrontEnd, panel: NotebookPanel, choice: IChoice): Promise<void> {
  const { name } = await keepChoice(app, panel, choice);
  await app.serviceManager.kernelspecs.refreshSpecs();
  const { sessionContext } = panel;
  sessionContext.kernelPreference = { ...sessionContext.kernelPreference, name, shouldStart: true };
}

/** Give the session of the notebook's kernel what is chosen; nothing is restarted. Throws what the manager refuses. */
export async function applyChoice(
  app: JupyterFrontEnd,
  panel: NotebookPanel,
  choice: IChoice,
  sessionId: string,
  slots: Slots
): Promise<void> {
  await resizeSession(app.serviceManager.serverSettings, sessionId, slots);
  await keepChoice(app, panel, choice, sessionId);
  await app.serviceManager.kernelspecs.refreshSpecs();
}

/**
 * For its next start: the notebook is saved, for the server goes by the file, and remembers it where that cannot be
 * written. Throws what the manager refuses.
 * `sessionId`: the one of its kernel, if that has what is chosen already.
 */
export async function keepChoice(
  app: JupyterFrontEnd,
  panel: NotebookPanel,
  choice: IChoice,
  sessionId?: string
): Promise<IKernelspecName> {
  const kernelspec = await confirmChoice(app.serviceManager.serverSettings, pathOf(app, panel), choice, sessionId);
  setChoice(panel, choice, kernelspec);
  if (panel.context.canSave) {
    await panel.context.save();
  }
  return kernelspec;
}

export function setChoice(panel: NotebookPanel, choice: IChoice, kernelspec: IKernelspecName): void {
  panel.model!.setMetadata(METADATA_KEY, choice);
  panel.model!.setMetadata('kernelspec', kernelspec);
}

export function pathOf(app: JupyterFrontEnd, panel: NotebookPanel): string {
  return serverPath(app, panel.context.path);
}

/** Where the server finds it: what lies in a folder keeps the name of our drive. */
export function serverPath({ serviceManager: { contents } }: JupyterFrontEnd, path: string): string {
  return contents.driveName(path) === DRIVE ? path : contents.localPath(path);
}

/** Of a notebook's kernel, or of the one that would be started. */
export function kernelNameOf({ sessionContext }: NotebookPanel): string {
  return sessionContext.session?.kernel?.name ?? sessionContext.kernelPreference.name ?? '';
}

function provisionerOf(app: JupyterFrontEnd, kernelName: string): { config?: unknown } | undefined {
  const spec = app.serviceManager.kernelspecs.specs?.kernelspecs[kernelName];
  return spec?.metadata?.['kernel_provisioner'] as { config?: unknown } | undefined;
}

/** Whether a kernelspec that is there starts its kernels beside the Jupyter server. */
export function isLocal(app: JupyterFrontEnd, kernelName: string): boolean {
  const isThere = kernelName in (app.serviceManager.kernelspecs.specs?.kernelspecs ?? {});
  return isThere && !provisionerOf(app, kernelName);
}

export function choiceOf(app: JupyterFrontEnd, panel: NotebookPanel): IChoice {
  return choiceIn(app, panel.model?.getMetadata(METADATA_KEY), kernelNameOf(panel));
}

/** What a notebook with this metadata `bai` asks for, over what its kernelspec says. */
export function choiceIn(app: JupyterFrontEnd, metadata: unknown, kernelName: string): IChoice {
  return over(readChoice(metadata), readChoice(provisionerOf(app, kernelName)?.config));
}
