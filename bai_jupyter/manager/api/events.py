"""Server-sent events: every session as it is now, then each whenever it changes."""

import asyncio
import json
from collections.abc import Iterable

from tornado.iostream import StreamClosedError

from bai_jupyter.common.ids import SessionId
from bai_jupyter.manager.api.base import ApiHandler
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.events import Subscription

QUIET_S = 15.0
"""After this long without news a comment is sent, so that proxies keep the connection and we notice a lost one."""


class SessionEventsHandler(ApiHandler):
    """``GET /events/session?sessionId=ID`` or ``sessionName=NAME`` or ``sessionName=*`` (all own ones)."""

    _stream: asyncio.Task[None] | None = None

    async def get(self) -> None:
        policy.require(self.caller.role, "session:read")
        ref = self.params.get("sessionId") or self.params.get("sessionName") or self.params.get("name") or "*"
        only = None if ref == "*" else await self.services.sessions.get(self.caller, str(ref))
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self._stream = asyncio.current_task()
        owner = self.caller.user_id if only is None else None
        with self.services.hub.subscribe(owner, only.id if only else None) as subscription:
            # Subscribed before the first look: a change between the two is sent, at worst, twice.
            try:
                await self._send([only] if only else await self.services.sessions.list(self.caller, ()))
                await self._follow(subscription)
            except (StreamClosedError, asyncio.CancelledError):
                return

    def on_connection_close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    async def _follow(self, subscription: Subscription) -> None:
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    changed: list[SessionId] = await subscription.changes()
            except TimeoutError:
                self.write(": still here\n\n")
                await self.flush()
            else:
                await self._send(await self.services.sessions.get_many(changed))

    async def _send(self, sessions: Iterable[SessionRecord]) -> None:
        for one in sessions:
            view = json.dumps(self.services.views.session(one), separators=(",", ":"))
            self.write(f"event: session_changed\ndata: {view}\n\n")
        await self.flush()


ROUTES = [(r"/events/session", SessionEventsHandler)]
