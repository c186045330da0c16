"""Units of work that take and give back slots: the one place where "a limit is a limit" is kept.

Each scope (domain, project, user, keypair, agent) has a counter per slot. A placement adds to all of them in one fixed
order, each by an update that only matches while the sum stays within the limit; if one does not match, the transaction
is undone. So it is exact whoever else writes, and no lock is held across scopes in different orders. What a kernel
holds of its owner's limits and of its agent is given back apart: a session may be ended without waiting for its agent.
While all kernels of a session are frozen, their agent's counter leaves out their CPU (``lend_cpu``). It is counted
again when they go on, whatever was placed there meanwhile: an agent's CPU may so be used more than once, by no more
than what was lent, and then nothing else that needs CPU is placed there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, SlotLimits, format_size
from bai_jupyter.manager.db import budgets
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import UserStatus
from bai_jupyter.manager.sessions.budgets import Spending

SESSIONS = "#sessions"
GPU_HOURS = "#gpu-hours"
CPU = "cpu"
_LEVELS = ("domain", "project", "user", "keypair")  # taken in this order, then the agent
_QUANTA = 1000
_MAX_QUANTA = 2**62


class Full(BaiError):
    """A counter would pass its limit. ``scope`` and ``slot`` name it."""

    def __init__(self, scope: str, slot: str) -> None:
        self.scope, self.slot = scope, slot
        super().__init__(f"{slot} of {scope} is used up")


class Owner(NamedTuple):
    """Whom a session counts against, in the order in which their counters are taken."""

    domain: str
    project_id: str
    user_id: str
    access_key: str

    def scopes(self) -> list[tuple[str, str]]:
        """``(level, scope)`` of each."""
        return [(level, f"{level}:{name}") for level, name in zip(_LEVELS, self, strict=True)]


@dataclass(frozen=True)
class PolicyLimit:
    """What binds at one level: its resource policy, and what a domain or project allows itself.

    ``name`` says whose it is. An absent slot, or ``max_sessions`` None, is unlimited.
    """

    level: str
    scope: str  # of the counter that it limits
    name: str
    slots: SlotLimits
    max_sessions: int | None
    default_slots: ResourceSlots
    max_containers: int | None = None  # of one session
    budget: timedelta | None = None  # of accelerators, in a week


def to_quanta(slots: ResourceSlots) -> dict[str, int]:
    """Whole thousandths, the unit of the counters. Raises ``ValueError`` for finer or absurdly large amounts."""
    quanta = {}
    for name, amount in slots.items():
        scaled = amount * _QUANTA
        if scaled != int(scaled) or scaled > _MAX_QUANTA:
            raise ValueError(f"{name}: {amount} is not a multiple of 0.001 below {_MAX_QUANTA // _QUANTA}")
        quanta[name] = int(scaled)
    return quanta


def from_quanta(quanta: Mapping[str, int]) -> ResourceSlots:
    return ResourceSlots({name: Decimal(amount) / _QUANTA for name, amount in quanta.items() if name != SESSIONS})


def load_limits(conn: Connection, owner: Owner) -> list[PolicyLimit]:
    """What binds this owner's sessions, in the order in which the counters are taken.

    Who is not active may have no sessions, so what they queued before stays in the queue.
    """
    scopes = dict(owner.scopes())
    return [
        _limit(conn, row, scopes[row.level])
        for row in conn.execute(_BOUND, owner._asdict())
        if row.policy is not None or row.own_slots or not row.is_active
    ]


def _limit(conn: Connection, row: sa.Row, scope: str) -> PolicyLimit:  # type: ignore[type-arg]
    return PolicyLimit(
        level=row.level,
        scope=scope,
        name=row.owner if row.is_active else f"{row.owner} (not active)",
        slots=_least(_policy_slots(conn, row), SlotLimits.parse(row.own_slots or {})),
        max_sessions=row.max_sessions if row.is_active else 0,
        default_slots=ResourceSlots.parse(row.default_slots or {}),
        max_containers=row.max_containers_per_session,
        budget=timedelta(hours=row.gpu_hours_per_week) if row.gpu_hours_per_week else None,
    )


def _bound(
    level: str, key: sa.Column[str], name: sa.Column[str], is_active: sa.ColumnElement[bool], owner: str
) -> sa.Select[Any]:
    """The row of one level, with its policy."""
    table, policies = key.table, t.resource_policies.c
    return (
        sa.select(
            sa.literal(_LEVELS.index(level)).label("place"),
            sa.literal(level).label("level"),
            name.label("owner"),
            is_active.label("is_active"),
            table.c.get("total_slots", sa.null()).label("own_slots"),
            policies.name.label("policy"),
            policies.total_slots,
            policies.is_limited,
            policies.default_slots,
            policies.max_sessions,
            policies.max_containers_per_session,
            policies.gpu_hours_per_week,
        )
        .select_from(table.outerjoin(t.resource_policies, policies.name == table.c.resource_policy))
        .where(key == sa.bindparam(owner))
    )


_BOUND = sa.union_all(
    _bound("domain", t.domains.c.name, t.domains.c.name, t.domains.c.is_active, "domain"),
    _bound("project", t.projects.c.id, t.projects.c.name, t.projects.c.is_active, "project_id"),
    _bound("user", t.users.c.id, t.users.c.name, t.users.c.status == UserStatus.ACTIVE, "user_id"),
    _bound("keypair", t.keypairs.c.access_key, t.keypairs.c.access_key, t.keypairs.c.is_active, "access_key"),
).order_by("place")


def _policy_slots(conn: Connection, row: sa.Row) -> SlotLimits:  # type: ignore[type-arg]
    """With a zero for each slot that agents offer and a limited policy does not name."""
    slots = SlotLimits.parse(row.total_slots or {})
    if not row.is_limited:
        return slots
    offered = {slot for total in conn.execute(sa.select(t.agents.c.slots)).scalars() for slot in total}
    return SlotLimits({**dict.fromkeys(offered, Decimal(0)), **slots})


def _least(one: SlotLimits, other: SlotLimits) -> SlotLimits:
    """Both limits at once."""
    return SlotLimits(
        {slot: min(limits[slot] for limits in (one, other) if slot in limits) for slot in dict.fromkeys((*one, *other))}
    )


def over_quota(limit: PolicyLimit, slot: str, used: Decimal, asked: Decimal, excess: Decimal) -> Reason:
    """Why ``asked`` is refused, or more of it than the limit leaves."""
    figures = {"limit": limit.slots[slot], "used": used, "asked": asked, "excess": excess}
    shown = {name: show_amount(slot, amount) for name, amount in figures.items()}
    return Reason.of("over-quota", level=limit.level, name=limit.name, slot=slot, **shown)


def show_amount(slot: str, amount: Decimal) -> str:
    """Without the slot's name."""
    return format_size(amount) if slot == "mem" else format(amount.normalize(), "f")


