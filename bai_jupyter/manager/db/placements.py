"""Units of work between scheduler and agents: what waits, placing it, what agents should run, what they say of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import QuotaExceeded
from bai_jupyter.common.ids import AgentId, KernelId, SessionId, UserId, new_kernel_id
from bai_jupyter.common.messages import KernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL, KernelStatus, SessionStatus, Target
from bai_jupyter.manager.db import admission, agents, groups, jupyter_kernels, mounts, sessions, settings
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import Full, Owner, PolicyLimit
from bai_jupyter.manager.db.records import AgentRecord, GroupRecord, SessionRecord, read_reason, write_reason
from bai_jupyter.manager.sessions import clusters, lifecycle
from bai_jupyter.manager.sessions.budgets import Spending
from bai_jupyter.manager.sessions.clusters import GONE, Member
from bai_jupyter.manager.sessions.lifecycle import Dependency, Event
from bai_jupyter.manager.sessions.matching import could_run

_FINAL = [status.value for status in FINAL]


@dataclass(frozen=True)
class Holding:
    """What a kernel holds of its agent: ``devices`` as in ``KernelReport``, empty until the agent has told."""

    slots: ResourceSlots
    devices: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class GroupState:
    """All that decides about one resource group, at one moment.

    ``dependencies``: of those that wait; ``limits``: what binds each owner; ``used``: ``{scope: {slot: thousandths}}``
    of the scopes of those owners; ``spending``: of those that have a budget;
    ``occupants``: ``{agent that does not isolate: owners of what is on it}``;
    ``holdings``: what is placed on each agent, oldest first; ``labels``: of the images of those that wait;
    ``frozen``: why nothing may be placed.
    """

    group: GroupRecord
    agents: Sequence[AgentRecord]
    pending: Sequence[SessionRecord]
    dependencies: Mapping[SessionId, Sequence[Dependency]]
    limits: Mapping[Owner, Sequence[PolicyLimit]]
    used: Mapping[str, Mapping[str, int]]
    spending: Mapping[str, Spending]
    occupants: dict[AgentId, set[UserId]]
    holdings: Mapping[AgentId, Sequence[Holding]]
    labels: Mapping[str, Mapping[str, str]]
    frozen: Reason | None


@dataclass(frozen=True)
class Observed:
    """What a report changed. ``session_id`` None: nothing that is shown. ``forget``: its end is on record.
    ``others_differ``: it was one of several, and by what it says other things are wanted of its session's others."""

    session_id: SessionId | None = None
    user_id: UserId | None = None
    groups: frozenset[str] = frozenset()  # where slots came free, or a session may go on waiting or not any more
    forget: bool = False
    others_differ: SessionId | None = None
    summary: str = ""


def load_group(
    conn: Connection,
    name: str,
    extra_owners: Collection[Owner] = (),
    extra_images: Collection[str] = (),
    *,
    now: datetime,
    with_pending: bool = True,
) -> GroupState | None:
    """The state of one group; None if there is no such group.

    ``extra_owners`` and ``extra_images`` are those to look up even if nothing of theirs waits.
    """
    group = next((group for group in groups.list_groups(conn) if group.name == name), None)
    if group is None:
        return None
    ids = conn.execute(
        sa.select(t.sessions.c.id)
        .where(t.sessions.c.status == SessionStatus.PENDING, t.sessions.c.resource_group == name)
        .order_by(t.sessions.c.created_at, t.sessions.c.id)
    ).scalars()
    pending = sessions.load_many(conn, list(ids)) if with_pending else []
    owners = {admission.owner_of(one) for one in pending} | set(extra_owners)
    scopes = [scope for owner in owners for _, scope in owner.scopes()]
    limits = {owner: admission.load_limits(conn, owner) for owner in owners}
    members = agents.list_agents(conn, name)
    return GroupState(
        group=group,
        agents=members,
        pending=pending,
        dependencies=sessions.dependencies(conn, [one.id for one in pending]),
        limits=limits,
        used=admission.load_used(conn, scopes),
        spending=admission.load_spending(conn, chain.from_iterable(limits.values()), now),
        occupants=_occupants(conn, [agent.id for agent in members if not agent.isolated]),
        holdings=_holdings(conn, [agent.id for agent in members]),
        labels=agents.image_labels(conn, {one.image for one in pending} | set(extra_images)),
        frozen=settings.frozen(conn),
    )


