"""Units of work on what people have in each of their new sessions: dotfiles, a bootstrap script, an SSH keypair.

Contents are sealed by whoever calls; sizes are those of what is sealed. A scope is ``domain:``, ``project:`` or
``user:`` and its name or id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.ids import SessionId, UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import SessionRecord

MAX_DOTFILES = 100
MAX_BYTES = 64 * 1024
"""Of all dotfiles of one scope, their paths included; and of a bootstrap script. As in Backend.AI."""

_STARTING = frozenset(
    {
        SessionStatus.SCHEDULED,
        SessionStatus.PREPARING,
        SessionStatus.PULLING,
        SessionStatus.CREATING,
        SessionStatus.RESTARTING,
    }
)


@dataclass(frozen=True)
class Dotfile:
    path: str
    permission: str
    data_encrypted: str = field(repr=False)
    size_bytes: int


@dataclass(frozen=True)
class OwnerConfig:
    """What a session gets of its owner, and of their project and domain; and its image's labels, which say what for."""

    dotfiles: Sequence[Dotfile] = ()
    bootstrap_encrypted: str | None = field(default=None, repr=False)
    ssh_public_key: str | None = None
    ssh_private_encrypted: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)


NO_CONFIG = OwnerConfig()


# Dotfiles


def list_dotfiles(conn: Connection, scope: str) -> list[Dotfile]:
    """By path."""
    files = t.dotfiles.c
    query = sa.select(files.path, files.permission, files.data_encrypted, files.size_bytes)
    return [Dotfile(**row._mapping) for row in conn.execute(query.where(files.scope == scope).order_by(files.path))]


def find_dotfile(conn: Connection, scope: str, path: str) -> Dotfile:
    """Raises ``NotFound``."""
    found = next((one for one in list_dotfiles(conn, scope) if one.path == path), None)
    if found is None:
        raise NotFound(Reason.of("not-found", kind="dotfile", name=path), title="No such dotfile.")
    return found


def add_dotfile(conn: Connection, scope: str, new: Dotfile) -> None:
    """Raises ``BadRequest`` if there is one already, in its way, or if there would be too many or too much."""
    present = list_dotfiles(conn, scope)
    if len(present) >= MAX_DOTFILES:
        raise BadRequest(f"There are {MAX_DOTFILES} dotfiles, and no more may be. Delete one first.")
    for one in present:
        if one.path == new.path:
            raise BadRequest(f"There is a dotfile {new.path} already. Update or delete it.")
        if f"{one.path}/".startswith(f"{new.path}/") or f"{new.path}/".startswith(f"{one.path}/"):
            raise BadRequest(f"{one.path} is in the way of {new.path}: one of them would be a folder.")
    _check_size(present, new)
    conn.execute(t.dotfiles.insert().values(scope=scope, **vars(new)))


def change_dotfile(conn: Connection, scope: str, changed: Dotfile) -> None:
    """Raises ``NotFound``, or ``BadRequest`` if it is too much."""
    find_dotfile(conn, scope, changed.path)
    _check_size([one for one in list_dotfiles(conn, scope) if one.path != changed.path], changed)
    files = t.dotfiles.c
    conn.execute(t.dotfiles.update().where(files.scope == scope, files.path == changed.path).values(**vars(changed)))


def delete_dotfile(conn: Connection, scope: str, path: str) -> None:
    """Raises ``NotFound``."""
    find_dotfile(conn, scope, path)
    conn.execute(t.dotfiles.delete().where(t.dotfiles.c.scope == scope, t.dotfiles.c.path == path))


def _check_size(present: Sequence[Dotfile], new: Dotfile) -> None:
    used = sum(one.size_bytes + len(one.path.encode()) for one in present)
    asked = new.size_bytes + len(new.path.encode())
    if used + asked > MAX_BYTES:
        limit, left = format_size(MAX_BYTES), max(MAX_BYTES - used, 0)
        raise BadRequest(f"Dotfiles may hold {limit} in all; {left} bytes are left, and {new.path} needs {asked}.")


# Bootstrap script and SSH keypair


def load(conn: Connection, user_id: UserId) -> OwnerConfig:
    """Without dotfiles."""
    columns = (t.user_configs.c[name] for name in ("bootstrap_encrypted", "ssh_public_key", "ssh_private_encrypted"))
    row = conn.execute(sa.select(*columns).where(t.user_configs.c.user_id == user_id)).first()
    return NO_CONFIG if row is None else OwnerConfig(**row._mapping)


def change(conn: Connection, user_id: UserId, values: Mapping[str, Any]) -> None:
    """``values`` are columns of ``user_configs``."""
    where = t.user_configs.c.user_id == user_id
    if conn.execute(t.user_configs.update().where(where).values(**values)).rowcount == 0:
        conn.execute(t.user_configs.insert().values(user_id=user_id, **values))


# For sessions


def of_starting(conn: Connection, sessions: Sequence[SessionRecord]) -> dict[SessionId, OwnerConfig]:
    """What those get that have yet to start, or to start again: the others have had it."""
    return {session.id: _of(conn, session) for session in sessions if session.status in _STARTING}


def _of(conn: Connection, session: SessionRecord) -> OwnerConfig:
    """Of files with the same path the project's goes before the domain's, and the owner's before both."""
    scopes = (f"domain:{session.domain}", f"project:{session.project_id}", f"user:{session.user_id}")
    files = {one.path: one for scope in scopes for one in list_dotfiles(conn, scope)}
    labels = conn.execute(sa.select(t.images.c.labels).where(t.images.c.name == session.image)).scalar()
    return replace(load(conn, session.user_id), dotfiles=tuple(files.values()), labels=labels or {})