def load_used(conn: Connection, scopes: Iterable[str]) -> dict[str, dict[str, int]]:
    """``{scope: {slot: thousandths}}``; a scope that never held anything is absent."""
    used: dict[str, dict[str, int]] = {}
    for row in conn.execute(sa.select(t.counters).where(t.counters.c.scope.in_(list(scopes)))):
        used.setdefault(row.scope, {})[row.slot] = row.used
    return used


def scopes_of(session: sa.Row, agent_id: str) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    """``(level, scope)`` of everything a session counts against, in the fixed order."""
    return [*owner_of(session).scopes(), ("agent", f"agent:{agent_id}")]


def owner_of(session: Any) -> Owner:
    """Of a session's row or record, or of a caller whose session it would be."""
    return Owner(session.domain, session.project_id, session.user_id, session.access_key)


def take(conn: Connection, session: sa.Row, agent_id: str, now: datetime) -> None:  # type: ignore[type-arg]
    """Count ``session``, with all its containers, as placed on ``agent_id``.

    Raises ``Full``, to undo everything, if a limit would be passed, or a budget that it would draw on is used up.
    """
    _check_budgets(conn, session, now)
    needs = {**to_quanta(ResourceSlots.parse(session.slots) * session.cluster_size), SESSIONS: 1}
    caps = _caps(conn, session, agent_id)
    for level, scope in scopes_of(session, agent_id):
        for slot in sorted(needs):
            if needs[slot] or level != "agent":  # of an agent whose CPU is used more than once others may be had
                _take_one(conn, scope, slot, needs[slot], caps[level].get(slot))


