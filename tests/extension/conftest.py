"""A stub manager, the ``survivor`` provisioner installed, and JupyterLab as a process of its own that may be killed."""

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from fakes_extension import StubManager, session_view
from jupyter_client.asynchronous import AsyncKernelClient
from loopback import free_port
from real_manager import RealManager
from tornado.httpclient import HTTPClientError

HERE = Path(__file__).parent
TOKEN = "test-token"


@pytest.fixture
def manager() -> Iterator[StubManager]:
    with StubManager() as stub:
        yield stub


@pytest.fixture(scope="session")
def make_session() -> Callable[..., dict[str, Any]]:
    return session_view


@pytest.fixture(scope="session")
def make_manager() -> type[StubManager]:
    return StubManager


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return wait_for


def wait_for(check: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """The first true answer of ``check``; fails with ``what`` when time is up. ``OSError`` counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(OSError):
            if answer := check():
                return answer
        time.sleep(0.03)
    raise AssertionError(f"waited {timeout_s} s for {what}")


@dataclass
class Server:
    """One Jupyter server after the other, in the same folders, as a user would start it again."""

    home: Path
    environ: dict[str, str]
    program: str = "jupyter_server"
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    base_url: str = ""
    """Such as ``/user/alice``, as a Hub starts it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    @property
    def survivors(self) -> list[list[str]]:
        """What was done to kernels: ``[what, kernel id, pid]``."""
        path = self.home / "survivors.log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def start(self) -> None:
        self.port = self.port or free_port()
        argv = [
            *(sys.executable, "-m", self.program, "--no-browser", "--allow-root", f"--port={self.port}"),
            *("--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}"),
            *(f"--ServerApp.root_dir={self.home / 'work'}", f"--ServerApp.base_url={self.base_url}/", *self.options),
        ]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.environ, stdout=log, stderr=log, cwd=self.home / "work")
        wait_for(lambda: self._answers(), f"the server; its log:\n{self.log}", 120)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended:\n{self.log}"
        return bool(self.ask("GET", "/api/status"))

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(with_signal)
            self.process.wait(30)
            self.process = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer; HTTP errors are raised as ``HTTPError``."""
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers, method=method), timeout=30) as answer:  # noqa: S310
                content = answer.read()
        except HTTPError as error:
            error.close()  # it holds the connection
            raise
        return json.loads(content) if content else None

    def refusal(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON of an answer that is an error."""
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        request = Request(self.url + path, json.dumps(body).encode(), headers, method=method)  # noqa: S310
        with pytest.raises(HTTPError) as refused, urlopen(request, timeout=30):  # noqa: S310
            pass
        with refused.value as answer:
            return answer.code, json.loads(answer.read())

    def run(self, kernel_id: str, code: str) -> str:
        """Run code through the connection file, as `jupyter console --existing` would; its standard output."""
        file = Path(self.environ["JUPYTER_RUNTIME_DIR"]) / f"kernel-{kernel_id}.json"
        return asyncio.run(_run(file, code))

    def has_nodelay(self, client_port: int) -> bool:
        """Whether the server's end of a connection has TCP_NODELAY, asked of a copy of its descriptor."""
        assert self.process is not None
        pidfd = os.pidfd_open(self.process.pid)
        try:
            return any(_nodelay_to(pidfd, int(fd), client_port) for fd in os.listdir(f"/proc/{self.process.pid}/fd"))
        finally:
            os.close(pidfd)

    def kill_kernels(self) -> None:
        for _, _, *pid in self.survivors:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(int(pid[0]), signal.SIGKILL)


_PIDFD_GETFD = 438


def _nodelay_to(pidfd: int, number: int, client_port: int) -> bool:
    copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, number, 0)
    if copy < 0:
        return False
    try:
        with socket.socket(fileno=copy) as end:
            is_it = end.family == socket.AF_INET and end.getpeername()[1] == client_port
            return is_it and end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    except OSError:  # no socket, or not connected
        with suppress(OSError):
            os.close(copy)
        return False


