"""``/bai/api/kernels/…``: a cell's output from its beginning, for a page that was not there to hear it.

A page that opens a notebook asks which executions its file may lack (``executions``), and reads those again from the
kernel's tape (a local kernel's: ``local_tape``), whatever has come meanwhile and what is still to come (``outputs``).
When it has saved the notebook it says which it has seen to their end (``DELETE``). A page whose connection broke reads
on behind what it has.
"""

import asyncio
import json
from functools import partial
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from tornado import web
from tornado.websocket import WebSocketHandler

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError, Unavailable
from bai_jupyter.common.records import Channel
from bai_jupyter.extension.executions import Execution, Executions
from bai_jupyter.extension.handlers import BaiHandler
from bai_jupyter.extension.kernels import BaiMappingKernelManager
from bai_jupyter.extension.local_tape import LocalReplay
from bai_jupyter.extension.page import gap_message, without_identities, word_in
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream, reader_id

MAX_SETTLED = 10_000
PICK_UP_TIMEOUT_S = 60


async def unsettled(kernels: Any, kernel_id: str) -> list[Execution]:
    """What a notebook's file may lack of this kernel's output.

    Raises ``NotFound`` if nothing of it is kept, ``Unavailable`` while this server has yet to find it again.
    """
    kernel = _kernel(kernels, kernel_id)
    if kernels.records.is_launched(kernel_id):
        _, missing = await asyncio.wait([asyncio.wrap_future(kernel.ready)], timeout=PICK_UP_TIMEOUT_S)
        if missing:
            raise Unavailable(f"Kernel {kernel_id} is not found again yet. Trying again helps.")
    return _executions(kernels, kernel_id).of(getattr(kernel.provisioner, "generation", 0))


def _kernel(kernels: Any, kernel_id: str) -> Any:
    kernel = kernels.get_kernel(kernel_id) if kernel_id in kernels else None
    is_known = isinstance(kernels, BaiMappingKernelManager) and kernel is not None
    if not is_known or (not kernels.is_ours(kernel) and kernels.local_tape(kernel) is None):
        raise NotFound(f"There is no kernel {kernel_id} here whose output is kept.")
    return kernel


def _executions(kernels: Any, kernel_id: str) -> Executions:
    executions: Executions = kernels.executions(kernel_id)
    return executions


class ExecutionsHandler(BaiHandler):
    auth_resource = "kernels"

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """``{"executions": [{"msg_id", "cell_id"}]}``, in the order they were sent."""
        executions = await unsettled(self.kernel_manager, kernel_id)
        self.finish({"executions": [{"msg_id": each.msg_id, "cell_id": each.cell_id} for each in executions]})

    @web.authenticated
    @authorized
    async def delete(self, kernel_id: str) -> None:
        """``?msg_id=…&msg_id=…``: a saved notebook holds all the output of these."""
        _kernel(self.kernel_manager, kernel_id)
        msg_ids = self.get_query_arguments("msg_id")
        if len(msg_ids) > MAX_SETTLED:
            raise BadRequest(f"msg_id: {len(msg_ids)} given; at most {MAX_SETTLED} at once.")
        _executions(self.kernel_manager, kernel_id).settle(set(msg_ids))
        self.done()


class OutputsSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """``?msg_id=…&after=…&msg_id=…&after=…``: the messages of these executions, in Jupyter's binary form
    (``v1.kernel.websocket…``), each behind the IOPub message ``after``, or from its beginning where that is empty.

    Goes on until each has both its reply and its idle status, or nothing more can come; then closes with 1000.
    """

    auth_resource = "kernels"
    _stream: KernelStream | LocalReplay | None = None

    def set_default_headers(self) -> None:
        """Those of a page mean nothing here."""

    @ws_authenticated
    async def get(self, kernel_id: str) -> None:
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", self.auth_resource)):
            raise web.HTTPError(403)
        msg_ids = self.get_query_arguments("msg_id")
        try:
            wanted = [each for each in await unsettled(self.kernel_manager, kernel_id) if each.msg_id in msg_ids]
        except PublicError as error:
            raise web.HTTPError(error.status, error.message) from error
        if not wanted:
            raise web.HTTPError(404, "Nothing is kept of these executions that the notebook's file could lack.")
        self._kernel = _kernel(self.kernel_manager, kernel_id)
        self._executions = _executions(self.kernel_manager, kernel_id)
        self._wanted = wanted
        seen = zip(msg_ids, self.get_query_arguments("after"), strict=False)
        self._seen = {msg_id: after for msg_id, after in seen if after}
        self._tape = self.kernel_manager.local_tape(self._kernel)
        # A local kernel's reply goes to the page that asked, and that may be gone.
        ends = ("reply", "idle") if self._tape is None else ("idle",)
        self._open_ends = {(each.msg_id, end) for each in wanted for end in ends}
        self._last_parent = _parent(wanted[0].msg_id)
        await super().get(kernel_id)

    async def open(self, _kernel_id: str) -> None:  # type: ignore[override]
        super().open()
        self.set_nodelay(True)
        leave = partial(self.close, 1000)
        if self._tape is not None:
            seen = {each.msg_id: self._seen.get(each.msg_id) for each in self._wanted}
            self._stream = self._tape.open_replay(seen, self._take, self._on_gap_of, leave)
            return
        bookmark = Bookmark()
        bookmark.note(self._wanted[0].generation, _earliest(self._wanted))
        self._stream = self._kernel.provisioner.open_replay(
            reader_id(f"outputs {id(self)}"), bookmark, self._take, self._on_gap, leave
        )

    async def _take(self, message: Incoming) -> None:
        parts = without_identities(message.frames)
        if parts is None:
            return
        msg_id = word_in(parts[2], "msg_id")
        if msg_id is None or msg_id not in {each.msg_id for each in self._wanted}:
            return
        self._last_parent = parts[2]
        if not self._is_known(message.channel, msg_id, parts):
            await self.write_message(serialize_msg_to_ws_v1(parts[1:], message.channel.name.lower()), binary=True)
        if message.channel is Channel.SHELL:
            self._open_ends.discard((msg_id, "reply"))
        elif message.channel is Channel.IOPUB and _is_idle(parts):
            self._open_ends.discard((msg_id, "idle"))
        if not self._open_ends:
            self.close(1000)

    def _is_known(self, channel: Channel, msg_id: str, parts: list[bytes]) -> bool:
        """Whether the page has it already, or must not be asked again."""
        if channel is Channel.STDIN:
            return self._executions.is_answered(word_in(parts[1], "msg_id") or "")
        if channel is not Channel.IOPUB or msg_id not in self._seen:
            return False
        if word_in(parts[1], "msg_id") == self._seen[msg_id]:
            del self._seen[msg_id]  # it is the last one that the page has
        return True

    def _on_gap(self, channel: Channel) -> None:
        if channel is Channel.IOPUB:
            self._seen.clear()  # what the page saw last may be gone with the rest
            self._tell_gap()

    def _on_gap_of(self, msg_id: str) -> None:
        self._seen.pop(msg_id, None)
        self._last_parent = _parent(msg_id)
        self._tell_gap()

    def _tell_gap(self) -> None:
        message = gap_message(self._kernel.session, self._last_parent)
        self.write_message(serialize_msg_to_ws_v1(message[1:], "iopub"), binary=True)

    def on_close(self) -> None:
        super().on_close()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            self._closing = asyncio.ensure_future(stream.close())


def _earliest(executions: list[Execution]) -> dict[Channel, int]:
    return {channel: min(each.positions.get(channel.name.lower(), 0) for each in executions) for channel in Channel}


def _parent(msg_id: str) -> bytes:
    """A packed parent header, as far as pages look at it."""
    return json.dumps({"msg_id": msg_id}).encode()


def _is_idle(parts: list[bytes]) -> bool:
    return b'"status"' in parts[1] and word_in(parts[4], "execution_state") == "idle"


HANDLERS = [
    (r"/bai/api/kernels/([\w-]+)/executions", ExecutionsHandler),
    (r"/bai/api/kernels/([\w-]+)/outputs", OutputsSocket),
]
