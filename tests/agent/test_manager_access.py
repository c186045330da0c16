"""A session's door to the manager: what lies in its folder, who gets through, and what its user can spoil."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent.doors import Doors
from bai_agent.manager_access import DOOR, ManagerAccess, address_of
from bai_agent.manager_place import ManagerPlace
from certificates import Authority

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.trust import Trust
from bai_jupyter.manager.certificate import load

pytestmark = pytest.mark.asyncio

KERNEL = KernelId("k-1")
DEADLINE_S = 20
OWNER = 1000 if os.geteuid() == 0 else os.geteuid()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    os.chown(folder, OWNER, -1)
    return folder


@pytest_asyncio.fixture
async def doors() -> AsyncIterator[Doors]:
    """All lead to a manager that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = address_of(ManagerPlace(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), None)
    made = Doors({DOOR: address, "hub": address})
    yield made
    await made.close()
    server.close()
    await server.wait_closed()


@pytest.fixture
def access(doors: Doors) -> ManagerAccess:
    return ManagerAccess("http://manager", doors)


async def dial(run: Path, door: str = DOOR) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    folder = os.open(run, os.O_PATH)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{door}.sock")
    finally:
        os.close(folder)


async def test_the_door_leads_to_the_manager_and_back(access: Any, run: Path) -> None:
    found = await access.grant(KERNEL, run, "token-1")
    assert found["BAI_TOKEN_FILE"] == "/run/bai/token"
    assert found["BAI_MANAGER_SOCKET"] == "/run/bai/manager.sock"
    reader, writer = await dial(run)
    writer.write(b"who am I?")
    writer.write_eof()
    assert await reader.read() == b"who am I?"
    writer.close()


async def test_the_agent_sees_to_tls_and_to_whom_it_speaks(run: Path, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"I am the manager")
        writer.close()

    certificate = load(Authority(tmp_path).sign("127.0.0.1"), None)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context)
    port = server.sockets[0].getsockname()[1]
    for fingerprint, answered in ((certificate.fingerprint, b"I am the manager"), ("ab" * 32, b"")):
        place = ManagerPlace(f"https://127.0.0.1:{port}", Trust(fingerprint))
        doors = Doors({DOOR: address_of(place, place.tls())})
        (run / "manager.sock").unlink(missing_ok=True)
        found = await ManagerAccess(place.url, doors).grant(KERNEL, run, "token")
        assert found["BACKEND_ENDPOINT"] == place.url
        reader, writer = await dial(run)
        writer.write(b"hello\n")  # not encrypted inside
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == answered
        writer.close()
        await doors.close()
    server.close()
    await server.wait_closed()
    assert heard == [b"hello\n"]


async def test_a_fresh_token_takes_the_place_of_the_old_one(access: Any, run: Path) -> None:
    for token in ("token-1", "token-2"):
        await access.grant(KERNEL, run, token)
        facts = (run / "token").stat()
        assert ((run / "token").read_text(), facts.st_uid, stat.S_IMODE(facts.st_mode)) == (token, OWNER, 0o600)
    assert (run / "manager.sock").stat().st_uid == OWNER
    assert sorted(path.name for path in run.iterdir()) == ["manager.sock", "token"]


async def test_links_that_its_user_put_there_lead_nowhere(access: Any, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    before = (outside / "file").stat()
    (run / "token").symlink_to(outside / "file")
    (run / "manager.sock").symlink_to(outside / "new.sock")
    await access.grant(KERNEL, run, "token-1")
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "precious"
    assert (outside / "file").stat().st_uid == before.st_uid
    assert not (run / "token").is_symlink()
    assert stat.S_ISSOCK((run / "manager.sock").lstat().st_mode)


async def test_who_hinders_it_goes_without_and_hurts_nobody_else(access: Any, run: Path, tmp_path: Path) -> None:
    (run / "token").mkdir()
    await access.grant(KERNEL, run, "token-1")
    assert [path.name for path in run.iterdir()] == ["token"]
    other = tmp_path / "other"
    other.mkdir()
    await access.grant(KernelId("k-2"), other, "token-2")
    assert (other / "token").read_text() == "token-2"


async def test_one_container_cannot_use_up_the_agent_s_connections(access: Any, run: Path) -> None:
    await access.grant(KERNEL, run, "token-1")
    held = []
    for _ in range(128):
        reader, writer = await dial(run)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        held.append(writer)
    reader, writer = await dial(run)
    assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    for one in (*held, writer):
        one.close()


async def test_a_container_has_only_the_doors_that_were_opened_for_it(doors: Any, run: Path) -> None:
    for _ in range(2):
        await doors.open(KERNEL, run, "hub")
    assert ("hub" in doors, "mail" in doors) == (True, False)
    assert [path.name for path in run.iterdir()] == ["hub.sock"]
    reader, writer = await dial(run, "hub")
    writer.write(b"x")
    writer.write_eof()
    assert await reader.read() == b"x"
    writer.close()


async def test_the_end_of_the_session_hangs_up_and_closes_the_door(access: Any, doors: Any, run: Path) -> None:
    await access.grant(KERNEL, run, "token-1")
    reader, writer = await dial(run)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    await doors.shut(KERNEL)
    assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await dial(run)
