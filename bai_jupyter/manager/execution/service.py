"""Use cases of running code in a session, without HTTP: query, input, continue, complete, interrupt.

Runs live in this process's memory: a manager that starts again knows none, and says so to who asks for one. The Jupyter
kernel and its variables live on in the session.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4, uuid5

from bai_jupyter.common.errors import BadRequest, NotFound, Unavailable
from bai_jupyter.common.ids import JupyterKernelId, SessionId
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, SessionStatus, Target
from bai_jupyter.manager.agents.streams import AGENT_AWAY, ByteStream
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault, new_token
from bai_jupyter.manager.db.records import ImageRecord, JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.execution.batch import BatchWork, read_steps
from bai_jupyter.manager.execution.cell import cursor_position
from bai_jupyter.manager.execution.engine import Executor, LiveRun, Work
from bai_jupyter.manager.execution.kernel import CellWork, ExecutionFailed, KernelClient, ReadyKernel
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.jupyter_kernels import JupyterKernelService, StreamRefused
from bai_jupyter.manager.sessions.query_counts import QueryCounts
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.service import SessionService, not_running

KERNEL_START_S = 120.0
KERNELSPEC_VARIABLE = "BAI_KERNELSPEC"
"""A session's environment may name the kernel that code is run with; else its image's first one is it."""

_MODES = ("query", "batch", "input", "continue")
_RUN_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class ExecuteRequest:
    """The body of ``POST /session/{s}``, read."""

    mode: str
    run_id: str
    code: str
    options: Mapping[str, Any]


def read_execute(body: Mapping[str, Any]) -> ExecuteRequest:
    """Raises ``BadRequest`` naming the field, what was given and what is expected."""
    mode, code, options = body.get("mode"), body.get("code") or "", body.get("options") or {}
    run_id = body.get("runId") or body.get("run_id")
    if mode not in _MODES:
        raise bad_value("mode", mode, f"one of {', '.join(_MODES)}")
    if run_id is None and mode in ("input", "continue"):
        raise bad_value("runId", run_id, "the id of the run that goes on")
    if run_id is not None and (not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id)):
        raise bad_value("runId", run_id, "up to 64 letters, digits, dashes and underscores")
    if not isinstance(code, str):
        raise bad_value("code", code, "a text")
    if not isinstance(options, Mapping):
        raise bad_value("options", options, "an object")
    return ExecuteRequest(mode, run_id or uuid4().hex[:16], code, options)


def choose_kernelspec(image: ImageRecord, wanted: str | None) -> KernelSpecFacts:
    """By name or language; without a wish the one whose language the image says it is for, or its first.

    Raises ``BadRequest`` listing what there is.
    """
    specs = image.kernelspecs
    hint = image.labels.get("ai.backend.runtime-type", "")
    if wanted:
        fitting = [spec for spec in specs if spec.name == wanted] or _of_language(specs, wanted)
    else:
        fitting = [*_of_language(specs, hint), *specs]
    if not fitting:
        names = ", ".join(spec.name for spec in specs) or "none"
        raise BadRequest(Reason.of("no-kernelspec", image=image.name, kernelspec=wanted or "at all", names=names))
    return fitting[0]


class SessionKernel:
    """The Jupyter kernel of one session that this API runs code in. Its id follows from the session's."""

    def __init__(
        self, session_id: SessionId, sessions: SessionService, kernels: JupyterKernelService, hub: Hub, vault: Vault
    ) -> None:
        self._session_id, self._sessions, self._kernels = session_id, sessions, kernels
        self._hub, self._vault = hub, vault
        self._id = JupyterKernelId(str(uuid5(UUID(session_id), "execution")))
        self._starting = asyncio.Lock()

    async def ready_kernel(self, newer_than: int) -> ReadyKernel:
        async with self._starting:
            try:
                async with asyncio.timeout(KERNEL_START_S):
                    return await self._await_ready(newer_than)
            except TimeoutError:
                raise ExecutionFailed(f"The kernel did not start within {KERNEL_START_S:g} s.") from None

    async def _await_ready(self, newer_than: int) -> ReadyKernel:
        was_started = False
        with self._hub.subscribe(None, self._session_id) as subscription:
            while True:
                session = await self._session()
                process = next((one for one in session.jupyter_kernels if one.id == self._id), None)
                if process is not None and process.status is JupyterKernelStatus.DEAD and was_started:
                    raise ExecutionFailed(process.reason or "The kernel ended while it started.")
                if process is None or process.status is JupyterKernelStatus.DEAD:
                    await self._start(session, process)
                    was_started = True
                elif process.status is JupyterKernelStatus.RUNNING and process.generation > newer_than:
                    return self._ready(process)
                else:
                    await subscription.changes()

    async def signal_interrupt(self) -> None:
        await self._kernels.interrupt_process(await self._session(), self._id)

    async def _start(self, session: SessionRecord, process: JupyterKernelRecord | None) -> None:
        if process is not None and process.target is Target.RUNNING:
            await self._kernels.restart_process(session, self._id)
            return
        environ = json.loads(self._vault.open(session.environ_encrypted))
        image = await self._sessions.image_of(session)
        if image is None:
            raise NotFound(Reason.of("not-found", kind="environment", name=session.image))
        spec = choose_kernelspec(image, environ.get(KERNELSPEC_VARIABLE))
        await self._kernels.start_process(session, {"id": self._id, "kernelspec": spec.name, "key": new_token()})

    async def _session(self) -> SessionRecord:
        (session,) = await self._sessions.get_many([self._session_id])
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        return session

    def _ready(self, process: JupyterKernelRecord) -> ReadyKernel:
        secret = json.loads(self._vault.open(process.secret_encrypted))
        return ReadyKernel(process.id, process.generation, secret["key"], process.interrupt_mode)


