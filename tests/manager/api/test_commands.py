"""Commands over a WebSocket: who may, what is refused, and that frames go both ways untouched."""

import json

import pytest
from tornado.httpclient import HTTPClientError

from bai_jupyter.client import ClientConfig, ManagerClient
from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.sessions.commands import read_command

pytestmark = pytest.mark.asyncio


def of(client):
    return ManagerClient(ClientConfig(client.endpoint, client.access_key, client.secret_key))


async def test_a_command_is_asked_for_and_spoken_with(admin, agent):
    await admin.create("mine")
    await admin.until_status("mine", "RUNNING")
    async with of(admin) as client:
        connection = await client.open_command("mine", ["ls", "-l"], env={"A": "1"}, terminal=(30, 100))
        await connection.write_message(b"\0typed", binary=True)
        assert await connection.read_message() == b"\0typed"  # the agent sends it back
        connection.close()
    [call] = [call for call in agent.calls if call.method == "open_stream"]
    assert call.params["endpoint"] == {
        "kind": "command",
        "argv": ["ls", "-l"],
        "env": {"A": "1"},
        "cwd": "/home/work",
        "rows": 30,
        "columns": 100,
    }


async def test_a_stranger_finds_the_same_nothing(admin, agent, make_user):
    await admin.create("mine")
    await admin.until_status("mine", "RUNNING")
    alice = await make_user("alice")
    answers = [await alice.call("GET", f"/stream/session/{name}/command") for name in ("mine", "none")]
    assert [answer.status for answer in answers] == [404, 404]
    with pytest.raises(HTTPClientError):
        await alice.connect("/stream/session/mine/command")
    assert not [call for call in agent.calls if call.method == "open_stream"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"argv": "ls"},
        {"argv": []},
        {"argv": [""]},
        {"argv": ["a\0b"]},
        {"argv": [1]},
        {"argv": ["ls"], "env": {"A": 1}},
        {"argv": ["ls"], "env": {"A=B": "1"}},
        {"argv": ["ls"], "env": {"": "1"}},
        {"argv": ["ls"], "cwd": "relative"},
        {"argv": ["ls"], "cwd": 7},
        {"argv": ["ls"], "terminal": [0, 80]},
        {"argv": ["ls"], "terminal": "large"},
        {"argv": ["ls"], "terminal": [24]},
    ],
)
async def test_what_is_no_command(body):
    with pytest.raises(BadRequest):
        read_command(body)


async def test_refusals_can_be_read(admin, agent):
    await admin.create("mine")
    await admin.until_status("mine", "RUNNING")
    agent.call_errors["open_stream"] = Reason.of("other", text="The agent is out of order.")
    async with of(admin) as client:
        with pytest.raises(BadRequest, match="out of order"):
            await client.open_command("mine", ["ls"])
        with pytest.raises(BadRequest, match="argv"):
            await client.open_command("mine", [])
    connection = await admin.connect("/stream/session/mine/command")
    await connection.write_message("no json")
    assert json.loads(await connection.read_message())["title"]
    assert await connection.read_message() is None
    connection.close()
