"""What can be listed, page by page, under the names that the API has for its fields: for lists that people filter."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import SESSIONS, load_used
from bai_jupyter.manager.db.filters import Condition, Field, lower, moment, read_filter, read_order, upper

MAX_PAGE = 100


@dataclass(frozen=True)
class Reach:
    """How far a caller sees: everything, one domain, or only what is their own."""

    domain: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Window:
    """Which part of a list, in which order. ``limit`` None: all of it."""

    limit: int | None = None
    offset: int = 0
    filter: str | None = None
    order: str | None = None


@dataclass(frozen=True)
class Listing:
    """A query, what of it can be filtered and ordered by, and who owns a row. ``order`` ends with a unique column."""

    query: sa.Select[Any]
    fields: Mapping[str, Field]
    order: Sequence[sa.ColumnElement[Any]]
    domain: sa.ColumnElement[str]
    user_id: sa.ColumnElement[str]


def check_page(limit: int, offset: int) -> None:
    """Raises ``BadRequest``."""
    if not 1 <= limit <= MAX_PAGE or offset < 0:
        raise BadRequest(f"A page has 1 to {MAX_PAGE} items and an offset of 0 or more.")


def fetch(
    conn: Connection, listing: Listing, reach: Reach, window: Window, *where: Condition
) -> tuple[list[sa.Row[Any]], int]:
    """The rows of the window, and how many there are without it. Raises ``BadRequest`` for a wrong window."""
    query = listing.query.where(*where)
    if reach.domain is not None:
        query = query.where(listing.domain == reach.domain)
    if reach.user_id is not None:
        query = query.where(listing.user_id == reach.user_id)
    if window.filter:
        query = query.where(read_filter(window.filter, listing.fields))
    total = conn.execute(sa.select(sa.func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    order = read_order(window.order, listing.fields) if window.order else []
    query = query.order_by(*order, *listing.order)
    if window.limit is not None:
        check_page(window.limit, window.offset)
        query = query.limit(window.limit).offset(window.offset)
    return list(conn.execute(query)), total


USERS = Listing(
    query=sa.select(t.users),
    fields={
        "uuid": Field(t.users.c.id),
        "username": Field(t.users.c.name),
        "email": Field(t.users.c.email),
        "full_name": Field(t.users.c.full_name),
        "description": Field(t.users.c.description),
        "role": Field(t.users.c.role, lower),
        "status": Field(t.users.c.status, lower),
        "status_info": Field(t.users.c.status_info),
        "need_password_change": Field(t.users.c.need_password_change),
        "domain_name": Field(t.users.c.domain),
        "main_access_key": Field(t.users.c.main_access_key),
        "created_at": Field(t.users.c.created_at, moment),
        "modified_at": Field(t.users.c.modified_at, moment),
    },
    order=[t.users.c.created_at, t.users.c.id],
    domain=t.users.c.domain,
    user_id=t.users.c.id,
)

KEYPAIRS = Listing(
    query=sa.select(t.keypairs, t.users.c.email, t.users.c.full_name).select_from(t.keypairs.join(t.users)),
    fields={
        "user_id": Field(t.users.c.email),
        "email": Field(t.users.c.email),
        "full_name": Field(t.users.c.full_name),
        "access_key": Field(t.keypairs.c.access_key),
        "is_active": Field(t.keypairs.c.is_active),
        "is_admin": Field(t.keypairs.c.is_admin),
        "resource_policy": Field(t.keypairs.c.resource_policy),
        "rate_limit": Field(t.keypairs.c.rate_limit),
        "created_at": Field(t.keypairs.c.created_at, moment),
        "modified_at": Field(t.keypairs.c.modified_at, moment),
        "last_used": Field(t.keypairs.c.used_at, moment),
    },
    order=[t.keypairs.c.created_at, t.keypairs.c.access_key],
    domain=t.users.c.domain,
    user_id=t.keypairs.c.user_id,
)

SESSIONS_OF_ALL = Listing(
    query=sa.select(t.sessions.c.id, t.users.c.email, t.projects.c.name.label("project")).select_from(
        t.sessions.join(t.users, t.users.c.id == t.sessions.c.user_id).outerjoin(
            t.projects, t.projects.c.id == t.sessions.c.project_id
        )
    ),
    fields={
        "id": Field(t.sessions.c.id),
        "session_id": Field(t.sessions.c.id),
        "name": Field(t.sessions.c.name),
        "type": Field(t.sessions.c.type, lower),
        "tag": Field(t.sessions.c.tag),
        "result": Field(t.sessions.c.result, lower),
        "starts_at": Field(t.sessions.c.starts_at, moment),
        "image": Field(t.sessions.c.image),
        "status": Field(t.sessions.c.status, upper),
        "domain_name": Field(t.sessions.c.domain),
        "group_name": Field(t.projects.c.name),
        "group_id": Field(t.sessions.c.project_id),
        "user_email": Field(t.users.c.email),
        "user_id": Field(t.sessions.c.user_id),
        "access_key": Field(t.sessions.c.access_key),
        "scaling_group": Field(t.sessions.c.resource_group),
        "created_at": Field(t.sessions.c.created_at, moment),
        "status_changed": Field(t.sessions.c.status_changed_at, moment),
        "terminated_at": Field(t.sessions.c.terminated_at, moment),
    },
    order=[t.sessions.c.created_at.desc(), t.sessions.c.id],
    domain=t.sessions.c.domain,
    user_id=t.sessions.c.user_id,
)

AUDIT = Listing(
    query=sa.select(t.audit),
    fields={
        "at": Field(t.audit.c.at, moment),
        "user_id": Field(t.audit.c.user_id),
        "access_key": Field(t.audit.c.access_key),
        "action": Field(t.audit.c.action),
        "target": Field(t.audit.c.target),
        "result": Field(t.audit.c.result),
        "request_id": Field(t.audit.c.request_id),
    },
    order=[t.audit.c.id.desc()],
    domain=sa.literal(""),
    user_id=t.audit.c.user_id,
)

# Agents belong to nobody; who may see which is decided by resource group.
AGENTS = Listing(
    query=sa.select(t.agents.c.id),
    fields={
        "id": Field(t.agents.c.name),
        "status": Field(t.agents.c.status, upper),
        "scaling_group": Field(t.agents.c.resource_group),
        "architecture": Field(t.agents.c.architecture),
        "version": Field(t.agents.c.version),
        "schedulable": Field(t.agents.c.is_schedulable),
        "first_contact": Field(t.agents.c.created_at, moment),
    },
    order=[t.agents.c.name],
    domain=sa.literal(""),
    user_id=sa.literal(""),
)


def list_domains(conn: Connection, reach: Reach) -> list[sa.Row[Any]]:
    """A user's own only, unless the reach is everything."""
    query = sa.select(t.domains).order_by(t.domains.c.name)
    if reach.domain is not None:
        query = query.where(t.domains.c.name == reach.domain)
    if reach.user_id is not None:
        own = sa.select(t.users.c.domain).where(t.users.c.id == reach.user_id)
        query = query.where(t.domains.c.name == own.scalar_subquery())
    return list(conn.execute(query))


