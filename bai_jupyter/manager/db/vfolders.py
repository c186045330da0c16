"""Units of work on virtual folders: whose they are, who else may use them, and what is known of them.

What lies in a folder is the agents' matter. Who may change what is decided in ``manager.vfolders.access``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import UserId, VFolderId, new_vfolder_id
from bai_jupyter.common.statuses import FINAL, FolderStatus
from bai_jupyter.manager.db import folder_rules, people
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import Owner
from bai_jupyter.manager.db.filters import Field, lower, moment
from bai_jupyter.manager.db.folder_rules import HOME, Together
from bai_jupyter.manager.db.listings import Listing, Reach, Window, fetch
from bai_jupyter.manager.db.records import InvitationRecord, Person, ShareRecord, UserStatus, VFolderRecord

_FIELDS = {
    "id": Field(t.vfolders.c.id),
    "host": Field(t.vfolders.c.volume),
    "name": Field(t.vfolders.c.name),
    "user": Field(t.vfolders.c.user_id),
    "user_email": Field(t.users.c.email),
    "group": Field(t.vfolders.c.project_id),
    "group_name": Field(t.projects.c.name),
    "creator": Field(t.vfolders.c.creator),
    "status": Field(t.vfolders.c.status, lower),
    "usage_mode": Field(t.vfolders.c.usage_mode, lower),
    "permission": Field(t.vfolders.c.permission, lower),
    "cloneable": Field(t.vfolders.c.cloneable),
    "created_at": Field(t.vfolders.c.created_at, moment),
}
KEPT = (FolderStatus.READY, FolderStatus.CLONING)
"""Folders that keep their name taken."""

_ADDRESS = t.users.c.email  # by which people find one another


@dataclass(frozen=True)
class Viewer:
    """Who looks: a person; ``sees_all`` lets an id find everybody's folders."""

    user_id: UserId
    sees_all: bool = False


@dataclass(frozen=True)
class NewFolder:
    """A folder that passed all checks; either ``user_id`` or ``project_id`` owns it."""

    id: VFolderId
    name: str
    user_id: UserId | None
    project_id: str | None
    creator: str
    volume: str
    subpath: str
    permission: str
    status: FolderStatus
    usage_mode: str
    cloneable: bool
    quota_bytes: int | None


# Folders


def create(conn: Connection, new: NewFolder, now: datetime, creator: Owner | None = None) -> bool:
    """False, and nothing done, if its owner has a folder of that name, or was shared one.

    Raises ``QuotaExceeded`` if the policies of the ``creator`` allow no further one.
    """
    if creator is not None:
        folder_rules.check_count(conn, creator, is_projects=new.project_id is not None)
    if _is_taken(conn, new.name, new.user_id, new.project_id):
        return False
    conn.execute(t.vfolders.insert().values(created_at=now, **vars(new)))
    return True


def create_home(
    conn: Connection, user_id: UserId, user_name: str, volume: str, subpath: str, now: datetime
) -> VFolderId:
    """The folder that is mounted in all sessions of its user."""
    home = NewFolder(
        id=new_vfolder_id(),
        name=HOME,
        user_id=user_id,
        project_id=None,
        creator=user_name,
        volume=volume,
        subpath=subpath,
        permission="wd",
        status=FolderStatus.READY,
        usage_mode="general",
        cloneable=False,
        quota_bytes=None,
    )
    create(conn, home, now)
    return home.id


def visible(conn: Connection, viewer: Viewer, statuses: Collection[FolderStatus] = ()) -> list[VFolderRecord]:
    """Own, shared and project folders, own ones first, by name; of those statuses, or of all."""
    query = _seen_by(viewer).where(_is_visible(conn, viewer.user_id))
    if statuses:
        query = query.where(t.vfolders.c.status.in_(list(statuses)))
    return _read_all(conn, query, viewer)


def list_all(conn: Connection, viewer: Viewer) -> list[VFolderRecord]:
    """Everybody's."""
    return _read_all(conn, _seen_by(viewer), viewer)


class Which(StrEnum):
    """Lists of folders that one person sees."""

    OWN = "own"
    INVITED = "invited"
    PROJECT = "project"
    ALL = "all"  # of these three


