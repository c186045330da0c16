/** What is dragged from Lab's own file browser to that of folders, or back, is copied; with Shift it is moved. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { FileBrowser } from '@jupyterlab/filebrowser';
import type { Drag } from '@lumino/dragdrop';

import { CopyWay } from '../api';
import { ITransfer, wayBetween } from '../copies';

/** How Lab's file browser calls the paths that are dragged. */
const PATHS = 'application/x-jupyter-icontents';
const TARGET = 'jp-bai-DropTarget';
/** So long somebody holds what they drag over the tab of a file browser until it is shown. */
const OPENS_AFTER_MS = 400;

interface IDragged {
  way: CopyWay;
  paths: string[];
  to: FileBrowser;
  /** Where what is dropped goes; `null` where nothing can. */
  directory: string | null;
}

export class Drags {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly own: FileBrowser,
    private readonly browsers: () => FileBrowser[],
    private readonly tabs: string[],
    private readonly copy: (transfer: ITransfer, to: FileBrowser) => void
  ) {}

  /** Before the file browsers themselves, which know no other drives. */
  follow(): void {
    for (const type of ['lm-dragenter', 'lm-dragover', 'lm-dragleave', 'lm-drop']) {
      document.addEventListener(type, this, true);
    }
  }

  handleEvent(event: Event): void {
    const drag = event as Drag.Event;
    if (!drag.mimeData?.hasData(PATHS)) {
      return;
    }
    this._mark(null);
    if (drag.type === 'lm-dragenter' && drag.target !== document.body) {
      // What nobody takes enters the page's body, too.
      this._openTab(drag.target as Element);
    }
    const dragged = drag.type === 'lm-dragleave' ? null : this._dragged(drag);
    if (!dragged) {
      return;
    }
    const { way, paths, to, directory } = dragged;
    drag.preventDefault();
    drag.stopPropagation();
    drag.dropAction = directory === null ? 'none' : drag.proposedAction;
    if (drag.type === 'lm-drop' && directory !== null) {
      this.copy({ way, paths, directory, isMove: drag.shiftKey }, to);
    } else if (directory !== null) {
      this._mark((drag.target as Element).closest('.jp-DirListing-item[data-isdir="true"], .jp-DirListing-content'));
    }
  }

  private _dragged(drag: Drag.Event): IDragged | null {
    const { contents } = this.app.serviceManager;
    const to = this.browsers().find(one => one.node.contains(drag.target as Node));
    const all = drag.mimeData.getData(PATHS) as string[];
    const way = to ? wayBetween(all.map(one => contents.driveName(one)), to.model.driveName, this.own.model.driveName) : null;
    if (!to || !way) {
      return null;
    }
    const over = to.modelForClick(drag);
    const directory = contents.localPath(over?.type === 'directory' ? over.path : to.model.path);
    const isNowhere = way === 'to-folder' && directory === ''; // among folders
    return { way, paths: all.map(one => contents.localPath(one)), to, directory: isNowhere ? null : directory };
  }

  private _openTab(target: Element): void {
    window.clearTimeout(this._timer);
    const id = target.closest<HTMLElement>('.jp-SideBar .lm-TabBar-tab')?.dataset.id ?? '';
    if (this.tabs.includes(id)) {
      this._timer = window.setTimeout(() => this.app.shell.activateById(id), OPENS_AFTER_MS);
    }
  }

  private _mark(target: Element | null): void {
    this._target?.classList.remove(TARGET);
    target?.classList.add(TARGET);
    this._target = target;
  }

  private _timer = 0;
  private _target: Element | null = null;
}
