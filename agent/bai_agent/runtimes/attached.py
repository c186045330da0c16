"""Processes whose input and output are ours: over pipes, a terminal, or an engine's socket. See ``base.Attached``."""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from bai_agent.runtimes.base import OUTPUT, Piece, Process

PIECE_BYTES = 64 * 1024


class EngineAttached:
    """Over one socket of a container engine, which carries both outputs in packets with a header of eight bytes."""

    def __init__(
        self,
        process: Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        resize: Callable[[int, int], Awaitable[None]] | None,
    ) -> None:
        self.process = process
        self._reader, self._writer, self._resize = reader, writer, resize

    async def output(self) -> AsyncGenerator[Piece, None]:
        with suppress(asyncio.IncompleteReadError, OSError):
            if self._resize is not None:  # a terminal has no packets
                while piece := await self._reader.read(PIECE_BYTES):
                    yield OUTPUT, piece
                return
            while True:
                header = await self._reader.readexactly(8)
                missing = int.from_bytes(header[4:], "big")
                while missing:
                    piece = await self._reader.readexactly(min(missing, PIECE_BYTES))
                    missing -= len(piece)
                    yield header[0], piece

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end_input(self) -> None:
        with suppress(OSError):
            self._writer.write_eof()

    async def resize(self, rows: int, columns: int) -> None:
        if self._resize is not None:
            await self._resize(rows, columns)

    def close(self) -> None:
        self._writer.transport.abort()  # what was not taken will not be


class LocalAttached:
    """Over pipes or a terminal of this host."""

    def __init__(
        self,
        process: Process,
        readers: dict[int, tuple[asyncio.StreamReader, asyncio.ReadTransport]],
        writer: asyncio.StreamWriter,
        terminal: int | None,
    ) -> None:
        self.process = process
        self._readers, self._writer, self._terminal = readers, writer, terminal

    async def output(self) -> AsyncGenerator[Piece, None]:
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue(1)

        async def read(where: int, reader: asyncio.StreamReader) -> None:
            with suppress(OSError):  # a terminal that nobody has open any more
                while piece := await reader.read(PIECE_BYTES):
                    await pieces.put((where, piece))

        async def read_all() -> None:
            await asyncio.gather(*(read(where, reader) for where, (reader, _) in self._readers.items()))
            await pieces.put(None)

        reading = asyncio.create_task(read_all())
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end_input(self) -> None:
        self._writer.close()

    async def resize(self, rows: int, columns: int) -> None:
        if self._terminal is not None:
            set_size(self._terminal, rows, columns)

    def close(self) -> None:
        self._writer.close()
        for _, transport in self._readers.values():
            transport.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None


def set_size(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def read_from(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """Takes the descriptor over."""
    reader = asyncio.StreamReader(PIECE_BYTES)
    file = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader, transport


async def write_to(descriptor: int) -> asyncio.StreamWriter:
    """Takes the descriptor over."""
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), file
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
