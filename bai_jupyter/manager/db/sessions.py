"""Units of work on sessions: create, find, list, change status. Every change of a status goes through ``apply``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AccessKey, AgentId, KernelId, SessionId, UserId, new_session_id
from bai_jupyter.common.messages import MountWant, from_json, to_json
from bai_jupyter.common.reasons import Reason, ReasonView
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import (
    FINAL,
    JupyterKernelStatus,
    SessionResult,
    SessionStatus,
    SessionType,
    Target,
)
from bai_jupyter.manager.db import admission
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.history import WARNING
from bai_jupyter.manager.db.jupyter_kernels import read_jupyter_kernel, restart_all
from bai_jupyter.manager.db.records import (
    JupyterKernelRecord,
    KernelRecord,
    SessionRecord,
    read_reason,
    write_reason,
)
from bai_jupyter.manager.sessions import lifecycle
from bai_jupyter.manager.sessions.lifecycle import Dependency, Event, SessionState, Transition

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
    cluster_size: int = 1
    manager_access: str | None = None
    tag: str | None = None
    starts_at: datetime | None = None
    command: str | None = None
    bootstrap_encrypted: str | None = field(default=None, repr=False)
    callback_encrypted: str | None = field(default=None, repr=False)
    preopen_ports: tuple[int, ...] = ()
    resource_opts: Mapping[str, str] = field(default_factory=dict)
    route_path: str | None = None
    route_port: int | None = None
    doors: tuple[str, ...] = ()
    depends_on: tuple[SessionId, ...] = ()


def create(
    conn: Connection, new: NewSession, now: datetime, own_routes: Sequence[str] = ()
) -> tuple[SessionRecord, bool] | None:
    """Queue a session, or return the one of that name that its owner has and that is not final. True if it is new.

    Where ``own_routes`` are given, its route is the first of them that no live session has. None if another one has
    its route, or those.
    """
    present = conn.execute(
        sa.select(t.sessions.c.id).where(
            t.sessions.c.user_id == new.user_id,
            t.sessions.c.name == new.name,
            t.sessions.c.status.not_in(_FINAL),
        )
    ).first()
    if present is not None:
        return load_many(conn, [present.id])[0], False
    if own_routes:
        free = _free_route(conn, own_routes)
        if free is None:
            return None
        new = replace(new, route_path=free)
    elif new.route_path is not None and at_path(conn, [new.route_path]) is not None:
        return None
    values = {**vars(new), "slots": new.slots.to_json(), "mounts": to_json(new.mounts)}
    depends_on = values.pop("depends_on")
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
    for other in depends_on:
        conn.execute(t.session_dependencies.insert().values(session_id=session_id, depends_on=other))
    _write_history(conn, session_id, SessionStatus.PENDING, "created", None, now)
    return load_many(conn, [session_id])[0], True


def find(conn: Connection, ref: str, user_id: UserId, *, any_owner: bool) -> SessionRecord | None:
    """The session of that id, or the user's own of that name: the live one, else the newest.

    ``any_owner`` lets an id, never a name, find other people's too.
    """
    rows = conn.execute(_FIND_ANY if any_owner else _FIND_OWN, {"ref": ref, "user_id": user_id})
    found = load_many(conn, [row.id for row in rows])
    return found[0] if found else None


def at_path(conn: Connection, paths: Collection[str]) -> SessionRecord | None:
    """The live session whose route is one of these paths; of several the longest."""
    path = t.sessions.c.route_path
    query = (
        sa.select(t.sessions.c.id)
        .where(path.in_(list(paths)), t.sessions.c.status.not_in(_FINAL))
        .order_by(sa.func.length(path).desc())
        .limit(1)
    )
    found = load_many(conn, list(conn.execute(query).scalars()))
    return found[0] if found else None


def _free_route(conn: Connection, routes: Sequence[str]) -> str | None:
    path = t.sessions.c.route_path
    query = sa.select(path).where(path.in_(list(routes)), t.sessions.c.status.not_in(_FINAL))
    taken = set(conn.execute(query).scalars())
    return next((route for route in routes if route not in taken), None)


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
    ids = {"ids": list(session_ids)}
    rows = {row.id: row for row in conn.execute(_SESSIONS_BY_ID, ids)}
    processes: dict[str, list[JupyterKernelRecord]] = {}
    for row in conn.execute(_PROCESSES_OF, ids):
        processes.setdefault(row.session_id, []).append(read_jupyter_kernel(row))
    subs: dict[str, list[KernelRecord]] = {}
    if any(row.cluster_size > 1 for row in rows.values()):
        for row in conn.execute(_SUBS_OF, ids):
            subs.setdefault(row.id, []).append(_kernel(row))
    return [
        _session(rows[key], tuple(subs.get(key, ())), tuple(processes.get(key, ())))
        for key in session_ids
        if key in rows
    ]


def present_kernels(conn: Connection, session: sa.Row) -> list[sa.Row]:  # type: ignore[type-arg]
    """The kernels of a session's last placement, by their place."""
    query = sa.select(t.kernels).where(t.kernels.c.main_id == session.kernel_id).order_by(t.kernels.c.place)
    return list(conn.execute(query)) if session.kernel_id is not None else []


