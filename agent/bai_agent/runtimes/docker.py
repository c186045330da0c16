"""The runtime on a Docker engine: isolated containers that keep running when the agent does not.

``engine_containers`` makes them, ``engine_processes`` has what runs in them.

Containers carry ``bai.agent-id``; what does not carry ours is never looked at, let alone touched.
"""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from bai_agent import firewall
from bai_agent.runtimes import cgroups, engine_devices, listening, pids, spares
from bai_agent.runtimes.attached import EngineAttached
from bai_agent.runtimes.base import (
    ContainerEvent,
    ContainerState,
    CreateRequest,
    FoundContainer,
    Memory,
    MemoryLimit,
    Mount,
    Process,
    Progress,
    RuntimeFault,
    Size,
    TerminalSize,
)
from bai_agent.runtimes.engine import Engine, unless_gone
from bai_agent.runtimes.engine_containers import NANO, EngineContainers
from bai_agent.runtimes.engine_events import EngineEvents
from bai_agent.runtimes.engine_folders import EngineFolders
from bai_agent.runtimes.engine_images import EngineImages
from bai_agent.runtimes.engine_networks import EngineNetworks
from bai_agent.runtimes.engine_processes import EngineProcesses
from bai_agent.runtimes.ports import connect_to, socket_in
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import ImageFacts

_STOP_GRACE_S = 3


