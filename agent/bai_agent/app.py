"""The agent as a program: its options, what is wired to what, and the order of start and stop.

``python -m bai_agent --AgentApp.manager_url=http://127.0.0.1:8090 --AgentApp.state_dir=…``; the join token comes from
the environment (``BAI_JOIN_TOKEN``), so that it stands in no process list, and may name the manager itself. SIGTERM
stops the agent; containers stay.
"""

import asyncio
import json
import logging
import os
import platform
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import traitlets
from traitlets.config import Application

from bai_agent.attachments import Attachments
from bai_agent.containers import Site
from bai_agent.devices import plugins
from bai_agent.devices.base import DevicePlugin
from bai_agent.devices.cpu import CpuPlugin
from bai_agent.devices.cuda import MODES, CudaOptions, CudaPlugin
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mem import MemPlugin
from bai_agent.devices.meter import Meter
from bai_agent.devices.mock import MockPlugin
from bai_agent.doors import Address, Doors
from bai_agent.firewall import PRIVATE_NETWORKS, Policy
from bai_agent.hold import Patience
from bai_agent.image_watch import ImageWatch
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.link import ManagerLink, websocket_url
from bai_agent.manager_access import DOOR, ManagerAccess, address_of
from bai_agent.manager_place import DEFAULT_URL, ManagerPlace, settle
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.base import Identity, Runtime, RuntimeFault
from bai_agent.runtimes.process import ProcessRuntime
from bai_agent.runtimes.spares import SPARE_BYTES
from bai_agent.service import AgentService
from bai_agent.shares import ladder
from bai_agent.shares.holding import Holding
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from bai_agent.shares.watchdog import POLICIES, Watchdog
from bai_agent.state import AlreadyRunning, StateFolder
from bai_agent.streams import Streams
from bai_agent.terminals import Terminals
from bai_agent.volumes import Volumes
from bai_agent.warm_pool import WarmPool
from bai_jupyter._version import __version__
from bai_jupyter.common.join_tokens import BadJoinToken, JoinToken
from bai_jupyter.common.messages import PROTOCOL_VERSION, Heartbeat, Hello, ImagesFound, is_door_name
from bai_jupyter.common.parts import EVENLY
from bai_jupyter.common.slots import parse_size
from bai_jupyter.common.trust import Trust

_FIRST_IMAGES_S = 10.0
_ENGINE_RETRY_S = 5.0


