"""One page's own reading of a remote kernel.

Stock Jupyter hands a page what the server's ZMQ sockets happen to receive while the page is there. Here each page is a
reader of the kernel's tapes with a bookmark of its own: it goes on where *it* stopped, whatever was away meanwhile,
page, server, manager or agent. A page with a new session id starts at the live end; the notebook file has what came
before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jupyter_client.session import DELIM

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.records import Channel
from bai_jupyter.common.slots import format_size
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream, reader_id

Deliver = Callable[[str, list[bytes]], Awaitable[None]]
"""Called with a channel's name and a message: signature, header, parent header, metadata, content, buffers."""


class PageChannel:
    """What a Jupyter connection takes for a ZMQ stream: one channel of a page."""

    def __init__(self, page: "Page", channel: Channel) -> None:
        self._page = page
        self._kind = channel
        self.channel = channel.name.lower()

    def send_multipart(self, frames: list[Any], *_: Any, **__: Any) -> None:
        self._page.send(self._kind, [bytes(frame) for frame in frames])

    def closed(self) -> bool:
        return self._page.is_closed

    def flush(self, *_: Any) -> None:
        """Nothing waits here: messages are written as they are read."""


class Page:
    """The four channels of one page, from its connection until it is closed."""

    def __init__(self, provisioner: Any, session: Any, bookmarks: Path, deliver: Deliver) -> None:
        self._session = session
        self._deliver = deliver
        self._last_parent = b"{}"
        self.is_closed = False
        reader = reader_id(f"page {session.session}")
        bookmark = Bookmark(bookmarks / reader, from_start=False)
        self._stream: KernelStream = provisioner.open_stream(reader, bookmark, self._take, self._on_gap)
        self._closing: asyncio.Task[None] | None = None
        self.channels = {channel.name.lower(): PageChannel(self, channel) for channel in Channel}

    def send(self, channel: Channel, frames: list[bytes]) -> None:
        self._stream.send(channel, b"", frames)

    async def _take(self, message: Incoming) -> None:
        parts = _without_identities(message.frames)
        if parts is None:
            return
        if message.channel is Channel.IOPUB:
            self._last_parent = parts[2]
        await self._deliver(message.channel.name.lower(), parts)

    def _on_gap(self, channel: Channel) -> None:
        """Say in the cell's own output that some of it is missing."""
        if channel is not Channel.IOPUB:
            return
        reason = Reason.of("output-gap", size="Some", limit=format_size(1024**3))
        message = self._session.msg("stream", {"name": "stderr", "text": f"\n— {reason.text} —\n"})
        pack = self._session.pack
        parts = [pack(message["header"]), self._last_parent, pack({}), pack(message["content"])]
        self._telling = asyncio.ensure_future(self._deliver("iopub", [self._session.sign(parts), *parts]))

    def close(self) -> "asyncio.Future[None]":
        self.is_closed = True
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._stream.close())
        return self._closing


def _without_identities(frames: list[bytes]) -> list[bytes] | None:
    """The message from its signature on; ``None`` if it is no Jupyter message."""
    try:
        start = frames.index(DELIM) + 1
    except ValueError:
        return None
    return frames[start:] if len(frames) >= start + 5 else None
