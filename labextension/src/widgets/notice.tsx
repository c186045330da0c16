/** One strip under the notebook's toolbar: what the kernel waits for or why it stopped, and what to do about it. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import React from 'react';

import { KernelStatuses } from '../model';
import { INotice, noticeOf } from '../words';
import { Bar } from './section';
import { StateIcon } from './state';

/** A kernel whose image is there starts in less; then nothing is shown at all. */
const DELAY_MS = 1000;

interface IActions {
  cancel: () => Promise<unknown>;
  restart: () => Promise<unknown>;
  keep: (sessionId: string) => Promise<unknown>;
}

export class Notice extends ReactWidget {
  constructor(
    private readonly statuses: KernelStatuses,
    private readonly trans: TranslationBundle,
    private readonly actions: IActions
  ) {
    super();
    this.addClass('jp-bai-Notice');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Kernel notice'));
    this.hide();
    statuses.changed.connect(this._follow, this);
    this._observer = new ResizeObserver(() => this._fit());
  }

  set kernelId(id: string | undefined) {
    if (id !== this._kernelId) {
      this._dismissed = null;
    }
    this._kernelId = id;
    this._follow(null, id);
  }

  dispose(): void {
    this.statuses.changed.disconnect(this._follow, this);
    this._observer.disconnect();
    window.clearTimeout(this._timer);
    super.dispose();
  }

  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this._observer.observe(this.node);
  }

  protected render(): JSX.Element | null {
    const notice = this._notice;
    if (!notice) {
      return null;
    }
    return (
      <div className={`jp-bai-Notice-strip jp-bai-Edge-${notice.look.role}`} ref={() => this._fit()}>
        <StateIcon look={notice.look} />
        <span className="jp-bai-Notice-text" role="status">
          {notice.text}
        </span>
        {notice.progress !== null && <Bar percent={notice.progress} label={notice.look.word} />}
        <Action
          notice={notice}
          trans={this.trans}
          actions={{
            ...this.actions,
            keep: () => this._keep(),
            dismiss: async () => this._dismiss(notice)
          }}
        />
      </div>
    );
  }

  private _follow(_: unknown, kernelId: string | undefined): void {
    if (kernelId !== this._kernelId) {
      return;
    }
    const notice = noticeOf(this.statuses.get(kernelId), this.trans);
    const isStarting = notice?.action === 'cancel' && this.isHidden;
    if (!isStarting) {
      this._show(notice);
    } else if (this._timer === undefined) {
      this._timer = window.setTimeout(() => {
        this._show(noticeOf(this.statuses.get(this._kernelId), this.trans));
      }, DELAY_MS);
    }
  }

  /** For this kernel; what is said of another, or another sentence of this one, is shown. */
  private _dismiss(notice: INotice): void {
    this._dismissed = notice.text;
    this._show(null);
  }

  private async _keep(): Promise<void> {
    const sessionId = this.statuses.get(this._kernelId)?.session_id;
    if (sessionId) {
      await this.actions.keep(sessionId);
    }
  }

  private _show(notice: INotice | null): void {
    window.clearTimeout(this._timer);
    this._timer = undefined;
    if (notice?.action === 'dismiss' && notice.text === this._dismissed) {
      notice = null;
    }
    this._notice = notice;
    this.setHidden(notice === null);
    this.update();
  }

  /** Lumino lays out by fixed heights; a sentence that wraps needs more of it. */
  private _fit(): void {
    const strip = this.node.firstElementChild as HTMLElement | null;
    const height = strip ? `${strip.offsetHeight}px` : '';
    if (this.node.style.minHeight !== height && (strip?.offsetHeight ?? 1) > 0) {
      this.node.style.minHeight = height;
      this.parent?.fit();
    }
  }

  private _kernelId: string | undefined;
  private _notice: INotice | null = null;
  private _dismissed: string | null = null;
  private _timer: number | undefined;
  private readonly _observer: ResizeObserver;
}

interface IActionProps {
  notice: INotice;
  trans: TranslationBundle;
  actions: Record<NonNullable<INotice['action']>, () => Promise<unknown>>;
}

function Action({ notice, trans, actions }: IActionProps): JSX.Element | null {
  const [isBusy, setBusy] = React.useState(false);
  const { action } = notice;
  if (action === null) {
    return null;
  }
  const words = {
    cancel: trans.__('Cancel'),
    restart: trans.__('Start again'),
    keep: trans.__('Keep'),
    dismiss: trans.__('Dismiss')
  };
  const act = async () => {
    setBusy(true);
    try {
      await actions[action]();
    } finally {
      setBusy(false);
    }
  };
  return (
    <button className="jp-bai-Button" disabled={isBusy} onClick={() => void act()}>
      {words[action]}
    </button>
  );
}
