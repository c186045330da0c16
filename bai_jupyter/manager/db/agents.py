"""Units of work on agents: joining, coming back, and what they offer. Whether one answers is not known here."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.ids import AgentId, UserId, new_agent_id
from bai_jupyter.common.messages import DeviceFacts, Hello, ImageFacts, from_json, to_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.admission import from_quanta, load_used
from bai_jupyter.manager.db.records import AgentRecord


def add_join_token(
    conn: Connection,
    token_hash: str,
    resource_group: str,
    uses: int,
    expires_at: datetime,
    created_by: str | None,
    now: datetime,
) -> bool:
    """Allow ``uses`` agents to join. False if that token exists already, or there is no such group."""
    groups, tokens = t.resource_groups, t.join_tokens
    if conn.execute(sa.select(groups.c.name).where(groups.c.name == resource_group)).first() is None:
        return False
    if conn.execute(sa.select(tokens.c.token_hash).where(tokens.c.token_hash == token_hash)).first():
        return False
    conn.execute(
        tokens.insert().values(
            token_hash=token_hash,
            resource_group=resource_group,
            uses_left=uses,
            expires_at=expires_at,
            created_by=created_by,
            created_at=now,
        )
    )
    return True


def join(conn: Connection, hello: Hello, token_hash: str, credential_hash: str, now: datetime) -> AgentId | None:
    """Use up one use of a token and take the agent in. None if the token is unknown, used up or expired."""
    tokens = t.join_tokens
    used = conn.execute(
        tokens.update()
        .where(tokens.c.token_hash == token_hash, tokens.c.uses_left > 0, tokens.c.expires_at > now)
        .values(uses_left=tokens.c.uses_left - 1)
    )
    if used.rowcount == 0:
        return None
    group = conn.execute(sa.select(tokens.c.resource_group).where(tokens.c.token_hash == token_hash)).scalar_one()
    agent_id = new_agent_id()
    conn.execute(
        t.agents.insert().values(
            id=agent_id,
            name=_free_name(conn, hello.name),
            credential_hash=credential_hash,
            resource_group=group,
            is_schedulable=True,
            created_at=now,
            **_offer(hello, now),
        )
    )
    _set_images(conn, agent_id, hello.images, now)
    return agent_id


def come_back(conn: Connection, hello: Hello, credential_hash: str, now: datetime) -> AgentId | None:
    """Record what an agent that joined before offers now. None if there is no such credential."""
    row = conn.execute(
        sa.select(t.agents.c.id, t.agents.c.status).where(t.agents.c.credential_hash == credential_hash)
    ).first()
    if row is None or row.status == AgentStatus.TERMINATED:
        return None
    conn.execute(t.agents.update().where(t.agents.c.id == row.id).values(**_offer(hello, now)))
    _set_images(conn, row.id, hello.images, now)
    return AgentId(row.id)


def set_images(conn: Connection, agent_id: AgentId, images: list[ImageFacts], now: datetime) -> None:
    _set_images(conn, agent_id, images, now)


def add_agent_image(conn: Connection, agent_id: AgentId, image: ImageFacts) -> None:
    """Remember that an agent has an image, beside those it told of."""
    conn.execute(_without_image(agent_id, image.name))
    conn.execute(t.agent_images.insert().values(agent_id=agent_id, image=image.name, digest=image.digest))


def list_agents(conn: Connection, resource_group: str | None = None) -> list[AgentRecord]:
    """All agents, or those of one group, by name; with what is taken on each."""
    query = sa.select(t.agents).where(t.agents.c.status != AgentStatus.TERMINATED).order_by(t.agents.c.name)
    if resource_group is not None:
        query = query.where(t.agents.c.resource_group == resource_group)
    rows = conn.execute(query).all()
    used = load_used(conn, [f"agent:{row.id}" for row in rows])
    images: dict[str, set[str]] = {}
    for row in conn.execute(sa.select(t.agent_images).where(t.agent_images.c.agent_id.in_([row.id for row in rows]))):
        images.setdefault(row.agent_id, set()).add(row.image)
    return [_agent(row, used.get(f"agent:{row.id}", {}), images.get(row.id, set())) for row in rows]


def flush_heard(conn: Connection, heard: Mapping[AgentId, datetime]) -> None:
    """Write when agents were last heard, all in one go."""
    agents = t.agents
    update = agents.update().where(agents.c.id == sa.bindparam("agent")).values(heard_at=sa.bindparam("at"))
    conn.execute(update, [{"agent": agent_id, "at": at} for agent_id, at in heard.items()])


def set_statuses(conn: Connection, agent_ids: Iterable[AgentId], status: AgentStatus) -> None:
    conn.execute(t.agents.update().where(t.agents.c.id.in_(list(agent_ids))).values(status=status))


def set_schedulable(
    conn: Connection, refs: Collection[str], *, is_schedulable: bool, drain_by: datetime | None = None
) -> None:
    """Let agents, by name or id, take new sessions, or none and be empty by then. Raises ``NotFound``, for all, if one
    is unknown."""
    agents = t.agents.c
    for ref in refs:
        change = t.agents.update().where((agents.name == ref) | (agents.id == ref))
        if conn.execute(change.values(is_schedulable=is_schedulable, drain_by=drain_by)).rowcount == 0:
            raise NotFound(Reason.of("not-found", kind="agent", name=ref), title="No such agent.")


def _offer(hello: Hello, now: datetime) -> dict[str, Any]:
    return {
        "status": AgentStatus.ALIVE,
        "runtime": hello.runtime,
        "isolated": hello.isolated,
        "architecture": hello.architecture,
        "slots": hello.slots.to_json(),
        "devices": to_json(hello.devices),
        "volumes": list(hello.volumes),
        "version": hello.version,
        "heard_at": now,
    }


def _free_name(conn: Connection, wanted: str) -> str:
    taken = set(
        conn.execute(sa.select(t.agents.c.name).where(t.agents.c.name.startswith(wanted, autoescape=True))).scalars()
    )
    if wanted not in taken:
        return wanted
    return next(name for number in range(2, len(taken) + 3) if (name := f"{wanted}-{number}") not in taken)


def _set_images(conn: Connection, agent_id: str, images: list[ImageFacts], now: datetime) -> None:
    conn.execute(t.agent_images.delete().where(t.agent_images.c.agent_id == agent_id))
    for image in {image.name: image for image in images}.values():
        conn.execute(t.agent_images.insert().values(agent_id=agent_id, image=image.name, digest=image.digest))
        if image.builtin:
            put_image(conn, image, now)


def put_image(conn: Connection, image: ImageFacts, now: datetime, user_id: UserId | None = None) -> None:
    """Offer an image to everybody, or to one user; what is known of one of that name is replaced."""
    values = {
        "digest": image.digest,
        "architecture": image.architecture,
        "size_bytes": image.size_bytes,
        "labels": dict(image.labels),
        "kernelspecs": to_json(image.kernelspecs),
        "builtin": image.builtin,
        "user_id": user_id,
    }
    if conn.execute(t.images.update().where(t.images.c.name == image.name).values(**values)).rowcount == 0:
        conn.execute(t.images.insert().values(name=image.name, created_at=now, **values))


def image_labels(conn: Connection, names: Collection[str]) -> dict[str, dict[str, str]]:
    """``{image: its labels}`` of those images that are known."""
    rows = conn.execute(sa.select(t.images.c.name, t.images.c.labels).where(t.images.c.name.in_(list(names))))
    return {row.name: dict(row.labels) for row in rows}


def _without_image(agent_id: str, image: str) -> sa.Delete:
    return t.agent_images.delete().where(t.agent_images.c.agent_id == agent_id, t.agent_images.c.image == image)


def _agent(row: sa.Row, used: Mapping[str, int], images: Iterable[str]) -> AgentRecord:  # type: ignore[type-arg]
    return AgentRecord(
        id=AgentId(row.id),
        name=row.name,
        resource_group=row.resource_group,
        status=AgentStatus(row.status),
        is_schedulable=row.is_schedulable,
        runtime=row.runtime,
        isolated=row.isolated,
        architecture=row.architecture,
        slots=ResourceSlots.parse(row.slots),
        used=from_quanta(used),
        devices=tuple(from_json(DeviceFacts, raw) for raw in row.devices),
        volumes=frozenset(row.volumes),
        images=frozenset(images),
        heard_at=row.heard_at,
        version=row.version,
        created_at=row.created_at,
        drain_by=row.drain_by,
    )
