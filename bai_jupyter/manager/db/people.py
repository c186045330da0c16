"""Units of work on domains, projects, users and keypairs, as admins change them.

Every domain has a project ``default``: clients ask for that one unless they are told otherwise. To delete something
makes it inactive; to purge it removes it, which is refused while something belongs to it that must not get lost.
``values`` are columns of the table. All raise ``NotFound`` or ``BadRequest`` in words for people.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.ids import UserId, new_user_id
from bai_jupyter.common.reasons import Reason, plural
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.manager.db import groups, policies
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import UserStatus

DEFAULT = "default"


@dataclass(frozen=True)
class NewUser:
    """A user with one keypair and a ``home`` folder at ``home_subpath`` of ``home_volume``, or at a place of its own.

    ``projects`` are ids; None is the domain's default project. Without an ``email`` it is made of the name.
    """

    name: str
    role: str
    access_key: str
    secret_encrypted: str = field(repr=False)
    home_volume: str
    home_subpath: str | None = None
    email: str = ""
    full_name: str = ""
    description: str = ""
    status: UserStatus = UserStatus.ACTIVE
    domain: str = DEFAULT
    projects: tuple[str, ...] | None = None
    password_hash: str | None = field(default=None, repr=False)
    need_password_change: bool = False
    allowed_client_ip: tuple[str, ...] | None = None
    rate_limit: int | None = None
    keypair_policy: str = DEFAULT


@dataclass(frozen=True)
class NewKeypair:
    access_key: str
    secret_encrypted: str = field(repr=False)
    user_id: UserId
    is_active: bool = True
    is_admin: bool = False
    rate_limit: int | None = None
    concurrency_limit: int | None = None
    resource_policy: str = DEFAULT


# Domains


def add_domain(conn: Connection, name: str, values: Mapping[str, Any], now: datetime) -> None:
    """Make a domain and its default project."""
    if _exists(conn, t.domains.c.name, name):
        raise BadRequest(f"There is a domain {name} already.")
    _check_policy(conn, values)
    conn.execute(t.domains.insert().values(name=name, created_at=now, **{**_NO_RULES, **values}))
    add_project(conn, DEFAULT, name, {}, now)


def change_domain(conn: Connection, name: str, values: Mapping[str, Any]) -> None:
    require_domain(conn, name)
    _change(conn, t.domains.c.name, name, values)


def purge_domain(conn: Connection, name: str) -> None:
    require_domain(conn, name)
    _refuse_if_any(conn, f"Domain {name}", "user", t.users, t.users.c.domain == name)
    others = (t.projects.c.domain == name) & (t.projects.c.name != DEFAULT)
    _refuse_if_any(conn, f"Domain {name}", "project", t.projects, others)
    projects = sa.select(t.projects.c.id).where(t.projects.c.domain == name)
    for project_id in conn.execute(projects).scalars().all():
        _forget_scope(conn, f"project:{project_id}")
    conn.execute(t.projects.delete().where(t.projects.c.domain == name))
    conn.execute(t.domains.delete().where(t.domains.c.name == name))
    _forget_scope(conn, f"domain:{name}")


def require_domain(conn: Connection, name: str) -> None:
    if not _exists(conn, t.domains.c.name, name):
        raise NotFound(Reason.of("not-found", kind="domain", name=name), title="No such domain.")


# Projects


def add_project(conn: Connection, name: str, domain: str, values: Mapping[str, Any], now: datetime) -> str:
    """Make a project without members. Returns its id."""
    require_domain(conn, domain)
    _check_project_name(conn, name, domain)
    _check_policy(conn, values)
    project_id = str(uuid4())
    row = {"id": project_id, "name": name, "domain": domain, "created_at": now, **_NO_RULES, **values}
    conn.execute(t.projects.insert().values(**row))
    return project_id


def change_project(conn: Connection, project_id: str, values: Mapping[str, Any]) -> None:
    project = require_project(conn, project_id)
    if values.get("name", project.name) != project.name:
        if project.name == DEFAULT:
            raise BadRequest(f"The project {DEFAULT} of a domain keeps its name: clients ask for it.")
        _check_project_name(conn, values["name"], project.domain)
    _change(conn, t.projects.c.id, project_id, values)


def set_members(conn: Connection, project_id: str, user_ids: Collection[str], *, are_members: bool) -> None:
    """Add users of the project's domain to it, or remove users from it; repeating it changes nothing."""
    project = require_project(conn, project_id)
    members = t.project_members
    for user_id in user_ids:
        user = require_user(conn, t.users.c.id, user_id)
        if are_members:
            _check_same_domain(user.email, user.domain, project)
        conn.execute(members.delete().where(members.c.project_id == project_id, members.c.user_id == user_id))
        if are_members:
            conn.execute(members.insert().values(project_id=project_id, user_id=user_id))


