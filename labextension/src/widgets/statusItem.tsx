/** What the current notebook's kernel is doing: a dot and a word, what it uses; the sentence in the title. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal, Signal } from '@lumino/signaling';
import React from 'react';

import { KernelStatuses } from '../model';
import { describeUse, Use } from '../use';
import { lookOf } from '../words';
import { StateIcon } from './state';

export class StatusItem extends ReactWidget {
  constructor(
    private readonly statuses: KernelStatuses,
    private readonly use: Use,
    private readonly trans: TranslationBundle,
    private readonly open: () => void
  ) {
    super();
    this.addClass('jp-bai-StatusItem');
    statuses.changed.connect(this._follow, this);
    use.changed.connect(() => this.update());
  }

  set kernelId(id: string | undefined) {
    this._kernelId = id;
    this._show();
  }

  /** True if the current notebook has a kernel of ours. */
  get hasKernel(): boolean {
    return !!this.statuses.get(this._kernelId);
  }

  get hasKernelChanged(): ISignal<this, void> {
    return this._hasKernelChanged;
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._look(true);
  }

  protected onBeforeHide(msg: Message): void {
    this._look(false);
    super.onBeforeHide(msg);
  }

  protected render(): JSX.Element | null {
    const status = this.statuses.get(this._kernelId);
    if (!status) {
      return null;
    }
    const look = lookOf(status, this.trans);
    const sentence = status.reason?.text ?? '';
    const use = this.use.session ? describeUse(this.use.session, this.use.cpus, this.trans) : '';
    const word = [look.word, use].filter(Boolean).join(' · ');
    return (
      <button title={sentence} aria-label={`${this.trans.__('Kernel')}: ${word}. ${sentence}`} onClick={this.open}>
        <StateIcon look={look} />
        <span>{word}</span>
      </button>
    );
  }

  private _follow(_: unknown, kernelId: string): void {
    if (kernelId === this._kernelId) {
      this._show();
    }
  }

  private _show(): void {
    this._hasKernelChanged.emit();
    this._look(this.isVisible);
    this.update();
  }

  /** What nobody sees is not asked for. */
  private _look(isSeen: boolean): void {
    const status = this.statuses.get(this._kernelId);
    this.use.follow(isSeen && status?.status === 'RUNNING' && !status.is_dead ? status.session_id : null);
  }

  private _kernelId: string | undefined;
  private readonly _hasKernelChanged = new Signal<this, void>(this);
}
