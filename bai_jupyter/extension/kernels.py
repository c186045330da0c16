"""Kernels that outlive the Jupyter server.

A *remote* kernel is one whose kernelspec names one of ``remote_provisioners``. For those this module owns the start
(always in the background: a queue may be long), what is kept on disk about them, picking them up again in the next
server, and letting them go when this one stops. Everything else, and every local kernel, is Jupyter's own code.

Life of a remote kernel here::

    start ──► starting ──► running ──► (restart) ──► running
                 │            │
                 │            └► dead    stays listed, with its reason, until restarted or shut down
                 └► dead                 the start failed; the same

A stop of the server ends none of this: a start that waits in the queue is abandoned locally only and goes on in the
next server, under the same kernel id. A record is written before a start begins and removed after a shutdown succeeded.
"""

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jupyter_client.ioloop.restarter import AsyncIOLoopKernelRestarter
from jupyter_client.kernelspec import KernelSpec, NoSuchKernel
from jupyter_client.provisioning import KernelProvisionerFactory
from jupyter_core.paths import jupyter_data_dir
from jupyter_server._tz import utcnow
from jupyter_server.prometheus.metrics import KERNEL_CURRENTLY_RUNNING_TOTAL
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web
from tornado.ioloop import IOLoop
from traitlets import Int, Set, Unicode, default

from bai_jupyter.common.errors import Unavailable
from bai_jupyter.extension import app_proxy, status
from bai_jupyter.extension.executions import Executions
from bai_jupyter.extension.kept_choices import Consents, LastChoices
from bai_jupyter.extension.kernel_records import KernelRecord, KernelRecords, pack_launch, unpack_launch
from bai_jupyter.extension.kernelspecs import make_spec
from bai_jupyter.extension.local_tape import LocalTape

LOCAL_OUTPUT = 8 * 1024**2
RETRY_S = (0.5, 1, 2, 5, 10)
REATTACH_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
FIND_STATE_ATTEMPTS, FIND_STATE_PAUSE_S, FIND_STATE_LINGER_MS = 40, 0.25, 10_000
NOTHING = {"code": "", "silent": True, "store_history": False, "allow_stdin": False, "stop_on_error": False}
"""What every kernel runs at once when it is idle, and else when it is."""


class RemoteKernelRestarter(AsyncIOLoopKernelRestarter):
    """Restarts a kernel that died, but never starts a session again that was ended, nor what ran out of memory."""

    async def poll(self) -> None:
        kernel = self.kernel_manager
        if await kernel.is_alive():
            await super().poll()
        elif status.is_over(kernel):
            self.stop()
            self._fire_callbacks("dead")
        elif status.is_out_of_memory(kernel):
            self.stop()
            kernel.parent.take_as_dead(kernel.kernel_id)  # pages are not told: they would let go of it for good
        else:
            await super().poll()
            await kernel.parent.remember(kernel)


