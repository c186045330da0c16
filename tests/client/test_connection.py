"""Calls and streams against a small server that checks every signature."""

import asyncio
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from client.signed_server import ACCESS_KEY, Refuses, Signed
from tornado.testing import bind_unused_port

from bai_jupyter.client import (
    ClientConfig,
    ConfigError,
    ManagerAway,
    ManagerClient,
    load_config,
)
from bai_jupyter.common.errors import (
    AlreadyExists,
    AuthFailed,
    BadRequest,
    NotFound,
    PublicError,
    QuotaExceeded,
    Unavailable,
)
from bai_jupyter.common.reasons import Reason


@pytest.mark.asyncio
async def test_every_call_is_signed_and_reaches_its_path(client: ManagerClient) -> None:
    answer = await client.request("POST", "/x", {"name": "ü"}, query={"q": "a b&c", "none": None})
    assert answer == {"method": "POST", "uri": "/x?q=a+b%26c", "body": {"name": "ü"}}
    await client.destroy_session("my session/1", forced=True)  # a bad signature would raise AuthFailed
    answer = await client.get_jupyter_kernel("a/b", "k-1")
    assert answer["uri"] == "/session/a%2Fb/jupyter-kernels/k-1"


@pytest.mark.asyncio
async def test_a_wrong_secret_is_refused(endpoint: str) -> None:
    async with ManagerClient(ClientConfig(endpoint, ACCESS_KEY, "wrong")) as client:
        with pytest.raises(AuthFailed) as caught:
            await client.whoami()
    assert caught.value.reason == Reason.of("signature")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("which", "kind", "code"),
    [
        ("gone", NotFound, "not-found"),
        ("taken", AlreadyExists, "session-already-exists"),
        ("much", QuotaExceeded, "over-quota"),
        ("bad", BadRequest, "invalid-api-params"),
        ("later", Unavailable, "service-unavailable"),
        ("proxy", ManagerAway, "manager-away"),
        ("cut", ManagerAway, "manager-away"),
        ("newer", PublicError, "other"),
    ],
)
async def test_problems_become_the_class_that_was_raised(
    client: ManagerClient, which: str, kind: type[PublicError], code: str
) -> None:
    with pytest.raises(PublicError) as caught:
        await client.request("GET", f"/refuse/{which}")
    assert type(caught.value) is kind
    assert caught.value.code == code


@pytest.mark.asyncio
async def test_a_problem_keeps_its_figures_and_its_sentence(client: ManagerClient) -> None:
    with pytest.raises(QuotaExceeded) as caught:
        await client.request("GET", "/refuse/much")
    original = Refuses.errors["much"]
    assert caught.value.data == {"limit": "1"}
    assert caught.value.reason == original.reason
    with pytest.raises(PublicError) as caught_newer:
        await client.request("GET", "/refuse/newer")
    assert caught_newer.value.message == "A sentence from a newer manager."
    assert caught_newer.value.status == 409


@pytest.mark.asyncio
async def test_another_kind_of_server_is_said(client: ManagerClient) -> None:
    with pytest.raises(PublicError, match=r"not as a Backend\.AI manager does"):
        await client.request("GET", "/refuse/page")
    assert not await client.is_healthy()


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    listening, port = bind_unused_port()
    listening.close()
    async with ManagerClient(ClientConfig(f"http://127.0.0.1:{port}", "a", "b")) as client:
        with pytest.raises(ManagerAway, match=str(port)):
            await client.whoami()
        with pytest.raises(ManagerAway):
            await client.open_stream("s", "k", 1)
        with pytest.raises(ManagerAway):
            await anext(client.events())
        assert not await client.is_healthy()


@pytest.mark.asyncio
async def test_a_manager_that_says_nothing_is_away() -> None:
    listening, port = bind_unused_port()
    with listening:
        async with ManagerClient(ClientConfig(f"http://127.0.0.1:{port}", "a", "b")) as client:
            with pytest.raises(ManagerAway):
                await client.request("GET", "/", timeout_s=0.2)


def test_the_host_is_signed_without_a_default_port() -> None:
    hosts = {"http://h:80": "h", "https://h:443/": "h", "http://h:8090": "h:8090", "http://[::1]:81": "[::1]:81"}
    for endpoint, host in hosts.items():
        assert ManagerClient(ClientConfig(endpoint, "a", "b"))._headers("GET", "/", None)["Host"] == host


async def test_a_session_calls_with_the_token_of_its_file_as_it_is_now(endpoint: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    config = load_config({"BACKEND_ENDPOINT": endpoint, "BAI_TOKEN_FILE": str(token)}, tmp_path)
    assert config is not None
    client = ManagerClient(config)
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        headers = client._headers("GET", "/auth", None)
        assert (headers["Authorization"], "Date" in headers) == (f"Bearer {text}", False)
    token.unlink()
    with pytest.raises(ConfigError, match="token cannot be read"):
        await client.whoami()
    client.close()


@pytest.mark.asyncio
async def test_a_stream_that_is_closed_at_once_is_told_as_closed(client: ManagerClient) -> None:
    for _ in range(30):  # the close may come before or after the dialling has ended
        connection = await client.open_stream("away", "k-1", 3)
        assert await connection.read_message() is None
        assert connection.close_code == 4503
        connection.close()


@pytest.mark.asyncio
async def test_a_stream_carries_bytes_without_delay(client: ManagerClient) -> None:
    connection = await client.open_stream("my session", "k-1", 3)
    try:
        stream = connection.protocol.stream
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert "Sec-Websocket-Extensions" not in connection.headers
        assert json.loads(await connection.read_message()) == ["my session", "k-1", "3"]
        big = os.urandom(700_000)
        await connection.write_message(big, binary=True)
        assert await connection.read_message() == big
        await connection.write_message(b"end", binary=True)
        assert await connection.read_message() is None
        assert connection.close_code == 4409
    finally:
        connection.close()


@pytest.mark.asyncio
async def test_from_inside_a_session_streams_and_calls_go_by_its_socket(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Signed, "prepare", bearer_is_checked)
    (tmp_path / "token").write_text("token-1\n")
    door = await asyncio.start_unix_server(leads_to(endpoint), tmp_path / "manager.sock")
    inside = ClientConfig("http://manager:1", token_file=tmp_path / "token", socket=tmp_path / "manager.sock")
    async with door, ManagerClient(inside) as client:
        assert (await client.request("GET", "/x"))["uri"] == "/x"
        (tmp_path / "token").write_text("token-2")
        connection = await client.open_stream("demo", "k-1", 3)
        assert json.loads(await connection.read_message()) == ["demo", "k-1", "3"]
        connection.close()
    async with ManagerClient(replace(inside, socket=tmp_path / "no.sock")) as client:
        with pytest.raises(ManagerAway):
            await client.open_stream("demo", "k-1", 3)


def bearer_is_checked(handler: Any) -> None:
    assert handler.request.headers["Authorization"] in ("Bearer token-1", "Bearer token-2")
    assert handler.request.headers["Host"] == "manager:1"


def leads_to(endpoint: str) -> Any:
    """An agent's door, for one connection at a time."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(endpoint)
        there = await asyncio.open_connection(url.hostname, url.port)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    return carry


@pytest.mark.asyncio
async def test_a_stream_that_is_refused(client: ManagerClient) -> None:
    with pytest.raises(NotFound) as caught:
        await client.open_stream("missing", "k-1", 1)
    assert caught.value.code == "not-found"
