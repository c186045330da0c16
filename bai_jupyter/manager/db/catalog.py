"""Units of work on what can be chosen from: images and presets. Resource groups are in ``groups``."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.messages import KernelSpecFacts, from_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import ImageRecord, PresetRecord


def list_images(conn: Connection, viewer: UserId | None = None) -> list[ImageRecord]:
    """All images that were added or are built in, by name. A built-in one is there while an agent has it.

    To a ``viewer`` those that others made from their sessions do not exist.
    """
    holders: dict[str, list[str]] = {}
    having = t.agent_images.join(t.agents)
    for image, agent in conn.execute(
        sa.select(t.agent_images.c.image, t.agents.c.name).select_from(having).order_by(t.agents.c.name)
    ):
        holders.setdefault(image, []).append(agent)
    aliases: dict[str, list[str]] = {}
    for row in conn.execute(sa.select(t.image_aliases).order_by(t.image_aliases.c.alias)):
        aliases.setdefault(row.image, []).append(row.alias)
    query = sa.select(t.images).order_by(t.images.c.name)
    if viewer is not None:
        query = query.where(t.images.c.user_id.is_(None) | (t.images.c.user_id == viewer))
    return [
        _image(row, holders.get(row.name, []), aliases.get(row.name, []))
        for row in conn.execute(query)
        if row.name in holders or not row.builtin
    ]


def real_name(conn: Connection, name: str) -> str:
    """The image of which this is an alias; else the name itself."""
    found: str | None = conn.execute(sa.select(t.image_aliases.c.image).where(t.image_aliases.c.alias == name)).scalar()
    return found or name


def add_alias(conn: Connection, alias: str, image: str, architecture: str | None = None) -> None:
    """Give an image a second name. Raises ``NotFound``, also if it is for another architecture, or ``BadRequest``."""
    found = {one.name: one.architecture for one in list_images(conn)}
    if image not in found or architecture not in (None, found[image]):
        raise NotFound(Reason.of("not-found", kind="image", name=image), title="No such environment image.")
    if alias in found or real_name(conn, alias) != alias:
        raise BadRequest(f"{alias} is the name of an image already.")
    conn.execute(t.image_aliases.insert().values(alias=alias, image=image))


def delete_alias(conn: Connection, alias: str) -> None:
    """Raises ``NotFound``."""
    if conn.execute(t.image_aliases.delete().where(t.image_aliases.c.alias == alias)).rowcount == 0:
        raise NotFound(Reason.of("not-found", kind="image alias", name=alias), title="No such environment image.")


def images_of(conn: Connection, user_id: UserId) -> list[str]:
    """Names of the images that a user made from sessions."""
    return list(conn.execute(sa.select(t.images.c.name).where(t.images.c.user_id == user_id)).scalars())


def delete_unused_image(conn: Connection, name: str) -> None:
    """Raises ``BadRequest`` while sessions that have not ended are of it."""
    is_of_it = t.sessions.c.image == name, t.sessions.c.status.not_in([one.value for one in FINAL])
    found = list(conn.execute(sa.select(t.sessions.c.name).where(*is_of_it).order_by(t.sessions.c.name)).scalars())
    if found:
        raise BadRequest(Reason.of("image-in-use", image=name, sessions=", ".join(found)))
    delete_image(conn, name)


def delete_image(conn: Connection, name: str) -> bool:
    return conn.execute(t.images.delete().where(t.images.c.name == name)).rowcount > 0


def list_presets(conn: Connection) -> list[PresetRecord]:
    rows = conn.execute(sa.select(t.presets).order_by(t.presets.c.rank))
    return [PresetRecord(row.name, ResourceSlots.parse(row.slots), row.shm_bytes) for row in rows]


def add_preset(conn: Connection, preset: PresetRecord) -> None:
    """Put a preset behind those that there are. Raises ``BadRequest`` if the name is taken."""
    if any(one.name == preset.name for one in list_presets(conn)):
        raise BadRequest(f"There is a preset {preset.name} already.")
    last = conn.execute(sa.select(sa.func.max(t.presets.c.rank))).scalar_one()
    values = {"slots": preset.slots.to_json(), "shm_bytes": preset.shm_bytes}
    conn.execute(t.presets.insert().values(name=preset.name, rank=0 if last is None else last + 1, **values))


def change_preset(conn: Connection, name: str, values: Mapping[str, Any]) -> bool:
    """``values`` are columns; no values only tell whether there is such a preset."""
    if not values:
        return any(preset.name == name for preset in list_presets(conn))
    return conn.execute(t.presets.update().where(t.presets.c.name == name).values(**values)).rowcount > 0


def delete_preset(conn: Connection, name: str) -> bool:
    return conn.execute(t.presets.delete().where(t.presets.c.name == name)).rowcount > 0


def _image(row: sa.Row, agents: list[str], aliases: list[str]) -> ImageRecord:  # type: ignore[type-arg]
    return ImageRecord(
        name=row.name,
        digest=row.digest,
        architecture=row.architecture,
        size_bytes=row.size_bytes,
        labels=row.labels,
        kernelspecs=tuple(from_json(KernelSpecFacts, raw) for raw in row.kernelspecs),
        builtin=row.builtin,
        user_id=row.user_id,
        agents=tuple(agents),
        created_at=row.created_at,
        aliases=tuple(aliases),
    )
