"""Background tasks: work that a request begins and whose progress its caller follows. It knows no work of its own.

A task lives in this process. How far it is and how it ended are in the database, so whoever follows may come back
later; what an earlier manager had not finished is told as failed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.ids import UserId
from bai_jupyter.manager.db import background
from bai_jupyter.manager.db.background import TaskRecord, TaskStatus
from bai_jupyter.manager.db.store import Store

log = logging.getLogger(__name__)

KEPT = timedelta(days=1)

Progress = Callable[[int, int, str], Awaitable[None]]
"""``await progress(current, total, message)``: shown to whoever follows."""

Work = Callable[[Progress], Awaitable[str]]
"""Returns what to say at the end; raises ``PublicError`` with what went wrong."""


class BackgroundTasks:
    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._running: set[asyncio.Task[None]] = set()
        self._followers: dict[str, set[asyncio.Event]] = {}

    async def open(self) -> None:
        """Tell as failed what an earlier manager was at, and forget what ended long ago."""
        now = self._now()
        await self._store.write(background.drop_old, now - KEPT)
        count = await self._store.write(background.fail_unfinished, "The manager was restarted. Try again.", now)
        if count:
            log.warning("%d background tasks of an earlier manager were not finished", count)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def start(self, user_id: UserId, name: str, work: Work) -> str:
        """Begin ``work`` for a user. Returns the task's id at once."""
        task_id = await self._store.write(background.create, user_id, name, self._now())
        task = asyncio.create_task(self._run(task_id, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task_id

    async def find(self, user_id: UserId, task_id: str) -> TaskRecord | None:
        """One's own task."""
        return await self._store.read(background.find, task_id, user_id)

    @contextmanager
    def follow(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change from now on; whoever waits clears it."""
        news = asyncio.Event()
        self._followers.setdefault(task_id, set()).add(news)
        try:
            yield news
        finally:
            self._followers[task_id].discard(news)
            if not self._followers[task_id]:
                del self._followers[task_id]

    async def _run(self, task_id: str, work: Work) -> None:
        async def progress(current: int, total: int, message: str) -> None:
            await self._store.write(background.advance, task_id, current, total, message)
            self._changed(task_id)

        try:
            status, message = TaskStatus.DONE, await work(progress)
        except asyncio.CancelledError:
            await self._end(task_id, TaskStatus.CANCELLED, "The manager was stopped. Try again.")
            raise
        except PublicError as error:
            status, message = TaskStatus.FAILED, error.message
        except Exception:
            log.exception("background task %s failed", task_id)
            status, message = TaskStatus.FAILED, "Something went wrong in the manager. Its log has the details."
        await self._end(task_id, status, message)

    async def _end(self, task_id: str, status: TaskStatus, message: str) -> None:
        await self._store.write(background.end, task_id, status, message, self._now())
        self._changed(task_id)

    def _changed(self, task_id: str) -> None:
        for news in self._followers.get(task_id, ()):
            news.set()
