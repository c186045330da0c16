"""A program: serve a door of this container at a loopback port as well, and become the server that uses it.

    python3 -I door.py SOCKET PORT COMMAND…

JupyterHub speaks TLS by network only, and a door is a socket. Bytes are carried as they are, so who is at the other
end is known by certificates. It runs where nothing of ours need be installed, so it imports nothing but the standard
library. The port is there before the command starts; this program's child serves it for as long as there is one.
"""

import asyncio
import contextlib
import os
import socket
import sys
from functools import partial

_PIECE_BYTES = 64 * 1024


def main() -> None:
    door, port, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    if os.fork():
        listener.close()
        os.execvp(command[0], command)  # noqa: S606 - the Hub's admin chose it, for this very user
    asyncio.run(_serve(listener, door))


async def _serve(listener: socket.socket, door: str) -> None:
    server = await asyncio.start_server(partial(_carry, door), sock=listener)
    await server.serve_forever()


async def _carry(door: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """While the door is shut (its agent is away), who dialled sees the connection end, and may try again."""
    try:
        there_reader, there_writer = await asyncio.open_unix_connection(door)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
    finally:
        for one in (writer, there_writer):
            one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of what is read, which is then told to the other side."""
    with contextlib.suppress(OSError):
        while True:
            piece = await reader.read(_PIECE_BYTES)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


if __name__ == "__main__":
    main()
