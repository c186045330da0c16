"""A connection that a test can break: what listens in the place of a server and passes everything on to it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
Address = Path | int
"""A Unix socket's path, or a port on the loopback."""


class Wire:
    """Splices each connection to ``near`` to one to ``far``. Its loop has a thread of its own: tests run subprocesses
    that need the server while their loop stands still."""

    def __init__(self, near: Address, far: Address) -> None:
        self.near, self._far = near, far
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire")
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._thread.start()
        self._do(self._listen())

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens, and what was connected is cut off."""
        self._do(self._hang_up())
        try:
            yield
        finally:
            self._do(self._listen())

    @contextmanager
    def silent(self) -> Iterator[None]:
        """All seems connected and nothing comes through; in the end it is cut off, and what was on its way is lost."""
        self._loop.call_soon_threadsafe(self._passes.clear)
        yield
        with self.away():
            pass

    def close(self) -> None:
        self._do(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: "asyncio.coroutines.Coroutine[object, object, None]") -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._passes.set()
        if isinstance(self.near, Path):
            self._server = await asyncio.start_unix_server(self._splice, self.near)
        else:
            self._server = await asyncio.start_server(self._splice, LOOPBACK, self.near)

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if isinstance(self.near, Path):
            self.near.unlink(missing_ok=True)
        for end in self._ends:
            end.transport.abort()
        self._passes.set()
        while self._ends:
            await asyncio.sleep(0)

    async def _splice(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._far, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(self._far)
            else:
                far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._far)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        self._ends -= ends
        for end in ends:
            end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(64 * 1024):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
