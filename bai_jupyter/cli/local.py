"""One machine's manager, agent and JupyterLab: with which options each is started, and when it is ready.

The order, the messages and what happens when one dies are ``up``'s and ``down``'s business.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from bai_jupyter.cli.machine import memory_bytes
from bai_jupyter.cli.servers import DataFolder, Server, write_private
from bai_jupyter.cli.terminal import CommandFailed
from bai_jupyter.client import ClientConfig, ConfigError, ManagerClient, read_credentials
from bai_jupyter.common.errors import PublicError

AGENT_NAME = "local"
HOME_VOLUME = "local:home"
FOLDERS_VOLUME = "local:folders"
DEFAULT_UID = 1000
MANAGER_DEADLINE_S = 60.0
AGENT_DEADLINE_S = 60.0
LAB_DEADLINE_S = 90.0
AHEAD_BYTES = 512 * 1024**2  # at most, for containers that are started ahead
AHEAD_PART = 32  # of the machine's memory one, at most
PYTHON = (sys.executable, "-P")  # -P: what lies in the folder where `bai up` is typed is not imported


@dataclass(frozen=True)
class User:
    """Whom JupyterLab and, in the process runtime, the agent run as when root starts them."""

    uid: int
    gid: int


def lab_user(home: Path) -> User | None:
    """``None``: as whoever calls. For root: the owner of the home folder; root's own is given to uid 1000."""
    if os.geteuid() != 0:
        return None
    facts = home.stat()
    if facts.st_uid != 0:
        return User(facts.st_uid, facts.st_gid or facts.st_uid)
    user = User(DEFAULT_UID, DEFAULT_UID)
    os.chown(home, user.uid, user.gid)
    return user


