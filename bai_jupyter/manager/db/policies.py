"""Units of work on resource policies. Where they bind is in ``admission``.

There is one kind of policy: what the API calls policies of keypairs, of users and of projects are the same rows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason, plural
from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.manager.db import admission, budgets
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import PolicyRecord

_BOUND = {"keypair": t.keypairs, "user": t.users, "project": t.projects, "domain": t.domains}


def list_policies(conn: Connection) -> list[PolicyRecord]:
    rows = conn.execute(sa.select(t.resource_policies).order_by(t.resource_policies.c.name))
    return [read_policy(row._mapping) for row in rows]


def add(conn: Connection, policy: PolicyRecord) -> None:
    """Raises ``BadRequest`` if the name is taken, or the policy makes no sense."""
    if any(one.name == policy.name for one in list_policies(conn)):
        raise BadRequest(f"There is a resource policy {policy.name} already.")
    _check(policy)
    conn.execute(t.resource_policies.insert().values(**write_values(vars(policy))))


def change(conn: Connection, name: str, values: Mapping[str, Any]) -> None:
    """``values`` are fields of ``PolicyRecord``. What runs already is not touched. Raises ``NotFound``, or
    ``BadRequest`` if the policy would make no sense."""
    require(conn, name)
    if values:
        _check(replace(next(one for one in list_policies(conn) if one.name == name), **values))
        update = t.resource_policies.update().where(t.resource_policies.c.name == name)
        conn.execute(update.values(**write_values(values)))


@dataclass(frozen=True)
class Effect:
    """Whom a policy binds, by itself or by a keypair, and what is called what holds more than it would allow.
    ``used_up``: who has no GPU-hours of it left this week."""

    people: int
    projects: int
    domains: int
    above: list[str]
    used_up: list[str]


def effect(conn: Connection, name: str, values: Mapping[str, Any], now: datetime) -> Effect:
    """Of a change, which is not made. Raises what ``change`` raises."""
    require(conn, name)
    policy = replace(next(one for one in list_policies(conn) if one.name == name), **values)
    _check(policy)
    bound = {noun: conn.execute(query, {"policy": name}).all() for noun, query in _BOUND_NAMES.items()}
    scopes = {f"{noun}:{row.key}": row.name for noun, rows in bound.items() for row in rows}
    used = admission.load_used(conn, scopes)
    return Effect(
        people=len({row.name for noun in ("keypair", "user") for row in bound[noun]}),
        projects=len(bound["project"]),
        domains=len(bound["domain"]),
        above=sorted({scopes[scope] for scope, amounts in used.items() if _is_above(policy, amounts)}),
        used_up=sorted({scopes[scope] for scope in _used_up(conn, policy, scopes, now)}),
    )


def _used_up(conn: Connection, policy: PolicyRecord, scopes: Collection[str], now: datetime) -> list[str]:
    if policy.gpu_hours_per_week is None:
        return []
    budget = timedelta(hours=policy.gpu_hours_per_week)
    return [scope for scope, one in budgets.load_spending(conn, scopes, now).items() if one.used >= budget]


def _is_above(policy: PolicyRecord, used: Mapping[str, int]) -> bool:
    """``used`` as counters have it."""
    caps = admission.to_quanta(policy.total_slots)
    if policy.is_limited:
        caps = {**dict.fromkeys(used, 0), **caps}
    caps.pop(admission.SESSIONS, None)
    if policy.max_sessions is not None:
        caps[admission.SESSIONS] = policy.max_sessions
    return any(used.get(slot, 0) > cap for slot, cap in caps.items())


def _names(key: sa.Column[Any], name: sa.Column[Any], source: Any = None) -> sa.Select[Any]:
    query = sa.select(key.label("key"), name.label("name")).where(key.table.c.resource_policy == sa.bindparam("policy"))
    return query if source is None else query.select_from(source)


_BOUND_NAMES = {
    "keypair": _names(
        t.keypairs.c.access_key,
        t.users.c.email,
        t.keypairs.join(t.users, t.users.c.id == t.keypairs.c.user_id),
    ),
    "user": _names(t.users.c.id, t.users.c.email),
    "project": _names(t.projects.c.id, t.projects.c.name),
    "domain": _names(t.domains.c.name, t.domains.c.name),
}


def _check(policy: PolicyRecord) -> None:
    suspend_s, idle_s = policy.suspend_after_s, policy.idle_timeout_s
    if suspend_s is not None and idle_s is not None and suspend_s >= idle_s:
        raise BadRequest(
            f"Resource policy {policy.name} would suspend sessions after {suspend_s} s idle, and stop them after "
            f"{idle_s} s. Suspend them sooner, or stop them later."
        )


def delete(conn: Connection, name: str) -> None:
    """Raises ``NotFound``, or ``BadRequest`` while the policy binds anybody."""
    require(conn, name)
    for noun, table in _BOUND.items():
        count = conn.execute(
            sa.select(sa.func.count()).select_from(table).where(table.c.resource_policy == name)
        ).scalar_one()
        if count:
            raise BadRequest(f"Resource policy {name} binds {plural(count, noun)}. Give them another one first.")
    conn.execute(t.ward_policies.delete().where(t.ward_policies.c.resource_policy == name))
    conn.execute(t.resource_policies.delete().where(t.resource_policies.c.name == name))


def require(conn: Connection, name: str) -> None:
    """Raises ``NotFound``."""
    query = sa.select(t.resource_policies.c.name).where(t.resource_policies.c.name == name)
    if conn.execute(query).first() is None:
        raise NotFound(Reason.of("not-found", kind="resource policy", name=name), title="No such resource policy.")


def read_policy(row: Mapping[Any, Any]) -> PolicyRecord:
    total, default = SlotLimits.parse(row["total_slots"]), ResourceSlots.parse(row["default_slots"])
    return PolicyRecord(**{**row, "total_slots": total, "default_slots": default})


def write_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to_json() if isinstance(value, ResourceSlots) else value for name, value in values.items()}
