"""Server-sent events: a snapshot, then changes, and only one's own."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest


@asynccontextmanager
async def listening(client, path="/events/session?sessionName=*"):
    """Yields a queue of ``(event, data)``, read from a connection of its own."""
    received: asyncio.Queue = asyncio.Queue()
    host, port = client.endpoint.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = client.request("GET", path, content_type=None).headers
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}:{port}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")

    async def read() -> None:
        while block := await reader.readuntil(b"\n\n"):
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line and line[0] != ":")
            if fields:
                received.put_nowait((fields["event"], json.loads(fields["data"])))

    reading = asyncio.create_task(read())
    try:
        yield received
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()
        await writer.wait_closed()


async def until_status(received, name, status):
    async with asyncio.timeout(20):
        while True:
            event, view = await received.get()
            assert event == "session_changed"
            if (view["name"], view["status"]) == (name, status):
                return view


@pytest.fixture
def another(helpers, admin):
    """Another client of the same user, for what goes on while the first listens."""
    one = helpers.client(admin.endpoint, admin.access_key, admin.secret_key)
    yield one
    one.close()


@pytest.mark.asyncio
async def test_snapshot_and_changes(agent, admin, another):
    await another.create("first-one")
    await another.until_status("first-one", "RUNNING")
    async with listening(admin) as received:
        view = await until_status(received, "first-one", "RUNNING")
        assert view["agent"] == "lab-1"
        await another.create("next-one")
        await until_status(received, "next-one", "RUNNING")
        await another.post("/session/next-one/jupyter-kernels", {"kernelspec": "python3", "key": "k"})
        async with asyncio.timeout(20):
            while True:
                _, view = await received.get()
                if [one["status"] for one in view["jupyterKernels"]] == ["running"]:
                    break
        await another.call("DELETE", "/session/first-one")
        assert (await until_status(received, "first-one", "TERMINATED"))["reason"]["code"] == "user-requested"


@pytest.mark.asyncio
async def test_one_session_only(agent, admin, another):
    created = await another.create("first-one")
    await another.create("next-one")
    async with listening(admin, f"/events/session?sessionId={created['sessionId']}") as received:
        await another.call("DELETE", "/session/next-one")
        await another.until_status("next-one", "TERMINATED")
        await another.call("DELETE", "/session/first-one")
        names = set()
        async with asyncio.timeout(20):
            while True:
                _, view = await received.get()
                names.add(view["name"])
                if view["status"] == "TERMINATED":
                    break
        assert names == {"first-one"}


@pytest.mark.asyncio
async def test_strangers_sessions_are_not_told(agent, admin, make_user):
    alice = await make_user("alice")
    async with listening(alice) as received:
        await admin.create("secret-work")
        await admin.until_status("secret-work", "RUNNING")
        helper = type(alice)(alice.endpoint, alice.access_key, alice.secret_key)
        await helper.create("her-work")
        _, first = await asyncio.wait_for(received.get(), 20)
        assert first["name"] == "her-work"
        helper.close()


@pytest.mark.asyncio
async def test_a_session_that_is_not_ours_is_a_404(agent, admin, make_user):
    alice = await make_user("alice")
    created = await admin.create("secret-work")
    assert (await alice.call("GET", f"/events/session?sessionId={created['sessionId']}")).status == 404


@pytest.mark.asyncio
async def test_a_listener_that_left_is_forgotten(manager, agent, admin, another, helpers):
    async with listening(admin) as received:
        await another.create("first-one")
        await received.get()
        assert manager.services.hub.has_listeners
    await helpers.wait_until(lambda: not manager.services.hub.has_listeners, "no listeners")
