"""The root fields of ``Query``. Lists reach as far as the caller does; what is beyond is not there."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.api.graphql import views
from bai_jupyter.manager.api.graphql.roots import Context, Queries
from bai_jupyter.manager.api.graphql.views import View
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db import agents as agent_units
from bai_jupyter.manager.db import catalog, listings, policies, sessions
from bai_jupyter.manager.db import groups as group_units
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db import vfolders as vfolder_units
from bai_jupyter.manager.db.filters import Condition
from bai_jupyter.manager.db.listings import Reach, Window
from bai_jupyter.manager.db.records import AgentRecord, UserStatus
from bai_jupyter.manager.db.vfolders import Viewer, Which
from bai_jupyter.manager.people.inputs import HOST_PERMISSIONS
from bai_jupyter.manager.people.visibility import visible_groups
from bai_jupyter.manager.vfolders.views import folder_view

query = Queries()

Page = dict[str, Any]
"""``items`` and ``total_count``."""

# Users


@query("people:read")
def user(ctx: Context, email: str | None = None, **_: Any) -> View | None:
    where = t.users.c.id == ctx.caller.user_id if email is None else t.users.c.email == email
    return _first(_users(ctx, Window(), where))


@query("people:read")
def user_from_uuid(ctx: Context, user_id: str | None = None, **_: Any) -> View | None:
    return _first(_users(ctx, Window(), t.users.c.id == (user_id or ctx.caller.user_id)))


@query("people:read")
def users(ctx: Context, **narrow: Any) -> list[View]:
    return _items(_users(ctx, Window(), *_narrow_users(**narrow)))


@query("people:read")
def user_list(
    ctx: Context,
    limit: int,
    offset: int,
    filter: str | None = None,  # noqa: A002 - the schema's word
    order: str | None = None,
    **narrow: Any,
) -> Page:
    return _users(ctx, Window(limit, offset, filter, order), *_narrow_users(**narrow))


def _users(ctx: Context, window: Window, *where: Condition) -> Page:
    rows, total = listings.fetch(ctx.conn, listings.USERS, ctx.reach, window, *where)
    projects = listings.projects_of(ctx.conn, [row.id for row in rows])
    return _page([views.user(row, projects[row.id]) for row in rows], total)


def _narrow_users(
    domain_name: str | None = None,
    group_id: str | None = None,
    is_active: bool | None = None,
    status: str | None = None,
) -> list[Condition]:
    members = sa.select(t.project_members.c.user_id).where(t.project_members.c.project_id == group_id)
    return _given(
        (domain_name, t.users.c.domain == domain_name),
        (group_id, t.users.c.id.in_(members)),
        (is_active, (t.users.c.status == UserStatus.ACTIVE) == sa.literal(is_active)),
        (status, t.users.c.status == (status or "").lower().replace("_", "-")),
    )


@query("people:manage")
def user_refusal(ctx: Context, email: str, props: Mapping[str, Any]) -> str | None:
    return ctx.parts.people.user_refusal(ctx.conn, ctx.caller, email, props)


# Keypairs


@query("people:read")
def keypair(ctx: Context, access_key: str | None = None, **_: Any) -> View | None:
    return _first(_keypairs(ctx, Window(), t.keypairs.c.access_key == (access_key or ctx.caller.access_key)))


@query("people:read")
def keypairs(ctx: Context, **narrow: Any) -> list[View]:
    return _items(_keypairs(ctx, Window(), *_narrow_keypairs(**narrow)))


@query("people:read")
def keypair_list(
    ctx: Context,
    limit: int,
    offset: int,
    filter: str | None = None,  # noqa: A002 - the schema's word
    order: str | None = None,
    **narrow: Any,
) -> Page:
    return _keypairs(ctx, Window(limit, offset, filter, order), *_narrow_keypairs(**narrow))


def _keypairs(ctx: Context, window: Window, *where: Condition) -> Page:
    rows, total = listings.fetch(ctx.conn, listings.KEYPAIRS, ctx.reach, window, *where)
    projects = listings.projects_of(ctx.conn, [row.user_id for row in rows])
    used = listings.sessions_used(ctx.conn, [row.access_key for row in rows])
    shown = [views.keypair(row, projects[row.user_id], used[row.access_key], _secret_key(ctx, row)) for row in rows]
    return _page(shown, total)


def _secret_key(ctx: Context, row: Any) -> str | None:
    """One's own, or any for a superadmin; never for a session's token or a service: it would outlive their grant."""
    caller = ctx.caller
    is_person = policy.may(caller.role, "keypair:secret") and caller.service_key is None
    if is_person and (row.user_id == caller.user_id or policy.may(caller.role, "domain:any")):
        return ctx.parts.vault.open(row.secret_encrypted)
    return None


def _narrow_keypairs(
    domain_name: str | None = None, email: str | None = None, is_active: bool | None = None
) -> list[Condition]:
    return _given(
        (domain_name, t.users.c.domain == domain_name),
        (email, t.users.c.email == email),
        (is_active, t.keypairs.c.is_active == sa.literal(is_active)),
    )


# Domains and projects


@query("people:read")
def domain(ctx: Context, name: str | None = None) -> View | None:
    wanted = name or ctx.caller.domain
    return next((one for one in domains(ctx) if one["name"] == wanted), None)


@query("people:read")
def domains(ctx: Context, is_active: bool | None = None) -> list[View]:
    rows = listings.list_domains(ctx.conn, ctx.reach)
    return [
        views.domain(row, group_units.granted_to(ctx.conn, [f"domain:{row.name}"]))
        for row in rows
        if is_active in (None, row.is_active)
    ]


@query("people:read")
def group(ctx: Context, id: str, **_: Any) -> View | None:  # noqa: A002 - the schema's word
    return next(iter(_projects(ctx, t.projects.c.id == id)), None)


@query("people:read")
def groups(ctx: Context, domain_name: str | None = None, is_active: bool | None = None) -> list[View]:
    return _projects(
        ctx,
        *_given(
            (domain_name, t.projects.c.domain == domain_name),
            (is_active, t.projects.c.is_active == sa.literal(is_active)),
        ),
    )


@query("people:read")
def groups_by_name(ctx: Context, name: str, domain_name: str | None = None) -> list[View]:
    return _projects(ctx, t.projects.c.name == name, *_given((domain_name, t.projects.c.domain == domain_name)))


def _projects(ctx: Context, *where: Condition) -> list[View]:
    rows = listings.list_projects(ctx.conn, ctx.reach, *where)
    return [views.project(row, group_units.granted_to(ctx.conn, [f"project:{row.id}"])) for row in rows]


# Policies, presets, resource groups


@query("resource:read")
def keypair_resource_policy(ctx: Context, name: str | None = None) -> View | None:
    """The named one, or the one that binds the caller's keypair."""
    row = listings.fetch(
        ctx.conn, listings.KEYPAIRS, Reach(), Window(), t.keypairs.c.access_key == ctx.caller.access_key
    )[0][0]
    wanted = name or row.resource_policy
    return next((one for one in keypair_resource_policies(ctx) if one["name"] == wanted), None)


