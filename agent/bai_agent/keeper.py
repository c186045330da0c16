"""The agent's side of one relay: start it, hold duplicates of its descriptors, replace it when it dies.

A relay heals itself when one of its two processes is killed. When both are, its descriptors live on here and another
relay goes on with them; while the agent is away the relay records on (``docs/kernel-path.md`` has the table).
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import bai_jupyter
from bai_jupyter.common.records import HEADER, Kind, pack

log = logging.getLogger("bai_agent.keeper")

_ROOTS = [str(Path(__file__).parents[1]), str(Path(bai_jupyter.__file__).parents[1])]
# -S and -E: a relay needs nothing but the standard library, and starts in a third of the time without site-packages.
_START = "import sys, runpy; sys.path[:0] = sys.argv[2:]; runpy.run_module('bai_agent.relay', run_name='__main__')"
_MAX_DESCRIPTORS = 32
_DIAL_AGAIN_S = 0.005


class RelayFailedError(Exception):
    """The relay ended before it was ready. ``exit_code`` is one of its own or a signal's."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the relay ended with code {exit_code} before it was ready")
        self.exit_code = exit_code


class Keeper:
    """Keeps one relay alive from ``start`` or ``adopt`` until ``stop`` or ``leave``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._group: int | None = None  # the relay's process group
        self.worker: int | None = None  # its process that does the work
        self._held: dict[str, int] = {}
        self._link: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def socket_path(self) -> Path:
        return self._folder / "relay.sock"

    async def start(self, orders: dict[str, object]) -> None:
        """Start a relay that connects to the kernel; return when it serves. Raises ``RelayFailedError``."""
        self._write_orders(orders)
        self._spawn()
        await self._take_over()

    async def adopt(self) -> bool:
        """Take over a relay that outlived the agent before this one. False if none answers."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._dial)
        except OSError:
            return False
        await self._take_over()
        return True

    async def stop(self) -> None:
        """End the relay; its tapes stay."""
        await self.leave()
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
        if self._child is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._child.wait)

    async def leave(self) -> None:
        """Let go without ending the relay: the agent itself is stopping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._release()

    def _release(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held = {}
        self._close_link()

    def _write_orders(self, orders: dict[str, object]) -> None:
        path = self._folder / "relay.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(orders))
        scratch.replace(path)

    def _spawn(self) -> None:
        with (self._folder / "relay.log").open("ab") as output:
            if self._child is not None:
                self._child.poll()  # the one before has ended; now its entry in the process table may go
            self._child = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _START, str(self._folder), *_ROOTS],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=list(self._held.values()),
                start_new_session=True,  # outside the agent's process group: what kills the agent leaves it alone
            )
        self._group = self._child.pid

    async def _take_over(self) -> None:
        """Dial the relay as soon as it listens, and keep it from then on. Raises ``RelayFailedError``."""
        await self._await_link()
        await self._receive()
        self._task = asyncio.create_task(self._keep())

    async def _await_link(self) -> None:
        loop = asyncio.get_running_loop()
        while self._link is None:
            try:
                await loop.run_in_executor(None, self._dial)
            except OSError:
                if self._child is not None and (code := self._child.poll()) is not None:
                    raise RelayFailedError(code) from None
                await asyncio.sleep(_DIAL_AGAIN_S)

    def _dial(self) -> None:
        link = self.dial()
        try:
            link.sendall(pack(Kind.KEEP))
        except OSError:
            link.close()
            raise
        link.setblocking(False)
        self._link = link

    def dial(self) -> socket.socket:
        """Connect to the relay, by way of its folder's descriptor: the path may be too long for a socket's."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        handle = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            link.connect(f"/proc/self/fd/{handle}/relay.sock")
        except OSError:
            link.close()
            raise
        finally:
            os.close(handle)
        return link

    async def _receive(self) -> bool:
        """Take the next set of descriptors. False when the relay is gone."""
        assert self._link is not None
        await _readable(self._link)
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, 64 * 1024, _MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return True
        except ConnectionError:
            return False
        if not data:
            return False
        told = json.loads(data[HEADER.size :])
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held = dict(zip(told["names"], descriptors, strict=True))
        self._group, self.worker = told["group"], told["worker"]
        return True

    async def _keep(self) -> None:
        while True:
            while await self._receive():
                pass
            self._close_link()
            await self._dial_again()

    async def _dial_again(self) -> None:
        """Its guardian has started another worker, or all of it is gone: then start another on what is held."""
        pause_s = 0.0
        while self._link is None:
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._dial)
            except OSError:
                await asyncio.sleep(pause_s)
                try:
                    await self._replace()
                except (RelayFailedError, OSError) as error:  # OSError: its orders cannot be written on a full disk
                    log.error("relay %s: %s", self._folder.name, error)
                    pause_s = min(pause_s * 2 or 0.2, 10.0)

    async def _replace(self) -> None:
        log.warning("relay %s is gone; starting another on its descriptors", self._folder.name)
        orders = json.loads((self._folder / "relay.json").read_text())
        self._write_orders({**orders, "descriptors": self._held})
        self._spawn()
        await self._await_link()

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def is_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, is_ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
