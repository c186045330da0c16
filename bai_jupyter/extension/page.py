"""One page's own reading of a remote kernel.

Stock Jupyter hands a page what the server's ZMQ sockets happen to receive while the page is there. Here each page is a
reader of the kernel's tapes with a bookmark of its own: it goes on where *it* stopped, whatever was away meanwhile,
page, server, manager or agent. A page with a new session id starts at the live end: what came before is in the
notebook's file, or fetched for the cells that ask for it (``outputs``).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jupyter_client.session import DELIM

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.records import Channel
from bai_jupyter.common.slots import format_size
from bai_jupyter.extension.executions import Execution, Executions, answer_of, cell_of
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

    def __init__(
        self, provisioner: Any, session: Any, bookmarks: Path, executions: Executions, deliver: Deliver
    ) -> None:
        self._session = session
        self._executions = executions
        self._deliver = deliver
        self._last_parent = b"{}"
        self.is_closed = False
        reader = reader_id(f"page {session.session}")
        bookmark = Bookmark(bookmarks / reader, from_start=False)
        self._stream: KernelStream = provisioner.open_stream(reader, bookmark, self._take, self._on_gap)
        self._closing: asyncio.Task[None] | None = None
        self.channels = {channel.name.lower(): PageChannel(self, channel) for channel in Channel}

    def send(self, channel: Channel, frames: list[bytes]) -> None:
        if channel is Channel.SHELL and (found := cell_of(frames)) is not None:
            generation, positions = self._stream.mark()
            named = {each.name.lower(): offset for each, offset in positions.items()}
            self._executions.note(Execution(*found, generation, named))
        elif channel is Channel.STDIN and (question_id := answer_of(frames)) is not None:
            self._executions.note(question_id)
        self._stream.send(channel, b"", frames)

    async def _take(self, message: Incoming) -> None:
        parts = without_identities(message.frames)
        if parts is None:
            return
        if message.channel is Channel.IOPUB:
            self._last_parent = parts[2]
        await self._deliver(message.channel.name.lower(), parts)

    def _on_gap(self, channel: Channel) -> None:
        """Say in the cell's own output that some of it is missing."""
        if channel is not Channel.IOPUB:
            return
        message = gap_message(self._session, self._last_parent)
        self._telling = asyncio.ensure_future(self._deliver("iopub", message))

    def close(self) -> "asyncio.Future[None]":
        self.is_closed = True
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._stream.close())
        return self._closing


def gap_message(session: Any, parent: bytes) -> list[bytes]:
    """Says, as output of the cell whose packed header is ``parent``, that some of it is missing."""
    reason = Reason.of("output-gap", size="Some", limit=format_size(1024**3))
    message = session.msg("stream", {"name": "stderr", "text": f"\n— {reason.text} —\n"})
    parts = [session.pack(message["header"]), parent, session.pack({}), session.pack(message["content"])]
    return [session.sign(parts), *parts]


def without_identities(frames: list[bytes]) -> list[bytes] | None:
    """The message from its signature on; ``None`` if it is no Jupyter message."""
    try:
        start = frames.index(DELIM) + 1
    except ValueError:
        return None
    return frames[start:] if len(frames) >= start + 5 else None


def word_in(part: bytes, name: str) -> str | None:
    """A text in a packed part of a message; ``None`` if there is none. A kernel may send what it likes."""
    try:
        unpacked = json.loads(part)
    except (ValueError, RecursionError):
        return None
    found = unpacked.get(name) if isinstance(unpacked, dict) else None
    return found if isinstance(found, str) else None