def load_spending(conn: Connection, limits: Iterable[PolicyLimit], now: datetime) -> dict[str, Spending]:
    """``{scope: what it has used}`` of those whose budget is limited."""
    return budgets.load_spending(conn, {limit.scope for limit in limits if limit.budget is not None}, now)


def _check_budgets(conn: Connection, session: sa.Row, now: datetime) -> None:  # type: ignore[type-arg]
    """A placement adds nothing to what was used until then, so those that come at once need not be told apart."""
    if not ResourceSlots.parse(session.slots).accelerators:
        return
    limits = load_limits(conn, owner_of(session))
    spending = load_spending(conn, limits, now)
    for limit in limits:
        if limit.budget is not None and spending[limit.scope].used >= limit.budget:
            raise Full(limit.scope, GPU_HOURS)


def give_back(conn: Connection, session: sa.Row, kernel_id: str) -> None:  # type: ignore[type-arg]
    """Give back what the kernel holds of its owner's limits; nothing happens the second time."""
    if _set_held(conn, kernel_id, holds_slots=False):
        _add_all(conn, _owner_scopes(session), _held(conn, session, kernel_id), -1)


def give_back_agent(conn: Connection, session: sa.Row, kernel_id: str) -> None:  # type: ignore[type-arg]
    """Give back what the kernel holds of its agent; nothing happens the second time."""
    if _set_held(conn, kernel_id, holds_agent=False):
        _add_all(conn, [_agent_scope(conn, kernel_id)], _held_of_agent(conn, session, kernel_id), -1)


def take_back_agent(conn: Connection, session: sa.Row, kernel_id: str) -> None:  # type: ignore[type-arg]
    """Count a kernel as there again after all: its agent has it. It is no question of limits any more."""
    if _set_held(conn, kernel_id, holds_agent=True):
        _add_all(conn, [_agent_scope(conn, kernel_id)], _held_of_agent(conn, session, kernel_id), 1)


def lend_cpu(conn: Connection, session: sa.Row, main_id: str) -> bool:  # type: ignore[type-arg]
    """Leave the CPU of a session's kernels out of what their agent has given, if all of them are frozen, else count it.
    It is no question of limits. True if it came free.
    """
    kernels = t.kernels.c
    there = sa.select(t.kernels).where(kernels.main_id == main_id, kernels.terminated_at.is_(None))
    members = conn.execute(there).all()
    is_lent = all(one.suspended for one in members)
    changed = [one for one in members if _set_lent(conn, session, one, is_lent=is_lent)]
    return is_lent and bool(changed)


def _set_lent(conn: Connection, session: sa.Row, kernel: sa.Row, *, is_lent: bool) -> bool:  # type: ignore[type-arg]
    """False if it was so already."""
    if not _set_held(conn, kernel.id, lends_cpu=is_lent):
        return False
    if kernel.holds_agent:
        amount = _held(conn, session, kernel.id).get(CPU, 0)
        _add(conn, f"agent:{kernel.agent_id}", CPU, -amount if is_lent else amount)
    return True