def live_keys(conn: Connection) -> list[tuple[SessionId, UserId]]:
    """Id and owner of every session that is not final."""
    query = sa.select(t.sessions.c.id, t.sessions.c.user_id).where(t.sessions.c.status.not_in(_FINAL))
    return [(SessionId(row.id), UserId(row.user_id)) for row in conn.execute(query)]


def count_placed(conn: Connection) -> int:
    """How many sessions hold slots of an agent."""
    query = sa.select(sa.func.count(sa.distinct(t.kernels.c.session_id))).where(t.kernels.c.holds_agent.is_(True))
    return int(conn.execute(query).scalar_one())


def count_on_agents(conn: Connection) -> dict[AgentId, int]:
    """How many sessions hold slots of each agent that has any."""
    k = t.kernels.c
    query = sa.select(k.agent_id, sa.func.count(sa.distinct(k.session_id))).where(k.holds_agent.is_(True))
    return {AgentId(row[0]): row[1] for row in conn.execute(query.group_by(k.agent_id))}


def count_live(conn: Connection) -> list[tuple[str, str, int]]:
    """Resource group, status and how many, of those that are not final."""
    s = t.sessions.c
    query = sa.select(s.resource_group, s.status, sa.func.count()).where(s.status.not_in(_FINAL))
    return [(row[0], row[1], row[2]) for row in conn.execute(query.group_by(s.resource_group, s.status))]


def on_agents(conn: Connection, agent_ids: Iterable[AgentId]) -> list[tuple[SessionId, UserId]]:
    """Id and owner of every session that is not final and placed on one of these agents."""
    query = (
        sa.select(t.sessions.c.id, t.sessions.c.user_id)
        .select_from(t.sessions.join(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id))
        .where(t.sessions.c.status.not_in(_FINAL), t.kernels.c.agent_id.in_(list(agent_ids)))
    )
    return [(SessionId(row.id), UserId(row.user_id)) for row in conn.execute(query)]


def with_manager_access(conn: Connection) -> dict[AgentId, list[SessionId]]:
    """Sessions that have a container, are to run and were granted access to the manager, by agent."""
    query = (
        sa.select(t.kernels.c.agent_id, t.sessions.c.id)
        .select_from(t.sessions.join(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id))
        .where(
            t.sessions.c.status.not_in(_FINAL),
            t.sessions.c.target == Target.RUNNING,
            t.sessions.c.manager_access.is_not(None),
        )
    )
    found: dict[AgentId, list[SessionId]] = {}
    for row in conn.execute(query):
        found.setdefault(AgentId(row.agent_id), []).append(SessionId(row.id))
    return found


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


