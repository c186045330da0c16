"""Standard input, read on an event loop: only when it is asked for, and without a thread that would outlive us."""

import asyncio
import os
from typing import TextIO


class StandardInput:
    """A terminal, a pipe or a file."""

    def __init__(self, file: TextIO) -> None:
        self._descriptor = file.fileno()

    async def read(self, most: int) -> bytes:
        """What is there, at most so many bytes; waits for the first. Empty at the end."""
        await self._wait_until_readable()
        try:
            return os.read(self._descriptor, most)
        except OSError:  # a terminal that was closed
            return b""

    async def _wait_until_readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(self._descriptor, readable.set)
        except PermissionError:  # a file always is, and no selector takes it
            return
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._descriptor)
