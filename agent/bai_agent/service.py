"""What the manager may ask of an agent once: interrupt, logs, a stream, a look into an image."""

import asyncio
from typing import Any

from bai_agent.reconciler import JupyterKernelsLike, Reconciler
from bai_agent.runtimes.base import Runtime
from bai_agent.streams import Streams
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import Call, to_json

_TIMEOUTS_S = {"inspect_image": 1800.0}  # it may pull
_TIMEOUT_S = 30.0
_MAX_TAIL = 10_000


class CallRefused(BaiError):
    """The call names something that is not here."""


class AgentService:
    """Answers ``Call`` messages; see ``messages.Call`` for the methods."""

    def __init__(self, runtime: Runtime, reconciler: Reconciler, jupyter: JupyterKernelsLike, streams: Streams) -> None:
        self._runtime, self._reconciler = runtime, reconciler
        self._jupyter, self._streams = jupyter, streams
        self._methods = {
            "interrupt": self._interrupt,
            "logs": self._logs,
            "open_stream": self._open_stream,
            "inspect_image": self._inspect_image,
        }

    async def answer(self, call: Call) -> dict[str, Any]:
        """Raises ``BaiError`` with what went wrong."""
        method = self._methods.get(call.method)
        if method is None:
            raise CallRefused(f"This agent does not know the call {call.method}.")
        try:
            return await asyncio.wait_for(method(call.params), _TIMEOUTS_S.get(call.method, _TIMEOUT_S))
        except KeyError as error:
            raise CallRefused(f"{call.method}: there is no {error} here.") from error
        except TimeoutError as error:
            raise CallRefused(f"{call.method} took too long on the agent.") from error

    async def _interrupt(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._jupyter.interrupt(KernelId(params["kernel_id"]), JupyterKernelId(params["jupyter_kernel_id"]))
        return {}

    async def _logs(self, params: dict[str, Any]) -> dict[str, Any]:
        tail = max(1, min(_MAX_TAIL, int(params.get("tail", 1000))))
        return {"logs": await self._reconciler.logs(KernelId(params["kernel_id"]), tail)}

    async def _open_stream(self, params: dict[str, Any]) -> dict[str, Any]:
        endpoint = params["endpoint"]
        if endpoint["kind"] != "jupyter":
            raise CallRefused(f"This agent has no endpoint of kind {endpoint['kind']}.")
        path = self._jupyter.relay_socket(
            KernelId(params["kernel_id"]), JupyterKernelId(endpoint["jupyter_kernel_id"]), int(endpoint["generation"])
        )
        await self._streams.open(params["stream_id"], params["ticket"], path)
        return {}

    async def _inspect_image(self, params: dict[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = to_json(await self._runtime.inspect_image(params["name"]))
        return facts
