"""A whole cluster of real processes on this machine: a manager, an agent, and clients that find them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bai_jupyter.client import ClientConfig, ManagerClient, read_credentials
from bai_jupyter.common.errors import BaiError
from bai_jupyter.provisioner.kernelspecs import kernelspecs_of

DEADLINE_S = 60.0
JOIN_TOKEN = "join-token-of-these-tests"


class Cluster:
    """``start`` and ``kill`` take ``"manager"`` or ``"agent"``; any other name is that of one more agent, with the same
    options and volumes. Everything is below ``folder``, on free ports.

    ``manager`` holds further options of the manager, and ``join_token`` is what both find at their starts.
    """

    def __init__(self, folder: Path, port: int, runtime: str = "process", **agent: Any) -> None:
        self.folder, self.port, self.runtime = folder, port, runtime
        self.home, self.data = folder / "home", folder / "data"
        self.home.mkdir()
        self.data.mkdir()
        if os.geteuid() == 0:
            os.chown(self.home, 1000, 1000)
            if runtime == "process":
                os.chown(self.data, 1000, 1000)
            for parent in (folder, *folder.parents):  # the agent drops root: its user must get through to its folders
                if parent.stat().st_uid == 0 and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self.manager: dict[str, Any] = {}
        self.join_token = JOIN_TOKEN
        self._agent = agent
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._agents: set[str] = set()
        self._make_state("agent")

    def _make_state(self, agent: str) -> None:
        self._agents.add(agent)
        (self.folder / agent).mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and self.runtime == "process":
            os.chown(self.folder / agent, 1000, 1000)

    # Processes

    def start(self, name: str) -> None:
        if name != "manager":
            self._make_state(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._command(name),
                env={**os.environ, "BAI_JOIN_TOKEN": self.join_token},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        if name == "manager":
            options = {
                "data_dir": self.folder / "manager",
                "port": self.port,
                "credentials_file": self.credentials,
                "home_volume": "local:home",
                "heartbeat_s": 1,
                "idle_check_s": 1,
                **self.manager,
            }
            return [sys.executable, "-m", "bai_jupyter.manager", *(f"--ManagerApp.{k}={v}" for k, v in options.items())]
        options = {
            "manager_url": f"http://127.0.0.1:{self.port}",
            "state_dir": self.folder / name,
            "name": "local" if name == "agent" else name,
            "runtime": self.runtime,
            "volumes": json.dumps({"local:home": str(self.home), "local:data": str(self.data)}),
            **{name: value if isinstance(value, str) else json.dumps(value) for name, value in self._agent.items()},
        }
        command = [sys.executable, "-m", "bai_agent", *(f"--AgentApp.{k}={v}" for k, v in options.items())]
        if self.runtime == "process" and os.geteuid() == 0:  # as `bai up` does: cells never run as root
            needed = (self.home, self.data, self.folder / name)
            shown = [word for folder in needed for word in ("--show", str(folder))]
            return [sys.executable, "-m", "bai_jupyter.cli.as_user", "1000", "1000", *shown, "--", *command]
        return command

    def kill(self, name: str, signum: int = signal.SIGKILL) -> None:
        process = self._processes.pop(name)
        process.send_signal(signum)
        process.wait(DEADLINE_S)

    def signal(self, name: str, signum: int) -> None:
        self._processes[name].send_signal(signum)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        for name in (*self._agents, "manager"):
            if name in self._processes:
                with suppress(ProcessLookupError):
                    self.kill(name, signal.SIGTERM)

    # Clients

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials.json"

    @property
    def config(self) -> ClientConfig:
        return read_credentials(self.credentials)

    @property
    def environ(self) -> dict[str, str]:
        """What a Jupyter program needs to find this cluster."""
        return {
            "BAI_CREDENTIALS": str(self.credentials),
            "BAI_HOME_ROOT": str(self.home),
            "JUPYTER_PATH": str(self.folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
        }

    async def ready(self) -> None:
        """Manager answers, the agent has joined, and its images are known."""

        async def has_images() -> bool:
            if not self.credentials.exists():
                return False
            async with ManagerClient(self.config) as client:
                agents = await client.list_agents()
                return any(agent["status"] == "ALIVE" for agent in agents) and bool(
                    await client.list_images() or self.runtime == "docker"
                )

        await self.until(has_images)

    async def is_linked_after(self, links: int) -> bool:
        """The agent has linked up with the manager more often than ``links`` times."""
        return self.log("agent").count("linked to") > links

    async def until(self, condition: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
        """Wait for a condition; on failure show the ends of the logs."""
        deadline = time.monotonic() + deadline_s
        while True:
            with suppress(BaiError):
                if await condition():
                    return
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in ("manager", "agent"))
                raise TimeoutError(f"waited {deadline_s} s in vain\n{logs}")
            await asyncio.sleep(0.05)

    async def write_kernelspecs(self) -> list[str]:
        """What ``bai kernelspec install`` does, into this cluster's own Jupyter path. The names."""
        async with ManagerClient(self.config) as client:
            specs = kernelspecs_of(await client.list_images())
        for name, spec in specs.items():
            folder = self.folder / "jupyter" / "kernels" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kernel.json").write_text(json.dumps(spec))
        return list(specs)

    async def end_sessions(self) -> None:
        """Everybody's."""
        async with ManagerClient(self.config) as client:
            for session in await client.list_sessions(everyone=True):
                await client.destroy_session(session["id"])

            async def none_left() -> bool:
                return not await client.list_sessions(everyone=True)

            await self.until(none_left)

    async def add_image(self, name: str) -> None:
        async with ManagerClient(self.config) as client:
            await client.add_image(name)

    async def revive(self) -> None:
        """Start again what a test has killed."""
        for name in ("manager", "agent"):
            if name not in self._processes:
                self.start(name)
        await self.ready()

    def clean_up(self) -> None:
        """Remove what the agent made outside its folder: containers, its network, firewall rules."""
        for name in self._agents if self.runtime == "docker" else ():
            subprocess.run([*self._command(name), "--cleanup"], timeout=DEADLINE_S, check=True, capture_output=True)

    def relay_pids(self) -> list[int]:
        """The relays of this cluster's agent."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if any(b"bai_agent.relay" in word for word in words) and str(self.folder).encode() in b" ".join(
                        words
                    ):
                        found.append(int(entry.name))
        return found

    # What the process runtime knows of its containers

    def _containers(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self.folder / "agent" / "kernels").glob("*/process.json")]

    def devices_held(self, slot: str) -> list[str]:
        """Ids of the devices that containers hold, as often as they are held."""
        return [device for container in self._containers() for device in container["devices"].get(slot, {})]

    def kernels_alive(self) -> set[str]:
        """Kernel ids of containers whose process is there."""
        alive = set()
        for container in self._containers():
            with suppress(OSError):
                if b"BACKENDAI_KERNEL_ID" in Path(f"/proc/{container['pid']}/environ").read_bytes():
                    alive.add(container["kernel_id"])
        return alive
