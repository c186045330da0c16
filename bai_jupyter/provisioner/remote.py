"""One Jupyter kernel in a session, as seen from here: start it, follow it, keep its ports open.

Everything of this module runs on the background loop. What the manager says (``view``, ``reason``) is told through one
callback; nothing here knows Jupyter's kernel manager.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bai_jupyter.client import ClientConfig, Json, ManagerAway, ManagerClient
from bai_jupyter.common.errors import BadRequest, BaiError, NotFound, PublicError
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.kernel_stream import reader_id
from bai_jupyter.notebook import Place, session_name
from bai_jupyter.provisioner.facade import Facade, Ports
from bai_jupyter.provisioner.options import KernelOptions

log = logging.getLogger("bai_jupyter.provisioner")

_REDIAL_S = 1.0
UNKNOWN_EXIT = 255


class KernelFailed(BaiError):
    """The session or the Jupyter kernel ended before it ran. The message is its sentence."""

    code = "kernel-failed"


class RemoteKernel:
    """One Jupyter kernel from its first launch to the end of its session, over any number of restarts.

    ``on_change`` is called, on the background loop, after each change of ``view`` or ``exit_code``. ``ports`` are the
    local ports to open, by default free ones.
    """

    def __init__(
        self,
        config: ClientConfig,
        kernel_id: str,
        bookmarks: Path | None,
        on_change: Callable[[], None],
        ports: Ports | None = None,
    ) -> None:
        self._client = ManagerClient(config)
        self._on_change = on_change
        self._bookmark = bookmarks / f"{kernel_id}.bookmark" if bookmarks else None
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._facade: Facade | None = None
        self._ports = ports or Ports()
        self.kernel_id = kernel_id
        self.session_id: str | None = None
        self.owns_session = True
        self.generation = 0
        self.has_run = False
        self.is_launching = False  # a new generation that shows is our own doing
        self.view: Json | None = None
        self.exit_code: int | None = None

    # Start and restart

    async def launch(
        self, options: KernelOptions, key: str, notebook: str | None, place: Place | None, env: dict[str, str]
    ) -> Ports:
        """Start it, or restart it if it has run before. Returns the local ports once it runs there.

        Raises ``PublicError`` when it is refused and ``KernelFailed`` when it could not start; then nothing is left.
        When cancelled it stays as it is, in the queue perhaps: call ``launch`` again to wait on, or ``end``.
        """
        self.exit_code = None
        self.is_launching = True
        try:
            if self.session_id is None:
                await self._create(options, key, notebook, place, env)
            elif self.has_run:
                jupyter_kernel = await self._client.restart_jupyter_kernel(self.session_id, self.kernel_id)
                self.generation = max(self.generation, jupyter_kernel["generation"])
            self._watch()
            await self._until_running()
        except ManagerAway:
            raise
        except (PublicError, KernelFailed):
            if not self.has_run:
                await self.end()
            raise
        finally:
            self.is_launching = False
        self.has_run = True
        return self._open()

    async def _create(
        self, options: KernelOptions, key: str, notebook: str | None, place: Place | None, env: dict[str, str]
    ) -> None:
        if options.session:
            self.owns_session = False
            self.session_id = await self._client.find_running(options.session)
        else:
            created = await self._client.create_session(options.request(session_name(self.kernel_id, notebook)))
            self.session_id = created["sessionId"]
        jupyter_kernel = await self._client.create_jupyter_kernel(
            self.session_id,
            options.kernelspec,
            key,
            jupyter_kernel_id=self.kernel_id,
            env=env,
            folder=place.folder if place else None,
            path=place.path if place else None,
        )
        self.generation = jupyter_kernel["generation"]

    async def _until_running(self) -> None:
        while self.exit_code is None:
            jupyter_kernel = self._jupyter_kernel()
            if jupyter_kernel is not None and jupyter_kernel["status"] == "running":
                return
            self._changed.clear()
            await self._changed.wait()
        raise KernelFailed((self.reason or {}).get("text") or "The kernel ended while starting.")

    def _open(self, *, may_move: bool = False) -> Ports:
        """Open the local ports, the same ones after a restart, and read this generation.

        ``may_move``: where a port is not free any more it is another one, which the caller has to tell its clients.
        """
        if self._facade is None:
            assert self.session_id is not None
            self._facade = Facade(
                self._client,
                self.session_id,
                self.kernel_id,
                reader_id(f"facade {self.kernel_id}"),
                self._bookmark,
                self._ports,
                is_alive=lambda: self.exit_code is None,
                may_move=may_move,
            )
            self._ports = self._facade.ports
        self._facade.stream.follow(self.generation)
        return self._ports

    # Follow

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.create_task(self._follow_events())

    async def _follow_events(self) -> None:
        while True:
            try:
                async with aclosing(self._client.events(self.session_id)) as events:
                    async for name, view in events:
                        if name == "session_changed":
                            self._take(view)
            except NotFound:
                self._take({**(self.view or {}), "status": "TERMINATED"})
                return
            except ManagerAway:
                log.info("the manager does not answer; kernel %s goes on", self.kernel_id)
            except PublicError as error:
                log.warning("cannot follow kernel %s: %s", self.kernel_id, error)
            await asyncio.sleep(_REDIAL_S)

    def _take(self, view: Json) -> None:
        self.view = view
        self._follow_restart()
        jupyter_kernel = self._jupyter_kernel()
        if view["status"] in FINAL:
            self.exit_code = UNKNOWN_EXIT if self.exit_code is None else self.exit_code
        elif jupyter_kernel is not None and jupyter_kernel["status"] == "dead":
            code = jupyter_kernel.get("exit_code")
            self.exit_code = UNKNOWN_EXIT if code is None else code
        self._changed.set()
        self._on_change()

    def _follow_restart(self) -> None:
        """It was restarted by other means (woken with its variables, say): read on in the process that runs now."""
        mine = [item for item in (self.view or {}).get("jupyterKernels", []) if item["id"] == self.kernel_id]
        newest = max((item["generation"] for item in mine), default=0)
        if self.exit_code is None and newest > self.generation > 0:
            self.generation = newest
            if self._facade is not None:
                go_on = self._facade.stream.follow if self.is_launching else self._facade.stream.go_on
                go_on(newest)

    def _jupyter_kernel(self) -> Json | None:
        """Its part of the view, if that speaks of this generation."""
        for item in (self.view or {}).get("jupyterKernels", []):
            if item["id"] == self.kernel_id and item["generation"] == self.generation:
                return dict(item)
        return None

    @property
    def reason(self) -> Json | None:
        """Why it waits, failed or ended: of the Jupyter kernel if it has one, else of the session.

        What one that runs says, how it woke, is in its ``notice``.
        """
        jupyter_kernel = self._jupyter_kernel() or {}
        own = None if jupyter_kernel.get("status") == "running" else jupyter_kernel.get("reason")
        return own or (self.view or {}).get("reason")

    def mark_ended(self, code: int) -> None:
        """The caller ends this process: do not wait for the news to come round."""
        if self.exit_code is None:
            self.exit_code = code

    # Orders

    async def interrupt(self) -> None:
        """Where nothing runs any more, there is nothing to interrupt."""
        if self.session_id is None:
            return
        try:
            await self._client.interrupt_jupyter_kernel(self.session_id, self.kernel_id)
        except NotFound:
            return
        except BadRequest as error:
            if error.code != "not-running":
                raise

    async def delete(self) -> None:
        """End the process for good. Its session stays."""
        if self.session_id is not None:
            with suppress(NotFound):
                await self._client.delete_jupyter_kernel(self.session_id, self.kernel_id)

    async def end(self) -> None:
        """End what this kernel started, the session included if it is its own, and close the ports."""
        try:
            if self.session_id is not None:
                with suppress(NotFound):
                    if self.owns_session:
                        await self._client.destroy_session(self.session_id)
                    else:
                        await self._client.delete_jupyter_kernel(self.session_id, self.kernel_id)
        finally:
            await self.detach()
            self.session_id = None
            if self._bookmark is not None:
                self._bookmark.unlink(missing_ok=True)

    async def detach(self) -> None:
        """Close the ports and follow no more; everything there goes on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self._facade is not None:
            await self._facade.close()
            self._facade = None

    # Across a restart of the Jupyter server

    def to_json(self) -> Json:
        return {
            "session_id": self.session_id,
            "owns_session": self.owns_session,
            "generation": self.generation,
            "has_run": self.has_run,
            "ports": asdict(self._ports),
        }

    async def resume(self, saved: dict[str, Any]) -> Ports | None:
        """Take up a kernel that an earlier server started. ``None`` if it has ended meanwhile, or has yet to run.

        Raises ``ManagerAway``: try again, it may well be running.
        """
        self.session_id = saved["session_id"]
        self.owns_session = saved["owns_session"]
        self.generation = saved["generation"]
        self.has_run = saved["has_run"]
        self._ports = Ports(**saved["ports"])
        if self.session_id is None:
            return None
        try:
            self._take(await self._client.get_session(self.session_id))
        except NotFound:
            self.exit_code = UNKNOWN_EXIT
        if self.exit_code is not None:
            return None
        self._watch()
        return self._open(may_move=True) if self.has_run else None
