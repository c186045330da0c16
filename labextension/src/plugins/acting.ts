/** What the buttons of tables do: at once, after a question, or after a form. */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { Edits, IEdit, ISecret } from '../adminEdits';
import { inTurn, IRowAction, IWay, IWays } from '../tables';
import { AdminRow } from '../api';
import { Watched } from '../watched';
import { FormDialog, showSecret } from '../widgets/formDialog';

/** What a button of a table does with a row, or with several, after a question if that is due. */
export async function act(
  settings: ServerConnection.ISettings,
  model: Watched<unknown>,
  action: IRowAction,
  rows: AdminRow[],
  edits: Edits,
  trans: TranslationBundle
): Promise<void> {
  const [row] = rows;
  const { label, confirm } =
    rows.length > 1 ? action.together!(rows.length) : { label: action.label(row), confirm: 'run' in action ? action.confirm : undefined };
  if ('edit' in action) {
    return fillIn(model, label, () => action.edit(edits, row), trans);
  }
  try {
    if ('ask' in action) {
      const way = await choose(await action.ask(settings, rows));
      if (way?.edit) {
        return await fillIn(model, label, way.edit, trans);
      }
      await (way?.run && model.change(way.run));
    } else if (!confirm || (await isSure(trans.__('%1?', label), confirm, action.verb))) {
      await model.change(() => inTurn(rows, one => action.run(settings, one), trans));
    }
  } catch (error) {
    await showErrorMessage(label, error as Error);
  }
}

/** In which way it is to be done, if at all. */
async function choose({ title, body, ways }: IWays): Promise<IWay | undefined> {
  const buttonOf = ({ verb: label, confirm }: IWay) => (confirm ? Dialog.warnButton({ label }) : Dialog.okButton({ label }));
  const buttons = [Dialog.cancelButton(), ...ways.map(buttonOf)];
  const { button } = await showDialog({ title, body, buttons, defaultButton: 0 });
  const way = ways.find(({ verb }) => button.accept && button.label === verb);
  const isMeant = !way?.confirm || (await isSure(way.confirm.title, way.confirm.body, way.confirm.verb));
  return isMeant ? way : undefined;
}

async function isSure(title: string, body: string, verb: string): Promise<boolean> {
  const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: verb })];
  return (await showDialog({ title, body, buttons, defaultButton: 0 })).button.accept;
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