def resize(conn: Connection, session: sa.Row, wanted: ResourceSlots) -> None:  # type: ignore[type-arg]
    """Count ``wanted`` for each container of a running session. What that is less than one has stays counted until it
    has given it up.

    Raises ``Full``, to undo everything, if a limit would be passed.
    """
    kernels = conn.execute(sa.select(t.kernels).where(t.kernels.c.main_id == session.kernel_id)).all()
    for one in kernels:
        _set_lent(conn, session, one, is_lent=False)  # it wakes for it
    held, after = {one.id: _held(conn, session, one.id) for one in kernels}, to_quanta(wanted)
    more = {slot: sum(max(after[slot] - one.get(slot, 0), 0) for one in held.values()) for slot in after}
    agent_id = kernels[0].agent_id
    caps = _caps(conn, session, agent_id)
    for level, scope in scopes_of(session, agent_id):
        for slot in sorted(more):
            if more[slot] > 0:
                _take_one(conn, scope, slot, more[slot], caps[level].get(slot))
    for kernel_id, has in held.items():
        counted = {slot: max(after.get(slot, 0), has.get(slot, 0)) for slot in after.keys() | has.keys()}
        _count_as(conn, kernel_id, counted)


def settle(conn: Connection, session: sa.Row, kernel_id: str, has: ResourceSlots) -> None:  # type: ignore[type-arg]
    """Count what a kernel has after a change of its slots. It is no question of limits: it has it."""
    kernel = conn.execute(sa.select(t.kernels).where(t.kernels.c.id == kernel_id)).one()
    held, after = _held(conn, session, kernel_id), _needs(kernel.place, has)
    change = {slot: after.get(slot, 0) - held.get(slot, 0) for slot in after.keys() | held.keys()}
    _add_all(conn, _owner_scopes(session) * kernel.holds_slots, change, 1)
    _add_all(conn, [f"agent:{kernel.agent_id}"] * kernel.holds_agent, _unlent(kernel, change), 1)
    _count_as(conn, kernel_id, after)


def recount(conn: Connection) -> list[str]:
    """Compare every counter with the kernels that hold slots and correct it. Returns what was wrong, in words."""
    expected = _expected(conn)
    found = {(row.scope, row.slot): row.used for row in conn.execute(sa.select(t.counters))}
    wrong = []
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key, 0) != found.get(key, 0):
            wrong.append(f"{key[1]} of {key[0]} was {found.get(key, 0)}, is {expected.get(key, 0)}")
            _ensure(conn, *key)
            conn.execute(_where(t.counters.update(), *key).values(used=expected.get(key, 0)))
    return wrong


def _expected(conn: Connection) -> dict[tuple[str, str], int]:
    expected: dict[tuple[str, str], int] = {}
    kernels = t.kernels.c
    rows = conn.execute(
        sa.select(
            t.sessions,
            kernels.agent_id,
            kernels.place,
            kernels.holds_slots,
            kernels.holds_agent,
            kernels.lends_cpu,
            kernels.slots.label("counted_slots"),
        )
        .select_from(t.kernels.join(t.sessions, t.sessions.c.id == kernels.session_id))
        .where(kernels.holds_slots.is_(True) | kernels.holds_agent.is_(True))
    )
    for row in rows:
        counted = _counted(row, row)
        held = [(scope, counted) for scope in _owner_scopes(row) * row.holds_slots]
        held += [(f"agent:{row.agent_id}", _unlent(row, counted))] * row.holds_agent
        for scope, quanta in held:
            for slot, amount in quanta.items():
                expected[scope, slot] = expected.get((scope, slot), 0) + amount
    return expected


def _needs(place: int, slots: ResourceSlots) -> dict[str, int]:
    """What is counted for a kernel at that place of its session, which the main one counts as well."""
    return {**to_quanta(slots), SESSIONS: 0 if place else 1}


def _counted(session: Any, kernel: Any) -> dict[str, int]:
    """What is counted for a kernel: what its session asks for, unless that has changed since."""
    return _needs(
        kernel.place, ResourceSlots.parse(session.slots if kernel.counted_slots is None else kernel.counted_slots)
    )


