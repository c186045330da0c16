"""Webhooks: where they may go, and that each change arrives, in order, also after a restart of the manager."""

import asyncio
import ipaddress
import json
from contextlib import asynccontextmanager

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from bai_jupyter.manager.db import history
from bai_jupyter.public_web import PrivateAddress, PublicResolver, check_url, is_public

LOOPBACK = {"callback_networks": ["127.0.0.0/8"]}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.1.2.3", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com/a b",
        "http://exa\nmple.com/",
        "http://[::1/",
        "http://example.com/" + 2000 * "x",
    ],
)
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match=r".+"):
        check_url(url)


@pytest.mark.asyncio
async def test_names_are_judged_by_where_they_lead():
    with pytest.raises(PrivateAddress, match="localhost is "):
        await PublicResolver(allowed=[]).resolve("localhost", 80)
    networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
    assert await PublicResolver(allowed=networks).resolve("localhost", 80)


class Receiver(RequestHandler):
    """Answers with the next of ``statuses``, then 200, and keeps what came."""

    def initialize(self, world):
        self.world = world

    def post(self):
        self.world.received.append(json.loads(self.request.body))
        status = self.world.statuses.pop(0) if self.world.statuses else 200
        self.set_status(status)
        if status == 302:
            self.set_header("Location", "/elsewhere")
        self.world.arrived.set()

    def get(self):
        """Where a redirect leads."""
        self.world.received.append({"event": "followed"})
        self.world.arrived.set()


class World:
    def __init__(self):
        self.received, self.statuses, self.arrived = [], [], asyncio.Event()

    async def events(self, count):
        async with asyncio.timeout(20):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return [one["event"] for one in self.received]


@asynccontextmanager
async def receiver():
    world = World()
    server = HTTPServer(Application([(r"/(?:hook|elsewhere)", Receiver, {"world": world})]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    world.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/hook"
    try:
        yield world
    finally:
        server.stop()
        await server.close_all_connections()


async def create(admin, helpers, url, name="my-work"):
    body = {"name": name, "image": helpers.image.name, "enqueueOnly": True, "callback_url": url}
    return await admin.post("/session", {**body, "config": {"resources": {"cpu": 1, "mem": "1g"}}})


@pytest.mark.asyncio
@pytest.mark.parametrize("manager_options", [LOOPBACK])
async def test_an_owner_is_told_of_the_whole_life(agent, admin, helpers):
    async with receiver() as world:
        created = await create(admin, helpers, world.url)
        await world.events(4)
        await admin.call("DELETE", "/session/my-work")
        events = await world.events(6)
        assert events == ["enqueued", "scheduled", "preparing", "started", "terminating", "terminated"]
        assert world.received[0].keys() == {"type", "event", "session_id", "when"}
        assert {(one["type"], one["session_id"]) for one in world.received} == {
            ("session_lifecycle", created["sessionId"])
        }


@pytest.mark.asyncio
@pytest.mark.parametrize("manager_options", [LOOPBACK])
async def test_a_receiver_in_trouble_is_tried_again_and_a_redirect_is_not_followed(agent, admin, helpers):
    async with receiver() as world:
        world.statuses = [503, 302]
        agent.hold_at = None
        await create(admin, helpers, world.url)
        assert await world.events(3) == ["enqueued", "enqueued", "scheduled"]


@pytest.mark.asyncio
async def test_private_addresses_are_not_called(manager, agent, admin, helpers, caplog):
    async with receiver() as world:
        for name, host in (("by-address", "127.0.0.1"), ("by-name", "localhost")):
            created = await create(admin, helpers, world.url.replace("127.0.0.1", host), name)
            await admin.until_status(name, "RUNNING")

            async def is_settled(session_id=created["sessionId"]):
                return await manager.store.read(history.to_call, session_id) is None

            await helpers.wait_until(is_settled, "nothing left to tell")
        assert world.received == []
        assert "which is not public" in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("manager_options", [LOOPBACK])
async def test_what_could_not_be_told_is_told_after_a_restart(manager, agent, admin, helpers):
    async with receiver() as world:
        await manager.callbacks.stop()
        await create(admin, helpers, world.url)
        await admin.until_status("my-work", "RUNNING")
        assert world.received == []
        await manager.callbacks.start()
        assert await world.events(4) == ["enqueued", "scheduled", "preparing", "started"]
