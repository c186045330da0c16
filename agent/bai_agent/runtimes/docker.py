"""The runtime on a Docker engine: isolated containers that keep running when the agent does not.

Owns container defaults (unprivileged, limited, without a way to other sessions), and how processes inside are started
and signalled.

Containers carry ``bai.agent-id``; what does not carry ours is never looked at, let alone touched.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig
from docker.types import Mount as DockerMount

from bai_agent import firewall
from bai_agent.devices import cdi
from bai_agent.devices.base import ContainerOptions, DeviceFault
from bai_agent.runtimes import cgroups, engine_devices, listening, pids, spares, supervisor
from bai_agent.runtimes.attached import PIECE_BYTES, EngineAttached
from bai_agent.runtimes.base import (
    INSIDE_HOME,
    INSIDE_RUN,
    UNKNOWN_EXIT,
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
    config_hash,
    entered,
    environ_of,
    redirected,
    sized,
)
from bai_agent.runtimes.engine import Engine, unless_gone
from bai_agent.runtimes.engine_events import EngineEvents
from bai_agent.runtimes.engine_folders import LABEL as MOUNTS
from bai_agent.runtimes.engine_folders import EngineFolders
from bai_agent.runtimes.engine_images import INSPECTS, EngineImages
from bai_agent.runtimes.engine_networks import EngineNetworks
from bai_agent.runtimes.ports import connect_to, socket_in
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import ImageFacts, KernelWant
from bai_jupyter.common.reasons import Reason

log = logging.getLogger(__name__)

T = TypeVar("T")

_NANO = 10**9
_STOP_GRACE_S = 3
_EXIT_CODE_PATIENCE_S = 5.0
_START_PATIENCE_S = 10.0


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
        self._agent = agent
        self._allow_open_network = allow_open_network
        self._network_policy = network_policy or firewall.Policy()
        self._pids_limit = pids_limit
        self._labels = dict(labels or {})
        self._engine = Engine(agent)
        self._call, self._reason = self._engine.call, self._engine.reason
        self._networks = EngineNetworks(self._engine, agent_id, self._labels)
        self._images = EngineImages(self._engine, agent_id, self._labels, self._state_dir / "images.json")
        self.spares = spares.Spares(self, self._list_spares, agent, self._state_dir)
        self._events: EngineEvents | None = None
        self._pids: dict[str, int] = {}
        self._granted: dict[str, int] = {}  # bytes of memory: the kernel may go by less
        self._folders = EngineFolders(self._engine, self.main_pid)

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
    _abilities = engine_devices.Abilities(cdi=False, own_seccomp=False)
    _lifts_memlock: bool | None = None  # not tried yet

    # The engine

    async def check(self) -> list[str]:
        info = await self._call("engine-down", self._api_info)
        self._has_nvidia = "nvidia" in (info.get("Runtimes") or {})
        self._abilities = engine_devices.abilities_of(info)
        said = [*(info.get("Warnings") or []), *engine_devices.runtime_trouble(info)]
        if self._lifts_memlock is False:
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
        return await self._call("create-failed", lambda: self._create(request))

    def _create(self, request: CreateRequest) -> str:
        options = self._possible(request.options)
        with self._networks.of(request.want) as (network, place):
            ref = self._create_with(request, options, network, place)
        for other in options.networks:
            self._join(ref, other)
        return ref

    def _possible(self, options: ContainerOptions) -> ContainerOptions:
        """The same in words that this engine knows. Raises ``RuntimeFault`` for what is not on this host."""
        if options.cdi and not self._abilities.cdi:
            try:
                resolved = cdi.resolve(options.cdi)
            except DeviceFault as fault:
                raise RuntimeFault(self._reason("device-not-ready", fault.cause, device=fault.device)) from fault
            if resolved.hooks:
                log.warning("%s: hooks that are not run: %s", ", ".join(options.cdi), "; ".join(resolved.hooks))
            options = options.without_cdi().merge(resolved.options)
        for path in engine_devices.missing(options):
            raise RuntimeFault(Reason.of("device-missing", device=path, agent=self._agent))
        return options

    def _join(self, ref: str, network: str) -> None:
        joined = self._api.inspect_container(ref)["NetworkSettings"]["Networks"]
        if network not in joined:
            self._api.connect_container_to_network(ref, network)

    def _can_lift_memlock(self, image: str) -> bool:
        """Tried once, on a container of its own: an engine says only when it starts one."""
        if self._lifts_memlock is None:
            created = self._api.create_container(
                image,
                entrypoint=["/bin/sh", "-c", ":"],
                command=[],
                user="65534:65534",
                labels={INSPECTS: self._agent_id, **self._labels},
                network_disabled=True,
                host_config=self._api.create_host_config(cap_drop=["ALL"], ulimits=[engine_devices.MEMLOCK]),
            )
            try:
                self._api.start(created["Id"])
                self._lifts_memlock = True
            except APIError as error:
                if "rlimit" not in str(error):
                    raise
                self._lifts_memlock = False
                log.warning("%s", engine_devices.NO_MEMLOCK)
            finally:
                self._api.remove_container(created["Id"], force=True, v=True)
        return self._lifts_memlock

    def _create_with(self, request: CreateRequest, options: ContainerOptions, network: str, place: Any) -> str:
        want, folders = request.want, request.folders
        name = f"bai-{want.kernel_id}"
        with contextlib.suppress(OSError):  # a full disk, which others tell; then the engine is asked for each process
            supervisor.prepare(folders.run)
        try:
            created = self._api.create_container(
                image=_image_of(want),
                name=name,
                entrypoint=["/bin/sh", "-c", supervisor.MAIN],
                command=[],
                user=f"{folders.identity.uid}:{folders.identity.gid}",
                working_dir=INSIDE_HOME,
                hostname=want.cluster_host or _hostname(want.session_name),
                environment=environ_of(replace(request, options=options)),
                labels=self._labels_of(request),
                host_config=self._host_config(request, options, network),
                networking_config=self._api.create_networking_config({network: place}),
            )
        except APIError as error:
            if error.status_code != 409:
                raise
            existing = self._api.inspect_container(name)
            if existing["Config"]["Labels"].get("bai.agent-id") != self._agent_id:
                raise
            return str(existing["Id"])
        return str(created["Id"])

    def _labels_of(self, request: CreateRequest) -> dict[str, str]:
        want = request.want
        checked = {mount.target: [mount.device, mount.inode] for mount in self.bound(request.folders.mounts)}
        ours = {**self._labels, "bai.agent-id": self._agent_id, MOUNTS: json.dumps(checked)}
        if request.spare:
            return {**ours, spares.LABEL: want.kernel_id}
        return {
            **ours,
            "bai.kernel-id": want.kernel_id,
            "bai.session-id": want.session_id,
            "bai.config-hash": config_hash(want),
            "bai.devices": json.dumps(request.devices),
        }

    def _host_config(self, request: CreateRequest, options: ContainerOptions, network: str) -> Any:
        want, folders = request.want, request.folders
        memory = int(want.slots["mem"]) or None
        binds = [(folders.run, INSIDE_RUN, False), (folders.scratch, INSIDE_HOME, False)]
        # Parents before what lies below them, or the parent's mount would hide it.
        binds += sorted(
            ((mount.source, mount.target, mount.read_only) for mount in self.bound(folders.mounts)),
            key=lambda bind: bind[1],
        )
        binds += [(Path(host), inside, read_only) for host, inside, read_only in options.binds]
        memlock = options.memlock and self._can_lift_memlock(_image_of(want))
        return self._api.create_host_config(
            mounts=[DockerMount(target, str(source), "bind", read_only=ro) for source, target, ro in binds],
            network_mode=network,
            cap_drop=["ALL"],
            pids_limit=self._pids_limit,
            init=True,
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(want.slots["cpu"] * _NANO) or None,
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
            restart_policy={"Name": "no"},
            **engine_devices.host_config(options, self._abilities, memlock=memlock, shm_bytes=want.shm_bytes),
        )

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
            "NanoCpus": int(size.cpu * _NANO),
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
        kernel_id = self._kernel_of(log_path)
        log_inside = self.to_inside(kernel_id, log_path)
        return await self._call("create-failed", lambda: self._exec(kernel_id, ref, argv, env, cwd, log_inside))

    def _exec(
        self, kernel_id: KernelId, ref: str, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: str
    ) -> Process:
        environ = {**self.spares.environ_of(ref), **env}
        process = self.spares.become(ref, argv, environ, cwd, log)
        if process is not None:
            return process
        command = redirected(argv, cwd, log)
        try:
            name, pid = supervisor.start(self._run_of(kernel_id), ref, command, environ)
            return _process_of(ref, supervisor.ref_of(kernel_id, name), pid)
        except supervisor.NotSupervised:  # an image without Python, or its user has ended it
            made = self._api.exec_create(ref, command, environment=environ, workdir="/", stdout=False, stderr=False)
            self._api.exec_start(made["Id"], detach=True)
            return self._executed(ref, made["Id"])

    def _executed(self, ref: str, exec_ref: str) -> Process:
        """The engine's pid is 0 if it has ended already; then its exit code is all that is left of it."""
        return _process_of(ref, exec_ref, self._api.exec_inspect(exec_ref)["Pid"])

    async def attach(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> EngineAttached:
        command = entered(argv, cwd)
        if terminal is not None:
            command = sized(command, terminal)
        environ = {**self.spares.environ_of(ref), **env}
        process, sock, early = await self._call("create-failed", lambda: self._attach(ref, command, environ, terminal))
        reader, writer = await asyncio.open_connection(sock=sock, limit=PIECE_BYTES)
        reader.feed_data(early)

        async def resize(rows: int, columns: int) -> None:
            with contextlib.suppress(RuntimeFault):  # it has ended
                await self._call("other", lambda: self._api.exec_resize(process.exec_ref, rows, columns))

        if terminal is not None:
            await resize(*terminal)
        return EngineAttached(process, reader, writer, resize if terminal else None)

    def _attach(
        self, ref: str, command: list[str], env: Mapping[str, str], terminal: TerminalSize | None
    ) -> tuple[Process, socket.socket, bytes]:
        """The process, its socket, and what has come over it already."""
        is_terminal = terminal is not None
        exec_ref = self._api.exec_create(ref, command, environment=dict(env), workdir="/", stdin=True, tty=is_terminal)[
            "Id"
        ]
        stream = self._api.exec_start(exec_ref, tty=is_terminal, socket=True)
        if isinstance(stream._sock, ssl.SSLSocket):
            raise DockerException("terminals and commands need an engine that is reached without TLS")
        sock = socket.socket(fileno=os.dup(stream.fileno()))
        sock.setblocking(False)
        stream._sock.setblocking(False)
        early = bytes(
            stream._response.raw._fp.fp.peek()
        )  # docker-py reads the headers with it, and it may have read on
        stream._response.close()
        try:
            self._await_start(exec_ref)
            return self._executed(ref, exec_ref), sock, early
        except BaseException:
            sock.close()
            raise

    def _await_start(self, exec_ref: str) -> None:
        """The engine hands the socket out before the process exists, and it may never: memory may be used up."""
        deadline = time.monotonic() + _START_PATIENCE_S
        pause_s = 0.002
        while time.monotonic() < deadline:
            facts = self._api.exec_inspect(exec_ref)
            if facts["Pid"] or facts["ExitCode"] is not None:
                return
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
        raise RuntimeFault(Reason.of("not-begun", limit=f"{_START_PATIENCE_S:g} s"))

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

    async def exit_code(self, process: Process) -> int | None:
        if pids.is_alive(process.host_pid, process.started):
            return None
        return await self._call("engine-down", lambda: self._ask_exit_code(process))

    def _ask_exit_code(self, process: Process) -> int | None:
        if process.exec_ref.startswith(supervisor.SUPERVISED):
            kernel_id, _, name = process.exec_ref.removeprefix(supervisor.SUPERVISED).partition("/")
            try:
                return supervisor.exit_code(self._run_of(KernelId(kernel_id)), process.container_ref, name)
            except (supervisor.NotSupervised, OSError, ValueError):
                return UNKNOWN_EXIT
        try:
            facts = self._api.exec_inspect(process.exec_ref)
        except NotFound:
            return UNKNOWN_EXIT
        return None if facts["Running"] else facts["ExitCode"]

    async def wait(self, process: Process) -> int:
        await pids.wait_for_end(process.host_pid, process.started)
        deadline = time.monotonic() + _EXIT_CODE_PATIENCE_S
        pause_s = 0.002
        # The engine learns of the end a few milliseconds after the kernel does.
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeFault):  # an engine that is away; it may come back in time
                code = await self.exit_code(process)
                if code is not None:
                    return code
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
        return UNKNOWN_EXIT

    async def signal(self, process: Process, signum: int) -> None:
        pidfd = pids.open_pidfd(process.host_pid, process.started)
        if pidfd is None:
            return
        try:
            if cgroups.is_in(process.host_pid, process.container_ref):
                pids.send_signal(pidfd, process.host_pid, signum)
        except PermissionError:  # an agent that is not root may not signal the container's user
            await self._call("other", lambda: self._signal_inside(process, signum))
        finally:
            os.close(pidfd)

    def _signal_inside(self, process: Process, signum: int) -> None:
        inside = pids.inside(process.host_pid)
        name = signal.Signals(signum).name.removeprefix("SIG")
        command = ["/bin/sh", "-c", f"kill -{name} -{inside} 2>/dev/null || kill -{name} {inside}"]
        self._api.exec_start(self._api.exec_create(process.container_ref, command)["Id"], detach=True)

    def to_inside(self, kernel_id: KernelId, host_path: Path) -> str:
        folder = self._state_dir / "kernels" / kernel_id
        path = host_path.absolute()
        for name, inside in (("run", INSIDE_RUN), ("scratch", INSIDE_HOME)):
            if path.is_relative_to(folder / name):
                return str(PurePosixPath(inside) / path.relative_to(folder / name))
        raise ValueError(f"{host_path} is not in the folders of kernel {kernel_id}")

    def _kernel_of(self, host_path: Path) -> KernelId:
        return KernelId(host_path.absolute().relative_to(self._state_dir / "kernels").parts[0])

    def _run_of(self, kernel_id: KernelId) -> Path:
        return self._state_dir / "kernels" / kernel_id / "run"

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


def _process_of(container: str, exec_ref: str, pid: int) -> Process:
    started = pids.start_time(pid) if pid and cgroups.is_in(pid, container) else None
    return Process(pid, started or 0, exec_ref, container)


def _image_of(want: KernelWant) -> str:
    return want.image_digest or want.image


def _hostname(session_name: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", session_name.lower()).strip("-")[:63] or "session"


def _size_of(host_config: Mapping[str, Any]) -> Size:
    cpus = str(host_config.get("CpusetCpus") or "")
    return Size(
        cpu=Decimal(host_config.get("NanoCpus") or 0) / _NANO,
        mem_bytes=int(host_config.get("Memory") or 0),
        cpus=tuple(int(core) for core in cpus.split(",") if core),
    )


def _moment(text: str) -> datetime | None:
    """Docker's time, whose year 1 means never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00"))