def page(
    conn: Connection, viewer: Viewer, which: Which, window: Window, group_id: str | None = None
) -> tuple[list[VFolderRecord], int]:
    """A part of one list, and how long it is; who ``sees_all`` sees everybody's in the list of all."""
    given = t.vfolder_permissions.c.permission.is_not(None) & t.vfolders.c.status.in_(KEPT)
    where = {
        Which.OWN: t.vfolders.c.user_id == viewer.user_id,
        Which.INVITED: given,
        Which.PROJECT: t.vfolders.c.project_id.in_(list(projects_of(conn, viewer.user_id))),
        Which.ALL: sa.true() if viewer.sees_all else _is_visible(conn, viewer.user_id),
    }[which]
    if group_id is not None:
        where &= t.vfolders.c.project_id == group_id
    listing = Listing(
        query=_seen_by(viewer).order_by(None),
        fields=_FIELDS,
        order=[t.vfolders.c.name, t.vfolders.c.id],
        domain=sa.literal(""),
        user_id=t.vfolders.c.user_id,
    )
    rows, total = fetch(conn, listing, Reach(), window, where)
    return _read(conn, rows, viewer), total


def find(conn: Connection, ref: str, viewer: Viewer) -> VFolderRecord | None:
    """The folder of that id, or of that name: own before shared before the project's, kept before trashed."""
    by_id, by_name = t.vfolders.c.id == ref, t.vfolders.c.name == ref
    seen = _is_visible(conn, viewer.user_id)
    wanted = by_id | (seen & by_name) if viewer.sees_all else seen & (by_id | by_name)
    query = _seen_by(viewer).where(wanted)
    found = _read_all(conn, query, viewer)
    return min(found, key=lambda one: (one.id != ref, one.status not in KEPT), default=None)


def at(conn: Connection, volume: str, subpath: str, viewer: Viewer) -> VFolderRecord | None:
    """The folder that lies there, if that person sees it by own right, membership or share."""
    here = (t.vfolders.c.volume == volume) & (t.vfolders.c.subpath == subpath)
    found = _read_all(conn, _seen_by(viewer).where(here, _is_visible(conn, viewer.user_id)), viewer)
    return found[0] if found else None


def rename(conn: Connection, folder: VFolderRecord, name: str) -> bool | None:
    """False if the owner has another of that name; None if it is theirs no more. Either way nothing is done."""
    owner = conn.execute(
        sa.select(t.vfolders.c.user_id, t.vfolders.c.project_id).where(t.vfolders.c.id == folder.id)
    ).first()
    if owner is None or tuple(owner) != (folder.user_id, folder.project_id):
        return None
    if _is_taken(conn, name, folder.user_id, folder.project_id):
        return False
    _update(conn, folder.id, name=name)
    return True


def set_options(conn: Connection, vfolder_id: VFolderId, permission: str | None, *, cloneable: bool | None) -> None:
    given = {"permission": permission, "cloneable": cloneable}
    values = {name: value for name, value in given.items() if value is not None}
    if values:
        _update(conn, vfolder_id, **values)


def set_quota(conn: Connection, vfolder_id: VFolderId, quota_bytes: int | None) -> None:
    _update(conn, vfolder_id, quota_bytes=quota_bytes)


def set_usage(conn: Connection, vfolder_id: VFolderId, used_bytes: int, num_files: int) -> None:
    _update(conn, vfolder_id, used_bytes=used_bytes, num_files=num_files)


def set_status(conn: Connection, vfolder_id: VFolderId, status: FolderStatus) -> None:
    _update(conn, vfolder_id, status=status)


def complete(conn: Connection, vfolder_id: VFolderId, subpath: str) -> None:
    """A copy is whole, and lies there."""
    _update(conn, vfolder_id, status=FolderStatus.READY, subpath=subpath)


def restore(conn: Connection, folder: VFolderRecord) -> bool:
    """Out of the trash. False if its name is taken by now."""
    if _is_taken(conn, folder.name, folder.user_id, folder.project_id):
        return False
    _update(conn, folder.id, status=FolderStatus.READY)
    return True


def forget(conn: Connection, vfolder_id: VFolderId) -> None:
    """It is gone, and with it who it was shared with."""
    conn.execute(t.vfolders.delete().where(t.vfolders.c.id == vfolder_id))


