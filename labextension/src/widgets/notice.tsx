/** One strip under the notebook's toolbar: what the kernel waits for or why it stopped, and what to do about it. */

import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { formatSize, keepUnits } from '../amounts';
import { IChoice, ISession, IVerdict } from '../api';
import { KernelStatuses } from '../model';
import { INotice, lookOfVerdict, NoticeAction, noticeOf } from '../words';
import { Bar } from './section';
import { StateIcon } from './state';

/** A kernel whose image is there starts in less; then nothing is shown at all. */
const DELAY_MS = 1000;

/** What a kernel that ran out of memory could be started with. */
export interface IMore {
  /** Which it ran in: that grows if it goes on, else there is another. */
  session: ISession;
  bytes: number;
  choice: IChoice;
  verdict: IVerdict;
}

interface IActions {
  cancel: () => Promise<unknown>;
  restart: () => Promise<unknown>;
  interrupt: () => Promise<unknown>;
  end: () => Promise<unknown>;
  keep: (sessionId: string) => Promise<unknown>;
  /** How much memory would help, in bytes. */
  growth: (sessionId: string) => Promise<number>;
  grow: (sessionId: string, bytes: number) => Promise<unknown>;
  more: (sessionId: string) => Promise<IMore>;
  restartWith: (more: IMore) => Promise<unknown>;
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

  protected render(): JSX.Element | null {
    const notice = this._notice;
    if (!notice) {
      return null;
    }
    return (
      <div className={`jp-bai-Notice-strip jp-bai-Edge-${notice.look.role}`} ref={strip => strip && this._observer.observe(strip)}>
        <StateIcon look={notice.look} />
        <span className="jp-bai-Notice-text" role="status">
          {notice.text}
        </span>
        {notice.progress !== null && <Bar percent={notice.progress} label={notice.look.word} />}
        <div className="jp-bai-Notice-actions">
          {notice.actions.map(action => this._button(action, notice))}
        </div>
      </div>
    );
  }

  private _button(action: NoticeAction, notice: INotice): JSX.Element | null {
    const { trans, actions } = this;
    const sessionId = this.statuses.get(this._kernelId)?.session_id ?? '';
    switch (action) {
      case 'cancel':
        return <Button key={action} label={trans.__('Cancel')} act={actions.cancel} />;
      case 'restart':
        return <Button key={action} label={trans.__('Start again')} act={actions.restart} />;
      case 'keep':
        return <Button key={action} label={trans.__('Keep')} act={() => actions.keep(sessionId)} />;
      case 'dismiss':
        return <Button key={action} label={trans.__('Dismiss')} act={async () => this._dismiss(notice)} />;
      case 'interrupt':
        return <Button key={action} label={trans.__('Interrupt')} act={actions.interrupt} />;
      case 'end':
        return <Button key={action} label={trans.__('End kernel')} act={actions.end} />;
      case 'grow':
        return <Grow key={action} sessionId={sessionId} actions={actions} trans={trans} />;
      case 'more':
        return <More key={action} sessionId={sessionId} actions={actions} trans={trans} />;
    }
  }

  private _follow(_: unknown, kernelId: string | undefined): void {
    if (kernelId !== this._kernelId) {
      return;
    }
    const notice = noticeOf(this.statuses.get(kernelId), this.trans);
    const isStarting = !!notice?.actions.includes('cancel') && this.isHidden;
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

  private _show(notice: INotice | null): void {
    window.clearTimeout(this._timer);
    this._timer = undefined;
    if (notice?.actions.includes('dismiss') && notice.text === this._dismissed) {
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

function Button({ label, act }: { label: string; act: () => Promise<unknown> }): JSX.Element {
  const [isBusy, setBusy] = React.useState(false);
  const onClick = async () => {
    setBusy(true);
    try {
      await act();
    } finally {
      setBusy(false);
    }
  };
  return (
    <button className="jp-bai-Button" disabled={isBusy} onClick={() => void onClick()}>
      {label}
    </button>
  );
}

interface IGrowProps {
  sessionId: string;
  actions: IActions;
  trans: TranslationBundle;
}

/** Says to how much before it is pressed. Absent until that is known. */
function Grow({ sessionId, actions, trans }: IGrowProps): JSX.Element | null {
  const [bytes, setBytes] = React.useState<number | null>(null);
  React.useEffect(() => {
    actions.growth(sessionId).then(setBytes, console.warn);
  }, [sessionId]);
  if (bytes === null) {
    return null;
  }
  const label = keepUnits(trans.__('Grow to %1', formatSize(bytes)));
  return <Button label={label} act={() => actions.grow(sessionId, bytes)} />;
}

/** Says with how much, and when that starts, before it is pressed; or why not. Absent until that is known. */
function More({ sessionId, actions, trans }: IGrowProps): JSX.Element | null {
  const [more, setMore] = React.useState<IMore | null>(null);
  React.useEffect(() => {
    actions.more(sessionId).then(setMore, console.warn);
  }, [sessionId]);
  if (more === null) {
    return null;
  }
  const size = formatSize(more.bytes);
  if (more.verdict.verdict === 'refused') {
    return <span>{keepUnits(trans.__('With %1: %2', size, more.verdict.reason?.text ?? ''))}</span>;
  }
  const goesOn = more.session.status === 'RUNNING';
  const when = goesOn ? '' : lookOfVerdict(more.verdict, trans).word;
  const label = [trans.__('Restart with %1', size), when].filter(Boolean).join(' · ');
  return <Button label={keepUnits(label)} act={() => actions.restartWith(more)} />;
}
