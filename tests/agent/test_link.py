"""The link's own decisions; that it carries messages is seen in ``test_agent``."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from bai_agent.link import ManagerLink, Outbox, websocket_url
from certificates import Authority
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


@pytest.mark.asyncio
async def test_an_address_without_tls_of_a_manager_with_tls_is_explained(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Authority(tmp_path).sign("127.0.0.1"))
    listener, port = bind_unused_port()
    server = HTTPServer(Application(), ssl_options=context)
    server.add_socket(listener)
    said: asyncio.Queue[str] = asyncio.Queue()
    listening = logging.Handler()
    listening.emit = lambda record: said.put_nowait(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("bai_agent.link")
    log.addHandler(listening)
    link = ManagerLink(
        f"http://127.0.0.1:{port}",
        credential=None,
        join_token="token",
        keep_credential=lambda _: None,
        hello=_never,
        on_wanted=_never,
        on_forget=_never,
        answer=_never,
        heartbeat=_never,
    )
    running = asyncio.create_task(link.run())
    try:
        first = await asyncio.wait_for(said.get(), 60)
    finally:
        log.removeHandler(listening)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.stop()
        await server.close_all_connections()
    assert "the manager there speaks TLS. Give its address with https://" in first


def _never(*_: Any) -> Any:
    raise AssertionError("there is no link")
