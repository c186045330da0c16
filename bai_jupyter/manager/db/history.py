"""Units of work on what happened to sessions: the rows of ``status_history``, in the order in which it happened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import SessionId, UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL, SessionResult, SessionStatus, SessionType
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import read_reason

_FINAL = [status.value for status in FINAL]
_PAGE = 500
WARNING = "idle-warning"
"""An event that changes no status: the session is about to be stopped."""


@dataclass(frozen=True)
class Change:
    """A session came to ``status``, or it is in it and its owner was told something (``event`` is ``WARNING``).

    ``id`` grows with every change of any session.
    """

    id: int
    session_id: SessionId
    session_name: str
    kind: SessionType
    access_key: str
    kernel_id: str | None
    at: datetime
    status: SessionStatus
    event: str
    reason: Reason | None
    exit_code: int | None
    result: SessionResult


@dataclass(frozen=True)
class ToCall:
    """What a session's callback was not told yet."""

    url_encrypted: str = field(repr=False)
    changes: Sequence[Change]


def newest(conn: Connection) -> int:
    """The id of the last change so far; 0 if there was none."""
    return conn.execute(sa.select(sa.func.max(t.status_history.c.id))).scalar() or 0


def final_change(conn: Connection, session_id: SessionId) -> int | None:
    """The id of the change that ended a session; None if it has not ended."""
    history = t.status_history
    query = sa.select(sa.func.max(history.c.id)).where(history.c.session_id == session_id, history.c.status.in_(_FINAL))
    found: int | None = conn.execute(query).scalar()
    return found


def changes_after(
    conn: Connection, after: int, user_id: UserId | None = None, session_id: SessionId | None = None
) -> list[Change]:
    """The next changes, oldest first, of one's sessions or of one session. A page: ask again after the last of it."""
    query = _CHANGES.where(t.status_history.c.id > after)
    if user_id is not None:
        query = query.where(t.sessions.c.user_id == user_id)
    if session_id is not None:
        query = query.where(t.sessions.c.id == session_id)
    return [_change(row) for row in conn.execute(query)]


def sessions_to_call(conn: Connection) -> list[SessionId]:
    """Sessions whose callback was not told everything."""
    query = (
        sa.select(t.sessions.c.id)
        .distinct()
        .select_from(t.sessions.join(t.status_history, t.status_history.c.session_id == t.sessions.c.id))
        .where(t.sessions.c.callback_encrypted.is_not(None), t.status_history.c.id > t.sessions.c.callback_after)
    )
    return [SessionId(found) for found in conn.execute(query).scalars()]


def to_call(conn: Connection, session_id: SessionId) -> ToCall | None:
    """What to tell the session's callback now; None if there is none, or nothing new."""
    row = conn.execute(
        sa.select(t.sessions.c.callback_encrypted, t.sessions.c.callback_after).where(t.sessions.c.id == session_id)
    ).first()
    if row is None or row.callback_encrypted is None:
        return None
    changes = changes_after(conn, row.callback_after, session_id=session_id)
    return ToCall(row.callback_encrypted, changes) if changes else None


def called(conn: Connection, session_id: SessionId, change_id: int) -> None:
    conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(callback_after=change_id))


_CHANGES = (
    sa.select(
        t.status_history.c.id,
        t.status_history.c.at,
        t.status_history.c.status,
        t.status_history.c.event,
        t.status_history.c.reason,
        t.sessions.c.id.label("session_id"),
        t.sessions.c.name,
        t.sessions.c.type,
        t.sessions.c.access_key,
        t.sessions.c.kernel_id,
        t.sessions.c.result,
        t.kernels.c.exit_code,
    )
    .select_from(
        t.status_history.join(t.sessions, t.sessions.c.id == t.status_history.c.session_id).outerjoin(
            t.kernels, t.kernels.c.id == t.sessions.c.kernel_id
        )
    )
    .order_by(t.status_history.c.id)
    .limit(_PAGE)
)


def _change(row: sa.Row) -> Change:  # type: ignore[type-arg]
    return Change(
        id=row.id,
        session_id=SessionId(row.session_id),
        session_name=row.name,
        kind=SessionType(row.type),
        access_key=row.access_key,
        kernel_id=row.kernel_id,
        at=row.at,
        status=SessionStatus(row.status),
        event=row.event,
        reason=read_reason(row.reason),
        exit_code=row.exit_code if row.status in _FINAL else None,
        result=SessionResult(row.result),
    )
