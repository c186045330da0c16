"""Units of work on background tasks: what takes longer than a request, and how far it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import UserId
from bai_jupyter.manager.db import tables as t


class TaskStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TaskRecord:
    """``revision`` grows with each change. ``total`` 0: nobody knows how much there is to do."""

    id: str
    user_id: UserId
    name: str
    status: TaskStatus
    current: int
    total: int
    message: str
    revision: int


def create(conn: Connection, user_id: UserId, name: str, now: datetime) -> str:
    task_id = str(uuid4())
    conn.execute(
        t.background_tasks.insert().values(
            id=task_id,
            user_id=user_id,
            name=name,
            status=TaskStatus.RUNNING,
            current=0,
            total=0,
            message="",
            revision=0,
            created_at=now,
        )
    )
    return task_id


def advance(conn: Connection, task_id: str, current: int, total: int, message: str) -> None:
    conn.execute(_change(task_id).values(current=current, total=total, message=message))


def end(conn: Connection, task_id: str, status: TaskStatus, message: str, now: datetime) -> None:
    conn.execute(_change(task_id).values(status=status, message=message, ended_at=now))


def find(conn: Connection, task_id: str, user_id: UserId) -> TaskRecord | None:
    tasks = t.background_tasks.c
    row = conn.execute(sa.select(t.background_tasks).where(tasks.id == task_id, tasks.user_id == user_id)).first()
    if row is None:
        return None
    status = TaskStatus(row.status)
    return TaskRecord(row.id, UserId(row.user_id), row.name, status, row.current, row.total, row.message, row.revision)


def fail_unfinished(conn: Connection, message: str, now: datetime) -> int:
    """End what an earlier manager was at. How many there were."""
    tasks = t.background_tasks.c
    unfinished = sa.update(t.background_tasks).where(tasks.status == TaskStatus.RUNNING)
    values = {"status": TaskStatus.FAILED, "message": message, "revision": tasks.revision + 1, "ended_at": now}
    return conn.execute(unfinished.values(**values)).rowcount


def drop_old(conn: Connection, ended_before: datetime) -> None:
    conn.execute(t.background_tasks.delete().where(t.background_tasks.c.ended_at < ended_before))


def _change(task_id: str) -> sa.Update:
    tasks = t.background_tasks
    return sa.update(tasks).where(tasks.c.id == task_id).values(revision=tasks.c.revision + 1)
