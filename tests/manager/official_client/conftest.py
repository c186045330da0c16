"""The official Backend.AI client, unmodified, in an environment of its own, as a subprocess against our manager."""

import asyncio
import json
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.cluster import Cluster
from environments import environment
from loopback import free_port

CLIENT = "backend.ai-client==23.9.10"
YARL = "yarl<1.17"  # the client signs with an attribute that yarl has dropped since
CLIENT_PYTHON = (3, 11)
PATIENCE_S = 60.0

_SDK = """
import json
from ai.backend.client.session import Session
with Session() as api:
{code}
print(json.dumps(result, default=str))
"""
_ASYNC_SDK = """
import asyncio, base64, json
from ai.backend.client.session import AsyncSession
async def main():
    async with AsyncSession() as api:
{code}
    return result
print(json.dumps(asyncio.run(main()), default=str))
"""


_COMMANDS = """
import json, sys
from ai.backend.cli.loader import load_entry_points
from click.testing import CliRunner
main = load_entry_points(allowlist={"ai.backend.client"})
commands, answers = json.loads(sys.argv[1])
finished = [CliRunner(mix_stderr=False).invoke(main, words, input=answers) for words in commands]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in finished]))
"""


@dataclass(frozen=True)
class Finished:
    """What a command left. Data is on ``out``; the client's own messages are on ``err``."""

    code: int
    out: str
    err: str


class OfficialClient:
    """One user's client: ``await client.cli("session", "rename", …)`` and ``await client.sdk("result = …")``."""

    def __init__(self, installed: Path, home: Path, credentials: dict[str, str]) -> None:
        self._bin = installed / "bin"
        self.home = home  # the folder that commands run in
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BACKEND_")},
            "HOME": str(home),  # it keeps state and logs there
            "BACKEND_ENDPOINT": credentials["endpoint"],
            "BACKEND_ENDPOINT_TYPE": "api",
            "BACKEND_ACCESS_KEY": credentials["access_key"],
            "BACKEND_SECRET_KEY": credentials["secret_key"],
        }

    async def cli(self, *words: str, answers: str = "") -> Finished:
        """``answers`` to what the command asks, a line each."""
        return await self._run(str(self._bin / "backend.ai"), *words, answers=answers)

    async def clis(self, *commands: Sequence[str], answers: str = "") -> list[Finished]:
        """Many commands in one process: starting it takes longer than most of them. Each gets the same ``answers``."""
        told = await self.python(_COMMANDS, json.dumps([commands, answers]))
        return [Finished(code, out, err) for code, out, err in told]

    async def sdk(self, code: str) -> Any:
        """Run code that may use ``api`` (a Session) and names its JSON value ``result``."""
        return await self.python(_SDK.format(code=_indented(code, 1)))

    async def async_sdk(self, code: str) -> Any:
        """The same with an AsyncSession, which has the WebSockets."""
        return await self.python(_ASYNC_SDK.format(code=_indented(code, 2)))

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that goes on until it is ended here."""
        process = await self._start(str(self._bin / "backend.ai"), *words)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()

    async def python(self, script: str, *arguments: str) -> Any:
        """Run a script in the client's environment; the JSON value that it prints last."""
        finished = await self._run(str(self._bin / "python"), "-c", script, *arguments)
        assert finished.code == 0, finished
        return json.loads(finished.out.splitlines()[-1])

    async def _start(self, *command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,  # it reads .env of the working directory
            env=self._environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _run(self, *command: str, answers: str = "") -> Finished:
        process = await self._start(*command)
        try:
            out, err = await asyncio.wait_for(process.communicate(answers.encode()), PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{command} did not end within {PATIENCE_S:g} s") from None
        return Finished(process.returncode or 0, out.decode(), err.decode())


def _indented(code: str, levels: int) -> str:
    return textwrap.indent(textwrap.dedent(code).strip(), "    " * levels)


@pytest.fixture(scope="session")
def installed_client(missing: Callable[[str, str], Any]) -> Path:
    """A virtual environment with the client."""
    if sys.version_info[:2] != CLIENT_PYTHON:
        missing("official-client", f"it needs Python 3.11, and this is {sys.version_info[0]}.{sys.version_info[1]}")
    return environment("official-client", [CLIENT, YARL], missing)


@pytest.fixture
def make_client(installed_client: Path, manager: Any, tmp_path: Path) -> Callable[..., OfficialClient]:
    """``make_client(signed)``: the official client with the credentials of a ``SignedClient``."""

    def make(signed: Any) -> OfficialClient:
        home = tmp_path / f"client-{signed.access_key}"
        home.mkdir(exist_ok=True)
        credentials = {"endpoint": signed.endpoint, "access_key": signed.access_key, "secret_key": signed.secret_key}
        return OfficialClient(installed_client, home, credentials)

    return make


@pytest_asyncio.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory, free_port: int, request: Any) -> AsyncIterator[Any]:
    """A manager and an agent as processes, with the process runtime or what ``indirect`` parametrization names."""
    options = getattr(request, "param", {})
    if options.get("runtime") == "docker":
        request.getfixturevalue("docker_client")
        options = {**options, "container_labels": request.getfixturevalue("test_run")}
    cluster = Cluster(tmp_path_factory.mktemp("c"), free_port, **options)
    try:
        cluster.start("manager")
        cluster.start("agent")
        await cluster.ready()
        cluster.image = "local"
        if options.get("runtime") == "docker":
            cluster.image = request.getfixturevalue("python_image")
            await cluster.add_image(cluster.image)
        yield cluster
        await cluster.end_sessions()
    finally:
        cluster.stop()
        cluster.clean_up()


@pytest.fixture
def client_of_cluster(installed_client: Path, cluster: Any, tmp_path: Path) -> OfficialClient:
    """The client of the cluster's admin."""
    home = tmp_path / "client"
    home.mkdir()
    return OfficialClient(installed_client, home, json.loads(cluster.credentials.read_text()))


@pytest.fixture
def make_free_port() -> Callable[[], int]:
    """Loopback ports that were free a moment ago; ``free_port`` is the cluster's own."""
    return free_port


@pytest.fixture
def client(make_client: Callable[..., OfficialClient], admin: Any) -> OfficialClient:
    """The first admin's client."""
    return make_client(admin)