async def _run(connection_file: Path, code: str) -> str:
    client = AsyncKernelClient(connection_file=str(connection_file))
    client.load_connection_file()
    client.start_channels()
    printed: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    try:
        await _until_ready(client)
        await client.execute_interactive(code, output_hook=hear, timeout=30)
    finally:
        client.stop_channels()
        client.context.destroy(linger=0)
    return "".join(printed)


async def _until_ready(client: AsyncKernelClient) -> None:
    """A client takes a kernel for dead whose heart misses a beat, as it may while it starts on a busy machine."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await client.wait_for_ready(timeout=30)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise


@pytest.fixture(scope="session")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Server]:
    """``make_server(manager_environ, **fields)``: folders, configuration and the ``survivor`` kernelspec."""

    def make(manager_environ: dict[str, str], **fields: Any) -> Server:
        home = tmp_path_factory.mktemp("jupyter")
        for name in ("work", "config", "runtime", "data", "ipython", "site"):
            (home / name).mkdir()
        _install_survivor(home)
        config = {
            "ServerApp": {"jpserver_extensions": {"bai_jupyter.extension": True}},
            "BaiMappingKernelManager": {"remote_provisioners": ["survivor"]},
            "BaiKernelSpecManager": {"kernelspecs_of": "survivor_specs.kernelspecs_of"},
            "BaiExtension": {"image_refresh_s": 0.1},
        }
        (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BACKEND_", "BAI_CRED"))}
        environ = (
            inherited
            | manager_environ
            | {
                "HOME": str(home),
                "PYTHONPATH": str(home / "site"),
                "BAI_HOME_ROOT": str(home / "work"),
                "JUPYTER_CONFIG_DIR": str(home / "config"),
                "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
                "JUPYTER_DATA_DIR": str(home / "data"),
                "IPYTHONDIR": str(home / "ipython"),
                "JUPYTERLAB_SETTINGS_DIR": str(home / "config" / "lab" / "user-settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(home / "config" / "lab" / "workspaces"),
                "JUPYTER_PLATFORM_DIRS": "1",
            }
        )
        return Server(home, environ, **fields)

    return make


def _install_survivor(home: Path) -> None:
    site = home / "site"
    (site / "survivor.py").write_text((HERE / "survivor.py").read_text())
    (site / "survivor_specs.py").write_text((HERE / "survivor_specs.py").read_text())
    info = site / "survivor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: survivor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jupyter_client.kernel_provisioners]\nsurvivor = survivor:Survivor\n")
    spec = {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3.11 on Backend.AI",
        "language": "python",
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "survivor",
                "config": {"gate": str(home / "gate"), "log_file": str(home / "survivors.log")},
            }
        },
    }
    folder = home / "data" / "kernels" / "survivor"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))


@pytest.fixture
def server(make_server: Callable[..., Server], manager: StubManager) -> Iterator[Server]:
    """A Jupyter server (not yet started) that knows the stub manager."""
    made = make_server(manager.environ)
    yield made
    made.stop(signal.SIGKILL)
    made.kill_kernels()


# Our handlers in a server in this process, in front of a real manager


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"bai_jupyter.extension": True}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealManager]:
    with RealManager(tmp_path_factory.mktemp("cluster")) as manager:
        yield manager


@pytest.fixture
def account(cluster: RealManager) -> dict[str, str]:
    """Whose credentials the server has: the first admin's."""
    return cluster.environ


@pytest.fixture
def bai(account: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``await bai("POST", "folders", {"name": "data"})``: status and JSON, refusals included."""
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    jp_fetch = request.getfixturevalue("jp_fetch")  # makes the server, which reads the credentials then

    async def ask(method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        options["params"] = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        try:
            answer = await jp_fetch(
                "bai", "api", *path.split("/"), method=method, body=raw, allow_nonstandard_methods=True, **options
            )
        except HTTPClientError as error:
            return error.code, json.loads(error.response.body if error.response else b"")
        return answer.code, json.loads(answer.body) if answer.body else None

    return ask
