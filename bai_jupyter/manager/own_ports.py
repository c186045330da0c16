"""Ports of the manager that lead into sessions, one into each: what comes there is spliced to a port inside, unread.

A JupyterHub with ``internal_ssl`` needs them: its proxy and its users' servers know each other by certificates, which
nobody between them has. Which session has a port is in its row, so it holds whoever is started again.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from socket import socket

from bai_jupyter.common.errors import BaiError
from bai_jupyter.manager.agents.streams import PIECE_BYTES, ByteStream, carry
from bai_jupyter.manager.sessions.apps import Apps
from bai_jupyter.manager.sessions.service import SessionService

_MAX_CONNECTIONS = 512  # to one session: it may not use up the manager's descriptors


class OwnPorts:
    def __init__(self, sessions: SessionService, apps: Apps) -> None:
        self._sessions, self._apps = sessions, apps
        self._servers: list[asyncio.Server] = []
        self._connections: dict[int, set[asyncio.Task[None]]] = {}

    async def open(self, sockets: Sequence[socket]) -> None:
        """Serve at these, which are bound. Which port is whose is looked up for each connection."""
        for one in sockets:
            port = int(one.getsockname()[1])
            self._connections.setdefault(port, set())
            serve = partial(self._serve, port)
            self._servers.append(await asyncio.start_server(serve, sock=one, limit=PIECE_BYTES))

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for connections in self._connections.values() for task in connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, connections = asyncio.current_task(), self._connections[port]
        assert task is not None
        if len(connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        connections.add(task)
        try:
            await self._carry(port, reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Without a session, or with one that does not listen, who dialled sees the connection end."""
        found = await self._sessions.at_own_port(port)
        if found is None:
            return
        try:
            stream = ByteStream(await self._apps.open_port(*found))
        except BaiError:
            return
        await carry(stream, reader, writer)
