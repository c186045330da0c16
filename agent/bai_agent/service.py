"""What the manager may ask of an agent once: interrupt, logs, a stream, something about an image, work on folders."""

import asyncio
import time
from functools import partial
from typing import Any

from bai_agent import terminal_app
from bai_agent.attachments import Attachments
from bai_agent.commands import CommandEnd
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.base import Runtime, RuntimeFault, TerminalSize
from bai_agent.streams import PIECE_BYTES, End, SocketEnd, Streams, to_unix
from bai_agent.terminals import TerminalEnd, Terminals
from bai_agent.volumes import Volumes
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import Call, to_json
from bai_jupyter.common.reasons import Reason

_TIMEOUTS_S = {
    "inspect_image": 1800.0,  # it may pull
    "save": 3600.0,  # each kernel has its own time
    "commit": 1800.0,  # what it writes may be large
    "clone_folder": 6 * 3600.0,
    "delete_folder": 3600.0,
    "delete_files": 600.0,
    "folder_usage": 600.0,
}
_TIMEOUT_S = 30.0
_SETTLE_S = 3.0  # so long what was asked of a kernel may take to show that it runs
_MAX_TAIL = 10_000


class CallRefused(BaiError):
    """The call names something that is not here."""


class AgentService:
    """Answers ``Call`` messages; see ``messages.Call`` for the methods."""

    def __init__(
        self,
        runtime: Runtime,
        reconciler: Reconciler,
        jupyter: JupyterKernels,
        streams: Streams,
        attachments: Attachments,
        terminals: Terminals,
        volumes: Volumes,
    ) -> None:
        self._runtime, self._reconciler = runtime, reconciler
        self._jupyter, self._streams, self._volumes = jupyter, streams, volumes
        self._attachments, self._terminals = attachments, terminals
        self._ran_at: dict[KernelId, float] = {}  # when a job in a terminal, or a program, was last seen to run
        self._asked_at: dict[KernelId, float] = {}  # when anything was last asked of what is in it; ``monotonic``
        self._methods = {
            "interrupt": self._interrupt,
            "logs": self._logs,
            "figures": self._figures,
            "suspend": self._suspend,
            "resume": self._resume,
            "open_ports": self._open_ports,
            "release_mount": self._release_mount,
            "save": self._save,
            "open_stream": self._open_stream,
            "inspect_image": self._inspect_image,
            "commit": self._commit,
            "remove_image": self._remove_image,
            **volumes.calls,
        }

    async def answer(self, call: Call) -> dict[str, Any]:
        """Raises ``BaiError`` with what went wrong."""
        method = self._methods.get(call.method)
        if method is None:
            raise CallRefused(f"This agent does not know the call {call.method}.")
        try:
            async with asyncio.timeout(_TIMEOUTS_S.get(call.method, _TIMEOUT_S)):
                return await method(call.params)
        except KeyError as error:
            raise CallRefused(f"{call.method}: there is no {error} here.") from error
        except TimeoutError as error:
            raise CallRefused(f"{call.method} took too long on the agent.") from error

    async def _interrupt(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._wake(KernelId(params["kernel_id"]))
        await self._reconciler.rescue(KernelId(params["kernel_id"]))
        await self._jupyter.interrupt(KernelId(params["kernel_id"]), JupyterKernelId(params["jupyter_kernel_id"]))
        return {}

    async def _logs(self, params: dict[str, Any]) -> dict[str, Any]:
        tail = max(1, min(_MAX_TAIL, int(params.get("tail", 1000))))
        return {"logs": await self._reconciler.logs(KernelId(params["kernel_id"]), tail)}

    async def figures(self) -> dict[str, dict[str, float]]:
        """Of all kernels that run, for ``Heartbeat``."""
        used, running = await self._reconciler.stats(), self._reconciler.running()
        self._ran_at = {key: at for key, at in self._ran_at.items() if key in running}
        self._asked_at = {key: at for key, at in self._asked_at.items() if key in running}
        return {str(key): {**used.get(key, {}), **await self._activity(key)} for key in running}

    async def _figures(self, params: dict[str, Any]) -> dict[str, Any]:
        """What it does right now; what it uses comes with every heartbeat."""
        self._ref_of(KernelId(params["kernel_id"]))
        return await self._activity(KernelId(params["kernel_id"]))

    async def _open_ports(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"ports": await self._runtime.open_ports(self._ref_of(KernelId(params["kernel_id"])))}

    async def _suspend(self, params: dict[str, Any]) -> dict[str, Any]:
        """Never under something that runs, nor under what was asked just now or meanwhile: a kernel says that it runs
        something only once it has begun."""
        kernel_id = KernelId(params["kernel_id"])
        why = Reason.from_json(params["reason"]) if params.get("reason") else None
        asked_at = self._asked_at.get(kernel_id)
        is_fresh = asked_at is not None and time.monotonic() - asked_at < _SETTLE_S
        does = [await self._activity(one) for one in self._reconciler.together(kernel_id)]
        if is_fresh or any(one["executing"] for one in does):
            raise RuntimeFault(Reason.of("suspend-busy"))
        await self._reconciler.suspend(kernel_id, why)
        if self._asked_at.get(kernel_id) != asked_at:
            await self._reconciler.resume(kernel_id)
            raise RuntimeFault(Reason.of("suspend-busy"))
        return {}

    async def _resume(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._reconciler.resume(KernelId(params["kernel_id"]))
        return {}

    async def _release_mount(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._reconciler.release_mount(KernelId(params["kernel_id"]), params["target"], is_forced=params["force"])
        return {}

    async def _save(self, params: dict[str, Any]) -> dict[str, Any]:
        kernel_id = KernelId(params["kernel_id"])
        self._ref_of(kernel_id)
        await self._wake(kernel_id)
        return {"kernels": await self._jupyter.save(kernel_id, float(params["seconds"]))}

    async def _wake(self, kernel_id: KernelId) -> None:
        """Whoever uses a session that is suspended wakes it."""
        self._asked_at[kernel_id] = time.monotonic()
        if self._reconciler.is_suspended(kernel_id):
            await self._reconciler.resume(kernel_id)

    async def _activity(self, kernel_id: KernelId) -> dict[str, float]:
        """``executing`` and ``executed_ago_s`` as in ``Heartbeat``."""
        busy, active_at = await self._jupyter.activity(kernel_id)
        now = time.time()
        if self._terminals.has_job(kernel_id) or self._reconciler.runs_program(kernel_id):
            busy, self._ran_at[kernel_id] = True, now
        moments = [at for at in (active_at, self._ran_at.get(kernel_id)) if at is not None]
        ago = {"executed_ago_s": max(0.0, now - max(moments))} if moments else {}
        return {"executing": float(busy), **ago}

    async def _open_stream(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._streams.open(params["stream_id"], params["ticket"], await self._end(params))
        return {}

    async def _end(self, params: dict[str, Any]) -> End:
        endpoint = params["endpoint"]
        kind = endpoint["kind"]
        if kind in self._volumes.streams:
            return self._volumes.end(endpoint)
        ends = {"jupyter": self._jupyter_end, "port": self._port_end}
        ends |= {"command": self._command_end, "terminal": self._terminal_end, "page": self._page_end}
        if kind not in ends:
            raise CallRefused(f"This agent has no endpoint of kind {kind}.")
        return await ends[kind](KernelId(params["kernel_id"]), endpoint)

    async def _jupyter_end(self, kernel_id: KernelId, endpoint: dict[str, Any]) -> End:
        jupyter_kernel_id = JupyterKernelId(endpoint["jupyter_kernel_id"])
        relay = self._jupyter.relay_socket(kernel_id, jupyter_kernel_id, int(endpoint["generation"]))

        async def before_frame(is_first: bool) -> None:
            if not is_first:  # that is a Hello, which any open page says again and again; all else are requests
                await self._wake(kernel_id)

        return await to_unix(relay, before_frame)

    async def _port_end(self, kernel_id: KernelId, endpoint: dict[str, Any]) -> End:
        await self._wake(kernel_id)
        sock = await self._runtime.connect(self._ref_of(kernel_id), int(endpoint["port"]))
        reader, writer = await asyncio.open_connection(sock=sock, limit=PIECE_BYTES)
        return SocketEnd(reader, writer, halves=True, before_frame=lambda _: self._wake(kernel_id))

    async def _command_end(self, kernel_id: KernelId, endpoint: dict[str, Any]) -> End:
        await self._wake(kernel_id)
        size = (int(endpoint["rows"]), int(endpoint["columns"])) if "rows" in endpoint else None
        attached = await self._attachments.start(
            self._ref_of(kernel_id), endpoint["argv"], env=endpoint["env"], cwd=endpoint["cwd"], terminal=size
        )
        return CommandEnd(self._attachments, attached)

    async def _terminal_end(self, kernel_id: KernelId, endpoint: dict[str, Any]) -> End:
        return await self._look(kernel_id, (int(endpoint["rows"]), int(endpoint["columns"])))

    async def _page_end(self, kernel_id: KernelId, endpoint: dict[str, Any]) -> End:  # noqa: ARG002
        self._ref_of(kernel_id)
        return await terminal_app.serve_connection(partial(self._look, kernel_id))

    async def _look(self, kernel_id: KernelId, size: TerminalSize) -> TerminalEnd:
        await self._wake(kernel_id)
        return await self._terminals.look(kernel_id, self._ref_of(kernel_id), size, lambda: self._wake(kernel_id))

    def _ref_of(self, kernel_id: KernelId) -> str:
        """Raises ``KeyError``."""
        ref = self._reconciler.open_ref_of(kernel_id)
        if ref is None:
            raise KeyError(kernel_id)
        return ref

    async def _inspect_image(self, params: dict[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = to_json(await self._runtime.inspect_image(params["name"]))
        return facts

    async def _commit(self, params: dict[str, Any]) -> dict[str, Any]:
        ref = self._reconciler.ref_of(KernelId(params["kernel_id"]))
        if ref is None:
            raise KeyError(params["kernel_id"])
        facts: dict[str, Any] = to_json(await self._runtime.commit(ref, params["name"]))
        return facts

    async def _remove_image(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._runtime.remove_image(params["name"])
        return {}