@query("resource:read")
def keypair_resource_policies(ctx: Context) -> list[View]:
    return [views.resource_policy(one) for one in policies.list_policies(ctx.conn)]


@query("policy:manage")
def policy_effect(ctx: Context, name: str, props: Mapping[str, Any]) -> View:
    return asdict(ctx.parts.people.policy_effect(ctx.conn, name, props))


@query("resource:read")
def user_resource_policy(ctx: Context, name: str | None = None) -> View | None:
    row = listings.fetch(ctx.conn, listings.USERS, Reach(), Window(), t.users.c.id == ctx.caller.user_id)[0][0]
    wanted = name or row.resource_policy
    return next((one for one in keypair_resource_policies(ctx) if one["name"] == wanted), None)


@query("resource:read")
def user_resource_policies(ctx: Context) -> list[View]:
    return keypair_resource_policies(ctx)


@query("resource:read")
def project_resource_policy(ctx: Context, name: str) -> View | None:
    return next((one for one in keypair_resource_policies(ctx) if one["name"] == name), None)


@query("resource:read")
def project_resource_policies(ctx: Context) -> list[View]:
    return keypair_resource_policies(ctx)


@query("resource:read")
def resource_preset(ctx: Context, name: str) -> View | None:
    return next((one for one in resource_presets(ctx) if one["name"] == name), None)


@query("resource:read")
def resource_presets(ctx: Context) -> list[View]:
    return [views.preset(one) for one in catalog.list_presets(ctx.conn)]


@query("resource:read")
def scaling_group(ctx: Context, name: str | None = None) -> View | None:
    return next((one for one in scaling_groups(ctx) if one["name"] == name), None)