def heir(conn: Connection, folder: VFolderRecord, address: str) -> Owner | None:
    """Somebody active of the same domain as the folder's owner, who may come to own it; nobody else is there."""
    users = t.users.c
    domain = sa.select(users.domain).where(users.id == folder.user_id).scalar_subquery()
    query = sa.select(users.domain, users.id, users.main_access_key).where(
        users.email == address, users.domain == domain, users.status == UserStatus.ACTIVE
    )
    row = conn.execute(query).first()
    return None if row is None else Owner(row.domain, "", row.id, row.main_access_key or "")


def hand_over(conn: Connection, folder: VFolderRecord, owner: Owner, address: str, now: datetime) -> bool:
    """Make somebody else the owner. What others were given stays; what nobody has answered yet is taken back.

    False, and nothing done, if that person has another folder of the name. Raises ``QuotaExceeded`` if their policies
    allow no further one, none that large, or not that much in all of theirs together.
    """
    user_id = UserId(owner.user_id)
    if folder.user_id == user_id:
        return True
    folder_rules.check_count(conn, owner, is_projects=False, called=f"{address} has")
    used, most = folder.used_bytes or 0, folder_rules.largest_of(conn, user_id, None)
    folder_rules.check_size(folder.name, address, used, used, most)
    folder_rules.check_together(conn, replace(folder, user_id=user_id), folder.name, used)
    if _is_taken(conn, folder.name, user_id, None, apart_from=folder.id):
        return False
    take_away(conn, folder.id, [user_id])
    invitations = t.vfolder_invitations
    unanswered = (invitations.c.vfolder_id == folder.id) & (invitations.c.state == "pending")
    conn.execute(invitations.update().where(unanswered).values(state="canceled", modified_at=now))
    _update(conn, folder.id, user_id=user_id)
    return True


def break_clones(conn: Connection) -> None:
    """At the start of a manager: copies that the one before was making will not be completed."""
    cloning = t.vfolders.c.status == FolderStatus.CLONING
    conn.execute(t.vfolders.update().where(cloning).values(status=FolderStatus.BROKEN))


def sessions_mounting(conn: Connection, folder: VFolderRecord) -> list[str]:
    """Names of sessions that have not ended and mount it."""
    live = sa.select(t.sessions.c.name, t.sessions.c.mounts).where(t.sessions.c.status.not_in(list(FINAL)))
    place = (folder.volume, folder.subpath)
    return [row.name for row in conn.execute(live) if any((m["volume"], m["subpath"]) == place for m in row.mounts)]


def home_of(conn: Connection, user_id: UserId) -> tuple[str, str] | None:
    """Volume and subpath of a user's home: who owns that on disk owns the user's other folders."""
    query = sa.select(t.vfolders.c.volume, t.vfolders.c.subpath).where(
        t.vfolders.c.user_id == user_id, t.vfolders.c.name == HOME, t.vfolders.c.status == FolderStatus.READY
    )
    row = conn.execute(query).first()
    return None if row is None else (row.volume, row.subpath)


# Projects and people


def projects_of(conn: Connection, user_id: UserId) -> dict[str, str]:
    """``{id: name}`` of the projects that somebody belongs to."""
    return {project_id: name for name, project_id in people.usable_projects(conn, user_id).items()}


def find_people(conn: Connection, addresses: Collection[str], domain: str) -> list[Person]:
    """Those who are active and of that domain; others are left out as if they did not exist."""
    query = sa.select(t.users.c.id, _ADDRESS.label("address")).where(
        _ADDRESS.in_(list(addresses)), t.users.c.domain == domain, t.users.c.status == UserStatus.ACTIVE
    )
    return [Person(UserId(row.id), row.address) for row in conn.execute(query.order_by(_ADDRESS))]


# Sharing


def give(conn: Connection, vfolder_id: VFolderId, user_id: UserId, permission: str) -> None:
    """Let somebody use a folder; one who may already may this from now on."""
    take_away(conn, vfolder_id, [user_id])
    conn.execute(t.vfolder_permissions.insert().values(vfolder_id=vfolder_id, user_id=user_id, permission=permission))


def take_away(conn: Connection, vfolder_id: VFolderId, user_ids: Sequence[UserId]) -> list[UserId]:
    """Those of them that it was shared with."""
    shares = t.vfolder_permissions
    theirs = (shares.c.vfolder_id == vfolder_id) & shares.c.user_id.in_(list(user_ids))
    found = [UserId(row.user_id) for row in conn.execute(sa.select(shares.c.user_id).where(theirs))]
    conn.execute(shares.delete().where(theirs))
    return found