def place(
    conn: Connection, session_id: SessionId, agent_id: AgentId, now: datetime, *, allow_shared: bool
) -> UserId | None:
    """Put a waiting session on an agent: slots, quota, all its kernels and status in one go. Returns its owner.

    None, and nothing done, if it does not wait any more, the agent serves another person (unless ``allow_shared``),
    a limit would be passed, or a budget is used up: then it stays in the queue.
    """
    row = conn.execute(sa.select(t.sessions).where(t.sessions.c.id == session_id)).one()
    if row.status != SessionStatus.PENDING or row.target != Target.RUNNING:
        return None
    agent = conn.execute(sa.select(t.agents.c.name, t.agents.c.isolated).where(t.agents.c.id == agent_id)).one()
    is_private = not agent.isolated and not allow_shared
    if is_private and _occupants(conn, [agent_id]).get(agent_id, set()) - {row.user_id}:
        return None
    savepoint = conn.begin_nested()
    try:
        admission.take(conn, row, agent_id, now)
    except Full:
        savepoint.rollback()
        return None
    savepoint.commit()
    main_id = new_kernel_id()
    for place in range(row.cluster_size):
        conn.execute(
            t.kernels.insert().values(
                id=new_kernel_id() if place else main_id,
                session_id=session_id,
                agent_id=agent_id,
                main_id=main_id,
                place=place,
                status=SessionStatus.SCHEDULED,
                revision=-1,
                devices={},
                holds_slots=True,
                holds_agent=True,
                created_at=now,
            )
        )
    placed = lifecycle.advance(sessions.state_of(row), Event.PLACED, Reason.of("assigned", agent=agent.name))
    sessions.apply(conn, row, placed, now)
    conn.execute(
        t.sessions.update().where(t.sessions.c.id == session_id).values(kernel_id=main_id, attempts=row.attempts + 1)
    )
    return UserId(row.user_id)


def add_passes(conn: Connection, session_id: SessionId, passes: int) -> None:
    """Remember how many later sessions were placed while this one was first in line."""
    conn.execute(
        t.sessions.update().where(t.sessions.c.id == session_id).values(passed_by=t.sessions.c.passed_by + passes)
    )


def wanted(conn: Connection, agent_id: AgentId, session_ids: Collection[SessionId] | None) -> list[SessionRecord]:
    """Sessions with containers that this agent should have or end: all, or those named.

    Also those that were ended without waiting for it, until it says that they are gone.
    """
    there = t.sessions.c.status.not_in(_FINAL) | t.kernels.c.terminated_at.is_(None)
    query = (
        sa.select(t.sessions.c.id)
        .distinct()
        .select_from(t.sessions.join(t.kernels, t.kernels.c.main_id == t.sessions.c.kernel_id))
        .where(t.kernels.c.agent_id == agent_id, there)
    )
    if session_ids is not None:
        query = query.where(t.sessions.c.id.in_(list(session_ids)))
    return sessions.load_many(conn, list(conn.execute(query).scalars()))


def observe(
    conn: Connection,
    agent_id: AgentId,
    report: KernelReport,
    now: datetime,
    stats: Mapping[str, float] | None = None,
    *,
    newest: bool = False,
) -> Observed:
    """Write what an agent says of a container, and what follows for the session.

    A report whose revision is not larger than the last is ignored, unless it is known to be the ``newest`` because it
    came with the agent's Hello. ``stats`` are the container's last figures, kept if it is gone.
    """
    gone = report.status in GONE
    kernel = conn.execute(
        sa.select(t.kernels).where(t.kernels.c.id == report.kernel_id, t.kernels.c.agent_id == agent_id)
    ).first()
    if kernel is None or kernel.terminated_at is not None:
        return Observed(forget=gone)
    if report.revision <= kernel.revision and not newest:
        return Observed()
    _write_kernel(conn, report)
    session = conn.execute(sa.select(t.sessions).where(t.sessions.c.id == kernel.session_id)).one()
    if gone:
        _write_end(conn, report, now, kernel.stats or stats)
        admission.give_back_agent(conn, session, kernel.id)
    else:
        admission.take_back_agent(conn, session, kernel.id)
    has_lent = admission.lend_cpu(conn, session, kernel.main_id)
    changed = [jupyter_kernels.observe(conn, session.id, one) for one in report.jupyter_kernels]
    changed.append(report.suspended != kernel.suspended)
    is_present = session.kernel_id == kernel.main_id
    is_unlike = gone
    if is_present:
        changed.append(_observe_size(conn, session, kernel, report))
        changed.append(mounts.observe(conn, session, kernel, report))
        is_unlike |= changed[-1] and bool(report.refused_mounts)
    transition = _decide(conn, session, kernel, report) if is_present else None
    if transition is not None:
        sessions.apply(conn, session, transition, now)
        is_crowded = report.reason is not None and report.reason.code in lifecycle.CROWDED
        if transition.event is Event.REQUEUED and not is_crowded:
            _exclude(conn, session, agent_id)
    groups = {session.resource_group} if gone or has_lent else set()
    others_differ = SessionId(session.id) if is_unlike and is_present and session.cluster_size > 1 else None
    if transition is not None and transition.is_final:
        groups |= sessions.groups_of_dependents(conn, session.id)
    if transition is None and not any(changed):
        return Observed(groups=frozenset(groups), forget=gone, others_differ=others_differ)
    return Observed(
        session_id=SessionId(session.id),
        user_id=UserId(session.user_id),
        groups=frozenset(groups),
        forget=gone,
        others_differ=others_differ,
        summary=f"{session.status} -> {transition.status} ({transition.event})" if transition else "",
    )


