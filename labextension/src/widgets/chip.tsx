/** The button in a notebook's toolbar: what its kernel runs on. */

import { NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, ToolbarButtonComponent } from '@jupyterlab/ui-components';
import React from 'react';

import { describeSlots, keepUnits } from '../amounts';
import { IChoice } from '../api';
import { KernelStatuses } from '../model';
import { describeChoice, readMount } from '../resources';
import { describeFolderIn, ILook } from '../words';

interface IOptions {
  choice: () => IChoice;
  /** Whether its kernel runs beside the Jupyter server. */
  isLocal: () => boolean;
  open: () => void;
  /** What its kernel is doing, where nothing else on the page says so. */
  look: () => ILook | null;
}

export class Chip extends ReactWidget {
  constructor(
    private readonly panel: NotebookPanel,
    private readonly trans: TranslationBundle,
    private readonly statuses: KernelStatuses,
    private readonly options: IOptions
  ) {
    super();
    this.addClass('jp-bai-Chip');
    panel.sessionContext.kernelChanged.connect(this._follow, this);
    panel.content.model?.metadataChanged.connect(this._follow, this);
    statuses.changed.connect(this._follow, this);
  }

  dispose(): void {
    this.statuses.changed.disconnect(this._follow, this);
    this.panel.sessionContext.kernelChanged.disconnect(this._follow, this);
    this.panel.content.model?.metadataChanged.disconnect(this._follow, this);
    super.dispose();
  }

  protected render(): JSX.Element {
    const { trans, options } = this;
    const choice = options.choice();
    const label = options.isLocal() ? trans.__('Local') : this._held() || describeChoice(choice) || trans.__('Resources');
    const look = options.look();
    const folders = (choice.mounts ?? []).map(readMount).map(one => describeFolderIn(one.folder, one.access === 'ro', trans));
    const title = [trans.__('Choose what the kernel runs on'), choice.image, ...folders];
    return (
      <ToolbarButtonComponent
        icon={look?.icon}
        label={[look?.word, keepUnits(label)].filter(Boolean).join(' · ')}
        tooltip={title.filter(Boolean).join(' · ')}
        onClick={options.open}
        noFocusOnClick={false}
      />
    );
  }

  /** What its session has now, which may be another amount than was chosen; its name, if it was joined. */
  private _held(): string {
    const status = this.statuses.get(this.panel.sessionContext.session?.kernel?.id);
    return this.options.choice().session || (status?.slots ? describeSlots(status.slots) : '');
  }

  private _follow(): void {
    this.update();
  }
}
