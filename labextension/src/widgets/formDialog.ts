/** A dialog with a few fields. Stays, with its sentence, until what it is about was done or is cancelled. */

import { Clipboard, Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { Debouncer } from '@lumino/polling';
import { Widget } from '@lumino/widgets';

import { IEdit, IEditField, ISecret } from '../adminEdits';
import { fieldOf, inWordsOf } from '../refusals';
import { save } from './save';

/** What is asked. */
export interface IForm extends Pick<IEdit, 'title' | 'notes' | 'fields' | 'verb' | 'preview'> {
  /** Something else that can be done with what is filled in, and what to say then. What it throws is shown. */
  aside?: { label: string; act: (values: Record<string, string>) => Promise<string> };
}

type Control = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement | HTMLFieldSetElement;

export class FormDialog extends Dialog<unknown> {
  /** What `take` throws is shown, and the dialog stays. */
  constructor(
    { title, notes, fields, verb, aside, preview }: IForm,
    private readonly take: (values: Record<string, string>) => Promise<void>,
    private readonly trans: TranslationBundle
  ) {
    const body = new Fields(fields, notes ?? [], aside, preview);
    super({
      title,
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: verb })],
      focusNodeSelector: 'input, select, textarea'
    });
    this._fields = body;
    this.addClass('jp-bai-FormDialog');
    this.node.setAttribute('aria-label', title);
  }

  resolve(index?: number): void {
    if (index === 0) {
      super.resolve(index);
    } else if (!this._isBusy) {
      void this._try();
    }
  }

  private async _try(): Promise<void> {
    const empty = this._fields.firstEmpty;
    if (empty !== null) {
      this._fields.refuse(this.trans.__('%1 is missing.', empty.label), empty);
      this._fields.control(empty).focus();
      return;
    }
    this._isBusy = true;
    try {
      await this.take(this._fields.values);
      super.resolve(1);
    } catch (refused) {
      this._fields.refuse((refused as Error).message);
    } finally {
      this._isBusy = false;
    }
  }

  private readonly _fields: Fields;
  private _isBusy = false;
}

class Fields extends Widget {
  constructor(
    private readonly fields: IEditField[],
    notes: string[],
    aside: IForm['aside'],
    private readonly preview: IForm['preview']
  ) {
    super();
    this.addClass('jp-bai-Form');
    this._notes.id = 'jp-bai-form-notes';
    for (const note of notes) {
      const paragraph = document.createElement('p');
      paragraph.textContent = note;
      this._notes.append(paragraph);
    }
    this.node.append(this._notes);
    for (const field of fields) {
      const label = document.createElement('label');
      const control = controlOf(field);
      control.id = `jp-bai-form-${field.name}`;
      control.classList.add('jp-bai-Field');
      label.id = `${control.id}-label`;
      label.htmlFor = control.id;
      label.textContent = field.label;
      control.setAttribute('aria-labelledby', label.id);
      control.setAttribute('aria-describedby', this._notes.id);
      this.node.append(label, control);
      this._controls.set(field, control);
    }
    if (aside) {
      this.node.append(this._aside(aside));
    }
    if (preview) {
      this._foreseen.className = 'jp-bai-Form-foreseen';
      this._foreseen.setAttribute('role', 'status');
      this.node.append(this._foreseen);
      this.node.addEventListener('input', () => void this._lookAhead.invoke());
      void this._foresee();
    }
    this._refusal.id = 'jp-bai-form-refusal';
    this._refusal.className = 'jp-bai-Refusal';
    this._refusal.setAttribute('role', 'alert');
    this._refusal.hidden = true;
    this.node.append(this._refusal);
  }

  control(field: IEditField): Control {
    return this._controls.get(field)!;
  }

  get values(): Record<string, string> {
    return Object.fromEntries(this.fields.map(field => [field.name, valueOf(this.control(field))]));
  }

  get firstEmpty(): IEditField | null {
    return this.fields.find(field => !field.isOptional && valueOf(this.control(field)).trim() === '') ?? null;
  }

  private _aside({ label, act }: NonNullable<IForm['aside']>): HTMLElement {
    const [line, button, said] = ['div', 'button', 'span'].map(tag => document.createElement(tag));
    line.className = 'jp-bai-Tools';
    button.className = 'jp-bai-Button';
    button.setAttribute('type', 'button');
    button.textContent = label;
    button.onclick = async () => {
      const empty = this.firstEmpty;
      said.textContent = '';
      if (empty) {
        this.control(empty).focus();
        return;
      }
      try {
        said.textContent = await act(this.values);
      } catch (refused) {
        this.refuse((refused as Error).message);
      }
    };
    said.setAttribute('role', 'status');
    line.append(button, said);
    return line;
  }

