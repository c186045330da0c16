"""Containers that were started ahead, and how a kernel gets one.

A spare is a container like any other (the same limits on what it may, the same network and user), made from a
``Recipe``. It belongs to nobody; in it run the supervisor and, where the image has ipykernel, a process that waits to
become a Jupyter kernel (``standby.py``), and nothing out of a mounted folder. A kernel takes one for good: from then on
it is that kernel's container, and is removed with it.

A claim is a list of steps. The first writes it down (``kernels/<kernel>/claim.json``), the last writes that it is
complete. Whatever an agent that was killed has left of one that is not is removed when the next one starts, and the
kernel gets a container of its own. The container's labels and environment cannot be changed, so the claim is where its
kernel, its devices and its environment are kept.

On disk a spare's ``run/`` and ``scratch/`` lie in ``spares/<id>/``. They move to the kernel's folder, and a link takes
their place: an engine that starts the container again looks for them there.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bai_agent import folders
from bai_agent.relay.peers import Peer, RefusedSocketError, connect_to
from bai_agent.runtimes import cgroups, pids, supervisor
from bai_agent.runtimes.base import (
    INSIDE_RUN,
    CreateRequest,
    FoundContainer,
    Process,
    Recipe,
    Runtime,
    RuntimeFault,
    Size,
    config_hash,
    environ_of,
)
from bai_agent.runtimes.standby import MODULE
from bai_agent.state import write_whole
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import ImageFacts, KernelSpecFacts, KernelWant, from_json, to_json
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import Target

log = logging.getLogger(__name__)

SPARE_BYTES = 128 * 1024**2
"""The limit of one's memory, until it is a kernel's: one with ipykernel uses about 60 MiB."""

LABEL = "bai.spare"
_SPARE_CPU = 1
_PROGRAM, _SOCKET = "standby.py", "standby.sock"
_READY_PATIENCE_S = 30.0
_READY_PAUSE_S = 0.05
_ANSWER_S = 10.0  # on a host that has much to do; a fresh start would take longer there
_CLAIM = "claim.json"
# An image may name folders to import from, and one of those may be mounted. (``-s`` leaves out the user's own.)
_UNLESS_LED_ASTRAY = ("/bin/sh", "-c", 'test -z "$PYTHONPATH" && exec "$@"', "bai")


@dataclass(frozen=True)
class Standby:
    """A process that waits to become a Jupyter kernel whose command begins with ``argv``. ``name`` is what the
    container's supervisor knows it by; for ``started`` see ``Process``."""

    name: str
    host_pid: int
    started: int
    argv: list[str]


@dataclass(frozen=True)
class Spare:
    spare_id: str
    ref: str
    recipe: Recipe
    standby: Standby | None
    image: ImageFacts


@dataclass(frozen=True)
class Claim:
    """Which kernel a spare was given to. ``used_for`` is the log of the launch that its standby was given to;
    ``cpu_before_s`` is what its main process ``main_pid`` and the others had used before."""

    kernel_id: KernelId
    spare_id: str
    ref: str
    standby: Standby | None
    session_id: SessionId
    config_hash: str
    devices: dict[str, dict[str, str]] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict, repr=False)
    main_pid: int = 0
    cpu_before_s: float = 0.0
    used_for: str = ""
    complete: bool = False


