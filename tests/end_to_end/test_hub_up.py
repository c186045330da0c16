"""A JupyterHub with one command, ``bai up --hub``: whoever logs in as told has a server, and has it after a Ctrl-C."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from end_to_end.hubs import EXAMPLES, SERVICE, Visitor

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

OPEN = re.compile(r"Open +(\S+) +log in as (\S+), password (\S+)")
MAIN = "import sys; from bai_jupyter.cli import main; sys.exit(main())"


class Machine:
    """A folder in which somebody types ``bai``."""

    def __init__(self, folder: Path, environ: dict[str, str], port: int) -> None:
        self.folder, self.environ, self.port = folder, environ, port
        self.up: subprocess.Popen[bytes] | None = None

    def bai(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", MAIN, *argv]
        return subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)

    def _spawn(self) -> subprocess.Popen[bytes]:
        more = ["--runtime", "process", "--port", str(self.port), "--hub", "config.py"]
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("a") as err:
            command = [sys.executable, "-c", MAIN, "up", *more]
            return subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=out, stderr=err)

    async def start(self) -> tuple[str, str, str]:
        """The Hub's address, and who logs in with which password."""
        self.up = self._spawn()
        while (found := OPEN.search((self.folder / "out").read_text())) is None:
            assert self.up.poll() is None, (self.folder / "err").read_text()
            await asyncio.sleep(0.1)
        return found[1], found[2], found[3]

    async def stop(self) -> int:
        """Ctrl-C."""
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(self.up.wait)
        self.up = None
        return code


@pytest.fixture
def machine(folder: Path, proxy_folder: Path, ports: dict[str, int]) -> Iterator[Machine]:
    for parent in (folder, *folder.parents):  # as tests/end_to_end/cluster.py: sessions do not run as root
        if os.geteuid() == 0 and parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    example = f"load_subconfig({str(EXAMPLES / 'jupyterhub_config.py')!r})\n"
    (folder / "config.py").write_text(example + SERVICE.format(**ports))
    environ = {name: one for name, one in os.environ.items() if not name.startswith(("BACKEND_", "BAI_CRED"))}
    environ["PATH"] = f"{proxy_folder}{os.pathsep}{environ['PATH']}"
    one = Machine(folder, environ, ports["port"])
    yield one
    if one.up is not None:
        one.up.send_signal(signal.SIGINT)
        one.up.wait()
    one.bai("down")


async def test_a_hub_with_one_command(machine: Machine) -> None:
    url, email, password = await machine.start()
    started = await use(url, email, password)
    assert await machine.stop() == 0
    assert await machine.start() == (url, email, password)
    assert await use(url, email, password) == started  # the same server
    assert "Already running here" in machine.bai("up", "--hub", "config.py").stderr
    assert await machine.stop() == 0
    ended = machine.bai("down")
    assert "Ended jupyterhub." in ended.stdout, ended.stderr


async def use(url: str, email: str, password: str) -> str:
    """Log in, and start a server if none runs. When it was started."""
    person: Any = Visitor(SimpleNamespace(url=url))  # type: ignore[arg-type]
    try:
        assert await person.log_in(email, password) == 302, person.page
        if not await person.is_ready("user"):
            status, answer = await person.call("POST", "/users/user/server", {})
            assert status in (201, 202), answer
        while not await person.is_ready("user"):
            await asyncio.sleep(0.1)
        assert (await person.get("/user/user/lab"))[:2] == (200, "/user/user/lab")
        return str(json.loads((await person.get("/user/user/api/status"))[2])["started"])
    finally:
        await person.close()


async def test_what_is_missing_is_said_before_anything_starts(machine: Machine) -> None:
    lacking = machine.bai("up", "--hub", "no-such.py")
    assert (lacking.returncode, "There is no file no-such.py" in lacking.stderr) == (1, True), lacking.stderr
    machine.environ["PATH"] = str(Path(sys.executable).parent)
    lacking = machine.bai("up", "--hub", "config.py")
    assert "The Hub needs configurable-http-proxy" in lacking.stderr
    assert not (machine.folder / ".bai" / "manager").exists()