def memory_ahead(total_bytes: int) -> str:
    """How much memory containers that are started ahead may have on a machine of that size."""
    return str(min(AHEAD_BYTES, total_bytes // AHEAD_PART))


@dataclass
class LocalCluster:
    """The three servers on one data folder. ``runtime`` is ``docker`` or ``process``; ``ahead`` is memory for
    containers that are started ahead, by default as much as suits this machine."""

    folder: DataFolder
    home: Path
    runtime: str
    user: User | None
    manager_port: int
    lab_port: int = 0
    ahead: str | None = None
    doors: Mapping[str, str] = field(default_factory=dict)  # the agent's, {name: "host:port"}
    join_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    lab_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    running: list[Server] = field(default_factory=list)

    @property
    def manager_url(self) -> str:
        return f"http://127.0.0.1:{self.manager_port}"

    @property
    def lab_url(self) -> str:
        return f"http://127.0.0.1:{self.lab_port}/lab?token={self.lab_token}"

    def client(self) -> ManagerClient:
        """A client of this manager, whatever address an earlier run left in the credentials file."""
        return ManagerClient(replace(read_credentials(self.folder.credentials), endpoint=self.manager_url))

    async def stop(self) -> list[str]:
        """Stop what was started, last first. Returns the names of those that ran."""
        stopped = []
        while self.running:
            server = self.running[-1]
            if await server.stop():
                stopped.append(server.name)
            self.running.pop()
        return stopped

    async def _start(self, server: Server) -> Server:
        _set_aside(self.folder.log(server.name))
        await server.start()
        self.running.append(server)
        return server

    async def start_other(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Server:
        """A server that is none of these three, started as whoever calls."""
        return await self._start(Server(name, argv, self._environ(**env), self.folder, cwd))

    # Manager

    async def start_manager(self) -> None:
        options = {
            "data_dir": self.folder.path / "manager",
            "credentials_file": self.folder.credentials,
            "home_volume": HOME_VOLUME,
            "port": self.manager_port,
        }
        argv = [*PYTHON, "-m", "bai_jupyter.manager", *_flags("ManagerApp", options)]
        server = await self._start(Server("manager", argv, self._environ(BAI_JOIN_TOKEN=self.join_token), self.folder))
        await server.ready(self._manager_answers, MANAGER_DEADLINE_S)
        self._write_endpoint()

    async def _manager_answers(self) -> bool:
        try:
            async with self.client() as client:
                await client.whoami()
        except (PublicError, ConfigError):
            return False
        return True

    def _write_endpoint(self) -> None:
        """The manager writes its credentials once; its port may be another one today."""
        raw = json.loads(self.folder.credentials.read_text())
        if raw["endpoint"] != self.manager_url:
            write_private(self.folder.credentials, json.dumps({**raw, "endpoint": self.manager_url}, indent=1))

    # Agent

    async def start_agent(self) -> dict[str, Any]:
        """Returns the agent as ``GET /agents`` shows it."""
        state, folders = self.folder.path / "agent", self.folder.path / "folders"
        self._give(state)
        self._give(folders)
        options = {
            "manager_url": self.manager_url,
            "state_dir": state,
            "name": AGENT_NAME,
            "runtime": self.runtime,
            "volumes": json.dumps({HOME_VOLUME: str(self.home), FOLDERS_VOLUME: str(folders)}),
            "warm_pool_mem": memory_ahead(memory_bytes()) if self.ahead is None else self.ahead,
            **({"doors": json.dumps(dict(self.doors))} if self.doors else {}),
        }
        argv = [*PYTHON, "-m", "bai_agent", *_flags("AgentApp", options)]
        env = self._environ(BAI_JOIN_TOKEN=self.join_token)
        if self.runtime == "process" and self.user is not None:
            # Docker needs root's rights; processes that run users' cells must not have them.
            argv, env = self._as_user(argv, state, folders), {**env, "HOME": str(state)}
        since = datetime.now(UTC).replace(microsecond=0)
        server = await self._start(Server("agent", argv, env, self.folder))
        found: dict[str, Any] = {}

        async def is_there() -> bool:
            try:
                async with self.client() as client:
                    agents = await client.list_agents()
            except PublicError:
                return False
            for agent in agents:
                if agent["name"] == AGENT_NAME and agent["status"] == "ALIVE" and _heard_since(agent, since):
                    found.update(agent)
            return bool(found)

        await server.ready(is_there, AGENT_DEADLINE_S)
        return found

    # JupyterLab

    async def start_lab(self) -> None:
        folder = self.folder.path / "jupyter"
        env = self.lab_environ(folder)
        config = folder / "server_config.json"
        write_private(config, json.dumps(self._lab_config(folder), indent=1), self._owner)
        argv = self._as_user([*PYTHON, "-m", "jupyterlab", f"--config={config}"], folder)
        server = await self._start(Server("lab", argv, env, self.folder))
        await server.ready(self._lab_answers, LAB_DEADLINE_S)

    def lab_environ(self, folder: Path) -> dict[str, str]:
        """The environment for Jupyter programs of Lab's user, with a folder and credentials of its own."""
        self._give(folder)
        env = self._environ(BAI_CREDENTIALS=str(self.folder.credentials), BAI_HOME_ROOT=str(self.home))
        if self.user is None:
            return env
        copy, own_home = folder / "credentials.json", folder / "home"
        write_private(copy, self.folder.credentials.read_text(), self._owner)
        self._give(own_home)
        env = {name: value for name, value in env.items() if not name.startswith(("XDG_", "JUPYTER_"))}
        return env | {"BAI_CREDENTIALS": str(copy), "HOME": str(own_home), "USER": str(self.user.uid)}

    def as_lab_user(self, argv: list[str]) -> list[str]:
        """The command line that runs ``argv`` as Lab's user."""
        return self._as_user(argv, self.folder.path / "jupyter")

    def _lab_config(self, folder: Path) -> dict[str, Any]:
        return {
            "ServerApp": {
                "root_dir": str(self.home),
                "ip": "127.0.0.1",
                "port": self.lab_port,
                "port_retries": 0,
                "open_browser": False,
                # The extension puts our kernel, kernelspec and WebSocket classes into place.
                "jpserver_extensions": {"bai_jupyter.extension": True, "jupyterlab": True},
            },
            "IdentityProvider": {"token": self.lab_token},
            "SessionManager": {"database_filepath": str(folder / "sessions.sqlite")},
            "AsyncMappingKernelManager": {"use_pending_kernels": True},
        }

    async def _lab_answers(self) -> bool:
        try:
            answer = await AsyncHTTPClient().fetch(
                f"http://127.0.0.1:{self.lab_port}/api/status",
                headers={"Authorization": f"token {self.lab_token}"},
                request_timeout=5,
            )
        except (OSError, HTTPClientError):
            return False
        return answer.code == 200

    # Users and environments

    @property
    def _owner(self) -> tuple[int, int] | None:
        return (self.user.uid, self.user.gid) if self.user else None

    def _give(self, folder: Path) -> None:
        """Make a private folder for whoever uses it. One that changes hands goes with all that is in it."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        owner = self._owner
        is_agents = folder.name in ("agent", "folders")
        if is_agents and self.runtime != "process":
            owner = (0, 0) if self.user else None
        if owner is None or folder.stat().st_uid == owner[0]:
            return
        inside = [] if is_agents and owner[0] == 0 else sorted(folder.rglob("*"))
        for path in [folder, *inside]:
            os.chown(path, *owner, follow_symlinks=False)

    def _as_user(self, argv: list[str], *folders: Path) -> list[str]:
        if self.user is None:
            return argv
        shown = [word for folder in (self.home, *folders) for word in ("--show", str(folder))]
        who = [str(self.user.uid), str(self.user.gid)]
        return [*PYTHON, "-m", "bai_jupyter.cli.as_user", *who, *shown, "--", *argv]

    def _environ(self, **more: str) -> dict[str, str]:
        # What this shell is logged in to must not decide where the local servers go.
        hidden = ("BACKEND_", "BAI_CREDENTIALS", "BAI_JOIN_TOKEN")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return {**kept, "PYTHONUNBUFFERED": "1", **more}


def _flags(app: str, options: Mapping[str, object]) -> list[str]:
    return [f"--{app}.{name}={value}" for name, value in options.items()]


def _heard_since(agent: Mapping[str, Any], moment: datetime) -> bool:
    if not agent.get("heard_at"):
        return False
    heard = datetime.fromisoformat(agent["heard_at"])
    return (heard if heard.tzinfo else heard.replace(tzinfo=UTC)) >= moment


def _set_aside(log: Path) -> None:
    """Begin a log anew and keep the one before."""
    if log.exists():
        shutil.move(log, log.with_suffix(".log.1"))


def existing(folder: DataFolder, manager_port: int) -> LocalCluster:
    """The cluster that an earlier ``bai up`` left in this folder, for ending its sessions."""
    state = folder.read_state()
    if not state.get("home") or not folder.credentials.exists():
        raise CommandFailed(f"No `bai up` has run in {folder.path.parent}.")
    home = Path(state["home"])
    return LocalCluster(folder, home, state["runtime"], lab_user(home), manager_port)


def config_of(folder: DataFolder) -> ClientConfig:
    return read_credentials(folder.credentials)
