"""Units of work of the idle checks: what runs and under which limits, and what is remembered of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AgentId, KernelId, SessionId, UserId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL, SessionStatus, Target
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import owner_of
from bai_jupyter.manager.db.budgets import load_spending
from bai_jupyter.manager.sessions.budgets import Spending
from bai_jupyter.manager.sessions.idle import Bound, Budget, Drain, History, Limits, Utilization, Warned


@dataclass(frozen=True)
class Watched:
    """A running session with its limits. ``history`` None: nothing of it was ever written down.

    What is done in it is done in its main kernel, ``kernel_id``; ``kernel_ids`` are all that use its slots.
    """

    id: SessionId
    user_id: UserId
    kernel_id: KernelId
    kernel_ids: tuple[KernelId, ...]
    agent_id: AgentId
    slots: ResourceSlots  # of each
    started_at: datetime
    limits: Limits
    history: History | None
    is_suspended: bool = False


def list_watched(conn: Connection, now: datetime, session_id: SessionId | None = None) -> list[Watched]:
    """Sessions that run and that something limits, or did when their owners were warned; of all, or that one."""
    query = _WATCHED if session_id is None else _WATCHED.where(t.sessions.c.id == session_id)
    rows = list(conn.execute(query))
    subs = _subs(conn, [row.kernel_id for row in rows if row.cluster_size > 1])
    bounds = {row.id: _budget_bounds(row) for row in rows}
    spending = load_spending(conn, {scope for found in bounds.values() for scope in found}, now)
    found = [_watched(row, subs.get(row.kernel_id, ()), _budgets(bounds[row.id], spending)) for row in rows]
    return [one for one in found if one.limits or (one.history is not None and one.history.warned)]


def _subs(conn: Connection, main_ids: Collection[str]) -> dict[str, list[KernelId]]:
    """The other kernels of clusters, by the main one's id."""
    kernels, found = t.kernels.c, dict[str, list[KernelId]]()
    query = sa.select(kernels.main_id, kernels.id).where(kernels.main_id.in_(list(main_ids)), kernels.place > 0)
    for row in conn.execute(query) if main_ids else ():
        found.setdefault(row.main_id, []).append(KernelId(row.id))
    return found


def write(conn: Connection, histories: Mapping[SessionId, History]) -> None:
    """Remember these, and forget sessions that are over."""
    rows = [{"key": key, **_values(history)} for key, history in histories.items()]
    known = set(conn.execute(sa.select(t.session_idle.c.session_id)).scalars()) if rows else set()
    updates = [row for row in rows if row["key"] in known]
    if updates:
        names = [name for name in updates[0] if name != "key"]
        update = t.session_idle.update().where(t.session_idle.c.session_id == sa.bindparam("key"))
        conn.execute(update.values({name: sa.bindparam(name) for name in names}), updates)
    for row in rows:
        if row["key"] not in known:
            conn.execute(t.session_idle.insert().values(session_id=row.pop("key"), **row))
    over = sa.select(t.sessions.c.id).where(t.sessions.c.status.in_(_FINAL))
    conn.execute(t.session_idle.delete().where(t.session_idle.c.session_id.in_(over)))


def set_quiet(conn: Connection, session_id: SessionId, since: datetime | None) -> None:
    """Remember that alone: others may have changed the rest meanwhile."""
    idle = t.session_idle
    conn.execute(idle.update().where(idle.c.session_id == session_id).values(quiet_since=since))


_FINAL = [status.value for status in FINAL]
_LEVELS = {
    "domain": (t.domains, t.domains.c.name == t.sessions.c.domain, t.domains.c.name),
    "project": (t.projects, t.projects.c.id == t.sessions.c.project_id, t.projects.c.name),
    "user": (t.users, t.users.c.id == t.sessions.c.user_id, t.users.c.name),
    "keypair": (t.keypairs, t.keypairs.c.access_key == t.sessions.c.access_key, t.keypairs.c.access_key),
}
_POLICIES = {level: t.resource_policies.alias(f"policy_of_{level}") for level in _LEVELS}
_LIMITS = ("idle_timeout_s", "max_session_lifetime_s", "suspend_after_s", "utilization", "gpu_hours_per_week")