class BaiMappingKernelManager(AsyncMappingKernelManager):
    """Jupyter's kernel manager, for which remote kernels are not lost with the server."""

    remote_provisioners = Set(
        Unicode(),
        default_value={"backendai-provisioner"},
        config=True,
        help="Names of kernel provisioners whose kernels live elsewhere and outlive this server.",
    )
    state_dir = Unicode(config=True, help="Folder for what must survive a restart of this server (mode 0700).")

    local_output = Int(
        min=0,
        config=True,
        help="So many bytes of what cells say in each local kernel are kept in memory until a saved notebook holds "
        "them, for pages whose connection broke meanwhile. 0: none, as in Jupyter. By default 8 MiB if this server "
        "runs in a session, where much lies between it and its pages, and else 0.",
    )

    @default("local_output")
    def _local_output_in_a_session(self) -> int:
        return LOCAL_OUTPUT if os.environ.get("BAI_TOKEN_FILE") else 0

    @default("state_dir")
    def _state_in_data_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "bai_jupyter" / "servers")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._announced: dict[str, dict[str, Any]] = {}
        self._executions: dict[str, Executions] = {}
        self._loop = IOLoop.current()
        self.records = KernelRecords.claim(Path(self.state_dir), self.root_dir, self.log)
        self.last_choices = LastChoices(self.records.folder / "last_choices.json", self.log)
        self.consents = Consents(self.records.folder, self.log)
        # The first thing the loop does, before any request is read: no listing misses a kernel and drops its session.
        self._loop.add_callback(self._restore_all)

    @property
    def last_kernel_activity(self) -> datetime:
        """Now, while a cell runs: one that says nothing for hours is no idleness, also for a Hub's culler."""
        is_busy = any(kernel.execution_state == "busy" for kernel in self._kernels.values())
        return utcnow() if is_busy else self._last_activity

    @last_kernel_activity.setter
    def last_kernel_activity(self, at: datetime) -> None:
        self._last_activity = at

    def is_ours(self, kernel: Any) -> bool:
        """True for a remote kernel, from its start until its shutdown has succeeded."""
        return kernel.kernel_id in self.records

    def executions(self, kernel_id: str) -> Executions:
        """Which cells of this kernel's notebook may have output that no file holds."""
        if (tape := self.local_tape(self._kernels[kernel_id])) is not None:
            return tape
        if kernel_id not in self._executions:
            self._executions[kernel_id] = Executions(self.records.bookmarks(kernel_id) / "executions.jsonl")
        return self._executions[kernel_id]

    def local_tape(self, kernel: Any) -> LocalTape | None:
        """Where a local kernel's output is kept; ``None`` for a remote one, and where none is kept."""
        return getattr(kernel, "local_tape", None)

    def start_watching_activity(self, kernel_id: str) -> None:
        super().start_watching_activity(kernel_id)
        kernel = self._kernels[kernel_id]
        if self.is_ours(kernel) or not self.local_output:
            return
        if self.local_tape(kernel) is None:
            kernel.local_tape = LocalTape(self.local_output)
            self.add_restart_callback(kernel_id, kernel.local_tape.start_over)
            self.add_restart_callback(kernel_id, kernel.local_tape.close, "dead")
        kernel.local_tape.listen(kernel.connect_iopub())

    def stop_watching_activity(self, kernel_id: str) -> None:
        super().stop_watching_activity(kernel_id)
        if (tape := self.local_tape(self._kernels[kernel_id])) is not None:
            tape.close()

    def _is_remote_spec(self, spec: KernelSpec | None) -> bool:
        provisioner = (spec.metadata if spec else {}).get("kernel_provisioner") or {}
        return provisioner.get("provisioner_name") in self.remote_provisioners

    def is_remote_name(self, kernel_name: str | None) -> bool:
        """True if a kernel of that kernelspec, by default the default one, would be remote."""
        try:
            return self._is_remote_spec(
                self.kernel_spec_manager.get_kernel_spec(kernel_name or self.default_kernel_name)
            )
        except NoSuchKernel:
            return False  # the ordinary start says so in Jupyter's words

    # Start

    async def _async_start_kernel(self, *, kernel_id: str | None = None, path: Any = None, **kwargs: Any) -> str:
        is_known = kernel_id is not None and kernel_id in self
        if is_known or not self.is_remote_name(kwargs.get("kernel_name")):
            return await super()._async_start_kernel(kernel_id=kernel_id, path=path, **kwargs)
        return self._start_remote(kernel_id, path, kwargs)

    start_kernel = _async_start_kernel

    def _start_remote(self, kernel_id: str | None, path: Any, kwargs: dict[str, Any]) -> str:
        launch = self._kernel_start_kwargs(**kwargs)
        notice = launch.pop("bai_notice", None)
        if last_choices := self.last_choices.all():
            launch["bai_last_choices"] = last_choices
        if path is not None:
            launch["cwd"] = self.cwd_for_path(path, env=launch.get("env", {}))
        if kernel_id is not None:
            launch["kernel_id"] = kernel_id
        kernel, name, kernel_id = self.pre_start_kernel(launch.pop("kernel_name", None), launch)
        spec = kernel.kernel_spec.to_dict()
        kernel._kernel_spec = make_spec({**spec, "env": {**app_proxy.environ(self.parent.base_url), **spec["env"]}})
        record = KernelRecord(
            kernel_id,
            name,
            kernel.kernel_spec.to_dict(),
            pack_launch(launch, os.environ),
            connection_info=dict(kernel.get_connection_info()),
            notice=notice,
        )
        try:
            self.records.add(record)
        except ValueError as error:
            raise web.HTTPError(400, str(error)) from error
        self._adopt(kernel, kernel_id, notice)
        self._spawn(kernel_id, self._launch(kernel, launch))
        if not self._initialized_culler:
            self.initialize_culler()
        return kernel_id

    def _adopt(self, kernel: Any, kernel_id: str, notice: str | None) -> None:
        """Make a kernel known to the server, with a provisioner whose changes are seen from the beginning."""
        kernel.kernel_id, kernel.notice = kernel_id, notice
        kernel.restarter_class = RemoteKernelRestarter
        factory = KernelProvisionerFactory.instance(parent=self)
        kernel.provisioner = factory.create_provisioner_instance(kernel_id, kernel.kernel_spec, parent=kernel)
        names = [name for name in ("view", "reason") if kernel.provisioner.has_trait(name)]
        if names:
            kernel.provisioner.observe(partial(self._on_change, kernel), names)
        kernel.execution_state, kernel.reason, kernel.last_activity = "starting", "", utcnow()
        self._kernels[kernel_id] = kernel
        self._kernel_connections[kernel_id] = 0
        self._kernel_ports[kernel_id] = []
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=kernel.kernel_name).inc()

    async def _launch(self, kernel: Any, launch: dict[str, Any]) -> None:
        try:
            await kernel.start_kernel(**{**launch, "kernel_id": kernel.kernel_id})
        except Exception as error:  # noqa: BLE001  whatever it is, the user must see it and the kernel stays listed
            self._mark_dead(kernel, str(error))
            return
        self.records.update(kernel.kernel_id, is_launched=True)
        await self.remember(kernel)
        self._watch(kernel)
        self.log.info("Kernel started: %s", kernel.kernel_id)

    def _watch(self, kernel: Any) -> None:
        kernel_id = kernel.kernel_id
        self._kernel_ports[kernel_id] = kernel.ports
        self.start_watching_activity(kernel_id)
        self.add_restart_callback(kernel_id, partial(self.take_as_dead, kernel_id), "dead")

    def _spawn(self, kernel_id: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[kernel_id] = asyncio.get_running_loop().create_task(work, name=f"kernel {kernel_id}")

    # Pick up again

    def _restore_all(self) -> None:
        for record in self.records:
            try:
                self._restore(record)
            except Exception:
                self.log.exception("kernel %s (%s) could not be picked up", record.kernel_id, record.kernel_name)

    def _restore(self, record: KernelRecord) -> None:
        kernel, _, kernel_id = self.pre_start_kernel(record.kernel_name, {"kernel_id": record.kernel_id})
        kernel._kernel_spec = make_spec(record.kernelspec)
        self._adopt(kernel, kernel_id, record.notice)
        self._spawn(kernel_id, self._reattach(kernel, record))

    async def _reattach(self, kernel: Any, record: KernelRecord) -> None:
        launch = unpack_launch(record.launch, os.environ)
        try:
            await self._load(kernel, record)
            if not record.is_launched:
                kernel.session.key = record.connection_info["key"]  # the manager may have been told it already
                await self._launch(kernel, launch)
                return
            exit_code = await kernel.provisioner.poll()
        except Exception as error:
            self.log.exception("kernel %s could not be picked up", record.kernel_id)
            self._fail_start(kernel, error)
            self._mark_dead(kernel, str(error))
            return
        kernel._launch_args = {**launch, "kernel_id": record.kernel_id}
        kernel._attempted_start = True  # else the first restart finds its future already resolved
        kernel.load_connection_info(kernel.provisioner.connection_info or record.connection_info)
        kernel.write_connection_file()
        if exit_code is not None:
            kernel.ready.set_result(None)
            self._mark_dead(kernel, f"The kernel ended (code {exit_code}) while this server was away. Restart it.")
            return
        self._resume(kernel, record)
        self.log.info("kernel %s (%s) picked up again", record.kernel_id, record.kernel_name)
        await self._find_state(kernel)

    async def _load(self, kernel: Any, record: KernelRecord) -> None:
        """Give the provisioner what it told before, as long as it takes for the manager to be reached."""
        if not record.provisioner_info:
            return
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(REATTACH_TIMEOUT_S):
                    await kernel.provisioner.load_provisioner_info(dict(record.provisioner_info))
                return
            except (Unavailable, OSError, TimeoutError) as error:
                kernel.reason = str(error)
                await self._announce(kernel)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    def _resume(self, kernel: Any, record: KernelRecord) -> None:
        if record.protocol_version:
            # A busy kernel would answer the question for it after its cell, and hold every page for a minute.
            known: ThreadFuture[dict[str, str]] = ThreadFuture()
            known.set_result({"protocol_version": record.protocol_version})
            kernel._kernel_info_future = known
        kernel.start_restarter()
        kernel._connect_control_socket()
        self._watch(kernel)
        kernel.ready.set_result(None)

    async def _find_state(self, kernel: Any) -> None:
        """Learn whether a cell runs. One that says nothing would be taken for idleness, also by a Hub's culler."""
        await self._wake(kernel)
        if kernel.execution_state == "dead":
            return
        kernel.execution_state = "busy"  # until it has answered on shell, which a running cell holds
        shell = kernel.connect_shell()
        try:
            kernel.session.send(shell, "execute_request", NOTHING)
        finally:
            shell.close(linger=FIND_STATE_LINGER_MS)  # the activity watch hears what the kernel does about it

    async def _wake(self, kernel: Any) -> None:
        """Have the kernel say something, from which the activity watch learns that it is there.

        Again and again, for the subscription may still be on its way; over control, which a running cell does not hold.
        """
        for _ in range(FIND_STATE_ATTEMPTS):
            kernel._connect_control_socket()
            kernel.session.send(kernel._control_socket, "kernel_info_request")
            await asyncio.sleep(FIND_STATE_PAUSE_S)
            if kernel.execution_state != "starting":
                return

    # Restart, interrupt, death

    async def _async_restart_kernel(self, kernel_id: str, now: bool = False) -> Any:
        kernel = self.get_kernel(kernel_id)
        if not self.is_ours(kernel):
            if (tape := self.local_tape(kernel)) is not None:
                tape.start_over()
            return await super()._async_restart_kernel(kernel_id, now=now)
        self._check_started(kernel)
        await self._cancel(kernel_id)
        was_dead = kernel.execution_state == "dead"
        kernel.execution_state, kernel.reason = "starting", ""
        if not self.records.is_launched(kernel_id):  # its first start failed: there is nothing to stop
            self._spawn(kernel_id, self._launch(kernel, dict(kernel._launch_args or {})))
            return None
        try:
            answer = await super()._async_restart_kernel(kernel_id, now=now)
        except Exception as error:
            self._mark_dead(kernel, str(error))
            raise
        await self.remember(kernel)
        if was_dead:
            self.stop_watching_activity(kernel_id)
            self._watch(kernel)
        return answer

    restart_kernel = _async_restart_kernel

    def interrupt_kernel(self, kernel_id: str) -> Any:
        kernel = self.get_kernel(kernel_id)
        if self.is_ours(kernel):
            self._check_started(kernel)
        return super().interrupt_kernel(kernel_id)

    def _check_started(self, kernel: Any) -> None:
        if not kernel.ready.done():
            reason = status.kernel_status(kernel)["reason"] or {}
            raise web.HTTPError(409, f"Kernel {kernel.kernel_id} is not started yet. {reason.get('text', '')}".strip())

    def take_as_dead(self, kernel_id: str) -> None:
        """A remote kernel ended, and is not restarted by itself. Jupyter would forget it; here it stays listed."""
        kernel = self._kernels.get(kernel_id)
        if kernel is not None and self.is_ours(kernel):
            reason = status.kernel_status(kernel)["reason"] or {}
            self._mark_dead(kernel, reason.get("text") or "The kernel ended and could not be restarted.")

    def _mark_dead(self, kernel: Any, text: str) -> None:
        kernel.execution_state, kernel.reason = "dead", text
        self.log.warning("kernel %s: dead (%s)", kernel.kernel_id, text)
        self._loop.add_callback(self._announce, kernel)

    # End

    async def _async_shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> Any:
        self._check_kernel_id(kernel_id)
        kernel = self._kernels[kernel_id]
        if not self.is_ours(kernel):
            return await super()._async_shutdown_kernel(kernel_id, now=now, restart=restart)
        await self._cancel(kernel_id)
        if kernel.ready.done() and kernel.ready.exception() is None:
            await super()._async_shutdown_kernel(kernel_id, now=now, restart=restart)
        else:
            await self._withdraw(kernel)
        self.records.remove(kernel_id)
        self._forget(kernel_id)
        return None

    shutdown_kernel = _async_shutdown_kernel

    async def _withdraw(self, kernel: Any) -> None:
        """End what was asked for and has not become a kernel: it leaves the queue."""
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await kernel.provisioner.kill()
            await kernel.provisioner.cleanup()
        self._fail_start(kernel, RuntimeError("The kernel was cancelled before it started."))
        self.remove_kernel(kernel.kernel_id)
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=kernel.kernel_name).dec()

    async def _async_shutdown_all(self, now: bool = False) -> None:
        """Stop local kernels, let remote ones go on."""
        for kernel in [kernel for kernel in self._kernels.values() if self.is_ours(kernel)]:
            await self._let_go(kernel)
        await super()._async_shutdown_all(now=now)
        self.records.close()

    shutdown_all = _async_shutdown_all

    async def _let_go(self, kernel: Any) -> None:
        """Close this server's ends of a remote kernel. A provisioner with ``detach`` closes its own there."""
        kernel_id = kernel.kernel_id
        await self._cancel(kernel_id)
        self._fail_start(kernel, RuntimeError("This Jupyter server stopped; the kernel goes on."))
        kernel.stop_restarter()
        kernel._close_control_socket()
        self.stop_watching_activity(kernel_id)
        self.stop_buffering(kernel_id)
        self.remove_kernel(kernel_id)  # before detach: what a detached provisioner tells must not be kept
        if detach := getattr(kernel.provisioner, "detach", None):
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await detach()
        kernel.cleanup_connection_file()
        self._forget(kernel_id)
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=kernel.kernel_name).dec()

    async def _cancel(self, kernel_id: str) -> None:
        task = self._tasks.pop(kernel_id, None)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    def _fail_start(self, kernel: Any, error: Exception) -> None:
        if not kernel.ready.done():
            kernel.ready.set_exception(error)  # WebSockets wait for it
            kernel.ready.exception()  # seen, also where none does

    def _forget(self, kernel_id: str) -> None:
        self._kernel_connections.pop(kernel_id, None)
        self._kernel_ports.pop(kernel_id, None)
        self._announced.pop(kernel_id, None)
        self._executions.pop(kernel_id, None)
        self._tasks.pop(kernel_id, None)

    # What is told, and what is kept

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """Jupyter's model; remote kernels also have ``bai`` (``kernel_status``), its sentence is ``reason``.

        Local ones have ``bai_keeps_output`` where what cells say in them is kept (``local_tape``).
        """
        model: dict[str, Any] = super().kernel_model(kernel_id)
        kernel = self._kernels[kernel_id]
        if self.is_ours(kernel):
            model["bai"] = status.kernel_status(kernel)
            if model["bai"]["reason"]:
                model["reason"] = model["bai"]["reason"]["text"]
        elif self.local_tape(kernel) is not None:
            model["bai_keeps_output"] = True
        return model

    def _on_change(self, kernel: Any, _: Any) -> None:
        # Perhaps from the thread of the provisioner's facade: add_callback is made for that.
        self._loop.add_callback(self._announce, kernel)

    async def _announce(self, kernel: Any) -> None:
        if self._kernels.get(kernel.kernel_id) is not kernel:
            return
        now = status.kernel_status(kernel)
        if now != self._announced.get(kernel.kernel_id):
            self._announced[kernel.kernel_id] = now
            if (logger := getattr(self.parent, "event_logger", None)) is not None:
                status.register(logger)
                status.emit(logger, kernel.kernel_id, now)
        await self.remember(kernel)

    async def remember(self, kernel: Any) -> None:
        """Keep what the next server needs to find this kernel; written only if it changed."""
        info = await kernel.provisioner.get_provisioner_info()
        if self._kernels.get(kernel.kernel_id) is kernel:  # it may have been let go while we asked
            connection_info = dict(kernel.get_connection_info())
            self.records.update(kernel.kernel_id, provisioner_info=info, connection_info=connection_info)

    def remember_protocol(self, kernel_id: str, version: str) -> None:
        self.records.update(kernel_id, protocol_version=version)
