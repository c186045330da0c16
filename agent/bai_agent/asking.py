"""Ask a Jupyter kernel something, and wait for its answer: through its relay, like anybody."""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from bai_agent.keeper import Keeper
from bai_jupyter.common.jupyter_messages import pack_message, read_message
from bai_jupyter.common.records import (
    Channel,
    Envelope,
    FrameReader,
    Hello,
    Kind,
    RecordReader,
    pack_frames,
    pack_hello,
    pack_request,
    read_welcome,
)

_PIECE_BYTES = 64 * 1024


async def first_word(keeper: Keeper, key: str) -> bool:
    """Returns when a kernel that has just started has answered; False if the relay or the kernel ended before it did.

    Its sockets exist before it can be used: an interrupt that comes too early ends ipykernel.
    """
    return await ask(keeper, key, "agent", "kernel_info_request", {})


async def run_silently(keeper: Keeper, key: str, who: str, code: str) -> bool:
    """Run code in an idle kernel, unseen by its pages. Returns when it was run; False if the kernel ended before."""
    content = {"code": code, "silent": True, "store_history": False, "allow_stdin": False, "stop_on_error": False}
    return await ask(keeper, key, who, "execute_request", content)


async def ask(keeper: Keeper, key: str, who: str, kind: str, content: Mapping[str, Any]) -> bool:
    """Returns when the kernel has answered this request; False if the relay or the kernel ended before it did.

    ``key`` signs it, ``who`` is the user that the kernel is told.
    """
    reader_id = hashlib.sha256(who.encode()).digest()[:8]
    message_id = uuid.uuid4().hex
    message = pack_message(kind, content, key, message_id, who)
    sock = await asyncio.get_running_loop().run_in_executor(None, keeper.dial)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    records, frames = RecordReader(), FrameReader(0)
    try:
        writer.write(pack_hello(Hello(reader_id.hex(), {})))
        while data := await reader.read(_PIECE_BYTES):
            for record in records.feed(data):
                if record.kind == Kind.ENDED:
                    return False
                if record.kind == Kind.WELCOME:
                    welcome = read_welcome(record.payload)
                    frames, number = FrameReader(welcome.end["shell"]), welcome.taken + 1
                    request = pack_frames([Envelope(reader_id, number, b"").pack(), *message])
                    for piece in pack_request(Channel.SHELL, number, request):
                        writer.write(piece)
                if record.kind == Kind.DATA and record.channel == Channel.SHELL:
                    for parts in frames.feed(record.offset, record.payload):
                        answer = read_message(parts)
                        if answer is not None and answer.parent_id == message_id:
                            return True
        return False
    finally:
        writer.close()
