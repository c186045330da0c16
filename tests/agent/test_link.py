"""The link's own decisions; that it carries messages is seen in ``test_agent``."""

import asyncio

import pytest
from bai_agent.link import ManagerLink, Outbox, websocket_url
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from bai_jupyter.common.ids import AgentId, KernelId, SessionId
from bai_jupyter.common.messages import Call, Heartbeat, Hello, KernelReport, Refused, Reply, Welcome, decode, encode
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus


def test_addresses() -> None:
    assert websocket_url("http://h:1", "/agent/link") == "ws://h:1/agent/link"
    assert websocket_url("https://h/base/", "/agent/link") == "wss://h/base/agent/link"
    with pytest.raises(ValueError, match="not an http"):
        websocket_url("h:1", "/x")


@pytest.mark.asyncio
async def test_a_report_replaces_an_older_one_that_was_not_sent() -> None:
    outbox = Outbox()
    first, second = (KernelReport(KernelId("k"), SessionId("s"), KernelStatus.RUNNING, n) for n in (1, 2))
    outbox.put("k", first)
    outbox.put("beat", Heartbeat({}))
    outbox.put("k", second)
    assert [await outbox.take(), await outbox.take()] == [Heartbeat({}), second]
    waiting = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put("k", first)
    assert await waiting == first


class LinkHandler(WebSocketHandler):
    """Takes only the token, then asks one thing."""

    def initialize(self, reply: "asyncio.Future[Reply]") -> None:
        self.reply = reply

    async def on_message(self, text: str | bytes) -> None:
        match decode(text):
            case Hello(join_token="token"):
                await self.write_message(encode(Welcome(AgentId("a"), "new", 5.0)))
                await self.write_message(encode(Call("c", "anything", {})))
            case Hello():
                await self.write_message(encode(Refused(Reason.of("agent-denied"))))
                self.close()
            case Reply() as reply:
                self.reply.set_result(reply)


@pytest.mark.asyncio
async def test_a_refused_credential_falls_back_to_the_token_and_a_failing_call_is_answered() -> None:
    replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    listener, port = bind_unused_port()
    server = HTTPServer(Application([("/agent/link", LinkHandler, {"reply": replied})]))
    server.add_socket(listener)
    kept: list[str] = []
    said: list[tuple[str | None, str | None]] = []

    def hello(credential: str | None, token: str | None) -> Hello:
        said.append((credential, token))
        return Hello(1, "0", "lab-1", credential, token, "process", False, "x86_64", ResourceSlots(), [], [], [], [])

    async def answer(call: Call) -> dict[str, object]:
        raise RuntimeError("surprise")

    async def heartbeat() -> Heartbeat:
        return Heartbeat({})

    link = ManagerLink(
        f"http://127.0.0.1:{port}",
        credential="old",
        join_token="token",
        keep_credential=kept.append,
        hello=hello,
        on_wanted=lambda _: None,
        on_forget=lambda _: None,
        answer=answer,
        heartbeat=heartbeat,
    )
    running = asyncio.create_task(link.run())
    try:
        reply = await asyncio.wait_for(replied, 60)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.stop()
        await server.close_all_connections()
    assert said[:2] == [("old", None), (None, "token")]
    assert kept == ["new"]
    assert reply.error is not None
    assert "surprise" not in reply.error.text  # its insides are nobody's business