class DockerRuntime:
    """See the module docstring.

    ``agent_id`` marks what is ours, ``agent`` is the name users see, ``labels`` are put on all objects as well.
    With ``allow_open_network`` false, an engine whose network cannot be closed is refused.
    """

    name = "docker"
    isolated = True

    def __init__(
        self,
        state_dir: Path,
        agent_id: str,
        agent: str,
        *,
        allow_open_network: bool = True,
        network_policy: firewall.Policy | None = None,
        pids_limit: int = 4096,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._agent_id = agent_id
        self._allow_open_network = allow_open_network
        self._network_policy = network_policy or firewall.Policy()
        self._labels = dict(labels or {})
        self._engine = Engine(agent)
        self._call, self._reason = self._engine.call, self._engine.reason
        self._networks = EngineNetworks(self._engine, agent_id, self._labels)
        self._images = EngineImages(self._engine, agent_id, self._labels, self._state_dir / "images.json")
        self.spares = spares.Spares(self, self._list_spares, agent, self._state_dir)
        self._processes = EngineProcesses(self._engine, self.spares, self._state_dir)
        self._events: EngineEvents | None = None
        self._pids: dict[str, int] = {}
        self._granted: dict[str, int] = {}  # bytes of memory: the kernel may go by less
        self._folders = EngineFolders(self._engine, self.main_pid)
        self._containers = EngineContainers(
            self._engine, self._networks, self._folders, agent_id, self._labels, pids_limit
        )

    @property
    def bridge(self) -> str:
        """The name of the network of all, and of its bridge interface."""
        return self._networks.bridge

    @property
    def hands_out_gpus(self) -> bool:
        """NVIDIA's toolkit is registered with the engine. Only after ``check``."""
        return self._has_nvidia

    _has_nvidia = False
    _checked = False

    # The engine

    async def check(self) -> list[str]:
        info = await self._call("engine-down", self._api_info)
        self._has_nvidia = "nvidia" in (info.get("Runtimes") or {})
        self._containers.abilities = engine_devices.abilities_of(info)
        said = [*(info.get("Warnings") or []), *engine_devices.runtime_trouble(info)]
        if self._containers.lifts_memlock is False:
            said.append(engine_devices.NO_MEMLOCK)
        await self._call("engine-down", self._networks.ensure)
        await self._call("engine-down", self._networks.drop_unused)
        if not self._checked:  # later on they may be inspections of our own
            await self._call("engine-down", self._images.remove_leftovers)
            await self.spares.recover()
            self._checked = True
        open_doors = await firewall.ensure(self.bridge, self._network_policy)
        if open_doors and not self._allow_open_network:
            raise RuntimeFault(self._reason("engine-down", " ".join(open_doors)))
        return [*said, *open_doors]

    async def cleanup(self) -> None:
        """Remove everything of this agent: containers, networks, rules."""
        for found in await self.list_ours():
            await self.remove(found.ref)
        await self.spares.clear()
        await firewall.remove(self.bridge)
        await self._call("engine-down", self._networks.remove_all)

    def _api_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self._api.info()
        return info

    @property
    def _api(self) -> Any:
        return self._engine.api

    # Images

    async def images(self) -> list[ImageFacts]:
        return await self._images.present()

    async def inspect_image(self, name: str) -> ImageFacts:
        return await self._images.inspect(name)

    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        await self._images.ensure(name, digest, progress)

    async def commit(self, ref: str, name: str) -> ImageFacts:
        return await self._images.commit(ref, name)

    async def remove_image(self, name: str) -> None:
        made_of_it = {"ancestor": name, "label": spares.LABEL}
        found = await self._call("engine-down", lambda: self._api.containers(all=True, filters=made_of_it))
        await self.spares.let_go(item["Id"] for item in found)
        await self._images.remove(name)

    # Containers

    async def create(self, request: CreateRequest) -> str:
        return await self._call("create-failed", lambda: self._containers.create(request))

    async def start(self, ref: str) -> None:
        if cgroups.is_in(self._pids.get(ref) or 0, ref):
            return  # it runs: it was started ahead
        await self._call("create-failed", lambda: self._api.start(ref))
        await self._call("create-failed", lambda: self._folders.check(ref))

    async def inspect(self, ref: str) -> ContainerState | None:
        container = await self._call("engine-down", lambda: self._inspect(ref))
        if container is None:
            return None
        state = container["State"]
        started_at = _moment(state["StartedAt"])
        ended = not state["Running"] and started_at is not None
        return ContainerState(
            running=state["Running"],
            exit_code=state["ExitCode"] if ended else None,
            oom=state["OOMKilled"],
            started_at=started_at,
            ended_at=_moment(state["FinishedAt"]) if ended else None,
            size=_size_of(container["HostConfig"]),
            paused=state["Paused"],
        )

    def _inspect(self, ref: str) -> dict[str, Any] | None:
        try:
            container: dict[str, Any] = self._api.inspect_container(ref)
        except NotFound:
            return None
        self._pids[ref] = container["State"]["Pid"]
        self._granted[ref] = int(container["HostConfig"].get("Memory") or 0)
        return container

    async def is_ending(self, ref: str) -> bool:
        if not self._pids.get(ref):
            await self._call("engine-down", lambda: self._inspect(ref))
        pid = self._pids.get(ref)
        return not pid or not cgroups.is_in(pid, ref) or pids.is_ending(pid)

    async def stop(self, ref: str) -> None:
        await self._call("other", unless_gone(lambda: self._api.stop(ref, timeout=_STOP_GRACE_S)))

    async def resize(self, ref: str, size: Size) -> None:
        await self._call("resize-failed", lambda: self._resize(ref, size))

    def _resize(self, ref: str, size: Size) -> None:
        """docker-py's own call knows no NanoCpus, which is how our containers are limited."""
        wanted = {
            "NanoCpus": int(size.cpu * NANO),
            "CpusetCpus": ",".join(map(str, size.cpus)),
            "Memory": size.mem_bytes,
            "MemorySwap": size.mem_bytes,
        }
        answer = self._api._post_json(self._api._url("/containers/{0}/update", ref), data=wanted)
        self._api._raise_for_status(answer)
        self._granted[ref] = size.mem_bytes

    # Folders

    def bound(self, wanted: tuple[Mount, ...]) -> tuple[Mount, ...]:
        return self._folders.bound(wanted)

    async def mounted(self, ref: str) -> dict[str, bool]:
        return await self._folders.mounted(ref)

    async def sees(self, ref: str, mount: Mount) -> bool:
        return await self._folders.sees(ref, mount)

    async def change_mounts(
        self, ref: str, gone: Collection[str], new: Sequence[Mount], *, must_be_empty: bool
    ) -> dict[str, str]:
        return await self._folders.change(ref, gone, new, must_be_empty=must_be_empty)

    async def release(self, ref: str, target: str) -> list[str]:
        return await self._folders.release(ref, target)

    async def pause(self, ref: str) -> None:
        await self._call("suspend-failed", lambda: self._unless_so(lambda: self._api.pause(ref), "already paused"))

    async def unpause(self, ref: str) -> None:
        await self._call("suspend-failed", lambda: self._unless_so(lambda: self._api.unpause(ref), "is not paused"))

    def _unless_so(self, work: Callable[[], object], said: str) -> None:
        """An engine refuses what is so already."""
        try:
            work()
        except APIError as error:
            if said not in str(error.explanation):
                raise

    async def remove(self, ref: str) -> None:
        await self._call("other", unless_gone(lambda: self._api.remove_container(ref, force=True, v=True)))
        self._pids.pop(ref, None)
        self._granted.pop(ref, None)
        self._folders.forget(ref)
        self.spares.forget(ref)
        await self._call("other", self._networks.drop_unused)

    async def list_ours(self) -> list[FoundContainer]:
        filters = {"label": [f"bai.agent-id={self._agent_id}"]}
        found = await self._call("engine-down", lambda: self._api.containers(all=True, filters=filters))
        return [one for item in found if (one := self._found(item)) is not None]

    async def _list_spares(self) -> dict[str, str]:
        filters = {"label": [f"bai.agent-id={self._agent_id}", spares.LABEL]}
        found = await self._call("engine-down", lambda: self._api.containers(all=True, filters=filters))
        # One whose image was made of a spare has the label too, without a value.
        return {item["Id"]: spare_id for item in found if (spare_id := item["Labels"][spares.LABEL])}

    def _found(self, item: Mapping[str, Any]) -> FoundContainer | None:
        labels, ref, running = item["Labels"], item["Id"], item["State"] == "running"
        if not labels.get("bai.kernel-id"):  # that of a spare of an image made of a session is empty
            return self.spares.found(ref, running=running)
        return FoundContainer(
            kernel_id=KernelId(labels["bai.kernel-id"]),
            session_id=SessionId(labels.get("bai.session-id", "")),
            ref=ref,
            running=running,
            config_hash=labels.get("bai.config-hash", ""),
            devices=json.loads(labels.get("bai.devices", "{}")),
        )

    async def logs(self, ref: str, tail: int) -> str:
        raw = await self._call("other", lambda: self._api.logs(ref, tail=tail))
        return str(raw.decode(errors="replace"))

    async def stats(self, ref: str) -> dict[str, float]:
        pid = await self.main_pid(ref)
        if not pid:
            return {}
        found = self.spares.since_claimed(ref, pid, await asyncio.to_thread(cgroups.usage, pid))
        if "mem_limit_bytes" in found:
            found["mem_limit_bytes"] = float(self._granted.get(ref) or found["mem_limit_bytes"])
        return found

    async def memory(self, ref: str) -> Memory | None:
        pid = await self.main_pid(ref)
        found = await asyncio.to_thread(cgroups.memory, pid) if pid else None
        return found and replace(found, limit_bytes=self._granted.get(ref) or found.limit_bytes)

    async def memory_limit(self, ref: str) -> MemoryLimit | None:
        pid = await self.main_pid(ref)
        return await asyncio.to_thread(cgroups.memory_limit, pid) if pid else None

    async def limit_memory(self, ref: str, limit: MemoryLimit) -> None:
        pid = await self.main_pid(ref)
        if pid:
            with contextlib.suppress(PermissionError):  # an agent that is not root: the kernel kills, as it did
                await asyncio.to_thread(cgroups.limit_memory, pid, limit)

    async def main_pid(self, ref: str) -> int | None:
        pid = self._pids.get(ref)
        if not pid or not cgroups.is_in(pid, ref):
            if await self._call("engine-down", lambda: self._inspect(ref)) is None:
                return None
            pid = self._pids[ref]
        return pid if pid and cgroups.is_in(pid, ref) else None

    def events(self) -> AsyncIterator[ContainerEvent]:
        self._events = EngineEvents(self._agent_id, self.spares.kernel_of)
        return self._events.events()

    # Processes inside

    async def exec(self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, log_path: Path) -> Process:
        return await self._processes.exec(ref, argv, env=env, cwd=cwd, log_path=log_path)

    async def attach(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> EngineAttached:
        return await self._processes.attach(ref, argv, env=env, cwd=cwd, terminal=terminal)

    async def exit_code(self, process: Process) -> int | None:
        return await self._processes.exit_code(process)

    async def wait(self, process: Process) -> int:
        return await self._processes.wait(process)

    async def signal(self, process: Process, signum: int) -> None:
        await self._processes.signal(process, signum)

    def to_inside(self, kernel_id: KernelId, host_path: Path) -> str:
        return self._processes.to_inside(kernel_id, host_path)

    # Ports

    async def connect(self, ref: str, port: int) -> socket.socket:
        pid = await self.main_pid(ref)
        try:
            with cgroups.namespace(pid, ref, "net") as namespace:
                return await connect_to("127.0.0.1", port, lambda: socket_in(namespace))
        except ProcessLookupError as gone:
            raise RuntimeFault(self._reason("other", str(gone))) from gone
        except PermissionError:  # an agent that is not root reaches what listens on the container's address only
            return await connect_to(await self._call("engine-down", lambda: self._address_of(ref)), port)

    async def open_ports(self, ref: str) -> list[int]:
        pid = await self.main_pid(ref)
        return [] if pid is None else await asyncio.to_thread(_open_ports, pid, ref)

    def _address_of(self, ref: str) -> str:
        container = self._api.inspect_container(ref)
        return str(container["NetworkSettings"]["Networks"][container["HostConfig"]["NetworkMode"]]["IPAddress"])

    async def close(self) -> None:
        if self._events is not None:
            await self._events.close()
        await self._engine.close()


def _open_ports(pid: int, container: str) -> list[int]:
    try:
        tables = listening.tables_of(pid)
    except OSError:
        return []
    # The number had not passed to somebody else when the tables were read.
    return listening.open_ports(tables) if cgroups.is_in(pid, container) else []


def _size_of(host_config: Mapping[str, Any]) -> Size:
    cpus = str(host_config.get("CpusetCpus") or "")
    return Size(
        cpu=Decimal(host_config.get("NanoCpus") or 0) / NANO,
        mem_bytes=int(host_config.get("Memory") or 0),
        cpus=tuple(int(core) for core in cpus.split(",") if core),
    )


def _moment(text: str) -> datetime | None:
    """Docker's time, whose year 1 means never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00"))