def resize(conn: Connection, session_id: SessionId, changes: ResourceSlots) -> int | None:
    """Ask for other amounts of each container of a running session, within all limits. The change's number; None if it
    does not run.

    Raises ``QuotaExceeded`` naming the limit, or that its agent has no room; then all is as it was.
    """
    row = conn.execute(sa.select(t.sessions).where(t.sessions.c.id == session_id)).one()
    if row.status != SessionStatus.RUNNING or row.target != Target.RUNNING:
        return None
    wanted = ResourceSlots({**ResourceSlots.parse(row.slots), **changes})
    try:
        admission.resize(conn, row, wanted)
    except Full as full:
        raise QuotaExceeded(_no_room(conn, row, full, wanted)) from full
    values = {"slots": wanted.to_json(), "resizes": row.resizes + 1}
    conn.execute(t.sessions.update().where(t.sessions.c.id == session_id).values(**values))
    return int(values["resizes"])


def _no_room(conn: Connection, session: sa.Row, full: Full, wanted: ResourceSlots) -> Reason:  # type: ignore[type-arg]
    """Why it cannot grow. ``full`` came before anything of that scope was taken, and what was is undone."""
    slot, used = full.slot, admission.from_quanta(admission.load_used(conn, [full.scope])[full.scope])[full.slot]
    more = (wanted[slot] - ResourceSlots.parse(session.slots)[slot]) * session.cluster_size
    for limit in admission.load_limits(conn, admission.owner_of(session)):
        if limit.scope == full.scope:
            return admission.over_quota(limit, slot, used, more, used + more - limit.slots[slot])
    scope = sa.literal("agent:") + t.agents.c.id
    agent = conn.execute(sa.select(t.agents.c.name, t.agents.c.slots).where(scope == full.scope)).one()
    total = ResourceSlots.parse(agent.slots)[slot]
    asked = wanted[slot] * session.cluster_size
    figures = {"free": max(total - used, Decimal(0)), "total": total, "asked": asked, "more": more}
    shown = {name: admission.show_amount(slot, amount) for name, amount in figures.items()}
    return Reason.of("resize-no-room", agent=agent.name, slot=slot, **shown)


def _observe_size(conn: Connection, session: sa.Row, kernel: sa.Row, report: KernelReport) -> bool:  # type: ignore[type-arg]
    """Count what the container has after a change of its slots; what the agent refused is asked for no longer.

    True if it is news.
    """
    if report.slots is None or report.resizes != session.resizes:
        return False  # nothing was changed, or the last change has not come to the agent
    counted = ResourceSlots.parse(kernel.slots or session.slots)
    wanted = ResourceSlots.parse(session.slots)
    if kernel.resizes == report.resizes and counted == report.slots == wanted:
        return False
    admission.settle(conn, session, kernel.id, report.slots)
    conn.execute(t.sessions.update().where(t.sessions.c.id == session.id).values(slots=report.slots.to_json()))
    values = {"resizes": report.resizes, "refused": write_reason(report.refused)}
    conn.execute(t.kernels.update().where(t.kernels.c.id == kernel.id).values(**values))
    return True


