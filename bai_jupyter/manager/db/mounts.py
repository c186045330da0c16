"""Units of work on the folders of sessions that live: given, taken away, and who must do without when rights change.

A session has a folder as long as its owner may use it: each change of rights and what follows from it for sessions is
one transaction (``rechecked``). The agents are told afterwards, and again until they have done it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import SessionId, UserId
from bai_jupyter.common.messages import KernelReport, MountWant, from_json, to_json
from bai_jupyter.common.statuses import FINAL, FolderStatus, SessionStatus, Target
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db import vfolders
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.db.vfolders import Viewer

T = TypeVar("T")


@dataclass(frozen=True)
class Affected:
    """A session whose folders were changed because its owner's rights were."""

    session_id: SessionId
    user_id: UserId


def attach(conn: Connection, session_id: SessionId, folder: VFolderRecord, want: MountWant) -> int | None:
    """Give a running session one folder more. The change's number.

    None, and nothing done, if it does not run, its owner may not use the folder so any more, or it has another there.
    """
    row = _running(conn, session_id)
    if row is None:
        return None
    mounts = _mounts(row)
    if not _may_have(conn, UserId(row.user_id), want, folder_id=folder.id) or any(_clash(one, want) for one in mounts):
        return None
    _forget_refusals(conn, row, want.target)
    return _write(conn, row, [*mounts, want])


def detach(conn: Connection, session_id: SessionId, target: str) -> int | None:
    """Take a folder away from a running session. The change's number; None if it does not run."""
    row = _running(conn, session_id)
    if row is None:
        return None
    return _write(conn, row, [one for one in _mounts(row) if one.target != target])


def rechecked(
    conn: Connection, folder: VFolderRecord, change: Callable[..., T], *args: Any
) -> tuple[T, list[Affected]]:
    """Make a change of rights to a folder, and take it from the sessions whose owners may not use it any more."""
    result = change(conn, *args)
    return result, recheck(conn, place=(folder.volume, folder.subpath))


def recheck(
    conn: Connection, user_ids: Collection[UserId] | None = None, place: tuple[str, str] | None = None
) -> list[Affected]:
    """Take from sessions what their owners may not use any more: of all, or of those people, or just that folder."""
    sessions = t.sessions
    query = sa.select(sessions).where(sessions.c.status.not_in(list(FINAL)))
    if user_ids is not None:
        query = query.where(sessions.c.user_id.in_(list(user_ids)))
    affected = []
    for row in conn.execute(query).all():
        mounts = _mounts(row)
        if place is not None and all((one.volume, one.subpath) != place for one in mounts):
            continue
        allowed = [one for want in mounts if (one := _allowed(conn, UserId(row.user_id), want)) is not None]
        if allowed != mounts:
            _write(conn, row, allowed)
            affected.append(Affected(SessionId(row.id), UserId(row.user_id)))
    return affected


def observe(conn: Connection, session: sa.Row, kernel: sa.Row, report: KernelReport) -> bool:  # type: ignore[type-arg]
    """Take off the record what the container cannot have. True if it is news that it has the others.

    What one container of several cannot have is taken from all, which is the next change.
    """
    if report.mount_changes != session.mount_changes or kernel.mount_changes == report.mount_changes:
        return False  # the last change has not come to the agent, or this is known
    has = [one for one in _mounts(session) if one.target not in report.refused_mounts]
    if len(has) != len(session.mounts) and session.cluster_size > 1:
        _write(conn, session, has)
    elif len(has) != len(session.mounts):
        conn.execute(t.sessions.update().where(t.sessions.c.id == session.id).values(mounts=to_json(has)))
    refused = {**kernel.refused_mounts, **to_json(report.refused_mounts)}
    values = {"mount_changes": report.mount_changes, "refused_mounts": refused}
    conn.execute(t.kernels.update().where(t.kernels.c.id == kernel.id).values(**values))
    return True


# Inside


def _running(conn: Connection, session_id: SessionId) -> sa.Row | None:  # type: ignore[type-arg]
    row = conn.execute(sa.select(t.sessions).where(t.sessions.c.id == session_id)).one()
    return row if row.status == SessionStatus.RUNNING and row.target == Target.RUNNING else None


def _mounts(row: sa.Row) -> list[MountWant]:  # type: ignore[type-arg]
    return [from_json(MountWant, raw) for raw in row.mounts]


def _write(conn: Connection, row: sa.Row, mounts: list[MountWant]) -> int:  # type: ignore[type-arg]
    number = int(row.mount_changes) + 1
    values = {"mounts": to_json(mounts), "mount_changes": number}
    conn.execute(t.sessions.update().where(t.sessions.c.id == row.id).values(**values))
    return number


def _forget_refusals(conn: Connection, row: sa.Row, target: str) -> None:  # type: ignore[type-arg]
    """That folder is asked for anew."""
    kernels = t.kernels.c
    found = conn.execute(sa.select(kernels.id, kernels.refused_mounts).where(kernels.main_id == row.kernel_id))
    for kernel in found.all():
        kept = {path: why for path, why in kernel.refused_mounts.items() if path != target}
        conn.execute(t.kernels.update().where(kernels.id == kernel.id).values(refused_mounts=kept))


def _allowed(conn: Connection, user_id: UserId, want: MountWant) -> MountWant | None:
    """The mount as its user may have it now, if at all."""
    for one in (want, replace(want, read_only=True)):
        if _may_have(conn, user_id, one):
            return one
    return None


def _may_have(conn: Connection, user_id: UserId, want: MountWant, folder_id: str | None = None) -> bool:
    """Whether somebody may use that folder so. What its owner has put into the trash stays where it is mounted."""
    folder = vfolders.at(conn, want.volume, want.subpath, Viewer(user_id))
    if folder is None or folder_id not in (None, folder.id):
        return False
    is_there = folder.status is FolderStatus.READY or (folder_id is None and folder.status is FolderStatus.TRASHED)
    return is_there and (want.read_only or folder.access != "ro")


def _clash(one: MountWant, other: MountWant) -> bool:
    return f"{one.target}/".startswith(f"{other.target}/") or f"{other.target}/".startswith(f"{one.target}/")
