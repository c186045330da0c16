"""Units of work on resource groups, and on who may use which: a group is granted to domains, projects or keypairs."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason, plural
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import GroupRecord


def list_groups(conn: Connection) -> list[GroupRecord]:
    return [_group(row) for row in conn.execute(sa.select(t.resource_groups).order_by(t.resource_groups.c.name))]


def usable(conn: Connection, scopes: Collection[str]) -> list[GroupRecord]:
    """Active groups that any of these scopes was granted: a domain, projects, a keypair."""
    granted = set(granted_to(conn, scopes))
    return [group for group in list_groups(conn) if group.is_active and group.name in granted]


def add(conn: Connection, group: GroupRecord) -> None:
    """Raises ``BadRequest`` if the name is taken. Nobody may use it before it is granted."""
    if any(one.name == group.name for one in list_groups(conn)):
        raise BadRequest(f"There is a resource group {group.name} already.")
    values = {**vars(group), "allowed_session_types": list(group.allowed_session_types)}
    conn.execute(t.resource_groups.insert().values(**values))


def change(conn: Connection, name: str, values: Mapping[str, Any]) -> None:
    """``values`` are columns. Raises ``NotFound``."""
    _require(conn, name)
    if values:
        conn.execute(t.resource_groups.update().where(t.resource_groups.c.name == name).values(**values))


def delete(conn: Connection, name: str) -> None:
    """Raises ``NotFound``, or ``BadRequest`` while agents belong to it or sessions wait or run in it."""
    _require(conn, name)
    final = [status.value for status in FINAL]
    live = (t.sessions.c.resource_group == name) & t.sessions.c.status.not_in(final)
    users: list[tuple[str, sa.Table, sa.ColumnElement[bool]]] = [
        ("agent", t.agents, t.agents.c.resource_group == name),
        ("join token", t.join_tokens, t.join_tokens.c.resource_group == name),
        ("session", t.sessions, live),
    ]
    for noun, table, belongs in users:
        count = conn.execute(sa.select(sa.func.count()).select_from(table).where(belongs)).scalar_one()
        if count:
            raise BadRequest(
                f"Resource group {name} has {plural(count, noun)}. Remove them first, or make it inactive."
            )
    conn.execute(t.resource_groups.delete().where(t.resource_groups.c.name == name))


def grant(conn: Connection, name: str, scope: str) -> None:
    """Let a scope use the group; repeating it changes nothing. Raises ``NotFound``."""
    _require(conn, name)
    if name not in granted_to(conn, [scope]):
        conn.execute(t.resource_group_grants.insert().values(resource_group=name, scope=scope))


def revoke(conn: Connection, name: str | None, scope: str) -> None:
    """Take a group, or all of them, from a scope. What runs there goes on."""
    delete = t.resource_group_grants.delete().where(t.resource_group_grants.c.scope == scope)
    conn.execute(delete if name is None else delete.where(t.resource_group_grants.c.resource_group == name))


def granted_to(conn: Connection, scopes: Collection[str]) -> list[str]:
    """Names of the groups that any of these scopes was granted."""
    grants = t.resource_group_grants.c
    query = sa.select(grants.resource_group).where(grants.scope.in_(list(scopes))).distinct()
    return list(conn.execute(query.order_by(grants.resource_group)).scalars())


def _require(conn: Connection, name: str) -> None:
    if all(group.name != name for group in list_groups(conn)):
        raise NotFound(Reason.of("not-found", kind="resource group", name=name), title="No such scaling group.")


def _group(row: sa.Row) -> GroupRecord:  # type: ignore[type-arg]
    return GroupRecord(**{**row._mapping, "allowed_session_types": tuple(row.allowed_session_types)})