def list_shares(conn: Connection, viewer: Viewer) -> list[ShareRecord]:
    """Who else may use the folders that this person sees."""
    folders = {one.id: one for one in (list_all if viewer.sees_all else visible)(conn, viewer)}
    query = (
        sa.select(t.vfolder_permissions, _ADDRESS.label("address"))
        .join(t.users, t.users.c.id == t.vfolder_permissions.c.user_id)
        .where(t.vfolder_permissions.c.vfolder_id.in_(list(folders)))
        .order_by(t.vfolder_permissions.c.vfolder_id, _ADDRESS)
    )
    return [
        ShareRecord(folders[row.vfolder_id], Person(UserId(row.user_id), row.address), row.permission)
        for row in conn.execute(query)
    ]


def invite(
    conn: Connection, folder: VFolderRecord, inviter: UserId, people: Sequence[Person], permission: str, now: datetime
) -> list[Person]:
    """Invite those who neither own it, nor use it, nor were invited; they are returned."""
    pending = {one.invitee.id for one in _invitations(conn, vfolder_id=folder.id)}
    shares = t.vfolder_permissions
    using = set(conn.execute(sa.select(shares.c.user_id).where(shares.c.vfolder_id == folder.id)).scalars())
    invited = [one for one in people if one.id not in pending | using | {folder.user_id}]
    for person in invited:
        conn.execute(
            t.vfolder_invitations.insert().values(
                id=str(uuid4()),
                vfolder_id=folder.id,
                inviter_id=inviter,
                invitee_id=person.id,
                permission=permission,
                state="pending",
                created_at=now,
                modified_at=now,
            )
        )
    return invited


def received(conn: Connection, user_id: UserId) -> list[InvitationRecord]:
    return _invitations(conn, invitee_id=user_id)


def sent(conn: Connection, user_id: UserId) -> list[InvitationRecord]:
    return _invitations(conn, inviter_id=user_id)


def change_invitation(conn: Connection, invitation_id: str, inviter: UserId, permission: str, now: datetime) -> bool:
    """False if that person has sent no such invitation that still is open."""
    mine = t.vfolder_invitations.c.inviter_id == inviter
    return _answer(conn, invitation_id, mine, {"permission": permission}, now)


def accept(conn: Connection, invitation: InvitationRecord, now: datetime) -> bool:
    """False if the invitee has a folder of that name."""
    if _is_taken(conn, invitation.vfolder_name, invitation.invitee.id, None):
        return False
    theirs = t.vfolder_invitations.c.invitee_id == invitation.invitee.id
    if _answer(conn, invitation.id, theirs, {"state": "accepted"}, now):
        give(conn, invitation.vfolder_id, invitation.invitee.id, invitation.permission)
    return True


def decline(conn: Connection, invitation_id: str, user_id: UserId, now: datetime) -> bool:
    """Rejected by the invitee, or canceled by the inviter. False if there is none open for that person."""
    invitations = t.vfolder_invitations.c
    return _answer(conn, invitation_id, invitations.invitee_id == user_id, {"state": "rejected"}, now) or _answer(
        conn, invitation_id, invitations.inviter_id == user_id, {"state": "canceled"}, now
    )


# Inside


def _answer(
    conn: Connection, invitation_id: str, whose: sa.ColumnElement[bool], values: dict[str, str], now: datetime
) -> bool:
    invitations = t.vfolder_invitations
    update = invitations.update().where(invitations.c.id == invitation_id, invitations.c.state == "pending", whose)
    return conn.execute(update.values(modified_at=now, **values)).rowcount > 0


def _invitations(conn: Connection, **where: str) -> list[InvitationRecord]:
    inviter, invitee = t.users.alias(), t.users.alias()
    table = t.vfolder_invitations
    query = (
        sa.select(
            table,
            t.vfolders.c.name.label("vfolder_name"),
            inviter.c[_ADDRESS.name].label("inviter"),
            invitee.c[_ADDRESS.name].label("invitee"),
        )
        .join(t.vfolders, t.vfolders.c.id == table.c.vfolder_id)
        .join(inviter, inviter.c.id == table.c.inviter_id)
        .join(invitee, invitee.c.id == table.c.invitee_id)
        .where(table.c.state == "pending", t.vfolders.c.status == FolderStatus.READY)
        .where(*(table.c[column] == value for column, value in where.items()))
        .order_by(table.c.created_at, table.c.id)
    )
    return [
        InvitationRecord(
            id=row.id,
            vfolder_id=VFolderId(row.vfolder_id),
            vfolder_name=row.vfolder_name,
            inviter=Person(UserId(row.inviter_id), row.inviter),
            invitee=Person(UserId(row.invitee_id), row.invitee),
            permission=row.permission,
            state=row.state,
            created_at=row.created_at,
            modified_at=row.modified_at,
        )
        for row in conn.execute(query)
    ]


