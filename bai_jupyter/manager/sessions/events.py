"""Tells whoever listens that a session changed. What it looks like now, listeners read themselves."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bai_jupyter.common.ids import SessionId, UserId


class Subscription:
    """Changes of one owner's sessions, or of one session. Holds each id at most once, so it cannot grow."""

    def __init__(self, user_id: UserId | None, session_id: SessionId | None) -> None:
        self._user_id, self._session_id = user_id, session_id
        self._changed: dict[SessionId, None] = {}
        self._wake = asyncio.Event()

    async def changes(self) -> list[SessionId]:
        """Wait for at least one change; ids in the order of their first change since the last call."""
        await self._wake.wait()
        self._wake.clear()
        taken, self._changed = list(self._changed), {}
        return taken

    def offer(self, session_id: SessionId, user_id: UserId) -> None:
        if self._user_id in (None, user_id) and self._session_id in (None, session_id):
            self._changed[session_id] = None
            self._wake.set()


class Hub:
    """All subscriptions of this process. ``on_change`` hears of every change."""

    def __init__(self, on_change: Callable[[SessionId], None] = lambda _: None) -> None:
        self._on_change = on_change
        self._subscriptions: set[Subscription] = set()

    @contextmanager
    def subscribe(self, user_id: UserId | None, session_id: SessionId | None = None) -> Iterator[Subscription]:
        """Changes from now on: of ``user_id``'s sessions (None: anybody's), only ``session_id`` if given."""
        subscription = Subscription(user_id, session_id)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @property
    def listeners(self) -> int:
        return len(self._subscriptions)

    def publish(self, session_id: SessionId, user_id: UserId) -> None:
        self._on_change(session_id)
        for subscription in self._subscriptions:
            subscription.offer(session_id, user_id)
