"""Units of work on sessions: create, find, list, change status. Every change of a status goes through ``apply``."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AccessKey, AgentId, KernelId, SessionId, UserId, new_session_id
from bai_jupyter.common.messages import MountWant, from_json, to_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL, JupyterKernelStatus, SessionStatus, Target
from bai_jupyter.manager.db import admission
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.jupyter_kernels import read_jupyter_kernel
from bai_jupyter.manager.db.records import (
    JupyterKernelRecord,
    KernelRecord,
    SessionRecord,
    read_reason,
    write_reason,
)
from bai_jupyter.manager.sessions import lifecycle
from bai_jupyter.manager.sessions.lifecycle import Event, SessionState, Transition

_FINAL = [status.value for status in FINAL]


@dataclass(frozen=True)
class NewSession:
    """A session that passed all checks."""

    name: str
    type: str
    user_id: UserId
    access_key: AccessKey
    domain: str
    project_id: str
    resource_group: str
    image: str
    image_digest: str
    architecture: str
    slots: ResourceSlots
    shm_bytes: int
    mounts: tuple[MountWant, ...]
    environ_encrypted: str = field(repr=False)


def create(conn: Connection, new: NewSession, now: datetime) -> tuple[SessionRecord, bool]:
    """Queue a session, or return the one of that name that its owner has and that is not final. True if it is new."""
    present = conn.execute(
        sa.select(t.sessions.c.id).where(
            t.sessions.c.user_id == new.user_id,
            t.sessions.c.name == new.name,
            t.sessions.c.status.not_in(_FINAL),
        )
    ).first()
    if present is not None:
        return load_many(conn, [present.id])[0], False
    values = {**vars(new), "slots": new.slots.to_json(), "mounts": to_json(new.mounts)}
    session_id = new_session_id()
    conn.execute(
        t.sessions.insert().values(
            id=session_id,
            status=SessionStatus.PENDING,
            target=Target.RUNNING,
            priority=0,
            attempts=0,
            passed_by=0,
            excluded_agents=[],
            created_at=now,
            status_changed_at=now,
            **values,
        )
    )
    _write_history(conn, session_id, SessionStatus.PENDING, "created", None, now)
    return load_many(conn, [session_id])[0], True


def find(conn: Connection, ref: str, user_id: UserId, *, any_owner: bool) -> SessionRecord | None:
    """The session of that id, or the user's own of that name: the live one, else the newest.

    ``any_owner`` lets an id, never a name, find other people's too.
    """
    sessions = t.sessions
    by_id = sessions.c.id == ref
    own = sessions.c.user_id == user_id
    rows = conn.execute(
        sa.select(sessions.c.id)
        .where((by_id if any_owner else by_id & own) | ((sessions.c.name == ref) & own))
        .order_by(by_id.desc(), sessions.c.status.in_(_FINAL), sessions.c.created_at.desc())
        .limit(1)
    ).scalars()
    found = load_many(conn, list(rows))
    return found[0] if found else None


def list_sessions(
    conn: Connection, user_id: UserId | None, statuses: Collection[SessionStatus], limit: int
) -> list[SessionRecord]:
    """Newest first; of everybody if ``user_id`` is None; all that are not final if no status is named."""
    query = sa.select(t.sessions.c.id).order_by(t.sessions.c.created_at.desc(), t.sessions.c.id).limit(limit)
    query = query.where(
        t.sessions.c.status.in_([status.value for status in statuses])
        if statuses
        else t.sessions.c.status.not_in(_FINAL)
    )
    if user_id is not None:
        query = query.where(t.sessions.c.user_id == user_id)
    return load_many(conn, list(conn.execute(query).scalars()))


def load_many(conn: Connection, session_ids: Collection[str]) -> list[SessionRecord]:
    """The sessions in the order asked for; those that do not exist are left out."""
    if not session_ids:
        return []
    rows = {row.id: row for row in conn.execute(_SESSION.where(t.sessions.c.id.in_(list(session_ids))))}
    processes: dict[str, list[JupyterKernelRecord]] = {}
    query = sa.select(t.jupyter_kernels).where(t.jupyter_kernels.c.session_id.in_(list(session_ids)))
    for row in conn.execute(query.order_by(t.jupyter_kernels.c.created_at, t.jupyter_kernels.c.id)):
        processes.setdefault(row.session_id, []).append(read_jupyter_kernel(row))
    return [_session(rows[key], tuple(processes.get(key, ()))) for key in session_ids if key in rows]


def live_keys(conn: Connection) -> list[tuple[SessionId, UserId]]:
    """Id and owner of every session that is not final."""
    query = sa.select(t.sessions.c.id, t.sessions.c.user_id).where(t.sessions.c.status.not_in(_FINAL))
    return [(SessionId(row.id), UserId(row.user_id)) for row in conn.execute(query)]


def on_agents(conn: Connection, agent_ids: Iterable[AgentId]) -> list[tuple[SessionId, UserId]]:
    """Id and owner of every session that is not final and placed on one of these agents."""
    query = (
        sa.select(t.sessions.c.id, t.sessions.c.user_id)
        .select_from(t.sessions.join(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id))
        .where(t.sessions.c.status.not_in(_FINAL), t.kernels.c.agent_id.in_(list(agent_ids)))
    )
    return [(SessionId(row.id), UserId(row.user_id)) for row in conn.execute(query)]


def rename(conn: Connection, session_id: SessionId, name: str) -> bool:
    """False if the owner has a live session of that name."""
    row = _row(conn, session_id)
    taken = conn.execute(
        sa.select(t.sessions.c.id).where(
            t.sessions.c.user_id == row.user_id,
            t.sessions.c.name == name,
            t.sessions.c.id != session_id,
            t.sessions.c.status.not_in(_FINAL),
        )
    ).first()
    if taken is not None:
        return False
    conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(name=name))
    return True


def ask_end(conn: Connection, session_id: SessionId, cancelled: Reason, ended: Reason, now: datetime) -> None:
    """Set the target to terminated; one that still waits is cancelled at once. Repeating it changes nothing."""
    row = _row(conn, session_id)
    reason = cancelled if row.status == SessionStatus.PENDING else ended
    transition = lifecycle.end(state_of(row), reason)
    if transition is not None:
        apply(conn, row, transition, now)
    elif row.status not in _FINAL:
        conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(target=Target.TERMINATED))


def expire(conn: Connection, session_id: SessionId, now: datetime, *, reachable: bool) -> Transition | None:
    """Carry out what a passed deadline demands, if it has passed."""
    row = _row(conn, session_id)
    transition = lifecycle.expire(state_of(row), now, reachable=reachable, group=row.resource_group)
    if transition is not None:
        apply(conn, row, transition, now)
    return transition


def apply(conn: Connection, row: sa.Row, transition: Transition, now: datetime) -> None:  # type: ignore[type-arg]
    """Write a transition of the session in ``row`` with all that belongs to it: slots, Jupyter kernels, history."""
    values = _values(row, transition, now)
    conn.execute(t.sessions.update().where(t.sessions.c.id == row.id).values(**values))
    if (transition.is_final or transition.event is Event.REQUEUED) and row.kernel_id is not None:
        admission.give_back(conn, row, row.kernel_id)
    if transition.is_final:
        reason = values.get("reason", row.reason)
        conn.execute(
            t.jupyter_kernels.update()
            .where(t.jupyter_kernels.c.session_id == row.id, t.jupyter_kernels.c.status != JupyterKernelStatus.DEAD)
            .values(status=JupyterKernelStatus.DEAD, reason=reason)
        )
    if transition.status != row.status:
        _write_history(conn, row.id, transition.status, transition.event, transition.reason, now)


def state_of(row: sa.Row) -> SessionState:  # type: ignore[type-arg]
    return SessionState(
        status=SessionStatus(row.status),
        target=Target(row.target),
        changed_at=row.status_changed_at,
        attempts=row.attempts,
        started=row.started_at is not None,
        reason_code=row.reason["code"] if row.reason else None,
    )


def _values(row: sa.Row, transition: Transition, now: datetime) -> dict[str, Any]:  # type: ignore[type-arg]
    values: dict[str, Any] = {"status": transition.status}
    if transition.status != row.status or transition.event is Event.END_ASKED:
        values["status_changed_at"] = now
    if transition.reason is not None:
        values["reason"] = write_reason(transition.reason)
    if transition.event in (Event.END_ASKED, Event.CANCELLED):
        values["target"] = Target.TERMINATED
    if transition.status is SessionStatus.RUNNING and row.started_at is None:
        values["started_at"] = now
    if transition.is_final:
        values["terminated_at"] = now
    if transition.event is Event.REQUEUED:
        values["kernel_id"] = None
    return values


def _write_history(
    conn: Connection, session_id: str, status: SessionStatus, event: str, reason: Reason | None, now: datetime
) -> None:
    conn.execute(
        t.status_history.insert().values(
            session_id=session_id, at=now, status=status, event=event, reason=write_reason(reason)
        )
    )


def _row(conn: Connection, session_id: str) -> sa.Row:  # type: ignore[type-arg]
    return conn.execute(sa.select(t.sessions).where(t.sessions.c.id == session_id)).one()


_SESSION = sa.select(
    t.sessions,
    t.kernels.c.agent_id.label("kernel_agent_id"),
    t.kernels.c.status.label("kernel_status"),
    t.kernels.c.revision.label("kernel_revision"),
    t.kernels.c.exit_code.label("kernel_exit_code"),
    t.agents.c.name.label("agent_name"),
    t.agents.c.runtime.label("agent_runtime"),
    t.agents.c.isolated.label("agent_isolated"),
).select_from(
    t.sessions.outerjoin(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id).outerjoin(
        t.agents, t.agents.c.id == t.kernels.c.agent_id
    )
)

_PLAIN = (
    "id",
    "name",
    "type",
    "user_id",
    "access_key",
    "domain",
    "project_id",
    "resource_group",
    "image",
    "image_digest",
    "architecture",
    "shm_bytes",
    "environ_encrypted",
    "priority",
    "attempts",
    "passed_by",
    "created_at",
    "status_changed_at",
    "started_at",
    "terminated_at",
)


def _session(row: sa.Row, processes: tuple[JupyterKernelRecord, ...]) -> SessionRecord:  # type: ignore[type-arg]
    found = row._mapping
    return SessionRecord(
        **{name: found[name] for name in _PLAIN},
        status=SessionStatus(row.status),
        target=Target(row.target),
        reason=read_reason(row.reason),
        slots=ResourceSlots.parse(row.slots),
        mounts=tuple(from_json(MountWant, raw) for raw in row.mounts),
        excluded_agents=frozenset(AgentId(agent_id) for agent_id in row.excluded_agents),
        kernel=_kernel(row),
        jupyter_kernels=processes,
    )


def _kernel(row: sa.Row) -> KernelRecord | None:  # type: ignore[type-arg]
    if row.kernel_id is None or row.kernel_agent_id is None:
        return None
    return KernelRecord(
        id=KernelId(row.kernel_id),
        agent_id=AgentId(row.kernel_agent_id),
        agent_name=row.agent_name,
        runtime=row.agent_runtime,
        isolated=row.agent_isolated,
        status=row.kernel_status,
        revision=row.kernel_revision,
        exit_code=row.kernel_exit_code,
    )
