/** What an open folder holds: directories to go into, files to download, and places to upload to. */

import { TranslationBundle } from '@jupyterlab/translation';
import {
  closeIcon,
  downloadIcon,
  fileIcon,
  fileUploadIcon,
  folderIcon,
  newFolderIcon
} from '@jupyterlab/ui-components';
import React from 'react';

import { formatPart, formatSize, keepUnits } from '../amounts';
import { IFile } from '../api';
import { arrivalsIn, arrivalsOf } from '../drops';
import { Files, IBegun, PAGE_SIZE, Upload, Uploads } from '../folders';
import { browserIcon } from '../icons';
import { Browse } from '../tokens';
import { Form } from './form';
import { Pages } from './pages';
import { Bar, IPlace, Loading, Trouble, useChanges, useRows } from './section';

/** Of uploads, which go one after the other. */
const SHOWN_UPLOADS = 20;

interface IViewProps {
  files: Files;
  uploads: Uploads;
  trans: TranslationBundle;
}

export function FilesView({ files, uploads, browse, trans }: IViewProps & { browse: Browse | null }): JSX.Element {
  const page = files.value;
  return (
    <DropZone files={files} uploads={uploads} trans={trans}>
      <Path files={files} browse={browse} trans={trans} />
      {files.folder!.permission === 'ro' ? (
        <p className="jp-bai-Hint">{trans.__('You may read this folder, not write.')}</p>
      ) : (
        <Tools files={files} uploads={uploads} trans={trans} />
      )}
      <Begun files={files} uploads={uploads} trans={trans} />
      <Transfers uploads={uploads} trans={trans} />
      <Trouble model={files} trans={trans} />
      <Loading model={files} label={trans.__('Files are being loaded')} />
      {page?.total === 0 && <p className="jp-bai-Hint">{trans.__('Nothing is in here.')}</p>}
      {page && <FileList key={files.path} list={page.items} files={files} trans={trans} />}
      {page && page.total > PAGE_SIZE && (
        <Pages
          offset={files.offset}
          size={PAGE_SIZE}
          total={page.total}
          open={offset => files.open(files.folder, files.path, offset)}
          trans={trans}
        />
      )}
    </DropZone>
  );
}