@query("resource:read")
def scaling_groups(ctx: Context, name: str | None = None, is_active: bool | None = None) -> list[View]:
    found = visible_groups(ctx.conn, ctx.caller)
    return [
        views.resource_group(one) for one in found if name in (None, one.name) and is_active in (None, one.is_active)
    ]


@query("resource:read")
def scaling_groups_for_domain(ctx: Context, domain: str, is_active: bool | None = None) -> list[View]:
    return _groups_of(ctx, f"domain:{domain}", is_active)


@query("resource:read")
def scaling_groups_for_user_group(ctx: Context, user_group: str, is_active: bool | None = None) -> list[View]:
    return _groups_of(ctx, f"project:{user_group}", is_active)


@query("resource:read")
def scaling_groups_for_keypair(ctx: Context, access_key: str, is_active: bool | None = None) -> list[View]:
    return _groups_of(ctx, f"keypair:{access_key}", is_active)


def _groups_of(ctx: Context, scope: str, is_active: bool | None) -> list[View]:
    granted = group_units.granted_to(ctx.conn, [scope])
    return [one for one in scaling_groups(ctx, is_active=is_active) if one["name"] in granted]


# Images and agents


@query("image:read")
def image(ctx: Context, reference: str, **_: Any) -> View | None:
    wanted = catalog.real_name(ctx.conn, reference)
    found = catalog.list_images(ctx.conn, ctx.caller.image_viewer)
    return next((views.image(one) for one in found if one.name == wanted), None)


@query("image:read")
def images(ctx: Context, is_installed: bool | None = None, **_: Any) -> list[View]:
    found = catalog.list_images(ctx.conn, ctx.caller.image_viewer)
    return [views.image(one) for one in found if is_installed in (None, bool(one.agents))]


@query("agent:read")
def agent(ctx: Context, agent_id: str) -> View | None:
    """By name, which is what lists show as its id, or by our id."""
    found = [one for one in _visible_agents(ctx) if agent_id in (one.name, one.id)]
    return _agent(ctx, found[0]) if found else None


@query("agent:read")
def agents(ctx: Context, scaling_group: str | None = None, status: str | None = None) -> list[View]:
    return _items(_agents(ctx, Window(), scaling_group, status))


@query("agent:read")
def agent_list(
    ctx: Context,
    limit: int,
    offset: int,
    filter: str | None = None,  # noqa: A002 - the schema's word
    order: str | None = None,
    scaling_group: str | None = None,
    status: str | None = None,
) -> Page:
    return _agents(ctx, Window(limit, offset, filter, order), scaling_group, status)


def _agents(ctx: Context, window: Window, scaling_group: str | None, status: str | None) -> Page:
    visible = {one.id: one for one in _visible_agents(ctx)}
    where = [
        t.agents.c.id.in_(list(visible)),
        *_given(
            (scaling_group, t.agents.c.resource_group == scaling_group),
            (status, t.agents.c.status == (status or "").upper()),
        ),
    ]
    rows, total = listings.fetch(ctx.conn, listings.AGENTS, Reach(), window, *where)
    return _page([_agent(ctx, visible[row.id]) for row in rows], total)


def _visible_agents(ctx: Context) -> list[AgentRecord]:
    groups = {one.name for one in visible_groups(ctx.conn, ctx.caller)}
    return [one for one in agent_units.list_agents(ctx.conn) if one.resource_group in groups]


def _agent(ctx: Context, record: AgentRecord) -> View:
    return views.agent(record, ctx.parts.registry.mem_used_bytes(record.id))


# Sessions


@query("session:read")
def compute_session(ctx: Context, id: str) -> View:  # noqa: A002 - the schema's word
    found = _first(_sessions(ctx, Window(), t.sessions.c.id == id))
    if found is None:
        raise NotFound(Reason.of("not-found", kind="session", name=id), title="No such session.")
    return found


@query("session:read")
def compute_session_list(
    ctx: Context,
    limit: int,
    offset: int,
    filter: str | None = None,  # noqa: A002 - the schema's word
    order: str | None = None,
    status: str | None = None,
    domain_name: str | None = None,
    group_id: str | None = None,
    access_key: str | None = None,
) -> Page:
    sessions_ = t.sessions.c
    where = _given(
        (status, sessions_.status.in_(_statuses(status))),
        (domain_name, sessions_.domain == domain_name),
        (group_id, sessions_.project_id == group_id),
        (access_key, sessions_.access_key == access_key),
    )
    return _sessions(ctx, Window(limit, offset, filter, order), *where)


