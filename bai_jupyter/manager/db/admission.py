"""Units of work that take and give back slots: the one place where "a limit is a limit" is kept.

Each scope (domain, project, user, keypair, agent) has a counter per slot. A placement adds to all of them in one fixed
order, each by an update that only matches while the sum stays within the limit; if one does not match, the transaction
is undone. So it is exact whoever else writes, and no lock is held across scopes in different orders.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import tables as t

SESSIONS = "#sessions"
_LEVELS = ("domain", "project", "user", "keypair")  # taken in this order, then the agent
_QUANTA = 1000
_MAX_QUANTA = 2**62


class Full(BaiError):
    """A counter would pass its limit. ``scope`` and ``slot`` name it."""

    def __init__(self, scope: str, slot: str) -> None:
        self.scope, self.slot = scope, slot
        super().__init__(f"{slot} of {scope} is used up")


@dataclass(frozen=True)
class PolicyLimit:
    """A resource policy as it binds at one level. An absent slot, or ``max_sessions`` None, is unlimited."""

    level: str
    scope: str  # of the counter that it limits
    policy: str
    slots: ResourceSlots
    max_sessions: int | None
    default_slots: ResourceSlots


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


def load_limits(conn: Connection, access_key: str) -> list[PolicyLimit]:
    """The policies that bind this keypair, in the order in which their counters are taken."""
    row = conn.execute(
        sa.select(
            t.domains.c.resource_policy.label("domain"),
            t.projects.c.resource_policy.label("project"),
            t.users.c.resource_policy.label("user"),
            t.keypairs.c.resource_policy.label("keypair"),
            t.users.c.domain.label("domain_name"),
            t.users.c.project_id,
            t.users.c.id,
            t.keypairs.c.access_key,
        )
        .select_from(
            t.keypairs.join(t.users)
            .join(t.domains, t.domains.c.name == t.users.c.domain)
            .join(t.projects, t.projects.c.id == t.users.c.project_id)
        )
        .where(t.keypairs.c.access_key == access_key)
    ).one()
    query = sa.select(t.resource_policies).where(t.resource_policies.c.name.in_([name for name in row[:4] if name]))
    policies = {policy.name: policy for policy in conn.execute(query)}
    return [
        PolicyLimit(
            level=level,
            scope=f"{level}:{owner}",
            policy=name,
            slots=ResourceSlots.parse(policies[name].total_slots),
            max_sessions=policies[name].max_sessions,
            default_slots=ResourceSlots.parse(policies[name].default_slots),
        )
        for level, name, owner in zip(_LEVELS, row[:4], row[4:], strict=True)
        if name is not None
    ]


def load_used(conn: Connection, scopes: Iterable[str]) -> dict[str, dict[str, int]]:
    """``{scope: {slot: thousandths}}``; a scope that never held anything is absent."""
    used: dict[str, dict[str, int]] = {}
    for row in conn.execute(sa.select(t.counters).where(t.counters.c.scope.in_(list(scopes)))):
        used.setdefault(row.scope, {})[row.slot] = row.used
    return used


def scopes_of(session: sa.Row, agent_id: str) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    """``(level, scope)`` of everything a session counts against, in the fixed order."""
    names = (session.domain, session.project_id, session.user_id, session.access_key)
    return [
        *((level, f"{level}:{name}") for level, name in zip(_LEVELS, names, strict=True)),
        ("agent", f"agent:{agent_id}"),
    ]


def take(conn: Connection, session: sa.Row, agent_id: str) -> None:  # type: ignore[type-arg]
    """Count ``session`` as placed on ``agent_id``. Raises ``Full``, to undo everything, if a limit would be passed."""
    needs = {**to_quanta(ResourceSlots.parse(session.slots)), SESSIONS: 1}
    caps = _caps(conn, session, agent_id)
    for level, scope in scopes_of(session, agent_id):
        for slot in sorted(needs):
            _take_one(conn, scope, slot, needs[slot], caps[level].get(slot))


def give_back(conn: Connection, session: sa.Row, kernel_id: str) -> bool:  # type: ignore[type-arg]
    """Give back what the kernel holds. False if it holds nothing any more: so it is never done twice."""
    released = conn.execute(
        t.kernels.update()
        .where(t.kernels.c.id == kernel_id, t.kernels.c.holds_slots.is_(True))
        .values(holds_slots=False)
    )
    if released.rowcount == 0:
        return False
    agent_id = conn.execute(sa.select(t.kernels.c.agent_id).where(t.kernels.c.id == kernel_id)).scalar_one()
    needs = {**to_quanta(ResourceSlots.parse(session.slots)), SESSIONS: 1}
    for _, scope in scopes_of(session, agent_id):
        for slot in sorted(needs):
            _add(conn, scope, slot, -needs[slot])
    return True


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
    rows = conn.execute(
        sa.select(t.sessions, t.kernels.c.agent_id)
        .select_from(t.kernels.join(t.sessions, t.sessions.c.id == t.kernels.c.session_id))
        .where(t.kernels.c.holds_slots.is_(True))
    )
    for row in rows:
        needs = {**to_quanta(ResourceSlots.parse(row.slots)), SESSIONS: 1}
        for _, scope in scopes_of(row, row.agent_id):
            for slot, amount in needs.items():
                expected[scope, slot] = expected.get((scope, slot), 0) + amount
    return expected


def _caps(conn: Connection, session: sa.Row, agent_id: str) -> dict[str, dict[str, int]]:  # type: ignore[type-arg]
    caps: dict[str, dict[str, int]] = {level: {} for level in _LEVELS}
    for limit in load_limits(conn, session.access_key):
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
