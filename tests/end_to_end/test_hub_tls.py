"""A JupyterHub beside a manager that speaks TLS, and one with ``internal_ssl``, whose servers speak TLS themselves."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.cluster import Cluster
from end_to_end.hubs import JupyterHub

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

INTERNAL = """
c.JupyterHub.internal_ssl = True
c.ConfigurableHTTPProxy.api_url = "https://127.0.0.1:{proxy_port}"
"""
LISTED = "import os, stat; print(oct(stat.S_IMODE(os.stat(os.environ['JUPYTERHUB_SSL_KEYFILE']).st_mode)))"


@pytest_asyncio.fixture
async def cluster(folder: Path, free_port: int, ports: dict[str, int]) -> AsyncIterator[Cluster]:
    """The manager speaks TLS with a certificate of its own, and has a port that leads to a server."""
    doors = {"hub": f"127.0.0.1:{ports['hub_port']}"}
    one = Cluster(folder, free_port, manager_url="", doors=doors)
    one.manager = {
        "ip": "0.0.0.0",  # noqa: S104
        "public_url": f"https://localhost:{free_port}",
        "route_ports": f"{ports['route_port']}-{ports['route_port']}",
    }

    async def answers() -> bool:
        if not one.credentials.exists():
            return False
        async with ManagerClient(one.config) as client:
            return await client.is_healthy()

    try:
        one.start("manager")
        await one.until(answers)
        async with ManagerClient(one.config) as client:
            one.join_token = await client.create_join_token()
        one.start("agent")
        await one.ready()
        yield one
        await one.end_sessions()
    finally:
        one.stop()


async def test_a_manager_that_speaks_tls(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    """The Hub knows it by its fingerprint, Hub and proxy know its certificate."""
    certificate = str(cluster.folder / "manager" / "certificate.pem")
    hub.configure(SSL_CERT_FILE=certificate, NODE_EXTRA_CA_CERTS=certificate)
    await hub.start()
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/server", {}))[0] in (201, 202)
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")


async def test_internal_tls_reaches_into_the_session(
    hub: JupyterHub, cluster: Any, visit: Any, ports: dict[str, int]
) -> None:
    hub.configure(INTERNAL.format(**ports))
    await hub.start()
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/server", {}))[0] in (201, 202)
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")
    assert (await kim.call("POST", "/users/kim/servers/another", {}))[0] >= 400
    kernel = await kim.ask("POST", "/user/kim/", "api/kernels", {})
    assert await kim.run("/user/kim/", kernel["id"], LISTED) == "0o600\n"
    assert "BAI_HUB" not in await kim.run("/user/kim/", kernel["id"], "import os; print(*os.environ)")

    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    assert await answer_of(ports["route_port"], stranger) == b""
    assert b"200 OK" not in await answer_of(ports["route_port"], None)

    for name in ("manager", "agent"):
        cluster.kill(name)
        cluster.start(name)
    await cluster.until(lambda: kim.reaches("/user/kim/api/status"))
    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)

    async def is_gone() -> bool:
        async with ManagerClient(cluster.config) as admin:
            return not await admin.list_sessions(everyone=True)

    await cluster.until(is_gone)
    assert await answer_of(ports["route_port"], stranger) == b""


async def answer_of(port: int, tls: ssl.SSLContext | None) -> bytes:
    """What a server answers to who has no certificate."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(b"GET /user/kim/api HTTP/1.0\r\n\r\n")
        await writer.drain()
        return await reader.read(1000)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.close()
