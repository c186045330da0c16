"""One background thread with an event loop of its own, for all kernels of this process.

A Jupyter server blocks its loop now and then (contents, spec scans), and stock kernel managers call provisioners from
loops that come and go; streams and heartbeats must not notice.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started at the first call. Its thread is a daemon: it holds nothing that outlives the process."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="bai-kernels", daemon=True).start()
        return _loop


async def in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run on the background loop and wait for it on the caller's; cancelling this cancels that."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, background_loop()))
