"""What a widget does beside being seen: calls to the manager, as tasks that end with it. Knows no widgets."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from bai_jupyter.client import ClientConfig, ConfigError, Json, ManagerAway, ManagerClient, load_config
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.statuses import FINAL

PERIOD_S = 2.0
"""A session is looked at no more often than this."""

NOT_CONNECTED = (
    "This kernel has no credentials for a manager. Set BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY, "
    "or run it in a session that was started with `bai session start --manager-access user`."
)

Job = Callable[[ManagerClient], Awaitable[None]]
Say = Callable[[str], None]


class Work:
    """Tasks by name on one event loop, with one client of the manager.

    What is begun takes the place of what was begun under its name. What a job raises on purpose is said, as its
    sentence. Any thread may begin something, and end it all: a kernel may deliver a click in another than its cells'.
    """

    def __init__(
        self, config: ClientConfig | None, loop: asyncio.AbstractEventLoop, *, owns_loop: bool = False
    ) -> None:
        self._config, self._loop, self._owns_loop = config, loop, owns_loop
        self._client: ManagerClient | None = None
        self._named: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_ended = False

    def begin(self, name: str, job: Job, say: Say) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody looks at the widget any more
            self._loop.call_soon_threadsafe(self._begin, name, job, say)

    def end(self) -> None:
        """Cancel everything and let go of the manager."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def _begin(self, name: str, job: Job, say: Say) -> None:
        if self._has_ended:
            return
        if (earlier := self._named.get(name)) is not None:
            earlier.cancel()
        self._named[name] = self._keep(self._do(job, say))

    async def _do(self, job: Job, say: Say) -> None:
        try:
            await job(self._connected())
        except BaiError as error:
            say(str(error))

    def _connected(self) -> ManagerClient:
        if self._client is None:
            config = self._config or load_config(os.environ, Path.cwd())
            if config is None:
                raise ConfigError(NOT_CONNECTED)
            self._client = ManagerClient(config)
        return self._client

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._keep(self._close(list(self._tasks)))

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            self._client.close()
        if self._owns_loop:
            self._loop.stop()

    def _keep(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def loop_of_the_kernel() -> asyncio.AbstractEventLoop:
    """The loop that runs this cell. Raises ``RuntimeError`` outside of a kernel and of any other loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise RuntimeError("No event loop runs here: make this widget in a notebook's cell.") from error


def loop_of_its_own() -> asyncio.AbstractEventLoop:
    """A loop in a thread that ends when the loop is stopped: for what goes on while a cell computes."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(loop,), name="bai-widget", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def watch(client: ManagerClient, session: str, show: Callable[[Json], None], say: Say) -> None:
    """Show a session's view every ``PERIOD_S`` until it has ended; while the manager is away, say so and go on."""
    while True:
        try:
            view = await client.get_session(session)
        except ManagerAway as away:
            say(str(away))
        else:
            show(view)
            if view["status"] in FINAL:
                return
        await asyncio.sleep(PERIOD_S)
