"""Folders in real sessions: what the API put there is the session's to read and change, and the other way round."""

import io
import os

import pytest
from end_to_end.kernels import kernel_of

from bai_jupyter.client import ManagerClient

RUNTIMES = [
    pytest.param({"runtime": "process"}, id="process"),
    pytest.param({"runtime": "docker"}, id="docker", marks=pytest.mark.docker),
]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("cluster", RUNTIMES, indirect=True)]

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
