"""How many pieces of code the API ran in each session: ``numQueriesExecuted``.

Counted in memory and written to the record now and then, so running code writes nothing. A manager that is killed
forgets what it counted since.
"""

import asyncio
import logging
from contextlib import suppress

from bai_jupyter.common.ids import SessionId
from bai_jupyter.manager.db import sessions
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.store import Store

log = logging.getLogger(__name__)

FLUSH_S = 10.0


class QueryCounts:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._totals: dict[SessionId, int] = {}
        self._unwritten: set[SessionId] = set()
        self._ended: set[SessionId] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    def add(self, session: SessionRecord) -> None:
        self._totals[session.id] = self.of(session) + 1
        self._unwritten.add(session.id)

    def of(self, session: SessionRecord) -> int:
        return max(session.queries, self._totals.get(session.id, 0))

    def end(self, session_id: SessionId) -> None:
        """No more is run in that session; it is forgotten once its count is written."""
        self._ended.add(session_id)

    async def flush(self) -> None:
        """Write what is not on the record yet."""
        totals = {one: self._totals[one] for one in self._unwritten}
        if totals:
            await self._store.write(sessions.set_queries, totals)
        self._unwritten -= {one for one, total in totals.items() if self._totals[one] == total}
        over = self._ended - self._unwritten
        for one in over:
            self._totals.pop(one, None)
        self._ended -= over

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._stopping.wait()
            try:
                await self.flush()
            except Exception:
                log.exception("writing how often code was run failed; it is tried again in %g s", FLUSH_S)