def list_projects(conn: Connection, reach: Reach, *where: Condition) -> list[sa.Row[Any]]:
    """Those of which a user is a member, unless the reach is larger."""
    query = sa.select(t.projects).where(*where).order_by(t.projects.c.domain, t.projects.c.name)
    if reach.domain is not None:
        query = query.where(t.projects.c.domain == reach.domain)
    if reach.user_id is not None:
        own = sa.select(t.project_members.c.project_id).where(t.project_members.c.user_id == reach.user_id)
        query = query.where(t.projects.c.id.in_(own))
    return list(conn.execute(query))


def projects_of(conn: Connection, user_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """``{user id: [(project id, name)]}`` of these users."""
    query = (
        sa.select(t.project_members.c.user_id, t.projects.c.id, t.projects.c.name)
        .select_from(t.project_members.join(t.projects))
        .where(t.project_members.c.user_id.in_(list(user_ids)))
        .order_by(t.projects.c.name)
    )
    found: dict[str, list[tuple[str, str]]] = {user_id: [] for user_id in user_ids}
    for row in conn.execute(query):
        found[row.user_id].append((row.id, row.name))
    return found


def depended_on(conn: Connection, session_ids: Collection[str]) -> dict[str, list[dict[str, str]]]:
    """``{session id: [{"id", "name"}]}`` of what these sessions wait for, or waited for."""
    edges = t.session_dependencies.c
    query = (
        sa.select(edges.session_id, t.sessions.c.id, t.sessions.c.name)
        .select_from(t.session_dependencies.join(t.sessions, t.sessions.c.id == edges.depends_on))
        .where(edges.session_id.in_(list(session_ids)))
        .order_by(t.sessions.c.created_at, t.sessions.c.id)
    )
    found: dict[str, list[dict[str, str]]] = {session_id: [] for session_id in session_ids}
    for row in conn.execute(query):
        found[row.session_id].append({"id": row.id, "name": row.name})
    return found


def sessions_used(conn: Connection, access_keys: Collection[str]) -> dict[str, int]:
    """How many sessions of each keypair hold slots."""
    used = load_used(conn, [f"keypair:{key}" for key in access_keys])
    return {key: used.get(f"keypair:{key}", {}).get(SESSIONS, 0) for key in access_keys}
