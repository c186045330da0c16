"""A JupyterHub beside a manager that speaks TLS, and one with ``internal_ssl``, whose servers speak TLS themselves."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from end_to_end.cluster import Cluster
from end_to_end.hubs import START_S, JupyterHub, let_agents_take, sessions, tells_why

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

INTERNAL = """
c.JupyterHub.internal_ssl = True
c.ConfigurableHTTPProxy.api_url = "https://127.0.0.1:{proxy_port}"
"""
NO_PAGE = """
for name in ("url", "oauth_client_allowed_scopes", "oauth_no_confirm"):
    del c.JupyterHub.services[0][name]
"""
MODE_OF_KEY = "import os, stat; print(oct(stat.S_IMODE(os.stat(os.environ['JUPYTERHUB_SSL_KEYFILE']).st_mode)))"
WHERE_IS_THE_HUB = "print(os.environ['JUPYTERHUB_API_URL'])"
WHO_HAS_KEYS = """
import contextlib, pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for path in (process / "environ", process / "cmdline"):
        with contextlib.suppress(OSError):
            if b"PRIVATE KEY---" in path.read_bytes():
                print(path)
"""


@pytest_asyncio.fixture
async def cluster(
    folder: Path, free_port: int, ports: dict[str, int], request: pytest.FixtureRequest
) -> AsyncIterator[Cluster]:
    """The manager speaks TLS with a certificate of its own, and has a port that leads to a server."""
    runtime = getattr(request, "param", "process")
    more = {}
    if runtime == "docker":
        request.getfixturevalue("docker_client")
        more["container_labels"] = request.getfixturevalue("test_run")
    doors = {"hub": f"127.0.0.1:{ports['hub_port']}"}
    one = Cluster(folder, free_port, runtime, manager_url="", doors=doors, **more)
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
        one.clean_up()


async def test_a_manager_that_speaks_tls(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    """The Hub knows it by its fingerprint, Hub and proxy know its certificate."""
    certificate = str(cluster.folder / "manager" / "certificate.pem")
    hub.configure(SSL_CERT_FILE=certificate, NODE_EXTRA_CA_CERTS=certificate)
    await hub.start()
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/server", {}))[0] in (201, 202)
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")


@pytest.mark.parametrize("cluster", ["process", pytest.param("docker", marks=pytest.mark.docker)], indirect=True)
async def test_internal_tls_reaches_into_the_session(
    hub: JupyterHub, cluster: Any, visit: Any, ports: dict[str, int]
) -> None:
    """From the proxy to the server, and from the server by its door to the Hub, which is not in its network."""
    hub.configure(INTERNAL.format(**ports))
    await hub.start()
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/server", {}))[0] in (201, 202)
    await cluster.until(lambda: kim.is_ready("kim"), START_S)
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")
    assert (await kim.call("POST", "/users/kim/servers/another", {}))[0] >= 400
    kernel = await kim.ask("POST", "/user/kim/", "api/kernels", {})
    assert await kim.run("/user/kim/", kernel["id"], MODE_OF_KEY) == "0o600\n"
    where = urlsplit((await kim.run("/user/kim/", kernel["id"], WHERE_IS_THE_HUB)).strip())
    assert (where.scheme, where.hostname, where.port != ports["hub_port"]) == ("https", "127.0.0.1", True)
    assert await kim.run("/user/kim/", kernel["id"], WHO_HAS_KEYS) == ""
    assert list(cluster.folder.glob("agent/**/keyfile.pem"))

    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    assert await answer_of(ports["route_port"], stranger) == b""
    assert b"200 OK" not in await answer_of(ports["route_port"], None)

    for name in ("manager", "agent"):
        cluster.kill(name)
        cluster.start(name)
    await cluster.until(lambda: kim.reaches("/user/kim/api/status"))
    again = await visit("kim")  # of whom the server must ask the Hub
    await cluster.until(lambda: again.reaches("/user/kim/lab"))
    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)

    async def is_gone() -> bool:
        async with ManagerClient(cluster.config) as admin:
            found = await admin.list_sessions(everyone=True)
        return not found and not list(cluster.folder.glob("agent/**/keyfile.pem"))

    await cluster.until(is_gone)
    assert await answer_of(ports["route_port"], stranger) == b""
    for told in (hub.log(), cluster.log("manager"), cluster.log("agent")):
        assert "PRIVATE KEY---" not in told


async def test_a_server_that_waits_goes_on_when_the_hub_starts_again(
    hub: JupyterHub, cluster: Any, visit: Any, ports: dict[str, int]
) -> None:
    """With the certificates that it was given by the first."""
    hub.configure(INTERNAL.format(**ports) + NO_PAGE, service=True)
    await hub.start()
    kim = await visit("kim")
    await let_agents_take(cluster, new_sessions=False)
    assert (await kim.call("POST", "/users/kim/server", {}))[0] == 202
    await tells_why(kim, "")
    (waiting,) = await sessions(cluster)
    hub.kill()
    await hub.start()
    kim = await visit("kim")

    async def is_shown_to_wait() -> bool:
        return bool((await kim.call("GET", "/users/kim"))[1]["servers"].get("", {}).get("pending") == "spawn")

    await cluster.until(is_shown_to_wait)
    await let_agents_take(cluster, new_sessions=True)
    await cluster.until(lambda: kim.is_ready("kim"), START_S)
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")
    assert [one["id"] for one in await sessions(cluster)] == [waiting["id"]]


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
