/** What the current notebook's kernel is doing: a dot and a word, what it uses; the sentence in the title. */

import { Popup, showPopup } from '@jupyterlab/statusbar';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal, Signal } from '@lumino/signaling';
import React from 'react';

import { KernelStatuses } from '../model';
import { describeDoing, describeUse, Use } from '../use';
import { ILook, lookOfKernel } from '../words';
import { IKernelActions, KernelPopover } from './popover';
import { StateIcon } from './state';

export class StatusItem extends ReactWidget {
  constructor(
    private readonly statuses: KernelStatuses,
    private readonly use: Use,
    private readonly trans: TranslationBundle,
    private readonly actions: IKernelActions
  ) {
    super();
    this.addClass('jp-bai-StatusItem');
    statuses.changed.connect(this._follow, this);
    use.changed.connect(() => this.update());
  }

  /** `execution`: what the kernel says of itself. */
  follow(kernelId: string | undefined, execution: string): void {
    const isSame = kernelId === this._kernelId;
    if (!isSame) {
      this._popup?.dispose();
    }
    if (!isSame || execution !== this._execution) {
      this._since = Date.now();
    }
    this._execution = execution;
    this._kernelId = kernelId;
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
    const look = this._state();
    if (!status || !look) {
      return null;
    }
    const sentence = status.reason?.text ?? '';
    const use = this.use.session ? describeUse(this.use.session, this.use.cpus, this.trans) : '';
    const word = [look.word, use].filter(Boolean).join(' · ');
    return (
      <button
        title={sentence}
        aria-label={`${this.trans.__('Kernel')}: ${word}. ${sentence}`}
        aria-haspopup="dialog"
        aria-expanded={this._popup !== null}
        onClick={() => this._toggle()}
      >
        <StateIcon look={look} />
        <span>{word}</span>
      </button>
    );
  }

  private _state(): ILook | null {
    const status = this.statuses.get(this._kernelId);
    return status ? lookOfKernel(status, describeDoing(this._execution, Date.now() - this._since, this.trans), this.trans) : null;
  }

  private _toggle(): void {
    if (this._popup) {
      this._popup.dispose();
      return;
    }
    const body = new KernelPopover({
      look: () => this._state(),
      reason: () => this.statuses.get(this._kernelId)?.reason?.text ?? '',
      use: this.use,
      changed: this._changed,
      close: () => this._popup?.dispose(),
      actions: this.actions,
      trans: this.trans
    });
    const popup = showPopup({ body, anchor: this, align: 'left', hasDynamicSize: true });
    this._popup = popup;
    this.update();
    popup.disposed.connect(() => {
      const hadFocus = popup.node.contains(document.activeElement) || document.activeElement === document.body;
      this._popup = null;
      this.update();
      if (hadFocus) {
        this.node.querySelector('button')?.focus();
      }
    });
  }

  private _follow(_: unknown, kernelId: string): void {
    if (kernelId === this._kernelId) {
      this._show();
    }
  }

  private _show(): void {
    this._hasKernelChanged.emit();
    this._changed.emit();
    this._look(this.isVisible);
    this.update();
  }

  /** What nobody sees is not asked for. */
  private _look(isSeen: boolean): void {
    const status = this.statuses.get(this._kernelId);
    this.use.follow(isSeen && status?.status === 'RUNNING' && !status.is_dead ? status.session_id : null);
  }

  private _kernelId: string | undefined;
  private _execution = '';
  private _since = 0;
  private _popup: Popup | null = null;
  private readonly _hasKernelChanged = new Signal<this, void>(this);
  private readonly _changed = new Signal<this, void>(this);
}
