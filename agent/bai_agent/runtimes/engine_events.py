"""What a Docker engine tells of our containers by itself."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from docker.errors import DockerException

from bai_agent.runtimes.base import ContainerEvent
from bai_agent.runtimes.engine import explain, new_client
from bai_jupyter.common.ids import KernelId

log = logging.getLogger(__name__)


class EngineEvents:
    """The engine's events, read by a thread of its own: docker-py offers only a blocking iterator."""

    def __init__(self, agent_id: str, kernel_of: Callable[[str], KernelId | None]) -> None:
        """``kernel_of(container id)`` is asked where no label says whose a container is."""
        self._agent_id = agent_id
        self._kernel_of = kernel_of
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        self._closing = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)

    async def events(self) -> AsyncIterator[ContainerEvent]:
        self._thread.start()
        while True:
            yield await self._queue.get()

    async def close(self) -> None:
        self._closing.set()
        self._close_stream()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)

    def _close_stream(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(Exception):  # docker-py: a stream that has just ended cannot be closed
                self._stream.close()

    def _run(self) -> None:
        pause_s = 0.2
        while not self._closing.is_set():
            try:
                self._read()
                pause_s = 0.2
            except (DockerException, OSError, ValueError) as error:
                if not self._closing.is_set():
                    log.warning("events of the engine: %s; trying again", explain(error))
            self._closing.wait(pause_s)
            pause_s = min(2 * pause_s, 10.0)

    def _read(self) -> None:
        with contextlib.closing(new_client(None)) as client:
            self._stream = client.events(
                decode=True, filters={"label": [f"bai.agent-id={self._agent_id}"], "event": ["die", "oom"]}
            )
            if self._closing.is_set():  # it was when there was no stream to close yet
                self._close_stream()
                return
            self._tell(ContainerEvent("sync", None))
            for event in self._stream:
                attributes = event["Actor"]["Attributes"]
                code = attributes.get("exitCode")
                labelled = attributes.get("bai.kernel-id")
                kernel_id = KernelId(labelled) if labelled else self._kernel_of(event["Actor"]["ID"])
                if kernel_id is not None:  # a spare is nobody's
                    self._tell(ContainerEvent(event["Action"], kernel_id, int(code) if code else None))

    def _tell(self, event: ContainerEvent) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)