def warn(conn: Connection, session_id: SessionId, reason: Reason, now: datetime) -> None:
    """Put on record that its owner is told of what is coming. The session goes on as it was."""
    row = _row(conn, session_id)
    if row.status not in _FINAL:
        _write_history(conn, session_id, SessionStatus(row.status), WARNING, write_reason(reason), now)


def force_end(
    conn: Connection,
    session_id: SessionId,
    cancelled: Reason,
    ended: Reason,
    now: datetime,
    stats: Mapping[str, float] | None,
    *,
    linked: bool,
) -> None:
    """End it now, whatever its agent says.

    What it held of its owner's limits is free at once. What it holds of its agent stays taken until that says that the
    container is gone; only an agent that is not ``linked`` gives it up, and it is taken again should that one come
    back with the container (``placements.observe``).
    """
    row = _row(conn, session_id)
    transition = lifecycle.force(state_of(row), cancelled if row.status == SessionStatus.PENDING else ended)
    if transition is None:
        return
    apply(conn, row, transition, now)
    if not linked:
        for kernel in present_kernels(conn, row):
            admission.give_back_agent(conn, row, kernel.id)
    if row.kernel_id is not None:
        conn.execute(t.kernels.update().where(t.kernels.c.id == row.kernel_id).values(stats=stats))


def set_queries(conn: Connection, totals: Mapping[SessionId, int]) -> None:
    for session_id, total in totals.items():
        conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(queries=total))


def restart(conn: Connection, session_id: SessionId, now: datetime) -> bool:
    """Ask for a restart of the container and of every Jupyter kernel in it. False if it does not run."""
    row = _row(conn, session_id)
    transition = lifecycle.restart(state_of(row))
    if transition is None:
        return False
    apply(conn, row, transition, now)
    conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(restarts=row.restarts + 1))
    restart_all(conn, session_id)
    return True


def settle(conn: Connection, session_id: SessionId, now: datetime, *, reachable: bool) -> Transition | None:
    """Carry out what time alone brings: a deadline that has passed, a dependency that has failed."""
    row = _row(conn, session_id)
    state = state_of(row)
    groups = t.resource_groups.c
    timeout_s = conn.execute(sa.select(groups.pending_timeout_s).where(groups.name == row.resource_group)).scalar()
    transition = lifecycle.expire(
        state,
        now,
        reachable=reachable,
        group=row.resource_group,
        pending_timeout=None if timeout_s is None else timedelta(seconds=timeout_s),
    )
    if transition is None:
        transition = lifecycle.give_up(state, dependencies(conn, [session_id]).get(session_id, ()))
    if transition is not None:
        apply(conn, row, transition, now)
    return transition


# Dependencies


def dependencies(conn: Connection, session_ids: Collection[SessionId]) -> dict[SessionId, list[Dependency]]:
    """What these sessions wait for, or waited for. Those that depend on nothing are left out."""
    sessions, edges = t.sessions, t.session_dependencies
    query = (
        sa.select(edges.c.session_id, sessions.c.name, sessions.c.status, sessions.c.result)
        .select_from(edges.join(sessions, sessions.c.id == edges.c.depends_on))
        .where(edges.c.session_id.in_(list(session_ids)))
        .order_by(sessions.c.created_at, sessions.c.id)
    )
    found: dict[SessionId, list[Dependency]] = {}
    for row in conn.execute(query):
        one = Dependency(row.name, SessionStatus(row.status), SessionResult(row.result))
        found.setdefault(SessionId(row.session_id), []).append(one)
    return found


def dependency_ids(conn: Connection, session_id: SessionId) -> dict[SessionId, list[SessionId]]:
    """``{session: what it depends on}`` for this one and everything below it."""
    edges = t.session_dependencies
    return _closure(conn, session_id, edges.c.session_id, edges.c.depends_on)


