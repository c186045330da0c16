/** What the buttons of tables do: at once, after a question, or after a form. */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { Edits, IEdit, ISecret } from '../adminEdits';
import { IRowAction } from '../tables';
import { AdminRow } from '../api';
import { Watched } from '../watched';
import { FormDialog, showSecret } from '../widgets/formDialog';

/** What a button of a table does, after a question if that is due. */
export async function act(
  settings: ServerConnection.ISettings,
  model: Watched<unknown>,
  action: IRowAction,
  row: AdminRow,
  edits: Edits,
  trans: TranslationBundle
): Promise<void> {
  const label = action.label(row);
  if ('edit' in action) {
    return fillIn(model, label, () => action.edit(edits, row), trans);
  }
  const { confirm, verb, run } = action;
  if (confirm) {
    const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: verb })];
    const title = trans.__('%1?', label);
    if (!(await showDialog({ title, body: confirm, buttons, defaultButton: 0 })).button.accept) {
      return;
    }
  }
  try {
    await model.change(() => run(settings, row));
  } catch (error) {
    await showErrorMessage(label, error as Error);
  }
}

/** Ask in a dialog, do it, and tell what is told once. */
export async function fillIn(
  model: Watched<unknown>,
  label: string,
  edit: () => IEdit | Promise<IEdit>,
  trans: TranslationBundle
): Promise<void> {
  try {
    const asked = await edit();
    const told: ISecret[] = [];
    const take = async (values: Record<string, string>) => {
      const secret = await model.change(() => asked.run(values));
      told.push(...(secret ? [secret] : []));
    };
    await new FormDialog(asked, take, trans).launch();
    for (const secret of told) {
      await showSecret(secret, trans);
    }
  } catch (error) {
    await showErrorMessage(label, error as Error);
  }
}