class RelayDialler:
    """Opens streams to relays, as ``kernel_stream`` wants them."""

    def __init__(self, sessions: SessionService, kernels: JupyterKernelService) -> None:
        self._sessions, self._kernels = sessions, kernels

    async def open_stream(self, session: str, jupyter_kernel_id: str, generation: int) -> ByteStream:
        (record,) = await self._sessions.get_many([SessionId(session)])
        try:
            return ByteStream(await self._kernels.open_relay(record, jupyter_kernel_id, generation))
        except StreamRefused as error:
            kind = Unavailable if error.code == AGENT_AWAY else NotFound
            raise kind(str(error)) from error


@dataclass(frozen=True)
class _Desk:
    """All that one session needs for running code, and the task that lets go of it."""

    executor: Executor
    client: KernelClient
    closing: asyncio.Task[None]


class Execution:
    """Runs of all sessions. What belongs to a session is let go of when it has ended."""

    def __init__(
        self, sessions: SessionService, kernels: JupyterKernelService, hub: Hub, vault: Vault, queries: QueryCounts
    ) -> None:
        self._sessions, self._kernels = sessions, kernels
        self._hub, self._vault, self._queries = hub, vault, queries
        self._desks: dict[SessionId, _Desk] = {}

    async def stop(self) -> None:
        closing = [desk.closing for desk in self._desks.values()]
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    async def execute(self, caller: Caller, ref: str, request: ExecuteRequest) -> LiveRun:
        """Begin a run, or go on with one. Poll what is returned. Raises ``PublicError``."""
        session = await self._running(caller, ref)
        desk = self._desk(session)
        if request.mode == "continue":
            return desk.executor.find(request.run_id)
        if request.mode == "input":
            return await desk.executor.answer(request.run_id, request.code)
        return desk.executor.submit(request.run_id, self._work(session, desk, request))

    async def complete(self, caller: Caller, ref: str, code: object, options: object) -> list[str]:
        if not isinstance(code, str):
            raise bad_value("code", code, "a text")
        given = options if isinstance(options, Mapping) else {}
        cursor = cursor_position(code, given.get("row"), given.get("col"))
        desk = self._desk(await self._running(caller, ref))
        return await desk.client.complete(code, cursor)

    async def interrupt(self, caller: Caller, ref: str) -> None:
        """Interrupt what this API runs in the session, if it runs anything."""
        await self._desk(await self._running(caller, ref)).executor.interrupt()

    def _work(self, session: SessionRecord, desk: _Desk, request: ExecuteRequest) -> Work:
        if request.mode == "batch":
            return BatchWork(self._sessions, session, read_steps(request.options))
        return CellWork(desk.client, request.code)

    async def _running(self, caller: Caller, ref: str) -> SessionRecord:
        session = await self._sessions.get(caller, ref)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        return session

    def _desk(self, session: SessionRecord) -> _Desk:
        desk = self._desks.get(session.id)
        if desk is None:
            kernel = SessionKernel(session.id, self._sessions, self._kernels, self._hub, self._vault)
            client = KernelClient(session.id, kernel, RelayDialler(self._sessions, self._kernels))
            executor = Executor(partial(self._queries.add, session))
            closing = asyncio.create_task(self._close_with(session.id, executor, client))
            desk = self._desks[session.id] = _Desk(executor, client, closing)
        return desk

    async def _close_with(self, session_id: SessionId, executor: Executor, client: KernelClient) -> None:
        """Wait for the session's end, or for ours."""
        try:
            with self._hub.subscribe(None, session_id) as subscription:
                while not (await self._sessions.get_many([session_id]))[0].is_final:
                    await subscription.changes()
        finally:
            del self._desks[session_id]
            self._queries.end(session_id)
            await executor.close()
            await client.close()


def _of_language(specs: tuple[KernelSpecFacts, ...], language: str) -> list[KernelSpecFacts]:
    return [spec for spec in specs if spec.language.lower() == language.lower()]
