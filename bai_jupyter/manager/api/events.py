"""Server-sent events of sessions (in Backend.AI's words, and as views) and of background tasks."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from tornado.iostream import StreamClosedError

from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import read_number
from bai_jupyter.manager.api.base import ApiHandler, OwnedHandler, gives, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db import history
from bai_jupyter.manager.db.background import TaskRecord, TaskStatus
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.events import Subscription
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.words import SCOPES, events_of

T = TypeVar("T")

QUIET_S = 15.0
"""After this long without news a comment is sent, so that proxies keep the connection and we notice a lost one."""


class EventStream(ApiHandler):
    _stream: asyncio.Task[None] | None = None

    async def stream(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Send what ``tell`` sends until it returns or the listener leaves."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self._stream = asyncio.current_task()
        try:
            await self.flush()
            await tell()
        except (StreamClosedError, asyncio.CancelledError):
            return

    def on_connection_close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    async def wait(self, news: Callable[[], Awaitable[T]]) -> T:
        """What comes next. While nothing does, comments are sent."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    return await news()
            except TimeoutError:
                self.write(": still here\n\n")
                await self.flush()

    def add(self, event: str, data: object, event_id: int | None = None) -> None:
        number = "" if event_id is None else f"id: {event_id}\n"
        self.write(f"event: {event}\n{number}data: {json.dumps(data, separators=(',', ':'))}\n\n")

    def close_stream(self) -> None:
        """Tell the listener not to come back."""
        self.add("server_close", {})

    def last_id(self) -> int | None:
        """The last event that the listener has heard, if it has heard any."""
        return read_number(self.request.headers.get("Last-Event-ID", ""))


class SessionStream(OwnedHandler, EventStream):
    """Of ``?sessionId=ID``, ``?sessionName=NAME`` (v5: ``name``), or of all own sessions: ``?sessionName=*``."""

    async def chosen(self) -> SessionRecord | None:
        """The session asked for; None for all of one's own."""
        policy.require(self.caller.role, "session:read")
        ref = self.params.get("sessionId") or self.params.get("sessionName") or self.params.get("name") or "*"
        if ref == "*" and self.caller.only_session is not None:
            ref = self.caller.only_session
        return None if ref == "*" else await self.services.sessions.get(self.caller, str(ref))

    async def follow(self, only: SessionRecord | None, tell: Callable[[Subscription], Awaitable[None]]) -> None:
        owner = self.caller.user_id if only is None else None
        with self.services.hub.subscribe(owner, only.id if only else None) as subscription:
            await self.stream(lambda: tell(subscription))


class SessionViewsHandler(SessionStream):
    """``session_changed`` with the whole view: every session as it is now, then each whenever it changes."""

    @takes(sessionId=str, sessionName=str)
    @gives("text/event-stream")
    async def get(self) -> None:
        only = await self.chosen()

        async def tell(subscription: Subscription) -> None:
            # Subscribed before the first look: a change between the two is sent, at worst, twice.
            await self._send([only] if only else await self.services.sessions.list(self.caller, ()))
            while True:
                await self._send(await self.services.sessions.get_many(await self.wait(subscription.changes)))

        await self.follow(only, tell)

    async def _send(self, sessions: Iterable[SessionRecord]) -> None:
        for one in sessions:
            self.add("session_changed", self.services.views.session(one))
        await self.flush()


class SessionEventsHandler(SessionStream):
    """What happens from now on, or since ``Last-Event-ID``; of a session that has ended, at least its end.

    An event's id is its place in the history of all sessions, which is in the database: nothing is missed or changed by
    a restart of the manager. Of one session the stream closes after its end.
    """

    @takes(sessionId=str, sessionName=str, scope=str)
    @gives("text/event-stream")
    async def get(self) -> None:
        only = await self.chosen()
        scope = self.params.get("scope") or "*"
        if scope not in SCOPES:
            raise bad_value("scope", scope, " or ".join(SCOPES))
        after = await self._start(only)

        async def tell(subscription: Subscription) -> None:
            nonlocal after
            while True:
                owner = None if only else self.caller.user_id
                changes = await self._changes(after, owner, only)
                for change in changes:
                    self._put_change(change.id, events_of(change, str(scope)))
                    after = change.id
                await self.flush()
                if changes:
                    continue
                if only and await self._end(only) is not None:
                    self.close_stream()
                    return
                await self.wait(subscription.changes)

        await self.follow(only, tell)

    def _put_change(self, change_id: int, events: Sequence[tuple[str, object]]) -> None:
        """The last one has the id: whoever hears less than all hears all of them again."""
        for index, (event, data) in enumerate(events, 1):
            self.add(event, data, change_id if index == len(events) else None)

    async def _start(self, only: SessionRecord | None) -> int:
        """The id of the last event that is not to be sent."""
        if (seen := self.last_id()) is not None:
            return seen
        if only is not None and (end := await self._end(only)) is not None:
            return end - 1
        return await self.services.store.read(history.newest)

    async def _end(self, session: SessionRecord) -> int | None:
        return await self.services.store.read(history.final_change, session.id)

    async def _changes(self, after: int, owner: UserId | None, only: SessionRecord | None) -> list[history.Change]:
        session_id = only.id if only else None
        return await self.services.store.read(history.changes_after, after, owner, session_id)


class BackgroundTaskHandler(EventStream):
    """How far one's own task is, and how it ended: first as it is now, unless ``Last-Event-ID`` says that is known."""

    @takes(task_id=str)
    @gives("text/event-stream")
    async def get(self) -> None:
        policy.require(self.caller.role, "task:read")
        task = await self._find()
        seen = self.last_id()

        async def tell() -> None:
            nonlocal task
            with self.services.tasks.follow(task.id) as news:
                while True:
                    news.clear()
                    task = await self._find()
                    if seen is None or task.revision > seen:
                        self._add_task(task)
                        await self.flush()
                    if task.status is not TaskStatus.RUNNING:
                        self.close_stream()
                        return
                    await self.wait(news.wait)

        await self.stream(tell)

    async def _find(self) -> TaskRecord:
        task_id = str(self.params.get("task_id") or self.params.get("taskId") or "")
        found = await self.services.tasks.find(self.caller.user_id, task_id)
        if found is None:
            raise NotFound(Reason.of("not-found", kind="background task", name=task_id), title="No such task.")
        return found

    def _add_task(self, task: TaskRecord) -> None:
        """Its progress always: clients cannot do with an end alone."""
        progress = {"current_progress": task.current, "total_progress": task.total}
        facts = {"task_id": task.id, "message": task.message, **progress}
        if task.status is TaskStatus.RUNNING:
            self.add("bgtask_updated", facts, task.revision)
        else:
            self.add("bgtask_updated", facts)
            self.add(f"bgtask_{task.status.value}", facts, task.revision)


ROUTES = [
    (r"/events/background-task", BackgroundTaskHandler),
    (r"/events/session", SessionEventsHandler),
    (r"/events/session-views", SessionViewsHandler),
    (r"/stream/(?:session|kernel)/_/events", SessionEventsHandler),
]