def purge_project(conn: Connection, project_id: str) -> None:
    project = require_project(conn, project_id)
    if project.name == DEFAULT:
        raise BadRequest(f"The project {DEFAULT} goes with its domain. Make it inactive instead.")
    live = (t.sessions.c.project_id == project_id) & t.sessions.c.status.not_in(_FINAL)
    _refuse_if_any(conn, f"Project {project.name}", "session", t.sessions, live)
    _refuse_if_any(conn, f"Project {project.name}", "folder", t.vfolders, t.vfolders.c.project_id == project_id)
    default_id = sa.select(t.projects.c.id).where(t.projects.c.domain == project.domain, t.projects.c.name == DEFAULT)
    conn.execute(
        t.users.update().where(t.users.c.project_id == project_id).values(project_id=default_id.scalar_subquery())
    )
    conn.execute(t.project_members.delete().where(t.project_members.c.project_id == project_id))
    conn.execute(t.projects.delete().where(t.projects.c.id == project_id))
    _forget_scope(conn, f"project:{project_id}")


def require_project(conn: Connection, project_id: str) -> sa.Row:  # type: ignore[type-arg]
    row = conn.execute(sa.select(t.projects).where(t.projects.c.id == project_id)).first()
    if row is None:
        raise no_project(project_id)
    return row


def no_project(project_id: str) -> NotFound:
    """Also for one that the caller must not know of."""
    found = Reason.of("not-found", kind="project", name=project_id)
    return NotFound(found, title="No such user group (or project).")


def find_project(conn: Connection, name_or_id: str, domain: str) -> sa.Row | None:  # type: ignore[type-arg]
    """By id, or by name in this domain."""
    projects = t.projects.c
    named = (projects.name == name_or_id) & (projects.domain == domain)
    return conn.execute(sa.select(t.projects).where(named | (projects.id == name_or_id))).first()


def usable_projects(conn: Connection, user_id: UserId) -> dict[str, str]:
    """``{name: id}`` of the active projects of which a user is a member; the preferred one first."""
    query = (
        sa.select(t.projects.c.name, t.projects.c.id)
        .select_from(t.project_members.join(t.projects).join(t.users, t.users.c.id == t.project_members.c.user_id))
        .where(t.project_members.c.user_id == user_id, t.projects.c.is_active)
        .order_by((t.projects.c.id == t.users.c.project_id).desc(), t.projects.c.name)
    )
    return {row.name: row.id for row in conn.execute(query)}


def scopes_of(conn: Connection, domain: str, user_id: UserId, access_key: str) -> list[str]:
    """All scopes in which a keypair may be granted something, whatever project a session is of."""
    projects = usable_projects(conn, user_id).values()
    return [f"domain:{domain}", *(f"project:{one}" for one in projects), f"keypair:{access_key}"]


# Users


def add_user(conn: Connection, user: NewUser, now: datetime) -> UserId:
    """Make a user without keypair and folders; ``accounts.create_user`` makes those too."""
    user_id, email = new_user_id(), user.email or f"{user.name}@localhost"
    projects = check_new_user(conn, user.name, email, user.domain, user.projects)
    conn.execute(
        t.users.insert().values(
            id=user_id,
            name=user.name,
            email=email,
            full_name=user.full_name,
            description=user.description,
            role=user.role,
            status=user.status,
            domain=user.domain,
            project_id=projects[0] if projects else _projects_of(conn, user.domain, None)[0],
            password_hash=user.password_hash,
            need_password_change=user.need_password_change,
            allowed_client_ip=None if user.allowed_client_ip is None else list(user.allowed_client_ip),
            main_access_key=user.access_key,
            created_at=now,
            modified_at=now,
        )
    )
    for project_id in projects:
        set_members(conn, project_id, [user_id], are_members=True)
    return user_id


