"""Units of work on resource policies. Where they bind is in ``admission``.

There is one kind of policy: what the API calls policies of keypairs, of users and of projects are the same rows.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason, plural
from bai_jupyter.common.slots import ResourceSlots, SlotLimits
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
