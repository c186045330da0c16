/** Tabs of ours, each once. */

import { JupyterFrontEnd, LabShell } from '@jupyterlab/application';
import { Widget } from '@lumino/widgets';

/** Shows the one with this id, made if need be: in Lab's main area; in Notebook 7, whose main area has one, at the right. */
export async function showTab(
  shell: JupyterFrontEnd.IShell,
  id: string,
  make: () => Widget | Promise<Widget>
): Promise<void> {
  const area = shell instanceof LabShell ? 'main' : 'right';
  if (![...shell.widgets(area)].some(one => one.id === id)) {
    const tab = await make();
    tab.id = id;
    shell.add(tab, area);
  }
  shell.activateById(id);
}