def dependents(conn: Connection, session_id: SessionId) -> list[SessionId]:
    """All that depend on a session, directly or through others."""
    edges = t.session_dependencies
    found = _closure(conn, session_id, edges.c.depends_on, edges.c.session_id)
    return [one for one in found if one != session_id]


def groups_of_dependents(conn: Connection, session_id: SessionId) -> set[str]:
    """Resource groups where something waits for this session."""
    edges = t.session_dependencies
    query = (
        sa.select(t.sessions.c.resource_group)
        .distinct()
        .select_from(edges.join(t.sessions, t.sessions.c.id == edges.c.session_id))
        .where(edges.c.depends_on == session_id, t.sessions.c.status == SessionStatus.PENDING)
    )
    return set(conn.execute(query).scalars())


def _closure(
    conn: Connection, start: SessionId, here: sa.Column[Any], there: sa.Column[Any]
) -> dict[SessionId, list[SessionId]]:
    found: dict[SessionId, list[SessionId]] = {}
    frontier = [start]
    while frontier:
        found |= {one: [] for one in frontier}
        for row in conn.execute(sa.select(here, there).where(here.in_(frontier))):
            found[SessionId(row[0])].append(SessionId(row[1]))
        frontier = list({other for one in frontier for other in found[one]} - found.keys())
    return found


# What is left of a session


class StatusChange(NamedTuple):
    status: SessionStatus
    at: datetime
    reason: ReasonView | None


def status_history(conn: Connection, session_id: SessionId) -> list[StatusChange]:
    """Every status that it had, since when and why, oldest first."""
    history = t.status_history
    query = (
        sa.select(history.c.status, history.c.at, history.c.reason)
        .where(history.c.session_id == session_id, history.c.event != WARNING)
        .order_by(history.c.id)
    )
    return [StatusChange(SessionStatus(row.status), row.at, row.reason) for row in conn.execute(query)]


def kept_log(conn: Connection, session_id: SessionId, kernel_id: str | None = None) -> str | None:
    """What its last main container printed last, or that one; None while it is there, or if nothing is kept."""
    kernels = t.kernels.c
    chosen = kernels.place == 0 if kernel_id is None else kernels.id == kernel_id
    query = (
        sa.select(kernels.log)
        .where(kernels.session_id == session_id, chosen)
        .order_by(kernels.created_at.desc())
        .limit(1)
    )
    log: str | None = conn.execute(query).scalar()
    return log


def of_kernel(conn: Connection, kernel_id: str) -> SessionId | None:
    """The session that a container belongs to."""
    found: SessionId | None = conn.execute(
        sa.select(t.kernels.c.session_id).where(t.kernels.c.id == kernel_id)
    ).scalar()
    return found


def drop_logs(conn: Connection, ended_before: datetime) -> None:
    conn.execute(
        t.kernels.update()
        .where(t.kernels.c.log.is_not(None), t.kernels.c.terminated_at < ended_before)
        .values(log=None)
    )


def match(conn: Connection, ref: str, user_id: UserId, limit: int) -> list[SessionRecord]:
    """Live sessions of that owner whose id or name begins so."""
    sessions = t.sessions
    begins = sessions.c.id.startswith(ref, autoescape=True) | sessions.c.name.startswith(ref, autoescape=True)
    query = (
        sa.select(sessions.c.id)
        .where(sessions.c.user_id == user_id, sessions.c.status.not_in(_FINAL), begins)
        .order_by(sessions.c.created_at.desc(), sessions.c.id)
        .limit(limit)
    )
    return load_many(conn, list(conn.execute(query).scalars()))


