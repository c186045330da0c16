from collections.abc import AsyncIterator

import pytest_asyncio
from client.signed_server import ACCESS_KEY, SECRET_KEY, Events, application
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from bai_jupyter.client import ClientConfig, ManagerClient


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[str]:
    server = HTTPServer(application())
    listening, port = bind_unused_port()
    server.add_sockets([listening])
    yield f"http://127.0.0.1:{port}"
    Events.hung_up.set()
    server.stop()
    await server.close_all_connections()


@pytest_asyncio.fixture
async def client(endpoint: str) -> AsyncIterator[ManagerClient]:
    async with ManagerClient(ClientConfig(endpoint, ACCESS_KEY, SECRET_KEY)) as client:
        yield client
