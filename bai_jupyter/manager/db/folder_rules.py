"""What resource policies, domains and projects say of folders: on which volumes, how many and how large."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import QuotaExceeded
from bai_jupyter.common.ids import UserId, VFolderId
from bai_jupyter.common.messages import HARD_QUOTA_PLACES
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import Owner

HOME = "home"
"""The folder that every user has, and that is in all their sessions."""

Id = sa.ColumnElement[str] | sa.Column[str] | str | None
_CREATE = "create-vfolder"
_OF_USERS, _OF_PROJECTS = frozenset({"user", "keypair"}), frozenset({"project"})


@dataclass(frozen=True)
class FolderRules:
    """``hosts`` None: any volume. ``most`` None: any number of folders of the user's own, the home not counted;
    ``most_of_project`` the same for a project's."""

    hosts: frozenset[str] | None
    most: int | None
    most_of_project: int | None

    def allowed(self, known: Collection[str]) -> list[str]:
        return sorted(known if self.hosts is None else self.hosts.intersection(known))


def load(conn: Connection, owner: Owner) -> FolderRules:
    """What binds at each level binds; an empty list of hosts says nothing, nor does a level without a name."""
    rows = {level: _rules_of(conn, level, name) for level, name in zip(_KEYS, owner, strict=True) if name}
    hosts = [_where_allowed(given) for row in rows.values() for given in (row.own_hosts, row.hosts) if given]
    return FolderRules(
        hosts=frozenset.intersection(*hosts) if hosts else None,
        most=_least(rows[level].most for level in _OF_USERS & rows.keys()),
        most_of_project=_least(rows[level].most for level in _OF_PROJECTS & rows.keys()),
    )


def check_count(conn: Connection, owner: Owner, *, is_projects: bool, called: str = "You have") -> None:
    """Raises ``QuotaExceeded`` if there may be no further folder. What lies in the trash is one still."""
    rules = load(conn, owner)
    most = rules.most_of_project if is_projects else rules.most
    owned = t.vfolders.c.project_id == owner.project_id if is_projects else t.vfolders.c.user_id == owner.user_id
    count = sa.select(sa.func.count()).select_from(t.vfolders).where(owned, t.vfolders.c.name != HOME)
    if most is not None and (used := conn.execute(count).scalar_one()) >= most:
        whose = "The project has" if is_projects else called
        raise QuotaExceeded(Reason.of("too-many-folders", whose=whose, used=used, limit=most))


def largest(user_id: Id, project_id: Id) -> sa.Select:  # type: ignore[type-arg]
    """What one folder of that owner may hold; of a person by the policies of theirs and of their main keypair."""
    users, keypairs, projects = t.users.c, t.keypairs.c, t.projects.c
    main = t.keypairs.join(t.users, keypairs.access_key == users.main_access_key)
    binding = sa.union_all(
        sa.select(users.resource_policy).where(users.id == user_id).correlate(t.vfolders),
        sa.select(keypairs.resource_policy).select_from(main).where(users.id == user_id).correlate(t.vfolders),
        sa.select(projects.resource_policy).where(projects.id == project_id).correlate(t.vfolders),
    )
    policies = t.resource_policies.c
    return sa.select(sa.func.min(policies.max_vfolder_bytes)).where(policies.name.in_(binding))


LARGEST = largest(t.vfolders.c.user_id, t.vfolders.c.project_id).scalar_subquery().label("most_bytes")
"""What the policies of a folder's owner let it hold."""


def largest_of(conn: Connection, user_id: UserId | None, project_id: str | None) -> int | None:
    found: int | None = conn.execute(largest(user_id, project_id)).scalar_one()
    return found


def check_size(folder: str, owner: str, asked: int | None, used: int, most: int | None) -> None:
    """Raises ``QuotaExceeded`` if a folder may not be that large."""
    if most is not None and (asked or 0) > most:
        figures = {"limit": format_size(most), "used": format_size(used), "asked": format_size(asked or 0)}
        raise QuotaExceeded(Reason.of("folder-too-large", owner=owner, folder=folder, **figures))


