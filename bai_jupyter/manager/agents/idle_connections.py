"""Connections to apps that have given a whole answer and can give the next: opening one asks the agent."""

import asyncio
from collections.abc import Hashable

from tornado.iostream import IOStream

IDLE_S = 10.0
KEPT = 16
"""Of one app."""


class IdleConnections:
    """Guarantees: a connection is used by one at a time, and none waits longer than ``IDLE_S``."""

    def __init__(self) -> None:
        self._idle: dict[Hashable, dict[IOStream, asyncio.TimerHandle]] = {}

    def take(self, key: Hashable) -> IOStream | None:
        """The one used last; the app may be closing it in this moment."""
        for stream in reversed(list(self._idle.get(key, {}))):
            stream.set_close_callback(None)
            self._forget(key, stream)
            if not stream.closed():
                return stream
        return None

    def put(self, key: Hashable, stream: IOStream) -> None:
        if stream.closed() or len(self._idle.get(key, {})) >= KEPT:
            stream.close()
            return
        self._idle.setdefault(key, {})[stream] = asyncio.get_running_loop().call_later(IDLE_S, stream.close)
        stream.set_close_callback(lambda: self._forget(key, stream))

    def close(self) -> None:
        for waiting in list(self._idle.values()):
            for stream in list(waiting):
                stream.close()

    def _forget(self, key: Hashable, stream: IOStream) -> None:
        waiting = self._idle.get(key, {})
        timer = waiting.pop(stream, None)
        if timer is None:
            return  # it was taken before its end was told
        timer.cancel()
        if not waiting:
            del self._idle[key]
