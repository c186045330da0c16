"""The WebSocket between a page and a kernel: no delay of small packets, and for kernels of ours nothing left out.

A kernel of ours is read past Jupyter's ZMQ sockets: each page has a stream of its own (``page``). What stays Jupyter's:
sessions, the message format, status messages, and the connections of local kernels. What is said through those is kept
where this server keeps it (``local_tape``), for the page's next connection.
"""

import asyncio
import json
from typing import Any

from jupyter_client.session import DELIM
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado import web
from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.records import Channel
from bai_jupyter.extension.kernels import BaiMappingKernelManager
from bai_jupyter.extension.local_tape import LocalTape
from bai_jupyter.extension.page import Page

_V1 = "v1.kernel.websocket.jupyter.org"


class BaiWebsocketConnection(ZMQChannelsWebsocketConnection):
    """Jupyter's connection with TCP_NODELAY; for kernels of ours also with a stream of the page's own.

    Messages are then written one after the other, each when the page has taken the one before: a slow page slows its
    own reading, all the way back to the tape, and nothing piles up here. So there is no rate limit to need (it drops
    output to spare the browser, and would eat the replay after a reload). Local kernels keep Jupyter's limit.
    """

    _page: Page | None = None

    async def prepare(self) -> None:
        if self._is_ours and self.kernel_manager.execution_state == "dead":
            # waiting for it to come alive would hold the page for a minute without a word
            raise web.HTTPError(409, self.kernel_manager.reason or "The kernel has ended. Restart it.")
        await super().prepare()

    def connect(self) -> Any:
        if self.websocket_handler.ws_connection is not None:
            self.websocket_handler.set_nodelay(True)
        if not self._is_ours:
            return super().connect()
        self.limit_rate = False
        if not hasattr(self.kernel_manager.provisioner, "open_stream"):
            return super().connect()
        kernels = self.multi_kernel_manager
        kernels.notify_connect(self.kernel_id)
        bookmarks, executions = kernels.records.bookmarks(self.kernel_id), kernels.executions(self.kernel_id)
        self._page = Page(self.kernel_manager.provisioner, self.session, bookmarks, executions, self._write)
        self.channels = self._page.channels
        kernels.add_restart_callback(self.kernel_id, self.on_kernel_restarted)
        kernels.add_restart_callback(self.kernel_id, self.on_restart_failed, "dead")
        ZMQChannelsWebsocketConnection._open_sockets.add(self)
        connected = asyncio.get_running_loop().create_future()
        connected.set_result(None)
        return connected

    def handle_incoming_message(self, incoming_msg: str) -> None:
        if (tape := self._local_tape) is not None:
            channel, parts = _read(incoming_msg, self.subprotocol)
            tape.hear(channel, [DELIM, b"", *parts])
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        # What comes over IOPub the tape hears by itself; of answers and questions there is only this one copy.
        if (tape := self._local_tape) is not None and stream.channel in ("shell", "stdin"):
            tape.take(Channel[stream.channel.upper()], outgoing_msg)
        super().handle_outgoing_message(stream, outgoing_msg)

    async def _write(self, channel: str, message: list[bytes]) -> None:
        """One message to the page. Returns as soon as the system has all of it, or when the page makes room.

        As soon as possible, because until this returns the message is not noted as written: a server that is killed in
        between sends it again. Raises ``WebSocketClosedError`` if the page is gone.
        """
        parts = message[1:]
        facts: dict[str, Any] = {"header": None, "parent_header": None, "content": None}
        if self.subprotocol != _V1:
            facts = self.session.deserialize(message)
        self._on_error(channel, facts, parts)
        try:
            if self.subprotocol == _V1:
                packed = serialize_msg_to_ws_v1(parts, channel)
            else:
                packed = self._reserialize_reply(facts, channel=channel)
            writing = self.write_message(packed, binary=isinstance(packed, bytes))
            connection = self.websocket_handler.ws_connection
            if connection is not None and not connection.stream.writing():
                writing.add_done_callback(_look_at)
            else:
                await writing
        except WebSocketClosedError:
            self.disconnect()
            raise  # it must not count as written

    def disconnect(self) -> None:
        if self._page is None:
            super().disconnect()
        elif not self._page.is_closed:
            self._hang_up(self._page)

    def _hang_up(self, page: Page) -> None:
        kernels = self.multi_kernel_manager
        kernels.notify_disconnect(self.kernel_id)
        if self._open_sessions.get(self.session_key) is self.websocket_handler:
            self._open_sessions.pop(self.session_key)
        if self.kernel_id in kernels:
            kernels.remove_restart_callback(self.kernel_id, self.on_kernel_restarted)
            kernels.remove_restart_callback(self.kernel_id, self.on_restart_failed, "dead")
        ZMQChannelsWebsocketConnection._open_sockets.discard(self)
        page.close().add_done_callback(lambda _: self._close_future.set_result(None))

    def _finish_kernel_info(self, info: dict[str, Any]) -> None:
        super()._finish_kernel_info(info)
        if self._is_ours and "protocol_version" in info:
            self.multi_kernel_manager.remember_protocol(self.kernel_id, info["protocol_version"])

    @property
    def _is_ours(self) -> bool:
        kernels = self.multi_kernel_manager
        return isinstance(kernels, BaiMappingKernelManager) and kernels.is_ours(self.kernel_manager)

    @property
    def _local_tape(self) -> LocalTape | None:
        kernels = self.multi_kernel_manager
        return kernels.local_tape(self.kernel_manager) if isinstance(kernels, BaiMappingKernelManager) else None


def _read(message: str | bytes, subprotocol: str | None) -> tuple[str, list[bytes]]:
    """Channel and parts (header, parent header, metadata, content) of what a page sends."""
    if subprotocol == _V1:
        channel, parts = deserialize_msg_from_ws_v1(message)
        return channel, [bytes(part) for part in parts[:4]]
    read = deserialize_binary_message(message) if isinstance(message, bytes) else json.loads(message)
    names = ("header", "parent_header", "metadata", "content")
    return read.get("channel") or "shell", [json.dumps(read.get(name) or {}).encode() for name in names]


def _look_at(done: "asyncio.Future[None]") -> None:
    """So that nobody complains of an exception that was not looked at: the next write meets it again."""
    if not done.cancelled():
        done.exception()
