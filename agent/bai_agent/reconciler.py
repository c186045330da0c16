"""Wanted containers against found containers: start, adopt, end, remove orphans.

Level-triggered: a message or an event only says *look at this kernel again*; what to do follows from what is wanted and
what is there. One task per kernel at a time, errors back off, a slow sweep looks at everything, so a lost event costs
time and nothing else. ``next_step`` is the decision, pure; the rest carries it out.

Owns neither the processes in a container (``jupyter_kernels``) nor the link.
"""

import asyncio
import contextlib
import enum
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from bai_agent import folders
from bai_agent.allocation import Allocation, NoRoom, allocate
from bai_agent.devices.base import DeviceFault, OptionConflict
from bai_agent.devices.inventory import Inventory
from bai_agent.doors import Doors
from bai_agent.manager_access import ManagerAccess
from bai_agent.programs import BOOTSTRAP, COMMAND, OWNER_BOOTSTRAP, Programs, folder_name
from bai_agent.runtimes.base import (
    UNKNOWN_EXIT,
    ContainerEvent,
    ContainerState,
    CreateRequest,
    FoundContainer,
    Identity,
    Memory,
    Runtime,
    RuntimeFault,
    Size,
    describe_exit,
)
from bai_agent.shares.holding import Holding, NotHeld
from bai_agent.shares.watchdog import Watched
from bai_agent.state import KernelState, StateFolder
from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import (
    FileWant,
    JupyterKernelReport,
    JupyterKernelWant,
    KernelReport,
    KernelSpecFacts,
    KernelWant,
    Wanted,
    to_json,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, format_size
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

log = logging.getLogger(__name__)

FINAL = frozenset({KernelStatus.TERMINATED, KernelStatus.ERROR})
_STARTING = frozenset({KernelStatus.PREPARING, KernelStatus.PULLING, KernelStatus.CREATING})
_WANTED = _STARTING | {KernelStatus.RUNNING}
_POOLED = ("cpu", "mem")  # slots whose amount can be changed while a container runs
_BACKOFF_S = (0.2, 30.0)
_SWEEP_S = 30.0
_OOM_EXPLAINS_S = 5.0  # a container that ends this soon after an out-of-memory event ended of it
_AT_ONCE = timedelta(seconds=5)  # a container that lived no longer never was of use
_STATS_TIMEOUT_S = 5.0
_SIGNALLED = 128  # exit codes from here on are those of signals
_LONGEST_LINE = 200  # characters of a program's last words in a sentence
HELLO_LOG_BYTES = 16 * 1024 * 1024  # half of what a manager takes in one message
_KEPT_LINES = 2000
_KEPT_CHARACTERS = 256 * 1024
_MIN_REPORT_STEP = 5  # percent of a pull between two reports


class JupyterKernelsLike(Protocol):
    """What the reconciler needs of ``jupyter_kernels.JupyterKernels``."""

    async def converge(
        self,
        kernel_id: KernelId,
        ref: str,
        wants: Iterable[JupyterKernelWant],
        kernelspecs: dict[str, KernelSpecFacts],
        image: str = ...,
    ) -> None: ...

    async def adopt(self, kernel_id: KernelId, ref: str, image: str = ...) -> None: ...

    def reports(self, kernel_id: KernelId) -> list[JupyterKernelReport]: ...

    async def activity(self, kernel_id: KernelId) -> tuple[bool, float | None]: ...

    async def interrupt(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId) -> None: ...

    def relay_socket(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId, generation: int) -> Path: ...

    async def stop_all(self, kernel_id: KernelId, why: Reason | None = None) -> None: ...

    async def close(self) -> None: ...


class Step(enum.Enum):
    NOTHING = "nothing"
    START = "start"  # from wherever it stopped
    RUN = "run"  # it runs: see to what is inside
    RESTART = "restart"  # a restart was asked for that it has not had
    END = "end"  # it is not wanted any more
    ENDED = "ended"  # it ended, and nobody here asked for that
    CLEAR = "clear"  # it is over; something of it is left


def next_step(target: Target, status: KernelStatus, container: ContainerState | None, *, restart: bool = False) -> Step:
    """What to do about a kernel wanted as ``target``, last told as ``status``, and found as ``container`` (or not).

    ``restart``: one more was asked for than it has had.
    """
    if status in FINAL:
        return Step.CLEAR if container is not None else Step.NOTHING
    if target is Target.TERMINATED or status is KernelStatus.TERMINATING:
        return Step.END
    if restart and status is KernelStatus.RUNNING and container is not None:
        return Step.RESTART
    if container is not None and container.running:
        return Step.RUN
    if container is None:
        return Step.START if status in _STARTING else Step.ENDED
    return Step.START if container.started_at is None else Step.ENDED


@dataclass(frozen=True)
class Site:
    """Where kernels run here: the agent's name for users, its volumes, and who processes are, if an admin says so.
    ``evenly``: of several devices the emptiest is given, else the fullest."""

    agent: str
    volumes: Mapping[str, Path]
    identity: Identity | None = None
    evenly: bool = False


class Reconciler:
    """Guarantees: one task per kernel at a time; a revision is on disk before it is sent, unless the disk is full; a
    container without our label is never touched; devices are held from before the container exists until it is gone.

    ``on_report`` gets each new report, on the loop. ``jupyter`` is set before ``start``: it needs ``jupyter_changed``.
    """

    def __init__(
        self,
        runtime: Runtime,
        store: StateFolder,
        inventory: Inventory,
        site: Site,
        doors: Doors,
        access: ManagerAccess,
        on_report: Callable[[KernelReport], None],
        *,
        shares: Holding,
        orphan_grace_s: float = 60.0,
    ) -> None:
        self.jupyter: JupyterKernelsLike
        self._runtime = runtime
        self._store = store
        self._inventory = inventory
        self._site = site
        self._doors, self._access = doors, access
        self._shares = shares
        self._condemned: dict[KernelId, Reason] = {}  # to be ended by ourselves, and why
        self._held: dict[KernelId, int] = {}  # main process for which the limits of its GPUs were seen to hold
        self._on_report = on_report
        self._orphan_grace_s = orphan_grace_s
        self._states: dict[KernelId, KernelState] = {}
        self._strays: dict[KernelId, FoundContainer] = {}  # ours by label, and nothing known about them
        self._orphans: dict[KernelId, float] = {}  # not wanted: when to remove
        self._told_everything = False  # a complete Wanted has come
        self._ooms: dict[KernelId, tuple[float, Memory | None]] = {}
        self._workers: dict[KernelId, asyncio.Task[None]] = {}
        self._wakes: dict[KernelId, asyncio.Event] = {}
        self._pulls: dict[KernelId, asyncio.Task[None]] = {}
        self._programs = Programs(runtime, self._look_at)
        self._unsaved: set[KernelId] = set()  # whose state found no room on disk
        self._background: list[asyncio.Task[None]] = []
        self._said: set[str] = set()  # what the runtime said works badly

    # Life

    async def start(self) -> None:
        """Find what an earlier agent left and go on with it."""
        self._states = {key: _told_again(state) for key, state in self._store.load().items()}
        await self._find()
        for kernel_id, state in self._states.items():
            if state.report.status not in FINAL and state.report.runtime_ref is not None:
                await self._adopt(kernel_id, state.report.runtime_ref, state.want.image)
            self._look_at(kernel_id)
        await self._check_runtime()
        self._background = [asyncio.create_task(self._listen()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Stop looking. Containers stay."""
        tasks = [*self._background, *self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._programs.close()
        await self._doors.close()

    # What others ask

    def reports(self) -> list[KernelReport]:
        """The latest of every kernel, for ``Hello``; with the logs of those that ended as far as one message holds."""
        strays = [
            KernelReport(
                kernel_id=found.kernel_id,
                session_id=found.session_id,
                status=KernelStatus.RUNNING if found.running else KernelStatus.TERMINATING,
                revision=_recovered_revision(),
                runtime_ref=found.ref,
                devices=found.devices,
            )
            for found in self._strays.values()
        ]
        return [*_with_logs_within(HELLO_LOG_BYTES, [state.report for state in self._states.values()]), *strays]

    def watched(self) -> list[Watched]:
        """The kernels that hold shares of GPUs, for the watchdog."""
        found = []
        for kernel_id, state in self._states.items():
            limits = self._shares.limits(_amounts(state.report.devices))
            if limits and state.report.runtime_ref is not None:
                allowed = {limit.device_id: limit.total_bytes for limit in limits}
                found.append(Watched(kernel_id, state.report.runtime_ref, allowed))
        return found

    def tell_excess(self, kernel_id: KernelId, reason: Reason) -> None:
        """Show that a kernel holds more of a GPU than it may. It runs on."""
        state = self._states.get(kernel_id)
        if state is not None and state.report.status is KernelStatus.RUNNING:
            self._tell(kernel_id, reason=reason)

    def end_for(self, kernel_id: KernelId, reason: Reason) -> None:
        """End a kernel that the agent itself cannot let run on."""
        state = self._states.get(kernel_id)
        if state is not None and state.report.status not in FINAL:
            self._condemned[kernel_id] = reason
            self._look_at(kernel_id)

    def open_ref_of(self, kernel_id: KernelId) -> str | None:
        """As ``ref_of``, but ``None`` while nothing may run in it yet."""
        return self.ref_of(kernel_id) if self._is_open(kernel_id) else None

    def ref_of(self, kernel_id: KernelId) -> str | None:
        """The runtime's name of a kernel's container; ``None`` if there is none."""
        state = self._states.get(kernel_id)
        return state.report.runtime_ref if state else None

    async def stats(self) -> dict[str, dict[str, float]]:
        """``{kernel id: figures}`` of those that run, for ``Heartbeat``."""
        running = [
            (kernel_id, state.report.runtime_ref)
            for kernel_id, state in self._states.items()
            if state.report.status is KernelStatus.RUNNING and state.report.runtime_ref
        ]
        figures = {}
        for kernel_id, ref in running:
            with contextlib.suppress(RuntimeFault, TimeoutError):
                figures[str(kernel_id)] = await asyncio.wait_for(self._runtime.stats(ref), _STATS_TIMEOUT_S)
        return {kernel_id: figure for kernel_id, figure in figures.items() if figure}

    def running(self) -> list[KernelId]:
        return [key for key, state in self._states.items() if state.report.status is KernelStatus.RUNNING]

    def runs_program(self, kernel_id: KernelId) -> bool:
        """A batch session's command, or a bootstrap script, runs."""
        state = self._states.get(kernel_id)
        if state is None:
            return False
        return (COMMAND in state.programs and state.command_code is None) or (
            BOOTSTRAP in state.programs and not state.bootstrapped
        )

    def held(self) -> dict[KernelId, dict[str, dict[str, str]]]:
        """Which devices each kernel holds, as in its report."""
        return dict(self._all_held())

    def is_suspended(self, kernel_id: KernelId) -> bool:
        state = self._states.get(kernel_id)
        return state is not None and state.report.suspended

    async def suspend(self, kernel_id: KernelId) -> None:
        """Freeze what runs in it. Raises ``KeyError`` or ``RuntimeFault``."""
        ref = self._running_ref(kernel_id)
        self._change(kernel_id, asleep=_digest(self._states[kernel_id].want))
        await self._runtime.pause(ref)
        self._tell(kernel_id, suspended=True)

    async def resume(self, kernel_id: KernelId) -> None:
        """Let it go on, if it was suspended. Raises ``KeyError`` or ``RuntimeFault``."""
        await self._runtime.unpause(self._running_ref(kernel_id))
        self._tell(kernel_id, suspended=False)

    def _running_ref(self, kernel_id: KernelId) -> str:
        report = self._states[kernel_id].report
        if report.runtime_ref is None or report.status is not KernelStatus.RUNNING:
            raise KeyError(kernel_id)
        return report.runtime_ref

    async def logs(self, kernel_id: KernelId, tail: int) -> str:
        """The container's output, and what processes inside printed. Raises ``KeyError``."""
        ref = self._states[kernel_id].report.runtime_ref
        own = await self._runtime.logs(ref, tail) if ref else ""
        run = self._run_folder(kernel_id)
        return own + await asyncio.to_thread(folders.tail_logs, run, tail)

    # What the manager says

    def wanted(self, message: Wanted) -> None:
        for want in message.kernels:
            self._want(want)
        if message.complete:
            self._told_everything = True
            named = {want.kernel_id for want in message.kernels}
            for kernel_id in (self._states.keys() | self._strays.keys()) - named:
                self._doubt(kernel_id)

    def forget(self, kernel_ids: Iterable[KernelId]) -> None:
        """The manager has the end of these on record."""
        for kernel_id in kernel_ids:
            state = self._states.get(kernel_id)
            if state is None:
                continue
            if state.report.status in FINAL:
                self._drop(kernel_id)
            else:
                self._doubt(kernel_id)

    def _want(self, want: KernelWant) -> None:
        kernel_id = want.kernel_id
        self._orphans.pop(kernel_id, None)
        known = self._states.get(kernel_id)
        if known is not None:
            want = _as_kept(want, known.report.runtime_ref)
            if known.want != want:
                self._change(kernel_id, want=want)
            if known.report.status in FINAL:
                self._on_report(known.report)  # the manager has not got it
        else:
            self._begin(want)
        pull = self._pulls.get(kernel_id)
        if want.target is Target.TERMINATED and pull is not None:
            pull.cancel()
        self._look_at(kernel_id)

    def _begin(self, want: KernelWant) -> None:
        stray = self._strays.pop(want.kernel_id, None)
        report = KernelReport(
            want.kernel_id, want.session_id, KernelStatus.PREPARING, _first_revision(), restarts=want.restarts
        )
        if stray is not None:
            status = KernelStatus.RUNNING if stray.running else KernelStatus.CREATING
            report = replace(
                report,
                status=status,
                revision=_recovered_revision(),
                runtime_ref=stray.ref,
                devices=stray.devices,
            )
        elif want.target is Target.TERMINATED:
            report = replace(report, status=KernelStatus.TERMINATED)  # nothing was ever made of it here
        state = KernelState(want, report, boot_id=_boot_id())
        self._save(state)
        self._on_report(report)

    def _doubt(self, kernel_id: KernelId) -> None:
        """The manager does not name it. Perhaps it has just been placed, so wait a little before removing it."""
        if kernel_id not in self._orphans:
            log.warning("kernel %s: nobody wants it; removing it in %s s", kernel_id, self._orphan_grace_s)
            self._orphans[kernel_id] = time.monotonic() + self._orphan_grace_s
            asyncio.get_running_loop().call_later(self._orphan_grace_s, self._look_at, kernel_id)

    # Looking

    def jupyter_changed(self, kernel_id: KernelId) -> None:
        """For ``JupyterKernels``: a report of that kernel has changed."""
        state = self._states.get(kernel_id)
        if state is not None and state.report.status not in FINAL:
            self._tell(kernel_id)

    def _look_at(self, kernel_id: KernelId) -> None:
        wake = self._wakes.setdefault(kernel_id, asyncio.Event())
        wake.set()
        if kernel_id not in self._workers:
            self._workers[kernel_id] = asyncio.create_task(self._work(kernel_id, wake))

    async def _work(self, kernel_id: KernelId, wake: asyncio.Event) -> None:
        """Reconcile until there was nothing new to look at and nothing failed."""
        failures = 0
        try:
            while wake.is_set():
                wake.clear()
                try:
                    await self._reconcile(kernel_id)
                    failures = 0
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the agent
                    failures += 1
                    self._log_failure(kernel_id, failures, error)
                    self._tell_what_it_waits_for(kernel_id, error)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), _delay(failures))
                    wake.set()
        finally:
            del self._workers[kernel_id]

    def _log_failure(self, kernel_id: KernelId, failures: int, error: Exception) -> None:
        if isinstance(error, RuntimeFault):
            level = logging.WARNING if failures == 1 else logging.DEBUG
            log.log(level, "kernel %s: %s (attempt %s)", kernel_id, error, failures)
        else:
            log.error("kernel %s: attempt %s failed", kernel_id, failures, exc_info=error)

    def _tell_what_it_waits_for(self, kernel_id: KernelId, error: Exception) -> None:
        """It is tried again, a start until the manager's deadline; meanwhile the owner sees what is amiss."""
        state = self._states.get(kernel_id)
        reason = error.reason if isinstance(error, RuntimeFault) else folders.disk_full(self._store.path)
        if reason is not None and state is not None and state.report.status in _WANTED:
            self._tell(kernel_id, reason=reason)

    async def _reconcile(self, kernel_id: KernelId) -> None:
        if self._is_due(kernel_id):
            await self._remove_orphan(kernel_id)
            return
        state = self._states.get(kernel_id)
        if state is None:
            return
        ref = state.report.runtime_ref
        container = await self._runtime.inspect(ref) if ref else None
        state = self._states[kernel_id]  # it may have changed while we asked
        if container is not None and container.paused:
            container = await self._wake_if_wanted(kernel_id, container)
            state = self._states[kernel_id]
        if kernel_id in self._condemned and ref is not None and state.report.status not in FINAL:
            await self._end_condemned(kernel_id, ref, self._condemned[kernel_id])
            return
        restart = state.want.restarts > state.report.restarts
        match next_step(state.want.target, state.report.status, container, restart=restart):
            case Step.START:
                await self._start(kernel_id, ref if container is not None else None)
            case Step.RUN:
                assert container is not None
                self._tell(kernel_id, suspended=container.paused)
                if not container.paused:
                    await self._fit(kernel_id, container.size)
                    await self._see_to(kernel_id)
            case Step.RESTART:
                await self._restart(kernel_id)
            case Step.END:
                await self._end(kernel_id)
            case Step.ENDED:
                await self._explain_end(kernel_id, container)
            case Step.CLEAR:
                await self._clear(kernel_id)
            case Step.NOTHING:
                pass

    async def _wake_if_wanted(self, kernel_id: KernelId, container: ContainerState) -> ContainerState:
        """Frozen, nothing can be done to it: it is thawed when anything else is wanted than when that began."""
        state = self._states[kernel_id]
        if state.asleep is None:  # frozen from outside
            self._change(kernel_id, asleep=_digest(state.want))
        elif state.asleep != _digest(state.want) and state.report.runtime_ref is not None:
            await self._runtime.unpause(state.report.runtime_ref)
            return replace(container, paused=False)
        return container

    # Steps

    async def _start(self, kernel_id: KernelId, ref: str | None) -> None:
        """``ref`` is the container if it is made already, by an agent that did not get to starting it."""
        want = self._states[kernel_id].want
        try:
            await self._runtime.start(ref or await self._make(kernel_id, want))
        except asyncio.CancelledError:
            if not self._was_pull_cancelled(kernel_id):
                raise
            self._look_at(kernel_id)
        except RuntimeFault as fault:
            if fault.reason.code == "engine-down":
                raise  # the engine may come back; the manager has a deadline for starting
            await self._fail(kernel_id, fault.reason)
        except DeviceFault as fault:
            facts = {"agent": self._site.agent, "device": fault.device, "cause": fault.cause}
            await self._fail(kernel_id, Reason.of("device-not-ready", **facts))
        except NoRoom as error:
            figures = {"slot": error.slot, "asked": error.asked, "free": error.free, "total": error.total}
            await self._fail(kernel_id, Reason.of("devices-taken", agent=self._site.agent, **figures))
        except OptionConflict as error:
            await self._fail(kernel_id, Reason.of("create-failed", agent=self._site.agent, cause=str(error)))
        except NotHeld as error:
            await self._fail_unheld(kernel_id, error)
        else:
            self._look_at(kernel_id)

    async def _make(self, kernel_id: KernelId, want: KernelWant) -> str:
        """Everything up to a container that can be started; its ref. Each part may have been done before."""
        devices = self._hold_devices(kernel_id, want)
        place = self._store.kernel_folder(kernel_id)
        identity = folders.identity_for(want.mounts, self._site.volumes, self._site.identity, self._site.agent)
        prepared = await asyncio.to_thread(
            folders.prepare, place, want.mounts, self._site.volumes, identity, self._site.agent
        )
        await asyncio.to_thread(self._put_files, kernel_id, prepared.scratch, want.files)
        await self._pull(kernel_id, want)
        image = await self._runtime.inspect_image(want.image_digest or want.image)
        self._change(kernel_id, kernelspecs=image.kernelspecs, boot_id=_boot_id())
        self._tell(kernel_id, status=KernelStatus.CREATING, reason=Reason.of("creating", agent=self._site.agent))
        held = _amounts(devices)
        options = await asyncio.to_thread(self._inventory.prepare, held, place / folders.DEVICES)
        limited = await asyncio.to_thread(self._shares.prepare, place, held)
        request = CreateRequest(want, prepared, options.merge(limited), devices)
        ref = await self._runtime.create(request)
        self._change(kernel_id, want=_as_kept(self._states[kernel_id].want, ref))
        self._tell(kernel_id, runtime_ref=ref)
        return ref

    def _put_files(self, kernel_id: KernelId, home: Path, files: Iterable[FileWant]) -> None:
        """One that something is in the way of is left out: a folder mounted there, or another file's folder."""
        for want in files:
            try:
                folders.put_file(home, want)
            except (OSError, ValueError) as error:
                log.warning("kernel %s: %s could not be put into its home: %s", kernel_id, want.path, error)

    def _hold_devices(self, kernel_id: KernelId, want: KernelWant) -> dict[str, dict[str, str]]:
        """No await between reading what is held and writing what we take."""
        held = self._states[kernel_id].report.devices
        if held:
            return held
        others = [_amounts(devices) for owner, devices in self._all_held() if owner != kernel_id]
        chosen = allocate(want.slots, self._inventory.devices, others, evenly=self._site.evenly)
        devices = _written(chosen)
        self._tell(kernel_id, devices=devices, reason=Reason.of("preparing", agent=self._site.agent))
        return devices

    def _all_held(self) -> list[tuple[KernelId, dict[str, dict[str, str]]]]:
        known = [(key, state.report.devices) for key, state in self._states.items() if state.report.devices]
        return known + [(key, stray.devices) for key, stray in self._strays.items()]

    async def _pull(self, kernel_id: KernelId, want: KernelWant) -> None:
        last = -_MIN_REPORT_STEP

        def progress(percent: float, done: int, total: int) -> None:
            nonlocal last
            if percent >= last + _MIN_REPORT_STEP and kernel_id in self._pulls:
                last = int(percent)
                figures = {"pct": f"{percent:.0f}", "done": format_size(done), "total": format_size(total)}
                reason = Reason.of("pulling", image=want.image, agent=self._site.agent, **figures)
                self._tell(kernel_id, status=KernelStatus.PULLING, reason=reason)

        pull = asyncio.create_task(self._runtime.ensure_image(want.image, want.image_digest, progress))
        self._pulls[kernel_id] = pull
        try:
            await pull
        finally:
            pull.cancel()
            del self._pulls[kernel_id]

    def _was_pull_cancelled(self, kernel_id: KernelId) -> bool:
        """True if only the pull was cancelled, because nobody wants this any more, and not our own task."""
        task = asyncio.current_task()
        state = self._states.get(kernel_id)
        wanted = state is not None and state.want.target is Target.RUNNING
        return not wanted and task is not None and task.cancelling() == 0

    async def _see_to(self, kernel_id: KernelId) -> None:
        state = self._states[kernel_id]
        ref = state.report.runtime_ref
        if ref is None or not await self._is_held(kernel_id, ref):
            return
        if not await self._has_doors(kernel_id) or not await self._is_bootstrapped(kernel_id, ref):
            return
        if state.report.status is not KernelStatus.RUNNING:
            log.info("kernel %s: %s -> RUNNING", kernel_id, state.want.image)
        amiss = await asyncio.to_thread(folders.disk_full, self._store.path)
        reason = amiss or Reason.of("running", agent=self._site.agent)
        self._tell(kernel_id, status=KernelStatus.RUNNING, reason=reason)
        if not state.kernelspecs:  # adopted without a record
            image = await self._runtime.inspect_image(state.want.image_digest or state.want.image)
            self._change(kernel_id, kernelspecs=image.kernelspecs)
        specs = {spec.name: spec for spec in self._states[kernel_id].kernelspecs}
        want = self._states[kernel_id].want
        access: dict[str, str] = {}
        if want.access_token is not None:
            access = await self._access.grant(kernel_id, self._run_folder(kernel_id), want.access_token)
        processes = [replace(one, env={**access, **one.env}) for one in want.jupyter_kernels]
        await self.jupyter.converge(kernel_id, ref, processes, specs, want.image)
        self._tell(kernel_id)
        if want.command is not None:
            env = {name: value for name, value in access.items() if name not in want.environ}
            await self._see_to_command(kernel_id, ref, want.command, env)

    async def _fit(self, kernel_id: KernelId, has: Size | None) -> None:
        """Give the container the CPU and memory that are wanted since they were changed, or say why it keeps its own.

        Killed in between, the next agent begins this again. What was refused is not tried again.
        """
        state = self._states[kernel_id]
        want, report = state.want, state.report
        if want.resizes == 0 or (report.resizes == want.resizes and (report.refused or report.slots == want.slots)):
            return
        before, refused = report.devices, None
        try:
            has = await self._resize(kernel_id, has)
        except (RuntimeFault, NoRoom) as error:
            self._tell(kernel_id, devices=before)
            refused = self._why_not_resized(error)
        amounts = {"cpu": has.cpu, "mem": Decimal(has.mem_bytes)} if has else _pooled(_amounts(before))
        slots = ResourceSlots({**want.slots, **amounts})
        log.info("kernel %s: %s", kernel_id, refused.text if refused else f"has {slots.describe()} now")
        self._tell(kernel_id, resizes=want.resizes, slots=slots, refused=refused)

    async def _resize(self, kernel_id: KernelId, has: Size | None) -> Size:
        """The size that it has then. Its devices are held before it may use them."""
        state = self._states[kernel_id]
        want, ref = state.want, state.report.runtime_ref
        if has is None or ref is None:
            raise RuntimeFault(Reason.of("resize-runtime", agent=self._site.agent))
        devices = self._hold_pooled(kernel_id, want)
        size = Size(want.slots["cpu"], int(want.slots["mem"]), self._inventory.options(_amounts(devices)).cpus)
        if size != has:
            used = int((await self._runtime.stats(ref)).get("mem_used_bytes", 0))
            if size.mem_bytes < min(used, has.mem_bytes):
                asked = format_size(size.mem_bytes)
                raise RuntimeFault(Reason.of("resize-in-use", used=format_size(used), asked=asked))
            await self._runtime.resize(ref, size)
        return size

    def _hold_pooled(self, kernel_id: KernelId, want: KernelWant) -> dict[str, dict[str, str]]:
        """Hold CPU and memory anew; other devices stay. No await between reading what is held and writing."""
        kept = {slot: of for slot, of in self._states[kernel_id].report.devices.items() if slot not in _POOLED}
        others = [_amounts(devices) for owner, devices in self._all_held() if owner != kernel_id]
        asked = ResourceSlots({slot: want.slots[slot] for slot in _POOLED})
        chosen = allocate(asked, self._inventory.devices, [*others, _amounts(kept)])
        devices = {**kept, **_written(chosen)}
        self._tell(kernel_id, devices=devices)
        return devices

    def _why_not_resized(self, error: RuntimeFault | NoRoom) -> Reason:
        if isinstance(error, NoRoom):
            return Reason.of("resize-failed", agent=self._site.agent, cause=str(error))
        if error.reason.code == "engine-down":
            raise error  # it may come back
        return error.reason

    async def _is_held(self, kernel_id: KernelId, ref: str) -> bool:
        """The gate: nothing of a session runs before the limits of its GPUs hold for just this main process.

        Asked again after each start of the container and of the agent. Where they cannot be held the session ends.
        """
        held = _amounts(self._states[kernel_id].report.devices)
        if not self._shares.limits(held):
            return True
        pid = await self._runtime.main_pid(ref)
        if pid is None:
            return False  # it has ended; an event tells that
        if self._held.get(kernel_id) != pid:
            place = self._store.kernel_folder(kernel_id)
            try:
                await asyncio.to_thread(self._shares.hold, place, held, pid)
            except NotHeld as error:
                await self.jupyter.stop_all(kernel_id)
                await self._fail_unheld(kernel_id, error)
                return False
            self._held[kernel_id] = pid
        return True

    def _is_open(self, kernel_id: KernelId) -> bool:
        state = self._states.get(kernel_id)
        return state is None or kernel_id in self._held or not self._shares.limits(_amounts(state.report.devices))

    async def _fail_unheld(self, kernel_id: KernelId, error: NotHeld) -> None:
        await self._fail(kernel_id, Reason.of("gpu-share-unheld", agent=self._site.agent, cause=str(error)))

    async def _stop_container(self, kernel_id: KernelId, ref: str) -> None:
        """From here on its limits do not hold any more: whoever starts it again sets them anew."""
        if kernel_id in self._held:
            held = _amounts(self._states[kernel_id].report.devices)
            pid = await self._runtime.main_pid(ref)
            if pid is not None:
                await asyncio.to_thread(self._shares.let_go, held, pid)
            self._held.pop(kernel_id, None)
        await self._runtime.stop(ref)

    async def _has_doors(self, kernel_id: KernelId) -> bool:
        """See to the doors that the session asked for. One that asked for a door that is not here ends."""
        for door in self._states[kernel_id].want.doors:
            if door not in self._doors:
                missing = Reason.of("door-missing", agent=self._site.agent, door=door)
                await self.jupyter.stop_all(kernel_id, missing)
                await self._fail(kernel_id, missing)
                return False
            try:
                await self._doors.open(kernel_id, self._run_folder(kernel_id), door)
            except OSError as error:  # its user hinders it, and goes without
                log.warning("kernel %s: its door %s could not be put in place: %s", kernel_id, door, error)
        return True

    async def _is_bootstrapped(self, kernel_id: KernelId, ref: str) -> bool:
        """Run the bootstrap scripts before anything else, the owner's first.

        A session whose script fails is of no use and ends.
        """
        if self._states[kernel_id].bootstrapped:
            return True
        want = self._states[kernel_id].want
        for program, script in ((OWNER_BOOTSTRAP, want.owner_bootstrap), (BOOTSTRAP, want.bootstrap)):
            if script is not None and not await self._has_run(kernel_id, ref, program, script):
                return False
        self._change(kernel_id, bootstrapped=True)
        return True

    async def _has_run(self, kernel_id: KernelId, ref: str, program: str, script: str) -> bool:
        """True once it has ended well."""
        code = await self._program_code(kernel_id, ref, program, script, {})
        if code is None:
            self._tell(kernel_id, reason=Reason.of("bootstrapping", agent=self._site.agent))
            return False
        if code in (0, UNKNOWN_EXIT):
            return True
        line = folders.last_line(self._run_folder(kernel_id), self._program_folder(kernel_id, program))
        failed = Reason.of(f"{program}-failed", code=describe_exit(code), line=line)
        await self.jupyter.stop_all(kernel_id, failed)
        await self._fail(kernel_id, failed)
        return False

    async def _see_to_command(self, kernel_id: KernelId, ref: str, command: str, env: Mapping[str, str]) -> None:
        """A batch session ends with its command. That it has ended is on disk before the container is stopped."""
        code = await self._program_code(kernel_id, ref, COMMAND, command, env)
        if code is None or await self._runtime.is_ending(ref):
            return  # if the container ended and took the command along, an event tells that
        self._change(kernel_id, command_code=code)
        await self._end_with_command(kernel_id, ref, code)

    async def _end_with_command(self, kernel_id: KernelId, ref: str, code: int) -> None:
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=describe_exit(code))
        reason = self._out_of_memory(kernel_id) or reason if code else reason
        await self.jupyter.stop_all(kernel_id, reason)
        await self._stop_container(kernel_id, ref)
        await self._finish(kernel_id, KernelStatus.TERMINATED, code, reason)

    async def _program_code(
        self, kernel_id: KernelId, ref: str, program: str, script: str, env: Mapping[str, str]
    ) -> int | None:
        """Start a program that was not started since the container was; its exit code, if it has ended."""
        programs = self._states[kernel_id].programs
        if program not in programs:
            name = self._program_folder(kernel_id, program)
            process = await self._programs.start(kernel_id, ref, self._run_folder(kernel_id), name, script, env)
            programs = {**programs, program: process}
            self._change(kernel_id, programs=programs)
        return await self._programs.exit_code(kernel_id, programs[program])

    def _program_folder(self, kernel_id: KernelId, program: str) -> str:
        return folder_name(program, kernel_id, self._states[kernel_id].report.restarts)

    def _run_folder(self, kernel_id: KernelId) -> Path:
        return self._store.kernel_folder(kernel_id) / "run"

    async def _restart(self, kernel_id: KernelId) -> None:
        """The same container with all its files. Killed in between, the next agent begins this again."""
        state = self._states[kernel_id]
        ref = state.report.runtime_ref
        assert ref is not None
        await self.jupyter.stop_all(kernel_id)
        await self._stop_container(kernel_id, ref)
        await self._runtime.start(ref)
        self._change(kernel_id, programs={}, bootstrapped=False, command_code=None)
        reason = Reason.of("creating", agent=self._site.agent)
        self._tell(kernel_id, status=KernelStatus.CREATING, restarts=state.want.restarts, reason=reason)
        log.info("kernel %s: restarted", kernel_id)
        self._look_at(kernel_id)

    async def _end(self, kernel_id: KernelId) -> None:
        ref = self._states[kernel_id].report.runtime_ref
        self._tell(kernel_id, status=KernelStatus.TERMINATING, reason=None)
        code = None
        if ref is not None:
            await self.jupyter.stop_all(kernel_id)
            await self._stop_container(kernel_id, ref)
            container = await self._runtime.inspect(ref)
            code = container.exit_code if container else None
        await self._finish(kernel_id, KernelStatus.TERMINATED, code, None)

    async def _end_condemned(self, kernel_id: KernelId, ref: str, reason: Reason) -> None:
        await self.jupyter.stop_all(kernel_id, reason)
        await self._stop_container(kernel_id, ref)
        await self._finish(kernel_id, KernelStatus.TERMINATED, None, reason)

    async def _explain_end(self, kernel_id: KernelId, container: ContainerState | None) -> None:
        """It is gone, and we did not ask for it: say why."""
        state = self._states[kernel_id]
        if state.command_code is not None and state.report.runtime_ref is not None:
            await self._end_with_command(kernel_id, state.report.runtime_ref, state.command_code)
            return
        reason = await self._why_ended(kernel_id, container)
        await self.jupyter.stop_all(kernel_id, reason)
        await self._finish(kernel_id, KernelStatus.TERMINATED, container.exit_code if container else None, reason)

    async def _why_ended(self, kernel_id: KernelId, container: ContainerState | None) -> Reason:
        state = self._states[kernel_id]
        code = describe_exit(container.exit_code if container else None)
        out_of_memory = self._out_of_memory(kernel_id, certain=container is not None and container.oom)
        if out_of_memory is not None:
            return out_of_memory
        if state.boot_id != _boot_id():
            return Reason.of("host-restarted", agent=self._site.agent)
        if container is not None and _ended_at_once(container) and state.report.runtime_ref is not None:
            line = (await self._runtime.logs(state.report.runtime_ref, 1)).strip()[:_LONGEST_LINE]
            return Reason.of("container-exited", code=code, line=line)
        return Reason.of("killed-outside", code=code)

    def _out_of_memory(self, kernel_id: KernelId, *, certain: bool = False) -> Reason | None:
        """The sentence for it, if an out-of-memory event came a moment ago, or if that is ``certain``."""
        at, memory = self._ooms.get(kernel_id, (-_OOM_EXPLAINS_S, None))
        if not certain and time.monotonic() - at >= _OOM_EXPLAINS_S:
            return None
        limit = int(self._states[kernel_id].want.slots["mem"])
        used, limit = (memory.used_bytes, memory.limit_bytes) if memory else (limit, limit)
        return Reason.of("oom-killed", process="the session", used=format_size(used), limit=format_size(limit))

    async def _fail(self, kernel_id: KernelId, reason: Reason) -> None:
        """It never ran. Whatever was made of it goes away before that is told."""
        log.warning("kernel %s: %s", kernel_id, reason.text)
        await self._finish(kernel_id, KernelStatus.ERROR, None, reason)

    async def _finish(self, kernel_id: KernelId, status: KernelStatus, code: int | None, reason: Reason | None) -> None:
        """Remove all of it, then let go of its devices and say so: never the other way round."""
        printed = await self._last_printed(kernel_id)
        await self._clear(kernel_id)
        ended = [
            item
            if item.status is JupyterKernelStatus.DEAD
            else replace(item, status=JupyterKernelStatus.DEAD, exit_code=code, reason=reason)
            for item in self._jupyter_reports(kernel_id)
        ]
        self._ooms.pop(kernel_id, None)
        self._held.pop(kernel_id, None)
        self._condemned.pop(kernel_id, None)
        self._tell(
            kernel_id,
            status=status,
            runtime_ref=None,
            devices={},
            exit_code=code,
            reason=reason,
            jupyter_kernels=ended,
            log=printed,
        )
        log.info("kernel %s: %s (%s)", kernel_id, status, reason.text if reason else "as wanted")

    async def _last_printed(self, kernel_id: KernelId) -> str | None:
        """What the manager keeps of the log for a while."""
        if self._states[kernel_id].report.runtime_ref is None:
            return None
        try:
            return (await self.logs(kernel_id, _KEPT_LINES))[-_KEPT_CHARACTERS:]
        except (RuntimeFault, OSError) as error:
            log.warning("kernel %s: its log is lost: %s", kernel_id, error)
            return None

    async def _clear(self, kernel_id: KernelId) -> None:
        await self._doors.shut(kernel_id)
        refs = {found.ref for found in await self._runtime.list_ours() if found.kernel_id == kernel_id}
        for ref in refs:
            await self._runtime.remove(ref)
        await self._release_devices(kernel_id)
        await asyncio.to_thread(folders.delete, self._store.kernel_folder(kernel_id))

    async def _release_devices(self, kernel_id: KernelId) -> None:
        """What cannot be undone now is when the devices are made ready for another kernel: no end waits for it."""
        state, stray = self._states.get(kernel_id), self._strays.get(kernel_id)
        held = state.report.devices if state is not None else stray.devices if stray is not None else {}
        try:
            await asyncio.to_thread(self._inventory.release, _amounts(held))
        except Exception as error:  # noqa: BLE001 - an installed plugin's fault, or its tool's
            log.warning("kernel %s: its devices were not released: %s", kernel_id, error)

    # Orphans and strays

    def _is_due(self, kernel_id: KernelId) -> bool:
        return time.monotonic() >= self._orphans.get(kernel_id, float("inf"))

    async def _remove_orphan(self, kernel_id: KernelId) -> None:
        log.warning("kernel %s: removing it, nobody wants it", kernel_id)
        if kernel_id in self._states:
            await self.jupyter.stop_all(kernel_id)
        await self._clear(kernel_id)
        if self._is_due(kernel_id):  # not wanted meanwhile
            self._drop(kernel_id)

    def _drop(self, kernel_id: KernelId) -> None:
        tables = (self._states, self._strays, self._orphans, self._ooms, self._wakes, self._held, self._condemned)
        for table in tables:
            table.pop(kernel_id, None)
        self._unsaved.discard(kernel_id)
        self._store.drop(kernel_id)

    async def _find(self) -> None:
        """Compare the engine's containers with what is known: refs not written down, left-overs, and strays."""
        found = {item.kernel_id: item for item in await self._runtime.list_ours()}
        self._strays = {key: item for key, item in found.items() if key not in self._states}
        for kernel_id, item in found.items():
            state = self._states.get(kernel_id)
            if state is not None and state.report.status in FINAL:
                await self._clear(kernel_id)
            elif state is not None and state.report.runtime_ref != item.ref:
                self._tell(kernel_id, runtime_ref=item.ref)
        if self._told_everything:
            for kernel_id in self._strays:
                self._doubt(kernel_id)

    async def _adopt(self, kernel_id: KernelId, ref: str, image: str) -> None:
        try:
            container = await self._runtime.inspect(ref)
            if container is not None and container.running:
                await self.jupyter.adopt(kernel_id, ref, image)
        except RuntimeFault as fault:
            log.warning("kernel %s: %s", kernel_id, fault)

    # Background

    async def _listen(self) -> None:
        async for event in self._runtime.events():
            await self._heard(event)

    async def _heard(self, event: ContainerEvent) -> None:
        if event.kind == "oom" and event.kernel_id in self._states:
            ref = self._states[event.kernel_id].report.runtime_ref
            with contextlib.suppress(RuntimeFault):
                self._ooms[event.kernel_id] = (time.monotonic(), await self._runtime.memory(ref) if ref else None)
        for kernel_id in list(self._states) if event.kernel_id is None else [event.kernel_id]:
            if kernel_id in self._states:
                self._look_at(kernel_id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self._check_runtime()
                await self._find()
            except RuntimeFault as fault:
                log.warning("sweep: %s", fault)
            for kernel_id in list(self._unsaved):
                self._save(self._states[kernel_id])
            for kernel_id in list(self._states):
                self._look_at(kernel_id)

    async def _check_runtime(self) -> None:
        """An engine that was restarted, or an admin who reloaded the firewall, may have undone what keeps us safe."""
        said = set(await self._runtime.check())
        for sentence in sorted(said - self._said):
            log.warning("%s", sentence)
        self._said = said

    # Telling

    def _change(self, kernel_id: KernelId, **changes: Any) -> None:
        self._save(replace(self._states[kernel_id], **changes))

    def _save(self, state: KernelState) -> None:
        """On a full disk it is kept in memory and told all the same; a next agent tells larger revisions than ours."""
        kernel_id = state.want.kernel_id
        self._states[kernel_id] = state
        try:
            self._store.save(state)
            self._unsaved.discard(kernel_id)
        except OSError as error:
            self._unsaved.add(kernel_id)
            log.warning("kernel %s: its state cannot be written: %s", kernel_id, error)

    def _tell(self, kernel_id: KernelId, **changes: Any) -> None:
        """Report ``changes``, if they are any: on disk first, then to the manager."""
        old = self._states[kernel_id].report
        changes = {"jupyter_kernels": self._jupyter_reports(kernel_id), **changes}
        new = replace(old, **changes)
        if new != old:
            new = replace(new, revision=old.revision + 1)
            self._change(kernel_id, report=new)
            self._on_report(new)

    def _jupyter_reports(self, kernel_id: KernelId) -> list[JupyterKernelReport]:
        """The latest of each, also of those that have been let go of since."""
        state = self._states[kernel_id]
        live = {item.jupyter_kernel_id: item for item in self.jupyter.reports(kernel_id)}
        wanted = {want.jupyter_kernel_id for want in state.want.jupyter_kernels}
        old = {item.jupyter_kernel_id: item for item in state.report.jupyter_kernels}
        kept = {key: item for key, item in old.items() if key in wanted or key in live}
        return list({**kept, **live}.values())


def _as_kept(want: KernelWant, ref: str | None) -> KernelWant:
    """Once there is a container it has its files. They may be secret, and are not kept any longer."""
    return want if ref is None else replace(want, files=[])


def _with_logs_within(budget_bytes: int, reports: Iterable[KernelReport]) -> Iterator[KernelReport]:
    """Many may have ended while no manager was there; what is more than the budget goes without its log."""
    for report in reports:
        size = 0 if report.log is None else len(json.dumps(report.log))
        fits = size <= budget_bytes
        budget_bytes -= size if fits else 0
        yield report if fits else replace(report, log=None)


def _first_revision() -> int:
    """Revisions begin at the clock's seconds, so that a record that was lost can be followed by a larger one."""
    return int(time.time())


def _told_again(state: KernelState) -> KernelState:
    """What an earlier agent wrote down, told anew: on a full disk it may have told more than it could write."""
    return replace(state, report=replace(state.report, revision=max(state.report.revision, _recovered_revision())))


def _recovered_revision() -> int:
    """Larger than any that was told before our record was lost: reports come more slowly than seconds, on the whole."""
    return _first_revision() + 1000


def _amounts(devices: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Decimal]]:
    return {slot: {name: Decimal(amount) for name, amount in of.items()} for slot, of in devices.items()}


def _digest(want: KernelWant) -> str:
    """Of all that can be wanted anew; a token is exchanged without anybody wanting anything."""
    wanted = json.dumps(to_json(replace(want, access_token=None)), sort_keys=True)
    return hashlib.sha256(wanted.encode()).hexdigest()


def _written(chosen: Allocation) -> dict[str, dict[str, str]]:
    return {slot: {name: format(amount, "f") for name, amount in of.items()} for slot, of in chosen.items()}


def _pooled(held: Allocation) -> dict[str, Decimal]:
    return {slot: sum(held.get(slot, {}).values(), Decimal(0)) for slot in _POOLED}


def _delay(failures: int) -> float:
    shortest, longest = _BACKOFF_S
    return float(min(longest, shortest * 2 ** (failures - 1)))


def _ended_at_once(container: ContainerState) -> bool:
    """By itself and before it was of use: whoever ends one from outside sends a signal."""
    if container.started_at is None or container.ended_at is None or container.exit_code is None:
        return False
    return container.exit_code < _SIGNALLED and container.ended_at - container.started_at < _AT_ONCE


def _boot_id() -> str:
    """What is another one after each start of this host. No clock: those are set."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
