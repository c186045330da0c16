"""Units of work on users, keypairs and what belongs to them, and on the audit trail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AccessKey, UserId, VFolderId, new_user_id, new_vfolder_id
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import Keypair, PresetRecord, VFolderRecord

DEFAULT = "default"


@dataclass(frozen=True)
class NewUser:
    """A user with one keypair and a ``home`` folder at ``home_subpath`` of ``home_volume``."""

    name: str
    role: str
    access_key: str
    secret_encrypted: str
    home_volume: str
    home_subpath: str


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
    conn.execute(
        t.resource_policies.insert().values(name=DEFAULT, total_slots={}, default_slots=default_slots.to_json())
    )
    conn.execute(t.domains.insert().values(name=DEFAULT, is_active=True))
    conn.execute(t.projects.insert().values(id=str(uuid4()), name=DEFAULT, domain=DEFAULT, is_active=True))
    conn.execute(
        t.resource_groups.insert().values(name=DEFAULT, selection="dispersed", sequencer="fifo", is_active=True)
    )
    for rank, preset in enumerate(presets):
        conn.execute(
            t.presets.insert().values(
                name=preset.name, slots=preset.slots.to_json(), shm_bytes=preset.shm_bytes, rank=rank
            )
        )
    create_user(conn, admin, now)
    return True


def is_empty(conn: Connection) -> bool:
    """True before ``bootstrap``."""
    return conn.execute(sa.select(t.users.c.id).limit(1)).first() is None


def create_user(conn: Connection, user: NewUser, now: datetime) -> UserId:
    """Add a user to the default domain and project."""
    user_id = new_user_id()
    project_id = conn.execute(
        sa.select(t.projects.c.id).where(t.projects.c.name == DEFAULT, t.projects.c.domain == DEFAULT)
    ).scalar_one()
    conn.execute(
        t.users.insert().values(
            id=user_id,
            name=user.name,
            role=user.role,
            domain=DEFAULT,
            project_id=project_id,
            is_active=True,
            created_at=now,
        )
    )
    conn.execute(
        t.keypairs.insert().values(
            access_key=user.access_key,
            secret_encrypted=user.secret_encrypted,
            user_id=user_id,
            is_active=True,
            resource_policy=DEFAULT,
            created_at=now,
        )
    )
    create_vfolder(conn, user_id, "home", user.home_volume, user.home_subpath, now)
    return user_id


def create_vfolder(conn: Connection, user_id: UserId, name: str, volume: str, subpath: str, now: datetime) -> VFolderId:
    vfolder_id = new_vfolder_id()
    conn.execute(
        t.vfolders.insert().values(
            id=vfolder_id,
            name=name,
            user_id=user_id,
            volume=volume,
            subpath=subpath,
            permission="wd",
            status="ready",
            created_at=now,
        )
    )
    return vfolder_id


def set_policy(
    conn: Connection, name: str, total_slots: ResourceSlots, max_sessions: int | None, default_slots: ResourceSlots
) -> None:
    """Change what a policy allows; sessions that run already are not touched."""
    conn.execute(
        t.resource_policies.update()
        .where(t.resource_policies.c.name == name)
        .values(total_slots=total_slots.to_json(), max_sessions=max_sessions, default_slots=default_slots.to_json())
    )


def find_keypair(conn: Connection, access_key: str) -> Keypair | None:
    row = conn.execute(_KEYPAIR.where(t.keypairs.c.access_key == access_key)).first()
    return None if row is None else _keypair(row)


def first_superadmin(conn: Connection) -> Keypair:
    """The keypair that ``bootstrap`` made."""
    query = _KEYPAIR.where(t.users.c.role == "superadmin").order_by(t.keypairs.c.created_at).limit(1)
    return _keypair(conn.execute(query).one())


def list_vfolders(conn: Connection, user_id: UserId) -> list[VFolderRecord]:
    rows = conn.execute(sa.select(t.vfolders).where(t.vfolders.c.user_id == user_id, t.vfolders.c.status == "ready"))
    return [VFolderRecord(row.id, row.name, row.volume, row.subpath, row.permission) for row in rows]


def write_audit(conn: Connection, entry: AuditEntry) -> None:
    conn.execute(t.audit.insert().values(**vars(entry)))


_KEYPAIR = sa.select(
    t.keypairs.c.access_key,
    t.keypairs.c.secret_encrypted,
    t.keypairs.c.is_active.label("key_is_active"),
    t.users.c.is_active.label("user_is_active"),
    t.users.c.id,
    t.users.c.name,
    t.users.c.role,
    t.users.c.domain,
    t.users.c.project_id,
).select_from(t.keypairs.join(t.users))


def _keypair(row: sa.Row) -> Keypair:  # type: ignore[type-arg]
    return Keypair(
        access_key=AccessKey(row.access_key),
        secret_encrypted=row.secret_encrypted,
        is_active=row.key_is_active and row.user_is_active,
        user_id=UserId(row.id),
        user_name=row.name,
        role=row.role,
        domain=row.domain,
        project_id=row.project_id,
    )