def apply(conn: Connection, row: sa.Row, transition: Transition, now: datetime) -> None:  # type: ignore[type-arg]
    """Write a transition of the session in ``row`` with all that belongs to it: limits, Jupyter kernels, history.

    The agent's slots come free when the agent says so (``placements.observe``).
    """
    values = _values(row, transition, now)
    conn.execute(t.sessions.update().where(t.sessions.c.id == row.id).values(**values))
    if transition.is_final or transition.event is Event.REQUEUED:
        for kernel in present_kernels(conn, row):
            admission.give_back(conn, row, kernel.id)
    reason = values.get("reason", row.reason)
    if transition.is_final:
        conn.execute(
            t.jupyter_kernels.update()
            .where(t.jupyter_kernels.c.session_id == row.id, t.jupyter_kernels.c.status != JupyterKernelStatus.DEAD)
            .values(status=JupyterKernelStatus.DEAD, reason=reason)
        )
    if transition.status != row.status:
        _write_history(conn, row.id, transition.status, transition.event, reason, now)


def state_of(row: sa.Row) -> SessionState:  # type: ignore[type-arg]
    return SessionState(
        status=SessionStatus(row.status),
        target=Target(row.target),
        changed_at=row.status_changed_at,
        attempts=row.attempts,
        started=row.started_at is not None,
        reason_code=row.reason["code"] if row.reason else None,
        starts_at=row.starts_at,
        restarts=row.restarts,
    )


def _values(row: sa.Row, transition: Transition, now: datetime) -> dict[str, Any]:  # type: ignore[type-arg]
    values: dict[str, Any] = {"status": transition.status}
    if transition.status != row.status or transition.event is Event.END_ASKED:
        values["status_changed_at"] = now
    if transition.reason is not None:
        values["reason"] = write_reason(transition.reason)
    if transition.event in (Event.END_ASKED, Event.CANCELLED, Event.FORCED):
        values["target"] = Target.TERMINATED
    if transition.status is SessionStatus.RUNNING and row.started_at is None:
        values["started_at"] = now
    if transition.is_final:
        values["terminated_at"] = now
        values["result"] = lifecycle.result_of(SessionType(row.type), state_of(row), transition)
    if transition.event is Event.REQUEUED:
        values["kernel_id"] = None
    return values


def _write_history(
    conn: Connection, session_id: str, status: SessionStatus, event: str, reason: ReasonView | None, now: datetime
) -> None:
    conn.execute(
        t.status_history.insert().values(session_id=session_id, at=now, status=status, event=event, reason=reason)
    )


def _row(conn: Connection, session_id: str) -> sa.Row:  # type: ignore[type-arg]
    return conn.execute(sa.select(t.sessions).where(t.sessions.c.id == session_id)).one()


_KERNEL = (
    t.kernels.c.id.label("present_kernel_id"),
    t.kernels.c.agent_id.label("kernel_agent_id"),
    t.kernels.c.place.label("kernel_place"),
    t.kernels.c.terminated_at.label("kernel_terminated_at"),
    t.kernels.c.status.label("kernel_status"),
    t.kernels.c.revision.label("kernel_revision"),
    t.kernels.c.exit_code.label("kernel_exit_code"),
    t.kernels.c.resizes.label("kernel_resizes"),
    t.kernels.c.refused.label("kernel_refused"),
    t.kernels.c.mount_changes.label("kernel_mount_changes"),
    t.kernels.c.refused_mounts.label("kernel_refused_mounts"),
    t.kernels.c.suspended.label("kernel_suspended"),
    t.kernels.c.suspended_for.label("kernel_suspended_for"),
    t.kernels.c.stats.label("kernel_stats"),
    t.agents.c.name.label("agent_name"),
    t.agents.c.runtime.label("agent_runtime"),
    t.agents.c.isolated.label("agent_isolated"),
)
_SESSION = sa.select(t.sessions, *_KERNEL).select_from(
    t.sessions.outerjoin(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id).outerjoin(
        t.agents, t.agents.c.id == t.kernels.c.agent_id
    )
)


# Statements that every request for a session runs: built once, or building them costs more than running them.


