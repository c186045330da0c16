"""A session's terminal with the official client, in a cluster of real processes."""

import pytest
from end_to_end.runtimes import on_both_runtimes

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="shell-here", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64"
)
result = str(made.id)
"""

TERMINAL = """
import re, uuid
class Look:
    def __init__(self, socket):
        self.socket, self.seen = socket, ""
    async def type(self, text):
        await self.socket.send_json({{"type": "stdin", "chars": base64.b64encode(text.encode()).decode()}})
    async def resize(self, rows, cols):
        await self.socket.send_json({{"type": "resize", "rows": rows, "cols": cols}})
    async def until(self, pattern):
        while not re.search(pattern, self.seen):
            message = json.loads(await asyncio.wait_for(self.socket.receive_str(), 30))
            if message["type"] == "error":
                return message["data"]
            self.seen += base64.b64decode(message["data"]).decode(errors="replace")
        return re.search(pattern, self.seen)[0]
session = api.ComputeSession.from_session_id(uuid.UUID("{session_id}"))
result = {{}}
async with session.stream_pty() as socket:
    look = Look(socket)
    await look.resize(30, 100)
    await look.until(r"[$#] ")
    await look.type("stty size; echo pid $((0 + $$)); echo uid-$(id -u)\\n")
    result["size"] = await look.until(r"30 100\\r\\n")
    result["pid"] = await look.until(r"pid \\d+\\r\\n")
    result["uid"] = await look.until(r"uid-\\d+\\r\\n")
    await look.type("kept=still; echo before-going\\n")
    await look.until(r"before-going\\r\\n")
async with session.stream_pty() as socket:
    look = Look(socket)
    result["shown again"] = await look.until(r"before-going\\r\\n")
    await look.type("echo var-$kept pid $((0 + $$))\\n")
    result["kept"] = await look.until(r"var-still\\w* pid \\d+\\r\\n")
    await look.until(r"var-still\\w* pid \\d+\\r\\n[^\\n]*[$#] ")  # so the next prompt is the new shell's
    await look.socket.send_json({{"type": "restart"}})
    look.seen = ""
    await look.until(r"[$#] ")
    await look.type("echo new-$kept-pid $((0 + $$))\\n")
    result["restarted"] = await look.until(r"new--pid \\d+\\r\\n")
    await look.socket.send_str("no json")
    result["error"] = await look.until("never")
    await look.type("exit\\n")
    async for _ in socket:
        pass
    result["closed"] = True
"""


@on_both_runtimes
async def test_a_terminal_that_goes_on_while_nobody_looks(client_of_cluster, cluster):
    session_id = await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    got = await client_of_cluster.async_sdk(TERMINAL.format(session_id=session_id))
    assert got["size"] == "30 100\r\n"
    assert got["uid"] != "uid-0\r\n"
    first = got["pid"].split()[-1]
    assert got["shown again"]
    assert got["kept"].split()[-1] == first
    assert got["restarted"].split()[-1] != first
    assert got["error"]
    assert got["closed"]


async def test_a_stranger_gets_no_terminal(client_of_cluster, cluster, helpers):
    signed = helpers.client(**helpers.of_cluster(cluster))
    assert (await signed.call("GET", "/stream/session/no-such/pty")).status == 404
    signed.close()
