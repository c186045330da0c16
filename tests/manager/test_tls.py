"""A manager that speaks TLS, and its clients: who is trusted, and that nothing is told to anybody else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pytest
import pytest_asyncio
from certificates import Authority
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from bai_jupyter.client import (
    ClientConfig,
    ConfigError,
    ManagerClient,
    ManagerNotTrusted,
    load_config,
    read_credentials,
)
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.trust import BY_SYSTEM, Trust
from bai_jupyter.manager.app import ManagerApp
from bai_jupyter.manager.auth.app_tokens import AppClaims
from bai_jupyter.manager.certificate import CertificateError, load

pytestmark = pytest.mark.asyncio

OTHER = Trust("ab" * 32)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - that it is encrypted there is the test


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def manager_options(authority: Authority) -> dict[str, Any]:
    return {"certfile": str(authority.sign("127.0.0.1"))}


@pytest.fixture
def config(manager: ManagerApp, data_dir: Path) -> ClientConfig:
    """As the manager wrote it for programs of this machine."""
    return read_credentials(data_dir.parent / "credentials.json")


async def whoami(config: ClientConfig) -> str:
    async with ManagerClient(config) as client:
        return str((await client.whoami())["name"])


@pytest.mark.parametrize("way", ["fingerprint", "CA file", "the system's CAs"])
async def test_who_knows_the_certificate_comes_in(way, manager, config, authority, monkeypatch) -> None:
    assert config.endpoint == f"https://127.0.0.1:{manager.bound_port}"
    if way == "CA file":
        config = replace(config, trust=Trust(ca_file=str(authority.ca_file)))
    elif way == "the system's CAs":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        config = replace(config, trust=BY_SYSTEM)
    assert await whoami(config) == "admin"


@pytest.mark.parametrize(("trust", "code"), [(BY_SYSTEM, "certificate-unknown"), (OTHER, "certificate-other")])
async def test_another_certificate_is_refused_in_each_kind_of_call(trust, code, config) -> None:
    async with ManagerClient(replace(config, trust=trust)) as client:
        for call in (client.whoami(), client.open_terminal("s"), anext(client.events())):
            with pytest.raises(ManagerNotTrusted) as caught:
                await call
            assert caught.value.reason.code == code
            assert config.endpoint in str(caught.value)
        assert not await client.is_healthy()


async def test_nothing_is_sent_to_somebody_with_another_certificate(authority, config) -> None:
    heard = []
    listener, port = bind_unused_port()
    tls = load(authority.sign("localhost"), None).context
    server = HTTPServer(heard.append, ssl_options=tls)
    server.add_socket(listener)
    try:
        with pytest.raises(ManagerNotTrusted):
            await whoami(replace(config, endpoint=f"https://127.0.0.1:{port}"))
    finally:
        server.stop()
        await server.close_all_connections()
    assert heard == []


async def test_environment_and_file_say_whom_to_trust(config, tmp_path, authority, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"BACKEND_ENDPOINT": config.endpoint, "BACKEND_ACCESS_KEY": "a", "BACKEND_SECRET_KEY": "b"}
    found = load_config({**environ, "BAI_MANAGER_FINGERPRINT": config.trust.fingerprint.upper()}, tmp_path)
    assert found is not None
    assert found.trust == config.trust
    found = load_config({**environ, "BAI_MANAGER_CA": authority.ca_file.name}, tmp_path)
    assert found is not None
    assert found.trust == Trust(ca_file=str(authority.ca_file))
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        load_config({**environ, "BAI_MANAGER_FINGERPRINT": "ab"}, tmp_path)
    with pytest.raises(ConfigError, match=r"none\.pem cannot be used"):
        await whoami(replace(config, trust=Trust(ca_file=str(tmp_path / "none.pem"))))


async def test_who_logs_in_trusts_whom_they_asked(config, monkeypatch) -> None:
    async def request(*_: Any) -> Any:
        return {"data": {"access_key": "a", "secret_key": "b"}}

    async with ManagerClient(config) as client:
        monkeypatch.setattr(client, "request", request)
        assert (await client.log_in("kim@example.org", "secret")).trust == config.trust


async def test_cookies_are_for_tls_alone(manager, config) -> None:
    link = manager.services.app_tokens.extend(AppClaims("session", "app", 0))
    client = AsyncHTTPClient(force_instance=True)
    answer = await client.fetch(
        f"{config.endpoint}/apps/session/app/?bai-token={link}",
        ssl_options=config.trust.context(),
        follow_redirects=False,
        raise_error=False,
    )
    client.close()
    assert answer.code == 302
    assert "; Secure" in answer.headers["Set-Cookie"]


async def test_a_join_token_has_a_fingerprint_unless_a_ca_vouches_for_the_address(
    manager, config, authority, monkeypatch
) -> None:
    async with ManagerClient(config) as client:
        token = JoinToken.parse(await client.create_join_token())
        assert (token.url, token.fingerprint) == (config.endpoint, config.trust.fingerprint)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        assert JoinToken.parse(await client.create_join_token()).fingerprint == ""


# Where it listens decides


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Any]:
    """``await start(ip=EVERYWHERE)``: a manager with options, and what it wrote for programs of this machine."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> tuple[ManagerApp, ClientConfig]:
            app = ManagerApp(data_dir=str(tmp_path / "data" / "manager"), **{"port": 0, **options})
            await app.start_services()
            stack.push_async_callback(app.stop_services)
            return app, read_credentials(tmp_path / "data" / "credentials.json")

        yield start