def _find_statement(*, any_owner: bool) -> sa.Select[tuple[str]]:
    sessions = t.sessions
    by_id = sessions.c.id == sa.bindparam("ref")
    own = sessions.c.user_id == sa.bindparam("user_id")
    return (
        sa.select(sessions.c.id)
        .where((by_id if any_owner else by_id & own) | ((sessions.c.name == sa.bindparam("ref")) & own))
        .order_by(by_id.desc(), sessions.c.status.in_(_FINAL), sessions.c.created_at.desc())
        .limit(1)
    )


_FIND_ANY, _FIND_OWN = _find_statement(any_owner=True), _find_statement(any_owner=False)
_IDS: sa.BindParameter[list[str]] = sa.bindparam("ids", expanding=True)
_SESSIONS_BY_ID = _SESSION.where(t.sessions.c.id.in_(_IDS))
_SUBS_OF = (
    sa.select(t.sessions.c.id, *_KERNEL)
    .select_from(
        t.sessions.join(t.kernels, t.kernels.c.main_id == t.sessions.c.kernel_id).join(
            t.agents, t.agents.c.id == t.kernels.c.agent_id
        )
    )
    .where(t.sessions.c.id.in_(_IDS), t.kernels.c.place > 0)
    .order_by(t.kernels.c.place)
)
_PROCESSES_OF = (
    sa.select(t.jupyter_kernels)
    .where(t.jupyter_kernels.c.session_id.in_(_IDS))
    .order_by(t.jupyter_kernels.c.created_at, t.jupyter_kernels.c.id)
)

_PLAIN = (
    "id",
    "name",
    "user_id",
    "access_key",
    "domain",
    "project_id",
    "resource_group",
    "image",
    "image_digest",
    "architecture",
    "cluster_size",
    "shm_bytes",
    "environ_encrypted",
    "manager_access",
    "tag",
    "starts_at",
    "command",
    "bootstrap_encrypted",
    "resource_opts",
    "route_path",
    "route_port",
    "restarts",
    "resizes",
    "mount_changes",
    "queries",
    "priority",
    "attempts",
    "passed_by",
    "created_at",
    "status_changed_at",
    "started_at",
    "terminated_at",
)


def _session(
    row: sa.Row,  # type: ignore[type-arg]
    subs: tuple[KernelRecord, ...],
    processes: tuple[JupyterKernelRecord, ...],
) -> SessionRecord:
    found = row._mapping
    return SessionRecord(
        **{name: found[name] for name in _PLAIN},
        type=SessionType(row.type),
        status=SessionStatus(row.status),
        target=Target(row.target),
        result=SessionResult(row.result),
        preopen_ports=tuple(row.preopen_ports),
        doors=tuple(row.doors),
        reason=read_reason(row.reason),
        slots=ResourceSlots.parse(row.slots),
        mounts=tuple(from_json(MountWant, raw) for raw in row.mounts),
        excluded_agents=frozenset(AgentId(agent_id) for agent_id in row.excluded_agents),
        kernel=None if row.present_kernel_id is None else _kernel(row),
        subs=subs,
        jupyter_kernels=processes,
    )


def _kernel(row: sa.Row) -> KernelRecord:  # type: ignore[type-arg]
    return KernelRecord(
        id=KernelId(row.present_kernel_id),
        agent_id=AgentId(row.kernel_agent_id),
        agent_name=row.agent_name,
        runtime=row.agent_runtime,
        isolated=row.agent_isolated,
        status=row.kernel_status,
        revision=row.kernel_revision,
        exit_code=row.kernel_exit_code,
        resizes=row.kernel_resizes,
        refused=read_reason(row.kernel_refused),
        mount_changes=row.kernel_mount_changes,
        refused_mounts={target: Reason.from_json(raw) for target, raw in row.kernel_refused_mounts.items()},
        suspended=row.kernel_suspended,
        suspended_for=read_reason(row.kernel_suspended_for),
        stats=row.kernel_stats,
        place=row.kernel_place,
        is_gone=row.kernel_terminated_at is not None,
    )