def check_new_user(
    conn: Connection, name: str, email: str, domain: str, projects: Collection[str] | None
) -> tuple[str, ...]:
    """The ids of the projects that such a user would be in. Raises why there can be none."""
    require_domain(conn, domain)
    _check_unique(conn, {"name": name, "email": email})
    found = _projects_of(conn, domain, projects)
    for project_id in found:
        _check_same_domain(email, domain, require_project(conn, project_id))
    return found


def change_user(conn: Connection, user_id: UserId, values: Mapping[str, Any], now: datetime) -> None:
    """``values`` may name ``projects`` too: the ids of all of which the user is to be a member."""
    user = require_user(conn, t.users.c.id, user_id)
    columns = {name: value for name, value in values.items() if name != "projects"}
    _check_unique(conn, {name: columns[name] for name in ("name", "email") if name in columns}, besides=user_id)
    domain = columns.get("domain", user.domain)
    if domain != user.domain:
        require_domain(conn, domain)
    if "projects" in values or domain != user.domain:
        projects = _projects_of(conn, domain, values.get("projects"))
        conn.execute(t.project_members.delete().where(t.project_members.c.user_id == user_id))
        preferred = projects[0] if projects else _projects_of(conn, domain, None)[0]
        columns |= {"domain": domain, "project_id": preferred}
    else:
        projects = ()
    if columns.get("main_access_key") is not None:
        _require_own_key(conn, user_id, columns["main_access_key"])
    _change(conn, t.users.c.id, user_id, {**columns, "modified_at": now})
    for project_id in projects:
        set_members(conn, project_id, [user_id], are_members=True)


def purge_user(conn: Connection, user_id: UserId) -> None:
    """Remove a user and all records of what was theirs. The files of their home stay on the volume."""
    user = require_user(conn, t.users.c.id, user_id)
    live = (t.sessions.c.user_id == user_id) & t.sessions.c.status.not_in(_FINAL)
    _refuse_if_any(conn, user.email, "session", t.sessions, live)
    _refuse_if_any(
        conn, user.email, "folder", t.vfolders, (t.vfolders.c.user_id == user_id) & (t.vfolders.c.name != "home")
    )
    keys = list(conn.execute(sa.select(t.keypairs.c.access_key).where(t.keypairs.c.user_id == user_id)).scalars())
    for table in (t.vfolders, t.images):  # which nobody could reach any more
        _purge(conn, table, table.c.user_id == user_id)
    _purge(conn, t.users, t.users.c.id == user_id)
    for scope in (f"user:{user_id}", *(f"keypair:{key}" for key in keys)):
        _forget_scope(conn, scope)


def require_user(conn: Connection, column: sa.Column[str], value: str) -> sa.Row:  # type: ignore[type-arg]
    row = conn.execute(sa.select(t.users).where(column == value)).first()
    if row is None:
        raise no_user(value)
    return row


def no_user(named: str) -> NotFound:
    """Also for one whom the caller must not know of."""
    return NotFound(Reason.of("not-found", kind="user", name=named), title="No such user.")


# Keypairs


def add_keypair(conn: Connection, new: NewKeypair, now: datetime) -> None:
    policies.require(conn, new.resource_policy)
    conn.execute(t.keypairs.insert().values(**vars(new), created_at=now, modified_at=now))


def change_keypair(conn: Connection, access_key: str, values: Mapping[str, Any], now: datetime) -> None:
    require_keypair(conn, access_key)
    _change(conn, t.keypairs.c.access_key, access_key, {**values, "modified_at": now})


