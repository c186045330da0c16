"""Ask a Jupyter kernel that has just started for its first word.

Its sockets exist before it can be used: an interrupt that comes too early ends ipykernel. Only when it has answered a
``kernel_info_request`` is it running. The question goes through the relay like anybody's.
"""

import asyncio
import hashlib
import uuid

from bai_agent.keeper import Keeper
from bai_jupyter.common.jupyter_messages import pack_message
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
)

_READER = hashlib.sha256(b"agent").digest()[:8]


async def first_word(keeper: Keeper, key: str) -> bool:
    """Returns when the kernel has answered; False if the relay or the kernel ended before it did."""
    sock = await asyncio.get_running_loop().run_in_executor(None, keeper.dial)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    try:
        writer.write(pack_hello(Hello(_READER.hex(), {"shell": 0})))
        for piece in pack_request(Channel.SHELL, 1, _kernel_info_request(key)):
            writer.write(piece)
        records, frames = RecordReader(), FrameReader(0)
        while data := await reader.read(64 * 1024):
            for record in records.feed(data):
                if record.kind == Kind.ENDED:
                    return False
                if record.kind == Kind.DATA and record.channel == Channel.SHELL:
                    for _ in frames.feed(record.offset, record.payload):
                        return True
        return False
    finally:
        writer.close()


def _kernel_info_request(key: str) -> bytes:
    message = pack_message("kernel_info_request", {}, key, uuid.uuid4().hex, "agent")
    return pack_frames([Envelope(_READER, 1, b"").pack(), *message])
