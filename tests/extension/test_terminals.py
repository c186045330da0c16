"""A session's terminal behind Jupyter's login: a real server and manager, and an agent that repeats what it hears."""

import asyncio
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from real_manager import RealManager
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind
from bai_jupyter.extension.terminals import to_manager

EXIT, CUT = b"\x04", b"\x03"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealManager]:
    with RealManager(tmp_path_factory.mktemp("cluster")) as manager:
        manager.session = manager.start_session("shown")  # type: ignore[attr-defined]
        yield manager


@pytest.fixture
def shell(cluster: RealManager, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Repeats what is typed, says how large its terminal is, and ends or is cut off by a key; ``left`` is how many
    looked away."""
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    told = SimpleNamespace(left=0)

    async def show(socket: WebSocketClientConnection, endpoint: dict[str, Any]) -> None:
        assert endpoint["kind"] == "terminal"
        try:
            while isinstance(frame := await socket.read_message(), bytes):
                kind, payload = stdio.unpack(frame)
                if payload == CUT:
                    return
                if payload == EXIT:
                    await socket.write_message(stdio.pack_ended(0), binary=True)
                elif kind is Kind.INPUT:
                    for byte in payload:  # letters come in halves
                        await socket.write_message(stdio.pack(Kind.OUTPUT, bytes([byte])), binary=True)
                else:
                    said = "{} x {}".format(*stdio.read_size(payload)).encode()
                    await socket.write_message(stdio.pack(Kind.OUTPUT, said), binary=True)
        except WebSocketClosedError:
            pass
        finally:
            told.left += 1

    cluster.serve_streams(show)
    return told


@pytest.fixture
def away(shell: SimpleNamespace, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be asked for before ``look``, which starts the server."""
    monkeypatch.setenv("BACKEND_ENDPOINT", f"http://127.0.0.1:{free_port}")


@pytest.fixture
def as_lee(shell: SimpleNamespace, cluster: RealManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an admin nor whose session it is."""
    lee = cluster.add_user("lee")
    monkeypatch.setenv("BACKEND_ACCESS_KEY", lee.access_key)
    monkeypatch.setenv("BACKEND_SECRET_KEY", lee.secret_key)


@pytest.fixture
def look(shell: SimpleNamespace, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``await look(session)``: a page's WebSocket. By nobody with ``headers={}``."""
    headers, base_url = request.getfixturevalue("jp_auth_header"), request.getfixturevalue("jp_base_url")
    request.getfixturevalue("http_server_client")  # makes the server listen, and so reads the credentials
    port = request.getfixturevalue("jp_http_port")

    async def look(session: str, headers: dict[str, str] = headers) -> WebSocketClientConnection:
        url = f"ws://127.0.0.1:{port}{base_url}bai/api/sessions/{session}/terminal"
        socket = await websocket_connect(HTTPRequest(url, headers=headers, request_timeout=DEADLINE_S))
        looking.append(socket)
        return socket

    looking: list[WebSocketClientConnection] = []
    yield look
    for socket in looking:
        socket.close()


async def until(socket: WebSocketClientConnection, shown: str) -> None:
    """All that is shown, up to this."""
    seen = ""
    async with asyncio.timeout(DEADLINE_S):
        while not seen.endswith(shown):
            message = await socket.read_message()
            assert message is not None, f"it hung up after {seen!r}"
            kind, text = json.loads(message)
            assert kind == "stdout"
            seen += text
    assert seen == shown


async def say(socket: WebSocketClientConnection, *words: Any) -> None:
    await socket.write_message(json.dumps(words))


async def test_what_is_typed_shown_and_how_large_it_is(cluster: Any, look: Any) -> None:
    socket = await look(cluster.session)
    assert json.loads(await socket.read_message()) == ["setup", {}]
    await say(socket, "stdin", "grüß dich\r")
    await until(socket, "grüß dich\r")
    await say(socket, "set_size", 30, 100, 600, 800)
    await until(socket, "30 x 100")
    await say(socket, "stdin", EXIT.decode())
    assert await socket.read_message() is None
    assert socket.close_code == 1000


async def test_a_shell_that_was_cut_off_goes_on_so_one_dials_again(cluster: Any, look: Any) -> None:
    socket = await look(cluster.session)
    await socket.read_message()
    await say(socket, "stdin", CUT.decode())
    assert await socket.read_message() is None
    assert socket.close_code == 4503


async def test_a_page_that_goes_looks_away(cluster: Any, look: Any, shell: Any) -> None:
    socket = await look(cluster.session)
    await socket.read_message()
    socket.close()
    async with asyncio.timeout(DEADLINE_S):
        while not shell.left:
            await asyncio.sleep(0.01)


async def test_what_is_no_message_ends_it(cluster: Any, look: Any) -> None:
    socket = await look(cluster.session)
    await socket.read_message()
    await say(socket, "restart")
    assert await socket.read_message() is None
    assert (socket.close_code, socket.close_reason) == (1003, 'expected ["stdin", text] or ["set_size", rows, columns]')


@pytest.mark.parametrize("message", ["", "{", "{}", "[]", '["stdin"]', '["stdin", 1]', '["set_size", "1", 2]', b"\xff"])
async def test_messages_that_are_none(message: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whichever
        to_manager(message)


async def test_half_of_a_letter_is_not_lost_for_want_of_the_other() -> None:
    assert to_manager('["stdin", "\\ud83d"]') == {"type": "stdin", "chars": "Pw=="}


async def refusal(dialling: Any) -> int:
    with pytest.raises(HTTPClientError) as refused:
        await dialling
    return refused.value.code


async def test_strangers(
    cluster: Any, look: Any, shell: Any, jp_fetch: Any, jp_serverapp: Any, monkeypatch: Any
) -> None:
    assert await refusal(look(cluster.session, headers={})) == 403
    cookie = (await jp_fetch("api", "status")).headers["Set-Cookie"].partition(";")[0]  # goes along by itself
    assert await refusal(look(cluster.session, headers={"Cookie": cookie, "Origin": "https://example.org"})) == 403
    assert shell.left == 0
    asked = []

    def is_authorized(_handler: Any, _user: Any, *what: str) -> bool:
        asked.append(what)
        return False

    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", is_authorized)
    assert await refusal(look(cluster.session)) == 403
    assert await refusal(jp_fetch("bai", "api", "sessions", cluster.session, "terminal")) == 403
    assert asked == [("execute", "terminals")] * 2
    assert shell.left == 0  # nothing was begun for any of them


async def test_a_page_can_ask_whether_it_may(cluster: Any, look: Any, shell: Any, jp_fetch: Any) -> None:
    answer = await jp_fetch("bai", "api", "sessions", cluster.session, "terminal")
    assert (answer.code, answer.body, shell.left) == (204, b"", 0)


async def test_anothers_session_is_as_if_there_were_none(cluster: Any, as_lee: None, look: Any) -> None:
    assert await refusal(look(cluster.session)) == await refusal(look("nothing")) == 404


async def test_a_manager_that_is_away(cluster: Any, away: None, look: Any) -> None:
    assert await refusal(look(cluster.session)) == 503