class Owned(Protocol):
    """A folder: what is known of its place and its owner."""

    @property
    def id(self) -> VFolderId: ...
    @property
    def user_id(self) -> UserId | None: ...
    @property
    def project_id(self) -> str | None: ...
    @property
    def volume(self) -> str: ...


def scope(conn: Connection, folder: Owned) -> dict[str, Any] | None:
    """All folders of that folder's owner on its volume, if a policy of the owner limits their size together.

    As agents are told (``messages.Call``). What lies in the trash counts.
    """
    owners, key = (t.users, folder.user_id) if folder.project_id is None else (t.projects, folder.project_id)
    policies = t.resource_policies
    owner = conn.execute(
        sa.select(owners.c.name, policies.c.max_quota_scope_bytes)
        .select_from(owners.join(policies, policies.c.name == owners.c.resource_policy))
        .where(owners.c.id == key)
    ).first()
    if owner is None or owner.max_quota_scope_bytes is None:
        return None
    others = conn.execute(sa.select(t.vfolders.c.subpath).where(_is_beside(folder))).scalars()
    name = f"All folders of {owner.name} on {folder.volume} together"
    scope_id = quota_scope_id(folder.user_id, folder.project_id)
    return {"key": scope_id, "name": name, "limit_bytes": owner.max_quota_scope_bytes, "others": list(others)}


def beside(conn: Connection, folder: Owned) -> list[tuple[VFolderId, str]]:
    """Id and subpath of all other folders of that folder's owner on its volume."""
    query = sa.select(t.vfolders.c.id, t.vfolders.c.subpath).where(_is_beside(folder))
    return [(VFolderId(row.id), row.subpath) for row in conn.execute(query)]


def check_together(conn: Connection, folder: Owned, called: str, size_bytes: int) -> None:
    """Raises ``QuotaExceeded`` if that folder is too large to be its owner's beside all others on its volume."""
    together = scope(conn, folder)
    if together is None:
        return
    counted = sa.select(sa.func.coalesce(sa.func.sum(t.vfolders.c.used_bytes), 0)).where(_is_beside(folder))
    limit, used = together["limit_bytes"], int(conn.execute(counted).scalar_one())
    if (excess := used + size_bytes - limit) > 0:
        figures = {"limit": limit, "used": used, "need": size_bytes, "excess": excess}
        shown = {name: format_size(amount) for name, amount in figures.items()}
        raise QuotaExceeded(Reason.of("quota-reached", folder=together["name"], file=called, **shown))


def _is_beside(folder: Owned) -> sa.ColumnElement[bool]:
    owned = (
        t.vfolders.c.user_id == folder.user_id
        if folder.project_id is None
        else t.vfolders.c.project_id == folder.project_id
    )
    return owned & (t.vfolders.c.volume == folder.volume) & (t.vfolders.c.id != folder.id)


def quota_scope_id(user_id: str | None, project_id: str | None) -> str:
    """What tells the folders of one owner from others', in Backend.AI's words."""
    return (f"user:{user_id}" if project_id is None else f"project:{project_id}").replace("-", "")


_LIMITED = ("volume", "user_id", "project_id", "subpath", "quota_bytes")


def hard_scopes(conn: Connection) -> dict[str, dict[str, dict[str, Any]]]:
    """On each volume each owner's folders with hard limits, and the limits of each and of all: as agents are told.

    Those that are being deleted are left out: they need not have room.
    """
    kept = t.vfolders.c.subpath.like(HARD_QUOTA_PLACES) & (t.vfolders.c.status != FolderStatus.PURGING)
    query = (
        sa.select(*(t.vfolders.c[one] for one in _LIMITED), LARGEST, SCOPE_LIMIT)
        .select_from(with_scope_limits(with_owners(t.vfolders)))
        .where(kept)
        .order_by(t.vfolders.c.id)
    )
    found: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in conn.execute(query):
        key = quota_scope_id(row.user_id, row.project_id)
        new = {"key": key, "limit_bytes": row.scope_bytes, "folders": {}}
        limit_bytes = _least((row.quota_bytes, row.most_bytes))
        found[row.volume].setdefault(key, new)["folders"][row.subpath] = limit_bytes
    return found


