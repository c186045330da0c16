"""Units of work that read who held which slots, and when: a container holds them from its placement to its end."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.budgets import HELD_UNTIL
from bai_jupyter.manager.db.listings import Reach


@dataclass(frozen=True)
class Use:
    """One container and what it held. ``ended_at`` None: it holds it still."""

    kernel_id: str
    session_id: str
    session_name: str
    project_id: str
    access_key: str
    image: str
    status: str
    agent: str
    slots: ResourceSlots
    began_at: datetime
    ended_at: datetime | None


def list_uses(
    conn: Connection,
    reach: Reach,
    since: datetime,
    until: datetime,
    project_ids: Collection[str] | None = None,
) -> list[Use]:
    """Containers that held slots at some time from ``since`` to ``until``, oldest first."""
    kernels, sessions, ended_at = t.kernels.c, t.sessions.c, HELD_UNTIL.label("ended_at")
    query = (
        sa.select(
            kernels.id,
            kernels.session_id,
            kernels.status,
            kernels.created_at,
            ended_at,
            sessions.name,
            sessions.project_id,
            sessions.access_key,
            sessions.image,
            sessions.slots,
            t.agents.c.name.label("agent"),
        )
        .select_from(
            t.kernels.join(t.sessions, sessions.id == kernels.session_id).join(
                t.agents, t.agents.c.id == kernels.agent_id
            )
        )
        .where(kernels.created_at < until, kernels.terminated_at.is_(None) | (kernels.terminated_at > since))
        .where(ended_at.is_(None) | (ended_at > since))
        .order_by(kernels.created_at, kernels.id)
    )
    if reach.domain is not None:
        query = query.where(sessions.domain == reach.domain)
    if reach.user_id is not None:
        query = query.where(sessions.user_id == reach.user_id)
    if project_ids is not None:
        query = query.where(sessions.project_id.in_(list(project_ids)))
    return [
        Use(
            kernel_id=row.id,
            session_id=row.session_id,
            session_name=row.name,
            project_id=row.project_id,
            access_key=row.access_key,
            image=row.image,
            status=row.status,
            agent=row.agent,
            slots=ResourceSlots.parse(row.slots),
            began_at=row.created_at,
            ended_at=row.ended_at,
        )
        for row in conn.execute(query)
    ]