def gone_kernels(conn: Connection, agent_id: AgentId, present: Collection[KernelId]) -> list[KernelReport]:
    """Reports an agent cannot send any more: containers that ran or were ending, and that it no longer has."""
    query = (
        sa.select(t.kernels.c.id, t.kernels.c.session_id, t.kernels.c.revision, t.agents.c.name)
        .select_from(
            t.kernels.join(t.sessions, t.sessions.c.kernel_id == t.kernels.c.main_id).join(
                t.agents, t.agents.c.id == t.kernels.c.agent_id
            )
        )
        .where(
            t.kernels.c.agent_id == agent_id,
            t.kernels.c.id.not_in(list(present)),
            t.kernels.c.terminated_at.is_(None),
            t.sessions.c.status.in_([SessionStatus.RUNNING, SessionStatus.RESTARTING, SessionStatus.TERMINATING]),
        )
        .order_by(t.kernels.c.created_at, t.kernels.c.place)
    )
    return [
        KernelReport(
            kernel_id=KernelId(row.id),
            session_id=SessionId(row.session_id),
            status=KernelStatus.TERMINATED,
            revision=row.revision + 1,
            reason=Reason.of("host-restarted", agent=row.name),
        )
        for row in conn.execute(query)
    ]


def _write_kernel(conn: Connection, report: KernelReport) -> None:
    conn.execute(
        t.kernels.update()
        .where(t.kernels.c.id == report.kernel_id)
        .values(
            status=report.status,
            revision=report.revision,
            runtime_ref=report.runtime_ref,
            devices=report.devices,
            restarts=report.restarts,
            reason=write_reason(report.reason),
            exit_code=report.exit_code,
            suspended=report.suspended,
            suspended_for=write_reason(report.suspended_for),
        )
    )


def _write_end(conn: Connection, report: KernelReport, now: datetime, stats: Mapping[str, float] | None) -> None:
    conn.execute(
        t.kernels.update()
        .where(t.kernels.c.id == report.kernel_id)
        .values(terminated_at=now, stats=dict(stats) if stats else None, log=report.log)
    )


def _decide(
    conn: Connection,
    session: sa.Row,  # type: ignore[type-arg]
    kernel: sa.Row,  # type: ignore[type-arg]
    report: KernelReport,
) -> lifecycle.Transition | None:
    kernels = sessions.present_kernels(conn, session) if session.cluster_size > 1 else []
    others = [_member(one) for one in kernels if one.id != kernel.id]
    told = clusters.of_all(report, kernel.place, others)
    if told is None:
        return None
    members = agents.list_agents(conn, session.resource_group) if told.status in GONE else []
    record = sessions.load_many(conn, [session.id])[0]
    labels = agents.image_labels(conn, [record.image]).get(record.image, {})
    used_up = {*session.excluded_agents, kernel.agent_id}
    elsewhere = any(agent.id not in used_up and could_run(agent, record, labels) for agent in members)
    name = record.kernel.agent_name if record.kernel else kernel.agent_id
    return lifecycle.observe(sessions.state_of(session), told, others=elsewhere, agent=name)


def _member(kernel: sa.Row) -> Member:  # type: ignore[type-arg]
    return Member(
        place=kernel.place,
        status=None if kernel.revision < 0 else KernelStatus(kernel.status),
        restarts=kernel.restarts,
        reason=read_reason(kernel.reason),
        exit_code=kernel.exit_code,
        ended_at=kernel.terminated_at,
    )


def _exclude(conn: Connection, session: sa.Row, agent_id: AgentId) -> None:  # type: ignore[type-arg]
    excluded = [*session.excluded_agents, agent_id]
    conn.execute(t.sessions.update().where(t.sessions.c.id == session.id).values(excluded_agents=excluded))


def _occupants(conn: Connection, agent_ids: Collection[AgentId]) -> dict[AgentId, set[UserId]]:
    query = (
        sa.select(t.kernels.c.agent_id, t.sessions.c.user_id)
        .select_from(t.kernels.join(t.sessions, t.sessions.c.id == t.kernels.c.session_id))
        .where(t.kernels.c.holds_agent.is_(True), t.kernels.c.agent_id.in_(list(agent_ids)))
    )
    found: dict[AgentId, set[UserId]] = {}
    for row in conn.execute(query):
        found.setdefault(AgentId(row.agent_id), set()).add(UserId(row.user_id))
    return found


def _holdings(conn: Connection, agent_ids: Collection[AgentId]) -> dict[AgentId, list[Holding]]:
    query = (
        sa.select(t.kernels.c.agent_id, t.kernels.c.devices, t.sessions.c.slots)
        .select_from(t.kernels.join(t.sessions, t.sessions.c.id == t.kernels.c.session_id))
        .where(t.kernels.c.holds_agent.is_(True), t.kernels.c.agent_id.in_(list(agent_ids)))
        .order_by(t.kernels.c.created_at, t.kernels.c.id)
    )
    found: dict[AgentId, list[Holding]] = {}
    for row in conn.execute(query):
        holding = Holding(ResourceSlots.parse(row.slots), row.devices or {})
        found.setdefault(AgentId(row.agent_id), []).append(holding)
    return found