def _held(conn: Connection, session: sa.Row, kernel_id: str) -> dict[str, int]:  # type: ignore[type-arg]
    kernels = t.kernels.c
    query = sa.select(kernels.place, kernels.slots.label("counted_slots")).where(kernels.id == kernel_id)
    return _counted(session, conn.execute(query).one())


def _held_of_agent(conn: Connection, session: sa.Row, kernel_id: str) -> dict[str, int]:  # type: ignore[type-arg]
    kernel = conn.execute(sa.select(t.kernels.c.lends_cpu).where(t.kernels.c.id == kernel_id)).one()
    return _unlent(kernel, _held(conn, session, kernel_id))


def _unlent(kernel: Any, quanta: dict[str, int]) -> dict[str, int]:
    """Without what it lends."""
    return {slot: amount for slot, amount in quanta.items() if not (kernel.lends_cpu and slot == CPU)}


def _count_as(conn: Connection, kernel_id: str, quanta: Mapping[str, int]) -> None:
    counted = from_quanta(quanta).to_json()
    conn.execute(t.kernels.update().where(t.kernels.c.id == kernel_id).values(slots=counted))


def _owner_scopes(session: Any) -> list[str]:
    return [scope for _, scope in owner_of(session).scopes()]


def _set_held(conn: Connection, kernel_id: str, **flag: bool) -> bool:
    """False if it was so already: what is given or taken is given or taken once."""
    ((name, value),) = flag.items()
    changed = conn.execute(
        t.kernels.update().where(t.kernels.c.id == kernel_id, t.kernels.c[name].is_(not value)).values(**flag)
    )
    return changed.rowcount > 0


def _agent_scope(conn: Connection, kernel_id: str) -> str:
    agent_id = conn.execute(sa.select(t.kernels.c.agent_id).where(t.kernels.c.id == kernel_id)).scalar_one()
    return f"agent:{agent_id}"


def _add_all(conn: Connection, scopes: Iterable[str], needs: Mapping[str, int], sign: int) -> None:
    for scope in scopes:
        for slot in sorted(needs):
            _add(conn, scope, slot, sign * needs[slot])


def _caps(conn: Connection, session: sa.Row, agent_id: str) -> dict[str, dict[str, int]]:  # type: ignore[type-arg]
    caps: dict[str, dict[str, int]] = {level: {} for level in _LEVELS}
    for limit in load_limits(conn, owner_of(session)):
        caps[limit.level] = to_quanta(limit.slots)
        if limit.max_sessions is not None:
            caps[limit.level][SESSIONS] = limit.max_sessions
    total = conn.execute(sa.select(t.agents.c.slots).where(t.agents.c.id == agent_id)).scalar_one()
    offered = to_quanta(ResourceSlots.parse(total))
    asked = ResourceSlots.parse(session.slots)
    caps["agent"] = {slot: offered.get(slot, 0) for slot in asked}  # what an agent does not offer it has 0 of
    return caps


def _take_one(conn: Connection, scope: str, slot: str, amount: int, cap: int | None) -> None:
    _ensure(conn, scope, slot)
    update = _where(t.counters.update(), scope, slot).values(used=t.counters.c.used + amount)
    if cap is not None:
        update = update.where(t.counters.c.used + amount <= cap)
    if conn.execute(update).rowcount == 0:
        raise Full(scope, slot)


def _add(conn: Connection, scope: str, slot: str, amount: int) -> None:
    conn.execute(_where(t.counters.update(), scope, slot).values(used=t.counters.c.used + amount))


def _ensure(conn: Connection, scope: str, slot: str) -> None:
    # The same words in SQLite and PostgreSQL; Core has no common form.
    conn.execute(
        sa.text(
            "INSERT INTO counters (scope, slot, used) VALUES (:scope, :slot, 0) ON CONFLICT (scope, slot) DO NOTHING"
        ),
        {"scope": scope, "slot": slot},
    )


def _where(update: sa.Update, scope: str, slot: str) -> sa.Update:
    return update.where(t.counters.c.scope == scope, t.counters.c.slot == slot)