async def test_beyond_this_machine_it_makes_itself_a_certificate(start) -> None:
    app, config = await start(ip=EVERYWHERE)
    assert app.certificate.path.name == "certificate.pem"
    assert config.trust == Trust(app.certificate.fingerprint)
    assert await whoami(config) == "admin"
    url, fingerprint = app.place_of(config.endpoint)  # what this machine calls it leads nowhere from others
    assert url.startswith("https://")
    assert "127.0.0.1" not in url
    assert fingerprint == config.trust.fingerprint
    assert app.place_of("https://head:8090") == ("https://head:8090", fingerprint)


async def test_plain_http_beyond_this_machine_must_be_said(start) -> None:
    app, config = await start(ip=EVERYWHERE, allow_plain_http=True, public_url="https://bai.example.org/")
    assert (config.endpoint, config.trust) == (f"http://127.0.0.1:{app.bound_port}", BY_SYSTEM)
    assert await whoami(config) == "admin"
    assert app.place_of(config.endpoint) == ("https://bai.example.org", "")


async def test_on_this_machine_alone_it_needs_none(start) -> None:
    app, config = await start(ip="localhost")
    assert app.certificate is None
    assert app.place_of(config.endpoint) == (config.endpoint, "")


async def test_programs_of_this_machine_may_have_a_port_without_tls(start, free_port) -> None:
    app, config = await start(ip=EVERYWHERE, loopback_port=free_port)
    assert (config.endpoint, config.trust) == (f"http://127.0.0.1:{free_port}", BY_SYSTEM)
    assert await whoami(config) == "admin"
    assert app.place_of(config.endpoint)[0].endswith(f":{app.bound_port}")


async def test_who_starts_it_at_a_terminal_is_told_how_to_join(tmp_path) -> None:
    ours, its = os.openpty()
    options = {"data_dir": tmp_path / "data" / "manager", "port": 0, "ip": EVERYWHERE}
    command = [sys.executable, "-m", "bai_jupyter.manager", *(f"--ManagerApp.{k}={v}" for k, v in options.items())]
    with os.fdopen(ours) as terminal:
        process = await asyncio.create_subprocess_exec(*command, stdout=its, stderr=asyncio.subprocess.DEVNULL)
        os.close(its)
        try:
            shown = await asyncio.wait_for(asyncio.to_thread(_line_with, terminal, "bai agent join"), 60)
        finally:
            process.terminate()
            await process.wait()
    token = JoinToken.parse(shown.split()[-1])
    certificate = load(tmp_path / "data" / "manager" / "certificate.pem", tmp_path / "data/manager/certificate-key.pem")
    assert token.url.startswith("https://")
    assert token.fingerprint == certificate.fingerprint


def _line_with(terminal: TextIO, words: str) -> str:
    return next(line for line in terminal if words in line)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keyfile": "key.pem"}, "there is no certfile"),
        ({"certfile": "some.pem", "allow_plain_http": True}, "exclude one another"),
        ({"certfile": "none.pem"}, "none.pem cannot be used"),
    ],
)
async def test_options_that_make_no_sense_are_named(start, options, said) -> None:
    with pytest.raises((CertificateError, ValueError), match=said):
        await start(**options)
