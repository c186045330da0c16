/** A few fields in the panel. Stays, with its sentence, until it was done or is cancelled; the focus then goes back. */

import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { inWordsOf } from '../refusals';

interface IField {
  name: string;
  label: string;
  placeholder?: string;
  value?: string;
  /** `[value, label]` of what can be chosen; a text if there are none. */
  options?: [string, string][];
  isOptional?: boolean;
}

interface IFormProps {
  label: string;
  fields: IField[];
  /** What the button says. */
  verb: string;
  trans: TranslationBundle;
  submit: (values: Record<string, string>) => Promise<void>;
  close: () => void;
}

export function Form({ label, fields, verb, trans, submit, close }: IFormProps): JSX.Element {
  const [values, setValues] = React.useState(() => Object.fromEntries(fields.map(one => [one.name, one.value ?? ''])));
  const [error, setError] = React.useState('');
  const [isBusy, setBusy] = React.useState(false);
  const id = React.useId();
  const opener = React.useRef(document.activeElement as HTMLElement | null);

  const leave = () => {
    close();
    opener.current?.focus();
  };
  const onSubmit = async (event: React.FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await submit(values);
      leave();
    } catch (refused) {
      setError(inWordsOf(fields, (refused as Error).message));
      setBusy(false);
    }
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    event.stopPropagation(); // the keys of the list around it
    if (event.key === 'Escape') {
      leave();
    }
  };

  return (
    <form className="jp-bai-Form" aria-label={label} onSubmit={event => void onSubmit(event)} onKeyDown={onKeyDown}>
      {fields.map((field, place) => {
        const control = {
          id: `${id}-${field.name}`,
          value: values[field.name],
          autoFocus: place === 0,
          'aria-describedby': error ? `${id}-error` : undefined,
          onChange: (event: React.ChangeEvent<HTMLInputElement | HTMLSelectElement>) =>
            setValues({ ...values, [field.name]: event.target.value })
        };
        return (
          <React.Fragment key={field.name}>
            <label htmlFor={control.id}>{field.label}</label>
            {field.options ? (
              <select className="jp-bai-Field" {...control}>
                {field.options.map(([value, text]) => (
                  <option key={value} value={value}>
                    {text}
                  </option>
                ))}
              </select>
            ) : (
              <input
                className="jp-bai-Field"
                {...control}
                placeholder={field.placeholder}
                required={!field.isOptional}
                spellCheck={false}
                autoComplete="off"
              />
            )}
          </React.Fragment>
        );
      })}
      {error && (
        <p id={`${id}-error`} className="jp-bai-Refusal" role="alert">
          {error}
        </p>
      )}
      <div className="jp-bai-Actions">
        <button type="submit" className="jp-bai-Button jp-mod-styled jp-mod-accept" disabled={isBusy}>
          {verb}
        </button>
        <button type="button" className="jp-bai-Button" onClick={leave}>
          {trans.__('Cancel')}
        </button>
      </div>
    </form>
  );
}