class Json(traitlets.Any):
    """A list or mapping; on the command line as JSON."""

    def __init__(self, kind: type, **options: Any) -> None:
        self._kind = kind
        super().__init__(default_value=kind(), **options)

    def from_string(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise traitlets.TraitError(f"{self.name}: {text!r} is not JSON ({error})") from error

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ARG002 - traitlets' signature
        if not isinstance(value, self._kind):
            raise traitlets.TraitError(f"{self.name}: expected a {self._kind.__name__}, got {value!r}")
        return value


class AgentApp(Application):
    """Run containers on this host for a Backend.AI manager."""

    name = "bai-agent"
    version = __version__
    raise_config_file_errors = True

    config_file = traitlets.Unicode("", help="A Python or JSON file with options.").tag(config=True)
    manager_url = traitlets.Unicode(
        help=f"Where the manager answers. Default: what the join token says, or what was kept, or {DEFAULT_URL}."
    ).tag(config=True)
    manager_fingerprint = traitlets.Unicode(
        help="SHA-256 of the manager's certificate, if neither a join token nor a CA vouches for it."
    ).tag(config=True)
    manager_ca = traitlets.Unicode(
        help="PEM file of the CAs that may vouch for the manager's certificate. Default: the system's."
    ).tag(config=True)
    state_dir = traitlets.Unicode(".bai/agent", help="What must survive a restart; one agent per folder.").tag(
        config=True
    )
    agent_name = traitlets.Unicode(help="What users call this host. Default: its host name. Also --AgentApp.name.").tag(
        config=True
    )
    runtime = traitlets.Enum(
        ("auto", "docker", "process"),
        "auto",
        help="docker: isolated containers. process: no isolation, one user. auto: docker if its engine answers, "
        "and the same again at the next start.",
    ).tag(config=True)
    join_token = traitlets.Unicode(help="From an admin, for the first start. Default: BAI_JOIN_TOKEN.").tag(config=True)
    volumes = Json(dict, help='Volumes and where they are here: {"local:home": "/srv/home"}.').tag(config=True)
    reserved_cpu = traitlets.Float(0.0, min=0, help="Cores that stay with the host.").tag(config=True)
    reserved_mem = traitlets.Unicode("0", help="Memory that stays with the host, such as 2g.").tag(config=True)
    warm_pool_mem = traitlets.Unicode(
        "0",
        help="Memory for containers that are started ahead, 128m each, for sessions like those of the last half hour. "
        "It stays with the host. 0: none are. Docker runtime only.",
    ).tag(config=True)
    pin_cpus = traitlets.Bool(False, help="Pin kernels to the cores they hold.").tag(config=True)
    allocation_mode = traitlets.Enum(
        MODES,
        "discrete",
        help="How NVIDIA GPUs are handed out. discrete: whole. fractional: parts of them, as cuda.shares. "
        "mig: the instances of GPUs in MIG mode.",
    ).tag(config=True)
    allocation_strategy = traitlets.Enum(
        ("fill", EVENLY),
        "fill",
        help="Of several devices with room, fill takes the fullest, so that whole ones stay free, and evenly the "
        "emptiest, so that sessions disturb each other least.",
    ).tag(config=True)
    share_unit_mem = traitlets.Unicode(
        "0", help="GPU memory that 1.00 cuda.shares is, such as 16g. 0: each GPU is 1.00."
    ).tag(config=True)
    reserved_gpu_mem = traitlets.Unicode(
        "512m", help="Of each session's share of a GPU, what is kept for the contexts of its processes."
    ).tag(config=True)
    least_enforcement = traitlets.Enum(
        [level.value for level in Enforcement],
        Enforcement.WATCH.value,
        help="Offer no parts of GPUs unless sessions are held to theirs at least so strictly: cgroup, shim, watch.",
    ).tag(config=True)
    share_excess = traitlets.Enum(
        POLICIES,
        "log",
        help="What becomes of a session that holds more of a GPU than its share: it is told, its largest process "
        "is killed, or it is ended.",
    ).tag(config=True)
    share_tolerance = traitlets.Unicode("256m", help="How far over its share a session may be.").tag(config=True)
    mock_devices = Json(
        list,
        help='Devices that are not there: [{"id": "gpu", "count": 8, "slots": {"cuda.device": 1}, "mem": "80g"}].',
    ).tag(config=True)
    accelerators = Json(
        list, help='Accelerator plugins to use: ["rocm", "cuda"]. [] uses all: docs/accelerators.md lists them.'
    ).tag(config=True)
    blocked_accelerators = Json(list, help="Accelerator plugins not to use.").tag(config=True)
    accelerator_options = Json(
        dict,
        help='Options of accelerator plugins: {"rocm": {"shm": "8g"}, "ipu": {"subnets": {"10.1.0.0/16": "ipu"}}}.',
    ).tag(config=True)
    accelerator_tables = Json(
        list, help="TOML files, each of one kind of accelerator that no plugin knows: examples/accelerators."
    ).tag(config=True)
    device_mask = Json(
        list, help='Devices that stay with the host, by id or PCI address: ["GPU-4f…", "0000:03:00.0"].'
    ).tag(config=True)
    run_as = traitlets.Integer(
        0, min=0, help="Uid and gid of kernels. 0: the owner of the home folder, or 1000 if that is root."
    ).tag(config=True)
    python = traitlets.Unicode(
        sys.executable, help="The interpreter that kernels get in the process runtime. Default: the agent's own."
    ).tag(config=True)
    allow_open_network = traitlets.Bool(
        True, help="Run also where containers can reach ports of this host, and say so. Off: refuse to."
    ).tag(config=True)
    blocked_networks = Json(
        list,
        help="IPv4 networks that containers cannot reach, beside this host's own ports. Default: private and "
        "link-local ones. [] blocks none. Name servers of this host stay reachable at port 53.",
    ).tag(config=True)
    allowed_networks = Json(
        list, help='Exceptions from blocked_networks, such as a file server: ["192.168.1.7/32"].'
    ).tag(config=True)
    doors = Json(
        dict,
        help="Addresses that a service such as a JupyterHub may let sessions reach, each by a socket of their own: "
        'own: {"hub": "127.0.0.1:8081"}.',
    ).tag(config=True)
    pids_limit = traitlets.Integer(4096, min=64, help="Processes in one container.").tag(config=True)
    hold_s = traitlets.Float(
        600.0,
        min=0,
        help="A process that wants more memory than its session has waits so long, in seconds, for its user to give it "
        "more or to interrupt it, before it is killed; 0: it is killed at once, as always on hosts with cgroup "
        "version 2.",
    ).tag(config=True)
    hold_margin = traitlets.Unicode(
        "64m",
        help="So much of a session's memory (an eighth of it at most) is kept for interrupting what waits for memory.",
    ).tag(config=True)
    orphan_grace_s = traitlets.Float(
        60.0, min=0, help="How long a container that nobody wants is kept, in seconds."
    ).tag(config=True)
    container_labels = Json(dict, help="Labels on every container and network, beside ours.").tag(config=True)
    cleanup = traitlets.Bool(
        False, help="Remove all containers, the network and firewall rules of this agent, and exit."
    ).tag(config=True)

    aliases = {  # noqa: RUF012 - traitlets' way
        "config": "AgentApp.config_file",
        "manager-url": "AgentApp.manager_url",
        "state-dir": "AgentApp.state_dir",
        "name": "AgentApp.agent_name",
        "runtime": "AgentApp.runtime",
        "log-level": "Application.log_level",
    }
    flags = {"cleanup": ({"AgentApp": {"cleanup": True}}, "Remove all of this agent and exit.")}  # noqa: RUF012

    @traitlets.default("agent_name")
    def _default_name(self) -> str:
        return socket.gethostname()

    @traitlets.default("join_token")
    def _default_join_token(self) -> str:
        return os.environ.get("BAI_JOIN_TOKEN", "")

    @traitlets.default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @traitlets.validate("manager_url")
    def _check_manager_url(self, proposal: Any) -> str:
        try:
            websocket_url(proposal.value or DEFAULT_URL, "")
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        return str(proposal.value)

    @traitlets.validate("manager_fingerprint")
    def _check_fingerprint(self, proposal: Any) -> str:
        try:
            return Trust(proposal.value).fingerprint
        except ValueError as error:
            raise traitlets.TraitError(f"manager_fingerprint: {error}") from error

    @traitlets.validate("manager_ca")
    def _check_ca(self, proposal: Any) -> str:
        path = str(Path(proposal.value).absolute()) if proposal.value else ""
        try:
            Trust(ca_file=path).context()
        except OSError as error:
            raise traitlets.TraitError(f"manager_ca: {path} holds no CAs that can be used ({error})") from error
        return path

    @traitlets.default("blocked_networks")
    def _default_blocked_networks(self) -> list[str]:
        return list(PRIVATE_NETWORKS)

    @traitlets.validate("blocked_networks", "allowed_networks")
    def _check_networks(self, proposal: Any) -> list[str]:
        try:
            return [str(IPv4Network(one)) for one in proposal.value]
        except ValueError as error:
            raise traitlets.TraitError(
                f"{proposal.trait.name}: {error}. Give IPv4 networks such as 192.168.0.0/16."
            ) from error

    @traitlets.validate("warm_pool_mem", "share_unit_mem", "reserved_gpu_mem", "share_tolerance", "hold_margin")
    def _check_size(self, proposal: Any) -> str:
        try:
            parse_size(proposal.value)
        except ValueError as error:
            raise traitlets.TraitError(f"{proposal.trait.name}: {error}") from error
        return str(proposal.value)

    @traitlets.validate("doors")
    def _check_doors(self, proposal: Any) -> dict[str, str]:
        for name, given in proposal.value.items():
            try:
                _address(given)
            except ValueError as error:
                raise traitlets.TraitError(f"doors: {name} is {given!r}; give host:port") from error
            if not is_door_name(name) or name == DOOR:
                raise traitlets.TraitError(f"doors: {name!r}; small letters, digits and dashes, and not {DOOR!r}")
        return dict(proposal.value)

    @traitlets.validate("volumes")
    def _check_volumes(self, proposal: Any) -> dict[str, str]:
        for name, folder in proposal.value.items():
            if not Path(folder).is_dir():
                raise traitlets.TraitError(f"volumes: {name} is {folder}, which is not a folder here")
        return dict(proposal.value)

    def initialize(self, argv: list[str] | None = None) -> None:
        # ``name`` is what traitlets calls the program, so people's --AgentApp.name goes to ``agent_name``.
        given = [
            word.replace("--AgentApp.name=", "--AgentApp.agent_name=", 1)
            if word.startswith("--AgentApp.name=")
            else word
            for word in (sys.argv[1:] if argv is None else argv)
        ]
        super().initialize(given)
        if self.config_file:
            path = Path(self.config_file).absolute()
            self.load_config_file(path.stem, path=[str(path.parent)])
            self.parse_command_line(given)  # the command line wins
        logging.basicConfig(
            level=self.log_level,  # type: ignore[call-overload]  # traitlets says object
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )

    def start(self) -> None:
        try:
            self._accelerators = self._load_accelerators()
            asyncio.run(self._main())
        except (AlreadyRunning, BadJoinToken, RuntimeFault, plugins.NotUnderstood) as error:
            self.log.error("%s", error)
            self.exit(1)

    async def _main(self) -> None:
        stopping = asyncio.Event()
        for signum in (signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(signum) is signal.SIG_IGN:  # as nohup starts us
                signal.signal(signum, lambda *_: None)  # what we start begins without it, and can be hung up
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
        run = asyncio.create_task(self._run())
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if stopping.is_set():
            self.log.info("stopping; containers stay")
            run.cancel()
        with suppress(asyncio.CancelledError):
            await run

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            store = StateFolder(Path(self.state_dir))
            store.lock()
            stack.callback(store.unlock)
            runtime = await self._ready_runtime(store)
            stack.push_async_callback(runtime.close)
            if self.cleanup:
                await self._clean_up(runtime)
                return
            await self._serve(stack, store, runtime)

    async def _serve(self, stack: AsyncExitStack, store: StateFolder, runtime: Runtime) -> None:
        """Until cancelled. What is pushed on ``stack`` is stopped backwards."""
        nvml = Nvml()
        stack.callback(nvml.close)
        cache = store.path / "gpu"
        enforcement = await asyncio.to_thread(self._enforcement, nvml, cache, runtime)
        pool = self._warm_pool(runtime)
        inventory = await asyncio.to_thread(self._inventory, runtime, enforcement, pool)
        cuda = [device for device in inventory.devices if device.kind == CudaPlugin.key]
        shares = Holding(enforcement, self._share_rule(), inventory.devices, cache, nvml)
        volumes = {name: Path(folder).absolute() for name, folder in self.volumes.items()}
        identity = Identity(self.run_as, self.run_as) if self.run_as else None
        token = JoinToken.parse(self.join_token)
        manager = self._settle(token, store)
        tls = manager.tls()
        streams = Streams(manager.url, tls)
        named = {name: _address(given) for name, given in self.doors.items()}
        doors = Doors({**named, DOOR: address_of(manager, tls)})
        images = ImageWatch(runtime, lambda found: link.send(ImagesFound(found)))

        def hello(credential: str | None, join_token: str | None) -> Hello:
            return Hello(
                protocol=PROTOCOL_VERSION,
                version=__version__,
                name=self.agent_name,
                credential=credential,
                join_token=join_token,
                runtime=runtime.name,
                isolated=runtime.isolated,
                architecture=platform.machine(),
                slots=inventory.slots,
                devices=inventory.devices,
                images=list(images.images),
                kernels=reconciler.reports(),
                volumes=sorted(volumes),
            )

        reconciler = Reconciler(
            runtime,
            store,
            inventory,
            Site(self.agent_name, volumes, identity, evenly=self.allocation_strategy == EVENLY),
            doors,
            ManagerAccess(manager.url, doors),
            lambda report: link.report(report),
            shares=shares,
            patience=Patience(self.hold_s, parse_size(self.hold_margin)),
            pool=pool,
            orphan_grace_s=self.orphan_grace_s,
        )

        meter = Meter(inventory, reconciler.book.energy_before)

        async def heartbeat() -> Heartbeat:
            return replace(meter.heartbeat(await service.figures(), reconciler.held()), engine_trouble=images.trouble)

        jupyter = JupyterKernels(runtime, store.path, reconciler.jupyter_changed)
        reconciler.jupyter = jupyter
        held = Volumes(volumes, self.agent_name, identity)
        attachments = Attachments(runtime, store.path / "attached")
        terminals = Terminals(attachments)
        service = AgentService(runtime, reconciler, jupyter, streams, attachments, terminals, held)
        link = ManagerLink(
            manager.url,
            credential=store.credential(),
            join_token=token.secret or None,
            keep_credential=store.keep_credential,
            hello=hello,
            on_wanted=reconciler.wanted,
            on_forget=lambda forget: reconciler.forget(forget.kernel_ids),
            answer=service.answer,
            heartbeat=heartbeat,
            on_welcome=lambda: store.keep_manager(manager),
            tls=tls,
        )
        stack.push_async_callback(held.close)
        if pool is not None:
            stack.push_async_callback(pool.close)
        stack.push_async_callback(jupyter.close)
        stack.push_async_callback(reconciler.stop)
        stack.push_async_callback(terminals.close)
        stack.push_async_callback(streams.close)
        await reconciler.start()
        await attachments.end_leftovers()
        self.log.info("%s offers %s", self.agent_name, inventory.slots.describe())
        meter.shared.append(reconciler.share_figures)
        watches = [images.run(), meter.run()]
        if pool is not None:
            pool.is_busy = reconciler.is_starting_something
            watches.append(pool.run())
        if self.allocation_mode == "fractional" and cuda:
            tolerance_bytes = parse_size(self.share_tolerance)
            watchdog = Watchdog(
                nvml,
                reconciler.watched,
                reconciler.tell_excess,
                reconciler.end_for,
                policy=self.share_excess,
                tolerance_bytes=tolerance_bytes,
            )
            meter.shared.append(lambda: watchdog.figures)
            watches.append(watchdog.run())
        for watch in watches:
            stack.push_async_callback(_cancelled, asyncio.create_task(watch))
        with suppress(TimeoutError):  # many images take long to look into; then they are told later
            async with asyncio.timeout(_FIRST_IMAGES_S):
                await images.known.wait()
        await link.run()

    # Choosing

    def _settle(self, token: JoinToken, store: StateFolder) -> ManagerPlace:
        return settle(self.manager_url, Trust(self.manager_fingerprint, self.manager_ca), token, store.manager())

    def _share_rule(self) -> Rule:
        return Rule(parse_size(self.share_unit_mem), parse_size(self.reserved_gpu_mem))

    def _enforcement(self, nvml: Nvml, cache: Path, runtime: Runtime) -> Enforcement:
        """How strictly parts of GPUs can be held here. Blocks."""
        if self.allocation_mode != "fractional":
            return Enforcement.WATCH
        return ladder.climb(
            [
                (Enforcement.CGROUP, lambda: ladder.why_no_cgroup(nvml, has_cgroups=runtime.isolated)),
                (Enforcement.SHIM, lambda: ladder.why_no_shim(cache, has_mounts=runtime.isolated)),
            ]
        )

    def _cuda_options(self, enforcement: Enforcement) -> CudaOptions:
        own = self.accelerator_options.get(CudaPlugin.key, {})
        options = CudaOptions(
            self.allocation_mode,
            rdma=bool(own.get("rdma", False)),
            gds=bool(own.get("gds", False)),
            cdi_device=str(own.get("cdi_device", "")),
        )
        if self.allocation_mode != "fractional":
            return options
        is_enough = enforcement.is_at_least(Enforcement(self.least_enforcement))
        return replace(
            options,
            unit_bytes=parse_size(self.share_unit_mem),
            attributes=(("enforcement", enforcement.value),),
            withheld="" if is_enough else f"shares are only held by {enforcement}, not by {self.least_enforcement}",
        )

    def _inventory(self, runtime: Runtime, enforcement: Enforcement, pool: WarmPool | None) -> Inventory:
        """What is here. Blocks."""
        plugins = self._plugins(runtime, enforcement, pool)
        return Inventory(plugins, self.device_mask, self.allocation_strategy, isolated=runtime.isolated)

    def _plugins(self, runtime: Runtime, enforcement: Enforcement, pool: WarmPool | None) -> list[DevicePlugin]:
        by_request = bool(getattr(runtime, "hands_out_gpus", False))
        cuda = CudaPlugin(by_request, options=self._cuda_options(enforcement))
        uses_cuda = plugins.is_wanted(cuda.key, self.accelerators, self.blocked_accelerators)
        return [
            CpuPlugin(Decimal(str(self.reserved_cpu)), self.pin_cpus),
            MemPlugin(parse_size(self.reserved_mem) + (pool.mem_bytes if pool else 0)),
            *([cuda] if uses_cuda else []),
            *self._accelerators,
            MockPlugin(self.mock_devices),
        ]

    def _load_accelerators(self) -> list[DevicePlugin]:
        tables = [Path(table) for table in self.accelerator_tables]
        return plugins.load(tables, self.accelerators, self.blocked_accelerators, self.accelerator_options)

    def _warm_pool(self, runtime: Runtime) -> WarmPool | None:
        spares, count = getattr(runtime, "spares", None), parse_size(self.warm_pool_mem) // SPARE_BYTES
        return WarmPool(spares, count * SPARE_BYTES) if spares is not None and count else None

    async def _ready_runtime(self, store: StateFolder) -> Runtime:
        """The runtime, checked. One that was named or used before is waited for; only ``auto`` chooses."""
        wanted = self.runtime if self.runtime != "auto" else store.chosen_runtime()
        while True:
            runtime = self._make_runtime(wanted or "docker", store)
            try:
                await runtime.check()
            except RuntimeFault as fault:
                await runtime.close()
                if wanted is None:
                    self.log.warning("%s Using the process runtime instead.", fault)
                    wanted = "process"
                elif self.cleanup:
                    raise
                else:
                    self.log.error("%s Trying again in %s s.", fault, _ENGINE_RETRY_S)
                    await asyncio.sleep(_ENGINE_RETRY_S)
            else:
                store.keep_runtime(runtime.name)
                return runtime

    def _make_runtime(self, name: str, store: StateFolder) -> Runtime:
        if name == "process":
            return ProcessRuntime(store.path, self.agent_name, self.python)
        from bai_agent.runtimes.docker import DockerRuntime  # slow to import, and not installed everywhere

        return DockerRuntime(
            store.path,
            store.own_id(),
            self.agent_name,
            allow_open_network=self.allow_open_network,
            network_policy=Policy(_networks(self.blocked_networks), _networks(self.allowed_networks)),
            pids_limit=self.pids_limit,
            labels=self.container_labels,
        )

    async def _clean_up(self, runtime: Runtime) -> None:
        for found in await runtime.list_ours():
            await runtime.remove(found.ref)
            self.log.info("kernel %s: removed", found.kernel_id)
        clean = getattr(runtime, "cleanup", None)
        if clean is not None:
            await clean()


def _address(given: object) -> Address:
    """``host:port``. Raises ``ValueError``."""
    url = urlsplit(f"//{given}")
    if not url.hostname or not url.port:
        raise ValueError(given)
    return Address(url.hostname, url.port)


def _networks(given: list[str]) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, given))


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    AgentApp.launch_instance()
