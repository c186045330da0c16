"""Units of work on what can be chosen from: images, presets, resource groups."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.messages import KernelSpecFacts, from_json
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import GroupRecord, ImageRecord, PresetRecord


def list_images(conn: Connection) -> list[ImageRecord]:
    """All images that were added or are built in, by name. A built-in one is there while an agent has it."""
    holders: dict[str, list[str]] = {}
    having = t.agent_images.join(t.agents)
    for image, agent in conn.execute(
        sa.select(t.agent_images.c.image, t.agents.c.name).select_from(having).order_by(t.agents.c.name)
    ):
        holders.setdefault(image, []).append(agent)
    rows = conn.execute(sa.select(t.images).order_by(t.images.c.name))
    return [_image(row, holders.get(row.name, [])) for row in rows if row.name in holders or not row.builtin]


def delete_image(conn: Connection, name: str) -> bool:
    return conn.execute(t.images.delete().where(t.images.c.name == name)).rowcount > 0


def list_presets(conn: Connection) -> list[PresetRecord]:
    rows = conn.execute(sa.select(t.presets).order_by(t.presets.c.rank))
    return [PresetRecord(row.name, ResourceSlots.parse(row.slots), row.shm_bytes) for row in rows]


def list_groups(conn: Connection) -> list[GroupRecord]:
    rows = conn.execute(sa.select(t.resource_groups).order_by(t.resource_groups.c.name))
    return [GroupRecord(row.name, row.selection, row.sequencer, row.head_of_line_skips, row.is_active) for row in rows]


def _image(row: sa.Row, agents: list[str]) -> ImageRecord:  # type: ignore[type-arg]
    return ImageRecord(
        name=row.name,
        digest=row.digest,
        architecture=row.architecture,
        size_bytes=row.size_bytes,
        labels=row.labels,
        kernelspecs=tuple(from_json(KernelSpecFacts, raw) for raw in row.kernelspecs),
        builtin=row.builtin,
        agents=tuple(agents),
    )
