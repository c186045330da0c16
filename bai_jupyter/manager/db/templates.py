"""Units of work on session templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import UserId
from bai_jupyter.manager.db import tables as t


@dataclass(frozen=True)
class TemplateRecord:
    """A template with what is shown of its owner."""

    id: str
    user_id: UserId
    user_name: str
    domain: str
    project_id: str
    name: str
    template: Mapping[str, Any]
    created_at: datetime


def create(
    conn: Connection, user_id: UserId, named: Sequence[tuple[str, Mapping[str, Any]]], now: datetime
) -> list[str]:
    """Keep templates with their names; returns their ids."""
    ids = [str(uuid4()) for _ in named]
    for template_id, (name, template) in zip(ids, named, strict=True):
        conn.execute(
            t.session_templates.insert().values(
                id=template_id, user_id=user_id, name=name, template=template, created_at=now
            )
        )
    return ids


def list_templates(conn: Connection, user_id: UserId | None) -> list[TemplateRecord]:
    """Oldest first; of everybody if ``user_id`` is None."""
    query = _TEMPLATES if user_id is None else _TEMPLATES.where(t.session_templates.c.user_id == user_id)
    return [TemplateRecord(**row._mapping) for row in conn.execute(query)]


def find(conn: Connection, template_id: str, user_id: UserId) -> TemplateRecord | None:
    templates = t.session_templates.c
    row = conn.execute(_TEMPLATES.where(templates.id == template_id, templates.user_id == user_id)).first()
    return None if row is None else TemplateRecord(**row._mapping)


def replace(conn: Connection, template_id: str, name: str, template: Mapping[str, Any]) -> None:
    conn.execute(
        t.session_templates.update().where(t.session_templates.c.id == template_id).values(name=name, template=template)
    )


def delete(conn: Connection, template_id: str) -> None:
    conn.execute(t.session_templates.delete().where(t.session_templates.c.id == template_id))


_TEMPLATES = (
    sa.select(
        t.session_templates,
        t.users.c.name.label("user_name"),
        t.users.c.domain,
        t.users.c.project_id,
    )
    .select_from(t.session_templates.join(t.users, t.users.c.id == t.session_templates.c.user_id))
    .order_by(t.session_templates.c.created_at, t.session_templates.c.id)
)