def _watched_statement() -> sa.Select[Any]:
    source: Any = (
        t.sessions.join(t.kernels, t.kernels.c.id == t.sessions.c.kernel_id)
        .join(t.agents, t.agents.c.id == t.kernels.c.agent_id)
        .outerjoin(t.session_idle, t.session_idle.c.session_id == t.sessions.c.id)
    )
    columns: list[Any] = []
    for level, (table, is_its, name) in _LEVELS.items():
        policy = _POLICIES[level]
        source = source.outerjoin(table, is_its).outerjoin(policy, policy.c.name == table.c.resource_policy)
        columns += [name.label(f"{level}_name"), *(policy.c[one].label(f"{level}_{one}") for one in _LIMITS)]
    return (
        sa.select(
            t.sessions.c.id,
            t.sessions.c.user_id,
            t.sessions.c.domain,
            t.sessions.c.project_id,
            t.sessions.c.access_key,
            t.sessions.c.slots,
            t.sessions.c.cluster_size,
            t.sessions.c.started_at,
            t.kernels.c.id.label("kernel_id"),
            t.kernels.c.agent_id,
            t.kernels.c.suspended,
            t.agents.c.isolated,
            t.agents.c.name.label("agent_name"),
            t.agents.c.drain_by,
            *(column for column in t.session_idle.c if column.name != "session_id"),
            *columns,
        )
        .select_from(source)
        .where(t.sessions.c.status == SessionStatus.RUNNING, t.sessions.c.target == Target.RUNNING)
        .where(t.sessions.c.started_at.is_not(None))
    )


_WATCHED = _watched_statement()


def _watched(row: sa.Row, subs: Sequence[KernelId], budgets: tuple[Budget, ...]) -> Watched:  # type: ignore[type-arg]
    return Watched(
        id=SessionId(row.id),
        user_id=UserId(row.user_id),
        kernel_id=KernelId(row.kernel_id),
        kernel_ids=(KernelId(row.kernel_id), *subs),
        agent_id=AgentId(row.agent_id),
        slots=ResourceSlots.parse(row.slots),
        started_at=row.started_at,
        limits=replace(_limits(row), budgets=budgets),
        history=_history(row),
        is_suspended=row.suspended,
    )


def _limits(row: sa.Row) -> Limits:  # type: ignore[type-arg]
    """The shortest of each kind counts; of low use, what each level says of it counts beside the others. A session
    without a container cannot be suspended."""
    found = row._mapping

    def shortest(column: str) -> Bound | None:
        bounds = [
            Bound(timedelta(seconds=found[f"{level}_{column}"]), level, found[f"{level}_name"])
            for level in _LEVELS
            if found[f"{level}_{column}"]
        ]
        return min(bounds, key=lambda bound: bound.limit, default=None)

    low_use = [
        _utilization(found[f"{level}_utilization"], level, found[f"{level}_name"])
        for level in _LEVELS
        if found[f"{level}_utilization"]
    ]
    suspension = shortest("suspend_after_s") if row.isolated else None
    drain = Drain(row.agent_name, row.drain_by) if row.drain_by else None
    return Limits(
        shortest("idle_timeout_s"), shortest("max_session_lifetime_s"), tuple(low_use), suspension, drain=drain
    )


def _budget_bounds(row: sa.Row) -> dict[str, Bound]:  # type: ignore[type-arg]
    """What a session with accelerators draws on, by the scope in which that is counted."""
    if not ResourceSlots.parse(row.slots).accelerators:
        return {}
    found = row._mapping
    return {
        scope: Bound(timedelta(hours=hours), level, found[f"{level}_name"])
        for level, scope in owner_of(row).scopes()
        if (hours := found[f"{level}_gpu_hours_per_week"])
    }


def _budgets(bounds: Mapping[str, Bound], spending: Mapping[str, Spending]) -> tuple[Budget, ...]:
    return tuple(
        Budget(bound, spending[scope].runs_out_at(bound.limit), spending[scope].resets_at)
        for scope, bound in bounds.items()
    )


def _utilization(raw: Mapping[str, Any], level: str, name: str) -> Utilization:
    return Utilization(
        bound=Bound(timedelta(seconds=raw["time-window"]), level, name),
        thresholds=raw["resource-thresholds"],
        grace=timedelta(seconds=raw["initial-grace-period"]),
        needs_all=raw["thresholds-check-operator"] == "and",
        spares_running=raw["spare-running"],
    )


def _history(row: sa.Row) -> History | None:  # type: ignore[type-arg]
    if row.active_at is None:
        return None
    warned = row.warned_of and Warned(row.warned_of, timedelta(seconds=row.warned_lead_s), row.warned_since)
    return History(
        started_at=row.started_at,
        active_at=row.active_at,
        what=row.what,
        used_at={key: datetime.fromisoformat(text) for key, text in row.used_at.items()},
        extensions=row.extensions,
        extended_until=row.extended_until,
        warned=warned or None,
        quiet_since=row.quiet_since,
    )


def _values(history: History) -> dict[str, Any]:
    warned = history.warned
    return {
        "active_at": history.active_at,
        "what": history.what,
        "used_at": {key: moment.isoformat() for key, moment in history.used_at.items()},
        "extensions": history.extensions,
        "extended_until": history.extended_until,
        "warned_of": warned.check if warned else None,
        "warned_lead_s": int(warned.lead.total_seconds()) if warned else None,
        "warned_since": warned.since if warned else None,
        "quiet_since": history.quiet_since,
    }