def _sessions(ctx: Context, window: Window, *where: Condition) -> Page:
    rows, total = listings.fetch(ctx.conn, listings.SESSIONS_OF_ALL, ctx.reach, window, *where)
    records = sessions.load_many(ctx.conn, [row.id for row in rows])
    waited_for = listings.depended_on(ctx.conn, [row.id for row in rows])
    shown = [
        views.session(record, ctx.parts.views.session(record), row.email, row.project, waited_for[record.id])
        for row, record in zip(rows, records, strict=True)
    ]
    return _page(shown, total)


def _statuses(text: str | None) -> list[str]:
    """Clients ask for a list of statuses, some of which we do not have, and do not know that of creating."""
    if text is None:
        return list(SessionStatus)
    wanted = {name.strip().upper() for name in text.split(",")}
    if "PREPARING" in wanted:
        wanted.add(SessionStatus.CREATING)
    known = [status.value for status in SessionStatus if status in wanted]
    if not known:
        raise BadRequest(f"status: {text!r} names none of {', '.join(SessionStatus)}.")
    return known


# Folders


@query("folder:read")
def vfolder_list(ctx: Context, limit: int, offset: int, group_id: str | None = None, **window: Any) -> Page:
    return _folders(ctx, Which.ALL, Window(limit, offset, **window), group_id)


@query("folder:read")
def vfolder_own_list(ctx: Context, limit: int, offset: int, **window: Any) -> Page:
    return _folders(ctx, Which.OWN, Window(limit, offset, **window))


@query("folder:read")
def vfolder_invited_list(ctx: Context, limit: int, offset: int, **window: Any) -> Page:
    return _folders(ctx, Which.INVITED, Window(limit, offset, **window))


@query("folder:read")
def vfolder_project_list(ctx: Context, limit: int, offset: int, **window: Any) -> Page:
    return _folders(ctx, Which.PROJECT, Window(limit, offset, **window))


def _folders(ctx: Context, which: Which, window: Window, group_id: str | None = None) -> Page:
    viewer = Viewer(ctx.caller.user_id, sees_all=policy.may(ctx.caller.role, "folder:any-owner"))
    records, total = vfolder_units.page(ctx.conn, viewer, which, window, group_id)
    return _page([{**folder_view(one, ctx.caller), "num_files": one.num_files} for one in records], total)


@query("resource:read")
def vfolder_host_permissions(ctx: Context) -> View:  # noqa: ARG001 - all may know them
    return {"vfolder_host_permission_list": list(HOST_PERMISSIONS)}


# Volumes


@query("folder:any-owner")
def storage_volume(ctx: Context, id: str) -> Awaitable[View] | None:  # noqa: A002 - the schema's word
    holders = _holders(ctx)
    return _volume(ctx, id, holders[id]) if id in holders else None


@query("folder:any-owner")
def storage_volume_list(
    ctx: Context,
    limit: int,
    offset: int,
    filter: str | None = None,  # noqa: A002 - the schema's word
    order: str | None = None,
) -> Awaitable[Page]:
    if filter or order:
        raise BadRequest("Volumes are listed by their names; they are neither filtered nor ordered otherwise.")
    listings.check_page(limit, offset)
    holders = _holders(ctx)
    return _volumes(ctx, dict(sorted(holders.items())[offset : offset + limit]), len(holders))


def _holders(ctx: Context) -> dict[str, list[str]]:
    """Names of the agents that hold each volume, also of those that are away."""
    holders: dict[str, list[str]] = {}
    for record in agent_units.list_agents(ctx.conn):
        for volume in record.volumes:
            holders.setdefault(volume, []).append(record.name)
    return holders


async def _volumes(ctx: Context, shown: Mapping[str, Collection[str]], total: int) -> Page:
    return _page(list(await asyncio.gather(*(_volume(ctx, *one) for one in shown.items()))), total)


async def _volume(ctx: Context, name: str, holders: Collection[str]) -> View:
    return views.storage_volume(name, holders, await ctx.parts.volumes.describe(name))


# Shapes


def _page(items: list[View], total: int) -> Page:
    return {"items": items, "total_count": total}


def _items(page: Page) -> list[View]:
    items: list[View] = page["items"]
    return items


def _first(page: Page) -> View | None:
    return next(iter(_items(page)), None)


def _given(*conditions: tuple[object, Condition]) -> list[Condition]:
    """The conditions whose argument was given."""
    return [condition for argument, condition in conditions if argument is not None]
