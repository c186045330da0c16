"""Webhooks: a session's owner is told of its life at the address given as ``callback_url``.

What was told is in the database (``callback_after``), so a restarted manager goes on where it was: each change is told
at least once, in order. An address that does not answer is tried a few times, then that change is let go.

The address is the user's, and the request comes from the manager (``bai_jupyter.public_web``). Nobody is redirected.
"""

import asyncio
import json
import logging
from collections.abc import Sequence

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from bai_jupyter.common.ids import SessionId
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import history
from bai_jupyter.manager.db.history import Change
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions.words import session_events
from bai_jupyter.manager.sessions.workqueue import WorkQueue
from bai_jupyter.public_web import Network, PrivateAddress, PublicResolver

log = logging.getLogger(__name__)

TRIES = 4
TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 64 * 1024
_WORKERS = 4
_AGAIN = frozenset({408, 425, 429, *range(500, 600)})


class Callbacks:
    """Tells owners. ``nudge`` says that a session has changed."""

    def __init__(self, store: Store, vault: Vault, allowed: Sequence[Network]) -> None:
        self._store, self._vault = store, vault
        self._queue: WorkQueue[SessionId] = WorkQueue(first_pause_s=1.0, max_pause_s=60.0)
        self._resolver = PublicResolver(allowed=allowed)
        self._tasks: list[asyncio.Task[None]] = []

    def nudge(self, session_id: SessionId) -> None:
        self._queue.add(session_id)

    async def start(self) -> None:
        """Go on with what an earlier manager did not get to."""
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, resolver=self._resolver, max_clients=_WORKERS, max_body_size=_MAX_ANSWER_BYTES
        )
        for session_id in await self._store.read(history.sessions_to_call):
            self.nudge(session_id)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    async def stop(self) -> None:
        self._queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()

    async def _work(self) -> None:
        while True:
            session_id = await self._queue.take()
            try:
                is_told = await self._tell(session_id)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("session %s: its callback failed", session_id)
                is_told = False
            if is_told:
                self._queue.done(session_id)
            else:
                self._queue.retry(session_id)

    async def _tell(self, session_id: SessionId) -> bool:
        """Tell all that was not told yet. False if it is to be tried again after a pause."""
        found = await self._store.read(history.to_call, session_id)
        if found is None:
            return True
        url = self._vault.open(found.url_encrypted)
        for change in found.changes:
            for event in session_events(change):
                answer = await self._post(url, _body(change, event))
                if answer is not None:
                    tries = self._queue.failures(session_id) + 1
                    log.warning("session %s: callback not delivered (%s), try %d", session_id, answer, tries)
                    if tries < TRIES:
                        return False
            await self._store.write(history.called, session_id, change.id)
        return True

    async def _post(self, url: str, body: dict[str, str]) -> str | None:
        """None if it was taken, or will never be; else what went wrong. The address may be a secret and is not said."""
        request = HTTPRequest(
            url,
            "POST",
            {"Content-Type": "application/json", "User-Agent": "BackendAI"},
            json.dumps(body),
            connect_timeout=TIMEOUT_S,
            request_timeout=TIMEOUT_S,
            follow_redirects=False,
        )
        try:
            answer = await self._client.fetch(request, raise_error=False)
        except PrivateAddress as error:
            log.warning("callback refused: %s", error)
            return None
        except (OSError, HTTPClientError, ValueError) as error:
            return type(error).__name__
        return f"status {answer.code}" if answer.code in _AGAIN else None


def _body(change: Change, event: str) -> dict[str, str]:
    return {
        "type": "session_lifecycle",
        "event": event.removeprefix("session_"),
        "session_id": change.session_id,
        "when": change.at.isoformat(),
    }