def _is_taken(
    conn: Connection, name: str, user_id: UserId | None, project_id: str | None, apart_from: VFolderId | None = None
) -> bool:
    """Whether an owner has a folder of that name, or, of a person, was given one."""
    given = sa.select(t.vfolder_permissions.c.vfolder_id).where(t.vfolder_permissions.c.user_id == user_id)
    owned = t.vfolders.c.project_id == project_id if user_id is None else t.vfolders.c.user_id == user_id
    query = sa.select(t.vfolders.c.id).where(
        t.vfolders.c.name == name, t.vfolders.c.status.in_(KEPT), owned | t.vfolders.c.id.in_(given)
    )
    if apart_from is not None:
        query = query.where(t.vfolders.c.id != apart_from)
    return conn.execute(query).first() is not None


def _update(conn: Connection, vfolder_id: VFolderId, **values: object) -> None:
    conn.execute(t.vfolders.update().where(t.vfolders.c.id == vfolder_id).values(**values))


def _seen_by(viewer: Viewer) -> sa.Select:  # type: ignore[type-arg]
    shares = t.vfolder_permissions
    mine = (shares.c.vfolder_id == t.vfolders.c.id) & (shares.c.user_id == viewer.user_id)
    rank = sa.case((t.vfolders.c.user_id == viewer.user_id, 0), (shares.c.permission.is_not(None), 1), else_=2)
    return (
        sa.select(
            t.vfolders,
            shares.c.permission.label("given"),
            _ADDRESS.label("user_name"),
            t.projects.c.name.label("project_name"),
            folder_rules.SCOPE_LIMIT,
            folder_rules.LARGEST,
        )
        .select_from(folder_rules.with_scope_limits(folder_rules.with_owners(t.vfolders.outerjoin(shares, mine))))
        .order_by(rank, t.vfolders.c.name, t.vfolders.c.created_at.desc())
    )


def _is_visible(conn: Connection, user_id: UserId) -> sa.ColumnElement[bool]:
    """Own ones and those of one's projects; those that were shared, unless they are in the trash."""
    own = t.vfolders.c.user_id == user_id
    of_project = t.vfolders.c.project_id.in_(list(projects_of(conn, user_id)))
    shared = t.vfolder_permissions.c.permission.is_not(None) & t.vfolders.c.status.in_(KEPT)
    return own | of_project | shared


def _read_all(conn: Connection, query: sa.Select, viewer: Viewer) -> list[VFolderRecord]:  # type: ignore[type-arg]
    return _read(conn, list(conn.execute(query)), viewer)


_PLAIN = (
    "id",
    "name",
    "user_id",
    "user_name",
    "project_id",
    "project_name",
    "creator",
    "volume",
    "subpath",
    "permission",
    "usage_mode",
    "cloneable",
    "quota_bytes",
    "scope_bytes",
    "used_bytes",
    "num_files",
    "created_at",
    "most_bytes",
)


def _read(conn: Connection, rows: Sequence[sa.Row[Any]], viewer: Viewer) -> list[VFolderRecord]:
    together = folder_rules.together(conn, rows)
    return [_read_one(row, viewer, together) for row in rows]


def _read_one(row: sa.Row[Any], viewer: Viewer, together: Mapping[tuple[str, str], Together]) -> VFolderRecord:
    found = row._mapping
    is_own = row.user_id == viewer.user_id
    by_membership = "wd" if row.project_id is None else row.permission  # a stranger's is seen by who sees all only
    access = "wd" if is_own else row.given or by_membership
    all_of_it = together.get((row.volume, folder_rules.owner_of(row.user_id, row.project_id)), folder_rules.UNCOUNTED)
    return VFolderRecord(
        **{name: found[name] for name in _PLAIN},
        access=access,
        status=FolderStatus(row.status),
        scope_used_bytes=all_of_it.used_bytes,
        has_soft_beside=all_of_it.has_soft,
    )