def delete_keypair(conn: Connection, access_key: str) -> None:
    require_keypair(conn, access_key)
    if _exists(conn, t.sessions.c.access_key, access_key):
        raise BadRequest(f"Sessions on record name keypair {access_key} as their owner. Make it inactive instead.")
    conn.execute(t.users.update().where(t.users.c.main_access_key == access_key).values(main_access_key=None))
    for table in (t.wards, t.ward_policies):
        conn.execute(table.delete().where(table.c.access_key == access_key))
    conn.execute(t.keypairs.delete().where(t.keypairs.c.access_key == access_key))
    _forget_scope(conn, f"keypair:{access_key}")


def require_keypair(conn: Connection, access_key: str) -> sa.Row:  # type: ignore[type-arg]
    row = conn.execute(sa.select(t.keypairs).where(t.keypairs.c.access_key == access_key)).first()
    if row is None:
        raise NotFound(Reason.of("not-found", kind="keypair", name=access_key), title="No such keypair.")
    return row


def set_used(conn: Connection, access_key: str, now: datetime) -> None:
    conn.execute(t.keypairs.update().where(t.keypairs.c.access_key == access_key).values(used_at=now))


# Inside

_FINAL = [status.value for status in FINAL]
_NO_RULES: Mapping[str, Any] = {"description": "", "is_active": True, "total_slots": {}}


def _exists(conn: Connection, column: sa.Column[str], value: str) -> bool:
    return conn.execute(sa.select(column).where(column == value).limit(1)).first() is not None


def _change(conn: Connection, key: sa.Column[str], value: str, values: Mapping[str, Any]) -> None:
    _check_policy(conn, values)
    if values:
        conn.execute(key.table.update().where(key == value).values(**values))


def _check_policy(conn: Connection, values: Mapping[str, Any]) -> None:
    if values.get("resource_policy") is not None:
        policies.require(conn, values["resource_policy"])


def _check_project_name(conn: Connection, name: str, domain: str) -> None:
    taken = sa.select(t.projects.c.id).where(t.projects.c.name == name, t.projects.c.domain == domain)
    if conn.execute(taken).first() is not None:
        raise BadRequest(f"There is a project {name} in domain {domain} already.")


def _check_unique(conn: Connection, values: Mapping[str, str], besides: str = "") -> None:
    for column, value in values.items():
        taken = sa.select(t.users.c.id).where(t.users.c[column] == value, t.users.c.id != besides)
        if conn.execute(taken).first() is not None:
            raise BadRequest(f"There is a user with the {column} {value} already.")


def _projects_of(conn: Connection, domain: str, wanted: Collection[str] | None) -> tuple[str, ...]:
    """The ids of these projects; of the domain's default one if there is no wish."""
    if wanted is None:
        query = sa.select(t.projects.c.id).where(t.projects.c.domain == domain, t.projects.c.name == DEFAULT)
        return (conn.execute(query).scalar_one(),)
    return tuple(require_project(conn, project_id).id for project_id in wanted)


def _check_same_domain(email: str, domain: str, project: Any) -> None:
    if domain != project.domain:
        raise BadRequest(f"{email} is of domain {domain}, project {project.name} of {project.domain}.")


def _require_own_key(conn: Connection, user_id: UserId, access_key: str) -> None:
    if require_keypair(conn, access_key).user_id != user_id:
        raise BadRequest(f"Keypair {access_key} is another user's.")


def _refuse_if_any(conn: Connection, owner: str, noun: str, table: sa.Table, belongs: sa.ColumnElement[bool]) -> None:
    count = conn.execute(sa.select(sa.func.count()).select_from(table).where(belongs)).scalar_one()
    if count:
        raise BadRequest(f"{owner} still has {plural(count, noun)}. End or move them first.")


def _purge(conn: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> None:
    """Delete rows, and before them all that cannot be without them; what can is kept and names them no more."""
    for other in t.metadata.tables.values():
        for key in other.foreign_keys:
            if key.column.table is table:
                refers = key.parent.in_(sa.select(key.column).where(where))
                if key.parent.nullable:
                    conn.execute(other.update().where(refers).values({key.parent.name: None}))
                else:
                    _purge(conn, other, refers)
    conn.execute(table.delete().where(where))


def _forget_scope(conn: Connection, scope: str) -> None:
    groups.revoke(conn, None, scope)
    for table in (t.counters, t.dotfiles):
        conn.execute(table.delete().where(table.c.scope == scope))