class Spares:
    """Those of one agent, which users know as ``agent``. ``runtime`` makes them as it makes any container;
    ``list_spares()`` asks the engine: ``{ref: spare id}``."""

    def __init__(
        self, runtime: Runtime, list_spares: Callable[[], Awaitable[dict[str, str]]], agent: str, state_dir: Path
    ) -> None:
        self._runtime, self._list, self._agent = runtime, list_spares, agent
        self._kernels, self._spares = state_dir / "kernels", state_dir / "spares"
        self._claims: dict[str, Claim] = {}  # by ref
        self._lock = threading.Lock()  # for ``become``
        self._starting: asyncio.Task[str] | None = None

    # What an earlier agent left

    async def recover(self) -> None:
        """Know the claims that are complete again, and remove all else: other claims, and spares that nobody has."""
        refs = await self._list()
        for path in self._kernels.glob(f"*/{_CLAIM}"):
            try:
                claim = from_json(Claim, json.loads(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("%s cannot be read: %r; its container is removed", path, error)
                continue
            self._claims[claim.ref] = claim
            if not claim.complete or claim.ref not in refs:
                await self.abandon(claim.kernel_id)
        await self.clear()

    async def clear(self) -> None:
        """Remove every spare that nobody has, also one that is just being made."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        await self.let_go(await self._list())
        claimed = {claim.spare_id for claim in self._claims.values()}
        for path in self._spares.glob("*"):
            if path.name not in claimed:
                await asyncio.to_thread(_delete, path)

    # Ahead

    async def make(self, recipe: Recipe) -> Spare:
        """Start one, and return when it is ready. Raises ``RuntimeFault`` or ``OSError``, and leaves nothing then."""
        image = await self._runtime.inspect_image(recipe.image)
        spare_id = str(uuid.uuid4())
        place = self._spares / spare_id
        try:
            self._starting = asyncio.create_task(self._start(spare_id, place, recipe))
            ref = await asyncio.shield(self._starting)
            if await self._runtime.main_pid(ref) is None:
                raise OSError("a container that was started ahead has ended, or its processes are not on this host")
            standby = await self._stand_by(ref, place / "run", image.kernelspecs)
        except (RuntimeFault, OSError):
            await self.clear_one(spare_id)
            raise
        return Spare(spare_id, ref, recipe, standby, image)

    async def _start(self, spare_id: str, place: Path, recipe: Recipe) -> str:
        ref = await self._runtime.create(await asyncio.to_thread(self._request, spare_id, place, recipe))
        await self._runtime.start(ref)
        return ref

    def _request(self, spare_id: str, place: Path, recipe: Recipe) -> CreateRequest:
        place.mkdir(parents=True, mode=0o700)
        prepared = folders.lay_out(place, recipe.mounts, recipe.identity, self._agent)
        folders.replace_private(prepared.run, _PROGRAM, (Path(__file__).with_name(_PROGRAM)).read_bytes())
        want = KernelWant(
            kernel_id=KernelId(spare_id),
            session_id=SessionId(""),
            session_name="",
            target=Target.RUNNING,
            image=recipe.image,
            image_digest=recipe.image,
            slots=ResourceSlots({"cpu": _SPARE_CPU, "mem": SPARE_BYTES}),
            shm_bytes=recipe.shm_bytes,
            environ={},
            mounts=[],
        )
        return CreateRequest(want, prepared, recipe.options, spare=True)

    async def _stand_by(self, ref: str, run: Path, specs: Sequence[KernelSpecFacts]) -> Standby | None:
        """A process that has imported what a kernel needs; ``None`` where that cannot be."""
        spec = next((one for one in specs if _begin_of(one.argv)), None)
        if spec is None:
            return None
        argv = _begin_of(spec.argv)
        command = [*_UNLESS_LED_ASTRAY, *argv[:-2], "-s", f"{INSIDE_RUN}/{_PROGRAM}", f"{INSIDE_RUN}/{_SOCKET}"]
        try:
            name, pid = await asyncio.to_thread(supervisor.start, run, ref, command, spec.env, _READY_PATIENCE_S)
        except (supervisor.NotSupervised, OSError):
            return None
        started = pids.start_time(pid)
        if started is None or not cgroups.is_in(pid, ref):
            return None
        return Standby(name, pid, started, argv) if await _is_ready(run / _SOCKET, pid, started) else None

    async def clear_one(self, spare_id: str) -> None:
        """Remove all of a spare."""
        for ref, one in (await self._list()).items():
            if one == spare_id:
                await self._runtime.remove(ref)
        await asyncio.to_thread(_delete, self._spares / spare_id)

    async def let_go(self, refs: Iterable[str]) -> None:
        """Remove those of these containers that are spares and nobody's. They are in the way of something."""
        for ref in (await self._list()).keys() & set(refs):
            if ref not in self._claims:
                await self._runtime.remove(ref)

    async def live(self, some: Sequence[Spare]) -> list[Spare]:
        """Those that run."""
        return [one for one in some if await self._runtime.main_pid(one.ref) is not None]

    # A claim

    def begin(self, spare: Spare, want: KernelWant) -> None:
        """From here on it is that kernel's, and so are its folders. Raises ``OSError``."""
        claim = Claim(want.kernel_id, spare.spare_id, spare.ref, spare.standby, want.session_id, config_hash(want))
        self._keep(claim)
        for name in ("run", "scratch"):
            self._move(claim, name)
        self._link(claim)

    def _move(self, claim: Claim, name: str) -> None:
        (self._spares / claim.spare_id / name).rename(self._kernels / claim.kernel_id / name)

    def _link(self, claim: Claim) -> None:
        place = self._spares / claim.spare_id
        place.rmdir()
        place.symlink_to(Path("..") / "kernels" / claim.kernel_id)

    async def finish(self, spare: Spare, request: CreateRequest) -> str:
        """Make it as large as the kernel's shall be, and see that it suits. Its ref.

        Raises ``RuntimeFault`` or ``OSError`` if it does not.
        """
        want, recipe = request.want, spare.recipe
        has = (self._runtime.bound(request.folders.mounts), request.folders.identity, replace(request.options, cpus=()))
        if has != (recipe.mounts, recipe.identity, recipe.options):
            raise OSError("it is not what this kernel needs")
        main_pid = await self._runtime.main_pid(spare.ref)
        if main_pid is None:
            raise OSError("it has ended")
        usage = await asyncio.to_thread(cgroups.usage, main_pid)
        await self._runtime.resize(spare.ref, Size(want.slots["cpu"], int(want.slots["mem"]), request.options.cpus))
        claim = replace(
            self._claims[spare.ref],
            devices=request.devices,
            environ=environ_of(request),
            main_pid=main_pid,
            cpu_before_s=usage.get("cpu_used_s", 0.0),
            complete=True,
        )
        self._keep(claim)
        return spare.ref

    async def abandon(self, kernel_id: KernelId) -> None:
        """Remove what a claim that came to nothing has made; the kernel's folders too, which are as good as new."""
        for claim in [one for one in self._claims.values() if one.kernel_id == kernel_id]:
            await self._runtime.remove(claim.ref)
            if not claim.complete:
                await asyncio.to_thread(folders.delete, self._kernels / kernel_id)
            await asyncio.to_thread(_delete, self._spares / claim.spare_id)
            self._claims.pop(claim.ref, None)
            self._path_of(claim).unlink(missing_ok=True)

    def _keep(self, claim: Claim) -> None:
        write_whole(self._path_of(claim), json.dumps(to_json(claim)))
        self._claims[claim.ref] = claim

    def _path_of(self, claim: Claim) -> Path:
        return self._kernels / claim.kernel_id / _CLAIM

    # A container that was one

    def forget(self, ref: str) -> None:
        """It is removed."""
        claim = self._claims.get(ref)
        if claim is not None and claim.complete:
            del self._claims[ref]
            _delete(self._spares / claim.spare_id)
            self._path_of(claim).unlink(missing_ok=True)

    def found(self, ref: str, *, running: bool) -> FoundContainer | None:
        claim = self._complete(ref)
        if claim is None:
            return None
        return FoundContainer(claim.kernel_id, claim.session_id, ref, running, claim.config_hash, claim.devices)

    def kernel_of(self, ref: str) -> KernelId | None:
        claim = self._complete(ref)
        return claim.kernel_id if claim else None

    def environ_of(self, ref: str) -> Mapping[str, str]:
        """What a process inside must be given that it would find in another container."""
        claim = self._complete(ref)
        return claim.environ if claim else {}

    def since_claimed(self, ref: str, main_pid: int, usage: dict[str, float]) -> dict[str, float]:
        """What was used before is nobody's."""
        claim = self._complete(ref)
        if claim is None or claim.main_pid != main_pid or "cpu_used_s" not in usage:
            return usage
        return {**usage, "cpu_used_s": max(0.0, usage["cpu_used_s"] - claim.cpu_before_s)}

    def become(
        self, ref: str, argv: Sequence[str], environ: Mapping[str, str], cwd: str, log_path: str
    ) -> Process | None:
        """The standby as that process, if it is what it waits for. It serves once, and that is written down first.

        An agent that died meanwhile asks for the same launch again: then nobody knows how far it got, and it is ended.
        """
        with self._lock:
            claim = self._complete(ref)
            standby = claim.standby if claim else None
            if claim is None or standby is None or list(argv[: len(standby.argv)]) != standby.argv:
                return None
            is_first = not claim.used_for
            if is_first:
                try:
                    self._keep(replace(claim, used_for=log_path))
                except OSError:  # a full disk
                    return None
        told = {"argv": list(argv), "env": dict(environ), "cwd": cwd, "log": log_path}
        if is_first and self._tell(claim, told):
            return Process(standby.host_pid, standby.started, supervisor.ref_of(claim.kernel_id, standby.name), ref)
        if is_first or claim.used_for == log_path:
            _kill(standby.host_pid, standby.started)
        return None

    def _tell(self, claim: Claim, told: Mapping[str, object]) -> bool:
        path = self._kernels / claim.kernel_id / "run" / _SOCKET
        try:
            with closing(connect_to(path, Peer(cgroup=claim.ref), _ANSWER_S)) as sock:
                return supervisor.ask(sock, told) == {"heard": True}
        except (OSError, ValueError, RefusedSocketError) as error:
            log.warning("kernel %s: its first Jupyter kernel starts afresh: %s", claim.kernel_id, error)
            return False

    def _complete(self, ref: str) -> Claim | None:
        claim = self._claims.get(ref)
        return claim if claim is not None and claim.complete else None


def _begin_of(argv: Sequence[str]) -> list[str]:
    """Of an ipykernel's command all up to the module, or nothing."""
    if MODULE not in argv:
        return []
    begin = list(argv[: argv.index(MODULE) + 1])
    return begin if begin[-2:-1] == ["-m"] else []


async def _is_ready(path: Path, pid: int, started: int) -> bool:
    """Wait until it listens, which is when it has imported all; false if it has ended, or takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_PATIENCE_S):
            while not os.path.lexists(path):
                if not pids.is_alive(pid, started):
                    return False
                await asyncio.sleep(_READY_PAUSE_S)
        return True
    _kill(pid, started)
    return False


def _kill(pid: int, started: int) -> None:
    pidfd = pids.open_pidfd(pid, started)
    if pidfd is not None:
        try:
            pids.send_signal(pidfd, pid, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _delete(path: Path) -> None:
    """A spare's folder, or the link in its place."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