  /** Beside the field that it is about, if that is known. */
  refuse(sentence: string, about = fieldOf(this.fields, sentence) ?? this._only): void {
    if (about) {
      this.control(about).after(this._refusal);
    } else {
      this.node.append(this._refusal);
    }
    this._refusal.hidden = false;
    this._refusal.textContent = inWordsOf(this.fields, sentence);
    this._refusal.scrollIntoView({ block: 'nearest' });
    this._controls.forEach((control, field) => {
      control.setAttribute('aria-invalid', `${field === about}`);
      control.setAttribute('aria-describedby', `${this._notes.id} ${this._refusal.id}`);
    });
  }

  dispose(): void {
    this._lookAhead.dispose();
    super.dispose();
  }

  /** Says nothing of what is not complete or not right: that is said when it is sent. */
  private async _foresee(): Promise<void> {
    const question = (this._question += 1);
    const said = await this.preview!(this.values).catch(() => '');
    if (question === this._question) {
      this._foreseen.textContent = said;
    }
  }

  private get _only(): IEditField | undefined {
    return this.fields.length === 1 ? this.fields[0] : undefined;
  }

  private readonly _controls = new Map<IEditField, Control>();
  private readonly _foreseen = document.createElement('p');
  private readonly _lookAhead = new Debouncer(() => this._foresee(), 500);
  private _question = 0;
  private readonly _notes = document.createElement('div');
  private readonly _refusal = document.createElement('p');
}

/** Of those that are chosen, a line each. */
function valueOf(control: Control): string {
  if (control instanceof HTMLFieldSetElement) {
    return [...control.querySelectorAll<HTMLInputElement>('input:checked')].map(box => box.value).join('\n');
  }
  return control.value;
}

function controlOf({ value, options, placeholder, isMany, isOptional, isSecret, isLong, isMoment }: IEditField): Control {
  if (options && isMany) {
    const chosen = new Set((value ?? '').split('\n'));
    const boxes = document.createElement('fieldset');
    boxes.className = 'jp-bai-Choices';
    boxes.append(...options.map(([one, label]) => boxOf(one, label, chosen.has(one))));
    return boxes;
  }
  if (options) {
    const select = document.createElement('select');
    select.append(...options.map(([one, label]) => new Option(label, one, false, one === value)));
    return select;
  }
  if (isLong) {
    const area = document.createElement('textarea');
    area.classList.add('jp-bai-Text');
    area.rows = 12;
    area.wrap = 'off';
    area.value = value ?? '';
    area.spellcheck = false;
    return area;
  }
  const input = document.createElement('input');
  input.type = isSecret ? 'password' : isMoment ? 'datetime-local' : 'text';
  input.value = value ?? '';
  input.placeholder = placeholder ?? '';
  input.setAttribute('aria-required', `${!isOptional}`);
  input.spellcheck = false;
  input.autocomplete = isSecret ? 'new-password' : 'off';
  return input;
}

function boxOf(value: string, text: string, isChosen: boolean): HTMLLabelElement {
  const [label, box, name] = [
    document.createElement('label'),
    document.createElement('input'),
    document.createElement('bdi')
  ];
  box.type = 'checkbox';
  box.value = value;
  box.checked = isChosen;
  name.textContent = text;
  label.append(box, name);
  return label;
}

/** Until the dialog is closed; nothing of it is kept. */
export async function showSecret({ title, facts, note, taken }: ISecret, trans: TranslationBundle): Promise<void> {
  const body = new Widget();
  body.addClass('jp-bai-Secret');
  const list = document.createElement('dl');
  for (const [label, text] of facts) {
    const [term, value] = [document.createElement('dt'), document.createElement('dd')];
    const code = document.createElement('code');
    term.textContent = label;
    code.textContent = text;
    value.append(code);
    list.append(term, value);
  }
  const said = document.createElement('p');
  said.textContent = note;
  body.node.append(list, said);
  if (taken) {
    body.node.append(toolsFor(taken, trans));
  }
  const buttons = [Dialog.okButton()];
  await showDialog({ title, body, buttons });
}

/** Ways to take it along, and what was done of them. */
function toolsFor({ name, text }: NonNullable<ISecret['taken']>, trans: TranslationBundle): HTMLElement {
  const [line, done] = [document.createElement('div'), document.createElement('span')];
  line.className = 'jp-bai-Tools';
  done.setAttribute('role', 'status');
  const button = (label: string, act: () => void, what: string) => {
    const made = document.createElement('button');
    made.type = 'button';
    made.className = 'jp-bai-Button';
    made.textContent = label;
    made.onclick = () => {
      act();
      done.textContent = what;
    };
    return made;
  };
  line.append(
    button(trans.__('Copy'), () => Clipboard.copyToSystem(text), trans.__('Copied.')),
    ...(name === undefined
      ? []
      : [button(trans.__('Download'), () => save(text, name, 'application/octet-stream'), trans.__('Saved as %1.', name))]),
    done
  );
  return line;
}
