/** The section Folders: one's own, those of others and of projects, trash, invitations; or what one of them holds. */

import { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, closeIcon, copyIcon, ellipsesIcon, folderIcon, usersIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { formatPart, formatSize, keepUnits } from '../amounts';
import { ApiError, IFolder, IInvitation, IMember } from '../api';
import { Attachments, IAttached } from '../attachments';
import { Files, Folders, IFolders, IMyFolder, isAttachable, ITogether, Uploads } from '../folders';
import { attachIcon } from '../icons';
import { Browse } from '../tokens';
import { describeFolder, describeMount, describePermission, describeTogether } from '../words';
import { FilesView } from './files';
import { Form } from './form';
import { Meter } from './meter';
import { Bar, IPlace, Loading, Section, Trouble, useChanges, useRows } from './section';

/** Mounts a folder when the kernel of the current notebook starts next; says so in a sentence. */
export type Mount = (folder: IFolder) => Promise<string>;

interface IModels {
  folders: Folders;
  files: Files;
  uploads: Uploads;
  attachments: Attachments;
}

/** What other parts of the page do with a folder, if they are there. */
interface IElsewhere {
  mount: Mount | null;
  browse: Browse | null;
}

interface IViewProps extends IModels, IElsewhere {
  trans: TranslationBundle;
}

export function createFolders(models: IModels, elsewhere: IElsewhere, trans: TranslationBundle): Section {
  models.uploads.arrived.connect(() => {
    void models.files.refresh();
    void models.folders.refresh();
  });
  const body = <FoldersView {...models} {...elsewhere} trans={trans} />;
  return new Section(trans.__('Folders'), [models.folders, models.files, models.attachments.sessions], body);
}

function FoldersView(props: IViewProps): JSX.Element {
  const { folders, files, attachments, trans } = props;
  useChanges(folders, files, attachments.sessions);
  if (files.folder !== null) {
    return <FilesView files={files} uploads={props.uploads} browse={props.browse} trans={trans} />;
  }
  return (
    <>
      <Trouble model={folders} trans={trans} />
      <Loading model={folders} label={trans.__('Folders are being loaded')} />
      {folders.value && <Lists {...props} value={folders.value} />}
    </>
  );
}

function Lists({ folders, files, attachments, mount, browse, trans, value }: IViewProps & { value: IFolders }): JSX.Element {
  const [isCreating, setCreating] = React.useState(false);
  return (
    <>
      <div className="jp-bai-Tools">
        <button className="jp-bai-Button" aria-expanded={isCreating} onClick={() => setCreating(!isCreating)}>
          <addIcon.react tag="span" aria-hidden="true" />
          {trans.__('New folder')}
        </button>
      </div>
      {isCreating && (
        <Form
          label={trans.__('New folder')}
          fields={[
            { name: 'name', label: trans.__('Name') },
            { name: 'quota', label: trans.__('Limit'), placeholder: trans.__('none, or such as 10g'), isOptional: true }
          ]}
          verb={trans.__('Create')}
          trans={trans}
          submit={({ name, quota }) => folders.create(name, quota)}
          close={() => setCreating(false)}
        />
      )}
      {value.invitations.map(invitation => (
        <Invitation key={invitation.id} invitation={invitation} folders={folders} trans={trans} />
      ))}
      {value.usable.length === 0 && (
        <p className="jp-bai-Hint">{trans.__('No folders. Files in a folder stay when sessions end.')}</p>
      )}
      {value.together.map(one => (
        <Together key={`${one.folder.quota_scope_id} ${one.folder.host}`} together={one} trans={trans} />
      ))}
      <FolderList
        list={value.usable}
        folders={folders}
        attachments={attachments}
        open={folder => files.open(folder)}
        mount={mount}
        browse={browse}
        trans={trans}
      />
      {value.trashed.length > 0 && <Trash list={value.trashed} folders={folders} trans={trans} />}
    </>
  );
}

function Invitation(props: { invitation: IInvitation; folders: Folders; trans: TranslationBundle }): JSX.Element {
  const { invitation, folders, trans } = props;
  const [attempt, error] = useAttempt();
  const name = invitation.vfolder_name;
  return (
    <div className="jp-bai-Row jp-bai-Row-plain" role="group" aria-label={trans.__('Invitation to %1', name)}>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Row-sentence">
          {trans.__('%1 shares %2 with you: %3.', invitation.inviter, name, describePermission(invitation.perm, trans))}
        </div>
        <Refusal error={error} />
        <div className="jp-bai-Actions">
          <button className="jp-bai-Button" onClick={() => attempt(() => folders.answer(invitation, true))}>
            {trans.__('Accept')}
          </button>
          <button className="jp-bai-Button" onClick={() => attempt(() => folders.answer(invitation, false))}>
            {trans.__('Decline')}
          </button>
        </div>
      </div>
    </div>
  );
}

interface IListProps extends IElsewhere {
  list: IMyFolder[];
  folders: Folders;
  attachments: Attachments;
  open: (folder: IFolder) => void;
  trans: TranslationBundle;
}

/** Enter opens a folder, Space shows what can be done with it. */
function FolderList({ list, ...rest }: IListProps): JSX.Element {
  const [current, setCurrent] = React.useState<string | null>(null);
  const toggle = (id: string) => setCurrent(current === id ? null : id);
  const { onKeyDown, row } = useRows(
    list.map(folder => folder.id),
    { Enter: id => rest.open(list.find(folder => folder.id === id)!), ' ': toggle }
  );
  return (
    <ul className="jp-bai-List" aria-label={rest.trans.__('Folders')} onKeyDown={onKeyDown}>
      {list.map(folder => (
        <Row
          key={folder.id}
          {...rest}
          folder={folder}
          place={row(folder.id)}
          isCurrent={folder.id === current}
          toggle={() => toggle(folder.id)}
        />
      ))}
    </ul>
  );
}

interface IRowProps extends Omit<IListProps, 'list'> {
  folder: IMyFolder;
  place: IPlace;
  /** Whether its actions are shown. */
  isCurrent: boolean;
  toggle: () => void;
}

function Row(props: IRowProps): JSX.Element {
  const { folder, attachments, open, trans, place, isCurrent, toggle } = props;
  const attached = isAttachable(folder) ? attachments.of(folder) : [];
  const Icon = folder.isMine ? folderIcon : usersIcon;
  const facts = describeFolder(folder, trans);
  const actions = trans.__('Actions on %1', folder.name);
  return (
    <li {...place} className="jp-bai-Row" aria-label={`${folder.name}, ${facts}`} data-bai-folder={folder.id}>
      <Icon.react tag="span" className="jp-bai-State" aria-hidden="true" />
      <div className="jp-bai-Row-first">
        <button className="jp-bai-Link" title={folder.name} tabIndex={-1} onClick={() => open(folder)}>
          <bdi>{folder.name}</bdi>
        </button>
      </div>
      <button
        className="jp-bai-IconButton"
        title={actions}
        aria-label={actions}
        aria-expanded={isCurrent}
        onClick={toggle}
      >
        <ellipsesIcon.react tag="span" aria-hidden="true" />
      </button>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Row-meta">
          <bdi dir="ltr">{keepUnits(facts)}</bdi>
        </div>
        {folder.max_size !== null && <Quota folder={folder} limit={folder.max_size} trans={trans} />}
        {attached.map(one => (
          <Attached key={one.session.id + one.mount.target} attached={one} attachments={attachments} trans={trans} />
        ))}
        {isCurrent && <Actions {...props} />}
      </div>
    </li>
  );
}

interface IAttachedProps {
  attached: IAttached;
  attachments: Attachments;
  trans: TranslationBundle;
}

/** Where a folder is, and how to have it gone from there. */
function Attached({ attached, attachments, trans }: IAttachedProps): JSX.Element {
  const [attempt, error, code] = useAttempt();
  const { session, mount } = attached;
  const detach = trans.__('Detach %1 from %2', mount.name, session.name);
  const copy = trans.__('Copy %1', mount.target);
  return (
    <>
      <div className="jp-bai-Attached">
        <attachIcon.react tag="span" className="jp-bai-State" aria-hidden="true" />
        <span className="jp-bai-Attached-where">
          {trans.__('attached to %1:', session.name)} <bdi dir="ltr">{describeMount(mount, trans)}</bdi>
        </span>
        <button
          className="jp-bai-IconButton"
          title={copy}
          aria-label={copy}
          onClick={() => attempt(() => navigator.clipboard.writeText(mount.target))}
        >
          <copyIcon.react tag="span" aria-hidden="true" />
        </button>
        <button
          className="jp-bai-IconButton"
          title={detach}
          aria-label={detach}
          onClick={() => attempt(() => attachments.detach(attached))}
        >
          <closeIcon.react tag="span" aria-hidden="true" />
        </button>
      </div>
      <Refusal error={error} />
      {code === 'folder-busy' && (
        <div className="jp-bai-Actions">
          <button className="jp-bai-Button" onClick={() => attempt(() => attachments.detach(attached, true))}>
            {trans.__('End what uses it and detach')}
          </button>
        </div>
      )}
    </>
  );
}

/** What all of an owner's folders on a volume hold of what they may. */
function Together({ together, trans }: { together: ITogether; trans: TranslationBundle }): JSX.Element {
  const { used, limit } = together;
  const label = describeTogether(together, trans);
  return (
    <section className="jp-bai-Level" aria-label={label}>
      <h3 className="jp-bai-Title">{label}</h3>
      <Meter label={label} use={{ slot: trans.__('storage'), used, limit, text: formatPart(used, limit, trans) }} />
      {used > limit && <Excess isHard={together.isHard} trans={trans} />}
    </section>
  );
}

function Excess({ isHard, trans }: { isHard: boolean; trans: TranslationBundle }): JSX.Element {
  return (
    <div className="jp-bai-Row-sentence">
      {isHard
        ? trans.__('That is more than may be there: nothing can be added until enough is deleted.')
        : trans.__('That is more than may be there: nothing can be uploaded until enough is deleted.')}
    </div>
  );
}

function Quota({ folder, limit, trans }: { folder: IFolder; limit: number; trans: TranslationBundle }): JSX.Element {
  const part = formatPart(folder.cur_size, limit, trans);
  const use = folder.quota_kind === 'soft' ? trans.__('%1, a soft limit', part) : part;
  return (
    <>
      <div className="jp-bai-Row-meta">
        <Bar percent={Math.min(100, (100 * folder.cur_size) / limit)} label={trans.__('Use of %1', folder.name)} />
        <bdi dir="ltr">{keepUnits(use)}</bdi>
      </div>
      {folder.cur_size > limit && <Excess isHard={folder.quota_kind === 'hard'} trans={trans} />}
    </>
  );
}

type FormName = 'attach' | 'rename' | 'share' | 'people';

/** What can be done with a folder. */
function Actions({ folder, folders, attachments, mount, browse, trans }: IRowProps): JSX.Element {
  const [form, setForm] = React.useState<FormName | null>(null);
  const [done, setDone] = React.useState('');
  const [attempt, error] = useAttempt();
  const toggle = (wanted: FormName) => setForm(form === wanted ? null : wanted);
  const close = () => setForm(null);
  const isHome = folder.isMine && folder.name === 'home';
  const can = { ro: trans.__('read'), rw: trans.__('read and write') };

  const share = async ({ person, permission }: Record<string, string>) => {
    const isNew = await folders.share(folder.id, person, permission);
    setDone(
      isNew ? trans.__('%1 was invited.', person) : trans.__('%1 has the folder, or was invited before.', person)
    );
  };

  return (
    <>
      <div className="jp-bai-Actions">
        {browse && folder.drive_name && (
          <button className="jp-bai-Button" onClick={() => attempt(() => browse(folder.drive_name!))}>
            {trans.__('Open in file browser')}
          </button>
        )}
        {isAttachable(folder) && (
          <button className="jp-bai-Button" aria-expanded={form === 'attach'} onClick={() => toggle('attach')}>
            {trans.__('Attach')}
          </button>
        )}
        {mount && isAttachable(folder) && (
          <button className="jp-bai-Button" onClick={() => attempt(async () => setDone(await mount(folder)))}>
            {trans.__('Mount')}
          </button>
        )}
        {folder.is_owner && folder.ownership_type === 'user' && (
          <button className="jp-bai-Button" aria-expanded={form === 'share'} onClick={() => toggle('share')}>
            {trans.__('Share')}
          </button>
        )}
        {folder.isMine && folder.ownership_type === 'user' && (
          <button className="jp-bai-Button" aria-expanded={form === 'people'} onClick={() => toggle('people')}>
            {trans.__('People')}
          </button>
        )}
        {folder.is_owner && !isHome && (
          <>
            <button className="jp-bai-Button" aria-expanded={form === 'rename'} onClick={() => toggle('rename')}>
              {trans.__('Rename')}
            </button>
            <button className="jp-bai-Button" onClick={() => attempt(() => folders.trash(folder.id))}>
              {trans.__('Move to trash')}
            </button>
          </>
        )}
      </div>
      {form === 'attach' && (
        <Form
          label={trans.__('Attach %1 to this kernel', folder.name)}
          fields={[
            {
              name: 'permission',
              label: trans.__('The kernel can'),
              options: folder.permission === 'ro' ? [['ro', can.ro]] : [['rw', can.rw], ['ro', can.ro]],
              value: folder.permission === 'ro' ? 'ro' : 'rw'
            },
            { name: 'path', label: trans.__('At'), placeholder: `/home/work/${folder.name}`, isOptional: true }
          ]}
          verb={trans.__('Attach')}
          trans={trans}
          submit={async ({ permission, path }) => setDone(await attachments.attach(folder, permission === 'ro', path))}
          close={close}
        />
      )}
      {form === 'rename' && (
        <Form
          label={trans.__('Rename %1', folder.name)}
          fields={[{ name: 'name', label: trans.__('New name'), value: folder.name }]}
          verb={trans.__('Rename')}
          trans={trans}
          submit={({ name }) => folders.rename(folder.id, name)}
          close={close}
        />
      )}
      {form === 'share' && (
        <Form
          label={trans.__('Share %1', folder.name)}
          fields={[
            { name: 'person', label: trans.__('E-mail address') },
            {
              name: 'permission',
              label: trans.__('They can'),
              value: 'ro',
              options: [
                ['ro', can.ro],
                ['rw', can.rw]
              ]
            }
          ]}
          verb={trans.__('Share')}
          trans={trans}
          submit={share}
          close={close}
        />
      )}
      {form === 'people' && <People folder={folder} folders={folders} trans={trans} />}
      <Refusal error={error} />
      <p className="jp-bai-Done" role="status">
        {!error && done}
      </p>
    </>
  );
}

/** Who has a folder, what they may, and that they no longer do. */
function People({ folder, folders, trans }: Pick<IRowProps, 'folder' | 'folders' | 'trans'>): JSX.Element {
  const [members, setMembers] = React.useState<IMember[] | null>(null);
  const [attempt, error] = useAttempt();
  const load = async () => setMembers(await folders.members(folder.id));
  const change = (member: IMember, permission: string | null) =>
    attempt(async () => {
      await folders.changeMember(folder.id, member.id, permission);
      await load();
    });
  React.useEffect(() => attempt(load), [folder.id]);
  return (
    <>
      <Refusal error={error} />
      {members?.length === 0 && <p className="jp-bai-Done">{trans.__('Nobody but you.')}</p>}
      <ul
        className="jp-bai-List"
        aria-label={trans.__('People who have %1', folder.name)}
        onKeyDown={event => event.stopPropagation() /* the keys of the list around it */}
      >
        {members?.map(member => (
          <li key={member.id} className="jp-bai-Person">
            <bdi className="jp-bai-Row-name" title={member.email}>
              {member.email}
            </bdi>
            <div className="jp-bai-Actions">
              <select
                className="jp-bai-Field"
                aria-label={trans.__('What %1 can', member.email)}
                value={member.permission}
                onChange={event => change(member, event.target.value)}
              >
                <option value="ro">{trans.__('read')}</option>
                <option value="rw">{trans.__('read and write')}</option>
                <option value="wd">{trans.__('read, write and delete')}</option>
              </select>
              <button
                className="jp-bai-Button"
                aria-label={trans.__('Stop sharing with %1', member.email)}
                onClick={() => change(member, null)}
              >
                {trans.__('Stop sharing')}
              </button>
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}

function Trash(props: { list: IFolder[]; folders: Folders; trans: TranslationBundle }): JSX.Element {
  const { list, folders, trans } = props;
  const [attempt, error] = useAttempt();
  return (
    <details className="jp-bai-Group">
      <summary>{trans.__('Trash (%1)', list.length)}</summary>
      <Refusal error={error} />
      <ul className="jp-bai-List" aria-label={trans.__('Trash')}>
        {list.map(folder => (
          <Trashed key={folder.id} folder={folder} folders={folders} attempt={attempt} trans={trans} />
        ))}
      </ul>
    </details>
  );
}

interface ITrashedProps {
  folder: IFolder;
  folders: Folders;
  attempt: (work: () => Promise<void>) => void;
  trans: TranslationBundle;
}

/** It is deleted for good by who types its name. */
function Trashed({ folder, folders, attempt, trans }: ITrashedProps): JSX.Element {
  const [isPurging, setPurging] = React.useState(false);
  const purge = async ({ name }: Record<string, string>) => {
    if (name !== folder.name) {
      throw new Error(trans.__('This is not its name. Type %1 to delete it for good.', folder.name));
    }
    await folders.purge(folder.id);
  };
  return (
    <li className="jp-bai-Row jp-bai-Row-plain">
      <div className="jp-bai-Row-first jp-bai-Row-wide">
        <span className="jp-bai-Row-name" title={folder.name}>
          <bdi>{folder.name}</bdi>
        </span>
      </div>
      <div className="jp-bai-Row-rest">
        <div className="jp-bai-Actions">
          <button
            className="jp-bai-Button"
            aria-label={trans.__('Restore %1', folder.name)}
            onClick={() => attempt(() => folders.restore(folder.id))}
          >
            {trans.__('Restore')}
          </button>
          {folder.is_owner && (
            <button
              className="jp-bai-Button"
              aria-label={trans.__('Delete %1 for good', folder.name)}
              aria-expanded={isPurging}
              onClick={() => setPurging(!isPurging)}
            >
              {trans.__('Delete for good')}
            </button>
          )}
        </div>
        {isPurging && (
          <Form
            label={trans.__('Delete %1 for good', folder.name)}
            fields={[
              {
                name: 'name',
                label: trans.__('%1 are gone for good then. Its name:', formatSize(folder.cur_size))
              }
            ]}
            verb={trans.__('Delete for good')}
            trans={trans}
            submit={purge}
            close={() => setPurging(false)}
          />
        )}
      </div>
    </li>
  );
}

/** Do something; the sentence is why the last try failed, and its code. */
function useAttempt(): [(work: () => Promise<unknown>) => void, string, string] {
  const [error, setError] = React.useState<Error | null>(null);
  const attempt = (work: () => Promise<unknown>) => {
    setError(null);
    work().catch(setError);
  };
  return [attempt, error?.message ?? '', error instanceof ApiError ? error.code : ''];
}

function Refusal({ error }: { error: string }): JSX.Element | null {
  return error ? (
    <p className="jp-bai-Refusal" role="alert">
      {error}
    </p>
  ) : null;
}
