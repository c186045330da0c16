"""Units of work on who may come in: the first start, new accounts, keypairs as they are checked; and the audit trail.

What admins change of people is in ``people``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AccessKey, UserId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import catalog, groups, people, policies, vfolders
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.people import DEFAULT, NewKeypair, NewUser
from bai_jupyter.manager.db.records import GroupRecord, Keypair, PolicyRecord, PresetRecord, UserStatus


@dataclass(frozen=True)
class Login:
    user_id: UserId
    password_hash: str | None = field(repr=False)
    need_password_change: bool


@dataclass(frozen=True)
class AuditEntry:
    at: datetime
    user_id: str | None
    access_key: str | None
    action: str
    target: str
    result: int  # HTTP status
    request_id: str


def bootstrap(
    conn: Connection, admin: NewUser, presets: Sequence[PresetRecord], default_slots: ResourceSlots, now: datetime
) -> bool:
    """Fill an empty database so that one person can work. False, and no change, if there is a user already."""
    if not is_empty(conn):
        return False
    policies.add(conn, PolicyRecord(DEFAULT, default_slots=default_slots, created_at=now))
    groups.add(conn, GroupRecord(DEFAULT, created_at=now))
    people.add_domain(conn, DEFAULT, {}, now)
    groups.grant(conn, DEFAULT, f"domain:{DEFAULT}")
    for preset in presets:
        catalog.add_preset(conn, preset)
    create_user(conn, admin, now)
    return True


def is_empty(conn: Connection) -> bool:
    """True before ``bootstrap``."""
    return conn.execute(sa.select(t.users.c.id).limit(1)).first() is None


def create_user(conn: Connection, user: NewUser, now: datetime) -> UserId:
    """Add a user with a first keypair. Raises ``BadRequest`` if name or e-mail are taken or a project is unknown."""
    user_id = people.add_user(conn, user, now)
    keypair = NewKeypair(
        access_key=user.access_key,
        secret_encrypted=user.secret_encrypted,
        user_id=user_id,
        is_admin=user.role in ("superadmin", "admin"),
        rate_limit=user.rate_limit,
        resource_policy=user.keypair_policy,
    )
    people.add_keypair(conn, keypair, now)
    subpath = f"users/{user_id}" if user.home_subpath is None else user.home_subpath
    vfolders.create_home(conn, user_id, user.name, user.home_volume, subpath, now)
    return user_id


def find_keypair(conn: Connection, access_key: str) -> Keypair | None:
    row = conn.execute(_KEYPAIR.where(t.keypairs.c.access_key == access_key)).first()
    return None if row is None else _keypair(row)


def find_main_keypair(conn: Connection, user_id: UserId) -> Keypair | None:
    """The keypair with which a user works if none is named: the main one, else the oldest that is active."""
    query = _KEYPAIR.where(t.users.c.id == user_id, t.keypairs.c.is_active)
    is_main = t.keypairs.c.access_key == t.users.c.main_access_key
    row = conn.execute(query.order_by(is_main.desc(), t.keypairs.c.created_at).limit(1)).first()
    return None if row is None else _keypair(row)


def find_login(conn: Connection, domain: str, email: str) -> Login | None:
    """Who logs in with this e-mail in this domain."""
    row = conn.execute(sa.select(t.users).where(t.users.c.domain == domain, t.users.c.email == email)).first()
    return None if row is None else Login(row.id, row.password_hash, row.need_password_change)


def set_password(conn: Connection, user_id: UserId, password_hash: str, now: datetime) -> None:
    values = {"password_hash": password_hash, "need_password_change": False, "modified_at": now}
    conn.execute(t.users.update().where(t.users.c.id == user_id).values(**values))


def find_ward(conn: Connection, service_key: str, name: str) -> Keypair | None:
    """The main keypair of the user of that name, if the service may act for them."""
    wards = t.wards.join(t.users)
    query = sa.select(t.users.c.id).select_from(wards)
    user_id = conn.execute(query.where(t.wards.c.access_key == service_key, t.users.c.name == name)).scalar()
    return None if user_id is None else find_main_keypair(conn, user_id)


def is_ward(conn: Connection, user_id: UserId) -> bool:
    """True if there is a service that may act for this user, and is not shut out itself."""
    of_user = sa.select(t.wards.c.access_key).where(t.wards.c.user_id == user_id)
    return any(_keypair(row).is_active for row in conn.execute(_KEYPAIR.where(t.keypairs.c.access_key.in_(of_user))))


def set_ward(conn: Connection, service_key: str, user_id: UserId, now: datetime, *, is_ward: bool) -> None:
    """Let a service act for a user, or no longer; repeating it changes nothing."""
    conn.execute(t.wards.delete().where(t.wards.c.access_key == service_key, t.wards.c.user_id == user_id))
    if is_ward:
        conn.execute(t.wards.insert().values(access_key=service_key, user_id=user_id, created_at=now))


def ward_policies(conn: Connection, service_key: str) -> list[str]:
    """Resource policies that the service may give to its wards: what all new users have, and those allowed to it."""
    of_service = t.ward_policies.c.access_key == service_key
    allowed = conn.execute(sa.select(t.ward_policies.c.resource_policy).where(of_service)).scalars()
    return sorted({DEFAULT, *allowed})


def allow_ward_policy(conn: Connection, service_key: str, name: str, *, is_allowed: bool) -> None:
    """Let a service give this policy, or no longer: what was given stays. Repeating it changes nothing."""
    policies.require(conn, name)
    grants = t.ward_policies.c
    conn.execute(t.ward_policies.delete().where(grants.access_key == service_key, grants.resource_policy == name))
    if is_allowed:
        conn.execute(t.ward_policies.insert().values(access_key=service_key, resource_policy=name))


def policy_of(conn: Connection, access_key: str) -> str:
    """The resource policy of a keypair; empty if it has none."""
    query = sa.select(t.keypairs.c.resource_policy).where(t.keypairs.c.access_key == access_key)
    return str(conn.execute(query).scalar() or "")


def first_superadmin(conn: Connection) -> Keypair:
    """The keypair that ``bootstrap`` made."""
    query = _KEYPAIR.where(t.users.c.role == "superadmin").order_by(t.keypairs.c.created_at).limit(1)
    return _keypair(conn.execute(query).one())


def write_audit(conn: Connection, entry: AuditEntry) -> None:
    conn.execute(t.audit.insert().values(**vars(entry)))


_KEYPAIR = sa.select(
    t.keypairs.c.access_key,
    t.keypairs.c.secret_encrypted,
    t.keypairs.c.is_active.label("key_is_active"),
    t.keypairs.c.is_admin,
    t.keypairs.c.rate_limit,
    t.keypairs.c.used_at,
    t.users.c.status,
    t.domains.c.is_active.label("domain_is_active"),
    t.users.c.id,
    t.users.c.name,
    t.users.c.email,
    t.users.c.role,
    t.users.c.domain,
    t.users.c.project_id,
    t.users.c.allowed_client_ip,
).select_from(t.keypairs.join(t.users).join(t.domains, t.domains.c.name == t.users.c.domain))


def _keypair(row: sa.Row) -> Keypair:  # type: ignore[type-arg]
    return Keypair(
        access_key=AccessKey(row.access_key),
        secret_encrypted=row.secret_encrypted,
        is_active=row.key_is_active and row.status == UserStatus.ACTIVE and row.domain_is_active,
        user_id=UserId(row.id),
        user_name=row.name,
        email=row.email,
        role=row.role if row.is_admin or row.role not in ("superadmin", "admin") else "user",
        domain=row.domain,
        project_id=row.project_id,
        rate_limit=row.rate_limit,
        allowed_client_ip=None if row.allowed_client_ip is None else tuple(row.allowed_client_ip),
        used_at=row.used_at,
    )
