"""Folders in real sessions: what the API put there is the session's to read and change, and the other way round."""

import asyncio
import io
import os

import pytest
from end_to_end.kernels import kernel_of
from end_to_end.runtimes import on_both_runtimes

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, on_both_runtimes]

IN_SESSION = """
from pathlib import Path
data = Path("~/data").expanduser()
print((data / "deep" / "from-api").read_text())
(data / "from-session").write_text("two")
(data / "deep" / "from-session").write_text("three")
(data / "deep" / "from-api").unlink()
"""


async def test_session_and_api_share_the_files(cluster, monkeypatch):
    async with ManagerClient(cluster.config) as client:
        await client.create_folder("data", "local:data")
        await client.upload("data", "deep/from-api", io.BytesIO(b"one"), 3)
        monkeypatch.setenv("BAI_MOUNTS", "data")
        async with kernel_of(cluster) as kernel:
            assert await kernel.run(IN_SESSION) == "one\n"
        assert [one["name"] for one in (await client.list_files("data", "deep"))["items"]] == ["from-session"]
        got = io.BytesIO()
        await client.download("data", "from-session", got)
        assert got.getvalue() == b"two"
        await client.upload("data", "deep/from-session", io.BytesIO(b"four"), 4)
        (place,) = (cluster.data / ".vfolders").iterdir()
        owners = {path.stat().st_uid for path in place.rglob("*")}
        assert owners == {1000 if os.geteuid() == 0 else os.geteuid()}


AT_ONCE = """
import os, time
from pathlib import Path
data = Path("~/data").expanduser()
(data / "{me}-ready").touch()
while not (data / "{other}-ready").exists():
    time.sleep(0.01)
for number in range(100):
    (data / f"{me}-{{number}}").write_bytes(b"{me}" * 10_000)
with (data / "{me}-long").open("wb") as long, (data / "shared").open("ab", buffering=0) as shared:
    for _ in range(200):
        long.write(b"{me}" * 10_000)
        shared.write(b"{me}" * 1_000)
os.rename(data / "{me}-long", data / "{me}-whole")
"""


async def test_two_sessions_that_write_one_folder_at_once_lose_nothing(cluster, monkeypatch):
    async with ManagerClient(cluster.config) as client:
        await client.create_folder("data", "local:data")
        monkeypatch.setenv("BAI_MOUNTS", "data")
        async with kernel_of(cluster) as one, kernel_of(cluster) as two:
            said = await asyncio.gather(
                one.run(AT_ONCE.format(me="a", other="b")), two.run(AT_ONCE.format(me="b", other="a"))
            )
        assert said == ["", ""]
        (place,) = (cluster.data / ".vfolders").iterdir()
        for me in "ab":
            assert (place / f"{me}-whole").read_bytes() == me.encode() * 2_000_000
            assert {(place / f"{me}-{number}").read_bytes() for number in range(100)} == {me.encode() * 10_000}
        shared = (place / "shared").read_bytes()
        pieces = {shared[start : start + 1_000] for start in range(0, len(shared), 1_000)}
        assert (len(shared), pieces) == (400_000, {b"a" * 1_000, b"b" * 1_000})
        assert (await client.list_files("data"))["total"] == 205
