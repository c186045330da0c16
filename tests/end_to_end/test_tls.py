"""A manager that listens beyond its machine, and an agent that knows it by the certificate in its join token."""

import os
from collections.abc import AsyncIterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.cluster import Cluster

from bai_jupyter.client import ManagerClient, SessionRequest, load_config
from bai_jupyter.common import stdio
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.stdio import Kind
from bai_jupyter.common.trust import Trust

pytestmark = pytest.mark.asyncio

CONTENT = os.urandom(3 * 1024 * 1024)


@pytest_asyncio.fixture
async def cluster(folder: Path, free_port: int) -> AsyncIterator[Cluster]:
    """The manager runs. The agent has no address but that of its token."""
    one = Cluster(folder, free_port, manager_url="")
    one.manager = {"ip": "0.0.0.0", "public_url": f"https://localhost:{free_port}"}  # noqa: S104
    try:
        one.start("manager")
        await one.until(lambda: answers(one))
        yield one
        await one.end_sessions()
    finally:
        one.stop()


async def answers(cluster: Cluster) -> bool:
    if not cluster.credentials.exists():
        return False
    async with ManagerClient(cluster.config) as client:
        return await client.is_healthy()


async def join(cluster: Cluster) -> JoinToken:
    """Start the agent with a new token."""
    async with ManagerClient(cluster.config) as client:
        cluster.join_token = await client.create_join_token()
    cluster.start("agent")
    await cluster.ready()
    return JoinToken.parse(cluster.join_token)


async def output_of(client: ManagerClient, session: str, *argv: str) -> bytes:
    """What a command in the session prints."""
    with closing(await client.open_command(session, argv)) as command:
        printed = b""
        while (frame := await command.read_message()) is not None:
            kind, content = stdio.unpack(frame)
            printed += content if kind == Kind.OUTPUT else b""
        return printed


async def inside(cluster: Cluster) -> Any:
    """What the manager answers to a client of ours in the session that was granted access."""
    (run,) = {path.parent for path in cluster.folder.glob("agent/kernels/*/run/token")}
    folder = os.open(run, os.O_PATH)  # the path itself is too long for a socket's address
    try:
        environ = {
            "BACKEND_ENDPOINT": f"https://localhost:{cluster.port}",
            "BAI_TOKEN_FILE": f"/proc/self/fd/{folder}/token",
            "BAI_MANAGER_SOCKET": f"/proc/self/fd/{folder}/manager.sock",
        }
        config = load_config(environ, "/")
        assert config is not None
        async with ManagerClient(config) as client:
            return await client.list_sessions()
    finally:
        os.close(folder)


async def test_all_that_an_agent_carries_goes_through_tls(cluster: Cluster) -> None:
    token = await join(cluster)
    assert (token.url, Trust(token.fingerprint)) == (f"https://localhost:{cluster.port}", cluster.config.trust)
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
        request = SessionRequest("demo", image, resources={"cpu": 1, "mem": "256m"}, manager_access="self")
        session = (await client.create_session(request))["sessionId"]
        await client.wait_for(session)
        assert await output_of(client, session, "echo", "hello") == b"hello\n"
        assert [one["id"] for one in await inside(cluster)] == [session]
        await client.create_folder("data", "local:data")
        await client.upload("data", "sent", BytesIO(CONTENT), len(CONTENT))
        came = BytesIO()
        await client.download("data", "sent", came)
    assert came.getvalue() == CONTENT
    # From now on it needs no token to find and to trust its manager.
    cluster.kill("agent")
    cluster.join_token = ""
    links = cluster.log("agent").count("linked to")
    cluster.start("agent")
    await cluster.until(lambda: cluster.is_linked_after(links))


async def test_an_agent_does_not_go_to_a_manager_with_another_certificate(cluster: Cluster) -> None:
    token = await join(cluster)
    links = cluster.log("agent").count("linked to")
    cluster.kill("manager")
    (cluster.folder / "manager" / "certificate.pem").unlink()
    cluster.start("manager")

    async def has_refused() -> bool:
        asked = f"should have the SHA-256 fingerprint {token.fingerprint}; it has "
        return asked in cluster.log("agent") and await answers(cluster)

    await cluster.until(has_refused)
    assert cluster.log("agent").count("linked to") == links
    assert cluster.config.trust.fingerprint in cluster.log("agent")  # as the manager wrote it for this machine
    # Replaced on purpose: a new token, and it is the agent that it was.
    cluster.kill("agent")
    assert (await join(cluster)).fingerprint == cluster.config.trust.fingerprint
    await cluster.until(lambda: cluster.is_linked_after(links))
    async with ManagerClient(cluster.config) as client:
        assert len(await client.list_agents()) == 1