/** Files and directories that are dropped here go into the directory that is shown; Upload does the same by keyboard. */
function DropZone({ files, uploads, trans, children }: React.PropsWithChildren<IViewProps>): JSX.Element {
  const [isOver, setOver] = React.useState(false);
  const [error, setError] = React.useState('');
  const isForFiles = (event: React.DragEvent) =>
    files.folder!.permission !== 'ro' && event.dataTransfer.types.includes('Files');

  const onDragOver = (event: React.DragEvent) => {
    if (isForFiles(event)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = 'copy';
      setOver(true);
    }
  };
  const onDragLeave = (event: React.DragEvent) => {
    if (!event.currentTarget.contains(event.relatedTarget as Node | null)) {
      setOver(false);
    }
  };
  const onDrop = (event: React.DragEvent) => {
    if (!isForFiles(event)) {
      return;
    }
    event.preventDefault();
    setOver(false);
    setError('');
    const { folder, path } = files;
    arrivalsIn(event.dataTransfer)
      .then(arrivals => uploads.startAll(folder!, path, arrivals))
      .catch(failed => setError(trans.__('What was dropped cannot be read: %1', (failed as Error).message)));
  };

  return (
    <div
      className={`jp-bai-Drop ${isOver ? 'jp-mod-over' : ''}`}
      onDragOver={onDragOver}
      onDragLeave={onDragLeave}
      onDrop={onDrop}
    >
      {children}
      {error && (
        <p className="jp-bai-Refusal" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

/** `Folders / data / raw`: each part but the last leads there. */
function Path({ files, browse, trans }: Omit<IViewProps, 'uploads'> & { browse: Browse | null }): JSX.Element {
  const { drive_name } = files.folder!;
  const inBrowser = trans.__('Open in file browser');
  const parts = files.path ? files.path.split('/') : [];
  const names = [trans.__('Folders'), files.folder!.name, ...parts];
  const go = (place: number) =>
    place === 0 ? files.open(null) : files.open(files.folder, parts.slice(0, place - 1).join('/'));
  return (
    <nav className="jp-bai-Path" aria-label={trans.__('Path')}>
      {names.map((name, place) => (
        <React.Fragment key={place}>
          {place > 0 && <span aria-hidden="true">/</span>}
          {place < names.length - 1 ? (
            <button className="jp-bai-Link" title={name} onClick={() => go(place)}>
              <bdi>{name}</bdi>
            </button>
          ) : (
            <span className="jp-bai-Row-name" title={name} aria-current="location">
              <bdi>{name}</bdi>
            </span>
          )}
        </React.Fragment>
      ))}
      {browse && drive_name && (
        <button
          className="jp-bai-IconButton"
          title={inBrowser}
          aria-label={inBrowser}
          onClick={() => void browse(`${drive_name}/${files.path}`)}
        >
          <browserIcon.react tag="span" aria-hidden="true" />
        </button>
      )}
      <Download label={trans.__('Download all in here as a zip file')} url={files.archiveUrl} />
    </nav>
  );
}

function Tools({ files, uploads, trans }: IViewProps): JSX.Element {
  const [isNaming, setNaming] = React.useState(false);
  const chooser = React.useRef<HTMLInputElement>(null);
  const directoryChooser = React.useRef<HTMLInputElement>(null);
  const upload = ({ target }: React.ChangeEvent<HTMLInputElement>) => {
    void uploads.startAll(files.folder!, files.path, arrivalsOf(target.files));
    target.value = ''; // the same file may be chosen again
  };
  return (
    <>
      <div className="jp-bai-Tools">
        <button className="jp-bai-Button" onClick={() => chooser.current!.click()}>
          <fileUploadIcon.react tag="span" aria-hidden="true" />
          {trans.__('Upload')}
        </button>
        <button className="jp-bai-Button" onClick={() => directoryChooser.current!.click()}>
          <fileUploadIcon.react tag="span" aria-hidden="true" />
          {trans.__('Upload directory')}
        </button>
        <button className="jp-bai-Button" aria-expanded={isNaming} onClick={() => setNaming(!isNaming)}>
          <newFolderIcon.react tag="span" aria-hidden="true" />
          {trans.__('New directory')}
        </button>
        <input ref={chooser} type="file" multiple hidden onChange={upload} />
        <input ref={directoryChooser} type="file" hidden onChange={upload} {...{ webkitdirectory: '' }} />
      </div>
      {isNaming && (
        <Form
          label={trans.__('New directory')}
          fields={[{ name: 'name', label: trans.__('Name') }]}
          verb={trans.__('Create')}
          trans={trans}
          submit={({ name }) => files.makeDirectory(name)}
          close={() => setNaming(false)}
        />
      )}
    </>
  );
}

/** Files on their way into this folder when the page was loaded anew. */
function Begun({ files, uploads, trans }: IViewProps): JSX.Element | null {
  useChanges(uploads);
  const here = uploads.begun.filter(one => one.folderId === files.folder!.id);
  if (here.length === 0) {
    return null;
  }
  return (
    <ul className="jp-bai-List" aria-label={trans.__('Uploads that stopped')}>
      {here.map(begun => (
        <Stopped key={begun.path} begun={begun} files={files} uploads={uploads} trans={trans} />
      ))}
    </ul>
  );
}

function Stopped({ begun, files, uploads, trans }: IViewProps & { begun: IBegun }): JSX.Element {
  const [error, setError] = React.useState('');
  const chooser = React.useRef<HTMLInputElement>(null);
  const name = begun.path.slice(begun.path.lastIndexOf('/') + 1);
  const button = trans.__('Cancel %1', name);
  const percent = Math.floor((100 * begun.sentBytes) / begun.size);
  const onChoose = ({ target }: React.ChangeEvent<HTMLInputElement>) => {
    setError('');
    const differs = trans.__('This is not the file that was begun: its name, size or date differs. Cancel that to upload it.');
    uploads.resume(begun, files.folder!, target.files![0], differs).catch(refused => setError(refused.message));
    target.value = '';
  };
  return (
    <li className="jp-bai-Row">
      <fileUploadIcon.react tag="span" className="jp-bai-State" aria-hidden="true" />
      <div className="jp-bai-Row-first">
        <span className="jp-bai-Row-name" title={begun.path}>
          <bdi>{name}</bdi>
        </span>
      </div>
      <button
        className="jp-bai-IconButton"
        title={button}
        aria-label={button}
        onClick={() => void uploads.forget(begun)}
      >
        <closeIcon.react tag="span" aria-hidden="true" />
      </button>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Row-sentence">
          {keepUnits(trans.__('Stopped at %1 %; goes on when you choose the same file.', percent))}
        </div>
        {error && (
          <p className="jp-bai-Refusal" role="alert">
            {error}
          </p>
        )}
        <div className="jp-bai-Actions">
          <button
            className="jp-bai-Button"
            aria-label={trans.__('Choose %1 again', name)}
            onClick={() => chooser.current!.click()}
          >
            {trans.__('Choose it again')}
          </button>
          <input ref={chooser} type="file" hidden onChange={onChoose} />
        </div>
      </div>
    </li>
  );
}

/** Files on their way, into whichever folder. */
function Transfers({ uploads, trans }: Omit<IViewProps, 'files'>): JSX.Element {
  useChanges(uploads);
  const waiting = uploads.list.length - SHOWN_UPLOADS;
  return (
    <>
      <ul className="jp-bai-List" aria-label={trans.__('Uploads')}>
        {uploads.list.slice(0, SHOWN_UPLOADS).map(upload => (
          <Transfer key={`${upload.folder.id} ${upload.path}`} upload={upload} uploads={uploads} trans={trans} />
        ))}
      </ul>
      {waiting > 0 && (
        <div className="jp-bai-Tools">
          <span>{trans._n('and one more', 'and %1 more', waiting)}</span>
          <button className="jp-bai-Button" onClick={() => [...uploads.list].forEach(one => uploads.remove(one))}>
            {trans.__('Cancel all')}
          </button>
        </div>
      )}
    </>
  );
}

interface ITransferProps {
  upload: Upload;
  uploads: Uploads;
  trans: TranslationBundle;
}

function Transfer({ upload, uploads, trans }: ITransferProps): JSX.Element {
  const { name, size } = upload.file;
  const isMoving = !upload.error && !upload.isPaused;
  const button = upload.error ? trans.__('Dismiss %1', name) : trans.__('Cancel %1', name);
  return (
    <li className="jp-bai-Row">
      <fileUploadIcon.react tag="span" className="jp-bai-State" aria-hidden="true" />
      <div className="jp-bai-Row-first">
        <span className="jp-bai-Row-name" title={`${upload.folder.name}/${upload.path}`}>
          <bdi>{name}</bdi>
        </span>
      </div>
      <button className="jp-bai-IconButton" title={button} aria-label={button} onClick={() => uploads.remove(upload)}>
        <closeIcon.react tag="span" aria-hidden="true" />
      </button>
      <div className="jp-bai-Row-rest">
        {upload.error ? (
          <p className="jp-bai-Refusal" role="alert">
            {upload.error}
          </p>
        ) : (
          <>
            <Bar percent={size ? (100 * upload.sentBytes) / size : 100} label={name} />
            <div className="jp-bai-Row-meta">
              {upload.isWaiting
                ? trans.__('Waiting for the network; goes on by itself.')
                : keepUnits(formatPart(upload.sentBytes, size, trans))}
            </div>
          </>
        )}
        <div className="jp-bai-Actions">
          {isMoving ? (
            <button
              className="jp-bai-Button"
              aria-label={trans.__('Pause %1', name)}
              onClick={() => uploads.pause(upload)}
            >
              {trans.__('Pause')}
            </button>
          ) : (
            <button
              className="jp-bai-Button"
              aria-label={trans.__('Go on with %1', name)}
              onClick={() => void uploads.goOn(upload)}
            >
              {upload.error ? trans.__('Try again') : trans.__('Go on')}
            </button>
          )}
        </div>
      </div>
    </li>
  );
}

interface IListProps {
  list: IFile[];
  files: Files;
  trans: TranslationBundle;
}

/** Enter goes into a directory, or downloads a file. */
function FileList({ list, files, trans }: IListProps): JSX.Element {
  const downloads = React.useRef(new Map<string, HTMLAnchorElement | null>());
  const enter = (name: string) => files.open(files.folder, files.pathOf(name));
  const isInto = (name: string) => list.some(file => file.name === name && isDirectory(file));
  const { onKeyDown, row } = useRows(
    list.map(file => file.name),
    { Enter: name => (isInto(name) ? enter(name) : downloads.current.get(name)?.click()) }
  );
  return (
    <ul className="jp-bai-List" aria-label={trans.__('Files')} onKeyDown={onKeyDown}>
      {list.map(file => (
        <Row
          key={file.name}
          file={file}
          url={files.urlOf(file)}
          enter={() => enter(file.name)}
          keep={node => downloads.current.set(file.name, node)}
          place={row(file.name)}
          trans={trans}
        />
      ))}
    </ul>
  );
}

interface IRowProps {
  file: IFile;
  url: string;
  enter: () => void;
  keep: (node: HTMLAnchorElement | null) => void;
  place: IPlace;
  trans: TranslationBundle;
}

function Row({ file, url, enter, keep, place, trans }: IRowProps): JSX.Element {
  const Icon = isDirectory(file) ? folderIcon : fileIcon;
  const button = isDirectory(file)
    ? trans.__('Download %1 as a zip file', file.name)
    : trans.__('Download %1', file.name);
  return (
    <li {...place} className="jp-bai-Row jp-bai-Row-short" aria-label={file.name}>
      <Icon.react tag="span" className="jp-bai-State" aria-hidden="true" />
      <div className="jp-bai-Row-first">
        {isDirectory(file) ? (
          <button className="jp-bai-Link" title={file.name} tabIndex={-1} onClick={enter}>
            <bdi>{file.name}</bdi>
          </button>
        ) : (
          <>
            <span className="jp-bai-Row-name" title={file.name}>
              <bdi>{file.name}</bdi>
            </span>
            <span className="jp-bai-Row-word">{formatSize(file.size)}</span>
          </>
        )}
      </div>
      {(file.type === 'FILE' || isDirectory(file)) && (
        <Download label={button} url={url} keep={keep} />
      )}
    </li>
  );
}

interface IDownloadProps {
  label: string;
  url: string;
  keep?: (node: HTMLAnchorElement | null) => void;
}

/** The answer names the file. */
function Download({ label, url, keep }: IDownloadProps): JSX.Element {
  return (
    <a ref={keep} className="jp-bai-IconButton" title={label} aria-label={label} href={url} download="">
      <downloadIcon.react tag="span" aria-hidden="true" />
    </a>
  );
}

function isDirectory(file: IFile): boolean {
  return file.type === 'DIRECTORY';
}