def with_owners(source: sa.FromClause) -> sa.Join:
    """``source``, which has the folders, with whom each belongs to: a user or a project."""
    users = source.outerjoin(t.users, t.users.c.id == t.vfolders.c.user_id)
    return users.outerjoin(t.projects, t.projects.c.id == t.vfolders.c.project_id)


def with_scope_limits(source: sa.FromClause) -> sa.Join:
    """``source``, which has the owners of folders, with what ``SCOPE_LIMIT`` needs."""
    name = sa.func.coalesce(t.users.c.resource_policy, t.projects.c.resource_policy)
    return source.outerjoin(_policies, _policies.c.name == name)


_policies = t.resource_policies.alias("owner_policies")
SCOPE_LIMIT = _policies.c.max_quota_scope_bytes.label("scope_bytes")
"""What all folders of a folder's owner on one volume may hold together."""

_MOST_NAMED = 1000
"""Owners that one query names: databases have their limits."""


@dataclass(frozen=True)
class Together:
    """All folders of one owner on one volume, with those in the trash."""

    used_bytes: int
    """As they were counted last."""
    has_soft: bool
    """Whether the file system keeps no limit in one of them."""


UNCOUNTED = Together(0, has_soft=False)


def together(conn: Connection, folders: Collection[sa.Row[Any]]) -> dict[tuple[str, str], Together]:
    """By volume and ``owner_of``, for the owners of these folders that a policy limits: for others nothing is counted.

    ``folders`` are read with ``SCOPE_LIMIT``. One look for all of them: one for each would take a minute for 10,000.
    """
    owners = {owner_of(one.user_id, one.project_id) for one in folders if one.scope_bytes is not None}
    if not owners:
        return {}
    folder = t.vfolders.c
    is_soft = folder.subpath.not_like(HARD_QUOTA_PLACES) & folder.status.in_([FolderStatus.READY, FolderStatus.TRASHED])
    query = sa.select(
        folder.volume,
        folder.user_id,
        folder.project_id,
        sa.func.coalesce(sa.func.sum(folder.used_bytes), 0).label("used_bytes"),
        sa.func.max(sa.case((is_soft, 1), else_=0)).label("has_soft"),
    ).group_by(folder.volume, folder.user_id, folder.project_id)
    if len(owners) <= _MOST_NAMED:
        query = query.where(folder.user_id.in_(owners) | folder.project_id.in_(owners))
    return {
        (row.volume, owner_of(row.user_id, row.project_id)): Together(int(row.used_bytes), bool(row.has_soft))
        for row in conn.execute(query)
    }


def owner_of(user_id: str | None, project_id: str | None) -> str:
    """The id of whom a folder belongs to."""
    return str(user_id or project_id)


_KEYS = {
    "domain": t.domains.c.name,
    "project": t.projects.c.id,
    "user": t.users.c.id,
    "keypair": t.keypairs.c.access_key,
}


def _rules_of(conn: Connection, level: str, name: str) -> Any:
    table, policies = _KEYS[level].table, t.resource_policies
    return conn.execute(
        sa.select(
            table.c.get("allowed_vfolder_hosts", sa.null()).label("own_hosts"),
            policies.c.allowed_vfolder_hosts.label("hosts"),
            policies.c.max_vfolder_count.label("most"),
        )
        .select_from(table.outerjoin(policies, policies.c.name == table.c.resource_policy))
        .where(_KEYS[level] == name)
    ).one()


def _where_allowed(given: dict[str, list[str]]) -> frozenset[str]:
    return frozenset(host for host, permissions in given.items() if _CREATE in permissions)


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
