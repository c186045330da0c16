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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bai_agent import folders
from bai_agent.book import FINAL, Book, boot_id, first_revision, recovered_revision
from bai_agent.containers import FAULTS, Containers, Site, as_kept
from bai_agent.devices.base import Figures
from bai_agent.devices.inventory import Inventory
from bai_agent.doors import Doors
from bai_agent.ends import Ends
from bai_agent.gate import Gate
from bai_agent.hold import Hold, Patience
from bai_agent.manager_access import ManagerAccess
from bai_agent.mounting import Mounting
from bai_agent.programs import (
    BOOTSTRAP,
    CLUSTER_SSHD,
    CLUSTER_SSHD_SCRIPT,
    COMMAND,
    OWNER_BOOTSTRAP,
    PACKAGES,
    Programs,
)
from bai_agent.runtimes import packages
from bai_agent.runtimes.base import (
    UNKNOWN_EXIT,
    ContainerEvent,
    ContainerState,
    Runtime,
    RuntimeFault,
    describe_exit,
)
from bai_agent.runtimes.kernelspecs import tuned
from bai_agent.shares.holding import Holding, NotHeld
from bai_agent.shares.watchdog import Watched
from bai_agent.state import KernelState, StateFolder
from bai_agent.warm_pool import WarmPool
from bai_jupyter.common.ids import JupyterKernelId, KernelId, SessionId
from bai_jupyter.common.messages import (
    JupyterKernelReport,
    JupyterKernelWant,
    KernelReport,
    KernelSpecFacts,
    KernelWant,
    Wanted,
    to_json,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

log = logging.getLogger(__name__)

_STARTING = frozenset({KernelStatus.PREPARING, KernelStatus.PULLING, KernelStatus.CREATING})
_WANTED = _STARTING | {KernelStatus.RUNNING}
_BACKOFF_S = (0.2, 30.0)
_SWEEP_S = 30.0
_STATS_TIMEOUT_S = 5.0


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

    async def save(self, kernel_id: KernelId, seconds: float) -> list[dict[str, object]]: ...

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
        patience: Patience | None = None,
        pool: WarmPool | None = None,
        orphan_grace_s: float = 60.0,
    ) -> None:
        self.jupyter: JupyterKernelsLike
        self.book = Book(store, on_report)
        self._runtime = runtime
        self._site = site
        self._doors, self._access = doors, access
        self._containers = Containers(runtime, inventory, shares, site, self.book, pool)
        self._mounting = Mounting(runtime, site, self.book)
        self._gate = Gate(runtime, shares, self.book)
        self._hold = Hold(runtime, self.book, patience or Patience(), self._look_later)
        self._ends = Ends(runtime, site.agent, self.book)
        self._programs = Programs(runtime, self.book, self._look_at)
        self._condemned: dict[KernelId, Reason] = {}  # to be ended by ourselves, and why
        self._freezing: set[SessionId] = set()  # some of its containers are frozen already
        self._orphan_grace_s = orphan_grace_s
        self._orphans: dict[KernelId, float] = {}  # not wanted: when to remove
        self._told_everything = False  # a complete Wanted has come
        self._workers: dict[KernelId, asyncio.Task[None]] = {}
        self._wakes: dict[KernelId, asyncio.Event] = {}
        self._background: list[asyncio.Task[None]] = []
        self._said: set[str] = set()  # what the runtime said works badly

    # Life

    async def start(self) -> None:
        """Find what an earlier agent left and go on with it."""
        self.book.jupyter_reports = self.jupyter.reports
        self.book.load()
        await self._find()
        for kernel_id, state in self.book.states.items():
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
        """The latest of every kernel, for ``Hello``."""
        return self.book.reports()

    def share_figures(self) -> dict[KernelId, Figures]:
        """What kernels hold of their shares of AMD's GPUs, for their owners."""
        return self._gate.figures()

    def watched(self) -> list[Watched]:
        """The kernels that hold shares of GPUs, for the watchdog."""
        return self._gate.watched()

    def tell_excess(self, kernel_id: KernelId, reason: Reason) -> None:
        """Show that a kernel holds more of a GPU than it may. It runs on."""
        state = self.book.states.get(kernel_id)
        if state is not None and state.report.status is KernelStatus.RUNNING:
            self.book.tell(kernel_id, reason=reason)

    def end_for(self, kernel_id: KernelId, reason: Reason) -> None:
        """End a kernel that the agent itself cannot let run on."""
        state = self.book.states.get(kernel_id)
        if state is not None and state.report.status not in FINAL:
            self._condemned[kernel_id] = reason
            self._look_at(kernel_id)

    def open_ref_of(self, kernel_id: KernelId) -> str | None:
        """As ``ref_of``, but ``None`` while nothing may run in it yet."""
        return self.ref_of(kernel_id) if self._gate.is_open(kernel_id) else None

    def ref_of(self, kernel_id: KernelId) -> str | None:
        """The runtime's name of a kernel's container; ``None`` if there is none."""
        return self.book.ref_of(kernel_id)

    async def stats(self) -> dict[str, dict[str, float]]:
        """``{kernel id: figures}`` of those that run, for ``Heartbeat``."""
        running = [
            (kernel_id, state.report.runtime_ref)
            for kernel_id, state in self.book.states.items()
            if state.report.status is KernelStatus.RUNNING and state.report.runtime_ref
        ]
        figures = {}
        for kernel_id, ref in running:
            with contextlib.suppress(RuntimeFault, TimeoutError):
                figures[str(kernel_id)] = await asyncio.wait_for(self._runtime.stats(ref), _STATS_TIMEOUT_S)
        return {kernel_id: figure for kernel_id, figure in figures.items() if figure}

    def running(self) -> list[KernelId]:
        return self.book.running()

    def together(self, kernel_id: KernelId) -> list[KernelId]:
        """Those that run of the same session, this one among them."""
        return self.book.together(kernel_id)

    def is_starting_something(self) -> bool:
        """A container, or a Jupyter kernel in one."""
        return any(
            state.report.status in _STARTING
            or any(one.status is JupyterKernelStatus.STARTING for one in state.report.jupyter_kernels)
            for state in self.book.states.values()
        )

    def runs_program(self, kernel_id: KernelId) -> bool:
        """A batch session's command, or a bootstrap script, runs."""
        return self._programs.runs(kernel_id)

    def held(self) -> dict[KernelId, dict[str, dict[str, str]]]:
        """Which devices each kernel holds, as in its report."""
        return self.book.held()

    def is_suspended(self, kernel_id: KernelId) -> bool:
        """Also if only others of its session are: an engine that failed, or a kill, may have left it so."""
        state = self.book.states.get(kernel_id)
        if state is None or state.want.cluster_host is None:
            return state is not None and state.report.suspended
        return any(self.book.states[one].report.suspended for one in self.book.together(kernel_id))

    async def suspend(self, kernel_id: KernelId, why: Reason | None = None) -> None:
        """Freeze what runs in it and in its session's others, in all or in none; ``why`` if not by somebody's word.

        Raises ``KeyError`` or ``RuntimeFault``.
        """
        self._running_ref(kernel_id)
        session_id = self.book.states[kernel_id].want.session_id
        self._freezing.add(session_id)
        try:
            for one in self.book.together(kernel_id):
                self.book.change(one, asleep=_digest(self.book.states[one].want))
                await self._runtime.pause(self._running_ref(one))
                self.book.tell(one, suspended=True, suspended_for=why)
        except RuntimeFault:
            with contextlib.suppress(RuntimeFault):
                await self.resume(kernel_id)
            raise
        finally:
            self._freezing.discard(session_id)

    async def resume(self, kernel_id: KernelId) -> None:
        """Let it and its session's others go on, those that were suspended. Raises ``KeyError`` or ``RuntimeFault``."""
        self._running_ref(kernel_id)
        for one in self.book.together(kernel_id):
            await self._runtime.unpause(self._running_ref(one))
            self.book.tell(one, suspended=False, suspended_for=None)

    async def rescue(self, kernel_id: KernelId) -> None:
        """Before an interrupt: what waits for memory gets enough of it to hear of that."""
        await self._hold.rescue(kernel_id)

    async def release_mount(self, kernel_id: KernelId, target: str, *, is_forced: bool) -> None:
        """Take a folder away that is wanted no longer, by force also if it is in use: from all containers of the
        session, or from none.

        Raises ``KeyError`` or ``RuntimeFault``.
        """
        self._running_ref(kernel_id)
        released = []
        try:
            for one in self.book.together(kernel_id):
                await self._mounting.release(one, self._running_ref(one), target, is_forced=is_forced)
                released.append(one)
        except RuntimeFault:
            for one in released:
                self._mounting.put_back(one, target)
                self._look_at(one)
            raise

    def _running_ref(self, kernel_id: KernelId) -> str:
        report = self.book.states[kernel_id].report
        if report.runtime_ref is None or report.status is not KernelStatus.RUNNING:
            raise KeyError(kernel_id)
        return report.runtime_ref

    async def logs(self, kernel_id: KernelId, tail: int) -> str:
        """The container's output, and what processes inside printed. Raises ``KeyError``."""
        return await self._ends.logs(kernel_id, tail)

    # What the manager says

    def wanted(self, message: Wanted) -> None:
        for want in message.kernels:
            self._want(want)
        if message.complete:
            self._told_everything = True
            named = {want.kernel_id for want in message.kernels}
            for kernel_id in (self.book.states.keys() | self.book.strays.keys()) - named:
                self._doubt(kernel_id)

    def forget(self, kernel_ids: Iterable[KernelId]) -> None:
        """The manager has the end of these on record."""
        for kernel_id in kernel_ids:
            state = self.book.states.get(kernel_id)
            if state is None:
                continue
            if state.report.status in FINAL:
                self._drop(kernel_id)
            else:
                self._doubt(kernel_id)

    def _want(self, want: KernelWant) -> None:
        kernel_id = want.kernel_id
        self._orphans.pop(kernel_id, None)
        known = self.book.states.get(kernel_id)
        if known is not None:
            want = as_kept(want, known.report.runtime_ref)
            if known.want != want:
                self.book.change(kernel_id, want=want)
            if known.report.status in FINAL:
                self.book.tell_again(kernel_id)
        else:
            self._begin(want)
        if want.target is Target.TERMINATED:
            self._containers.cancel_pull(kernel_id)
        self._look_at(kernel_id)

    def _begin(self, want: KernelWant) -> None:
        stray = self.book.strays.pop(want.kernel_id, None)
        report = KernelReport(
            want.kernel_id, want.session_id, KernelStatus.PREPARING, first_revision(), restarts=want.restarts
        )
        if stray is not None:
            status = KernelStatus.RUNNING if stray.running else KernelStatus.CREATING
            report = replace(
                report,
                status=status,
                revision=recovered_revision(),
                runtime_ref=stray.ref,
                devices=stray.devices,
            )
        elif want.target is Target.TERMINATED:
            report = replace(report, status=KernelStatus.TERMINATED)  # nothing was ever made of it here
        state = KernelState(want, report, boot_id=boot_id())
        self.book.begin(state)

    def _doubt(self, kernel_id: KernelId) -> None:
        """The manager does not name it. Perhaps it has just been placed, so wait a little before removing it."""
        if kernel_id not in self._orphans:
            log.warning("kernel %s: nobody wants it; removing it in %s s", kernel_id, self._orphan_grace_s)
            self._orphans[kernel_id] = time.monotonic() + self._orphan_grace_s
            self._look_later(self._orphan_grace_s, kernel_id)

    # Looking

    def jupyter_changed(self, kernel_id: KernelId) -> None:
        """For ``JupyterKernels``: a report of that kernel has changed."""
        state = self.book.states.get(kernel_id)
        if state is not None and state.report.status not in FINAL:
            self.book.tell(kernel_id)

    def _look_at(self, kernel_id: KernelId) -> None:
        wake = self._wakes.setdefault(kernel_id, asyncio.Event())
        wake.set()
        if kernel_id not in self._workers:
            self._workers[kernel_id] = asyncio.create_task(self._work(kernel_id, wake))

    def _look_later(self, delay_s: float, kernel_id: KernelId) -> None:
        asyncio.get_running_loop().call_later(delay_s, self._look_at, kernel_id)

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
        state = self.book.states.get(kernel_id)
        reason = error.reason if isinstance(error, RuntimeFault) else folders.disk_full(self.book.store.path)
        if reason is not None and state is not None and state.report.status in _WANTED:
            self.book.tell(kernel_id, reason=reason)

    async def _reconcile(self, kernel_id: KernelId) -> None:
        if self._is_due(kernel_id):
            await self._remove_orphan(kernel_id)
            return
        state = self.book.states.get(kernel_id)
        if state is None:
            return
        ref = state.report.runtime_ref
        container = await self._runtime.inspect(ref) if ref else None
        state = self.book.states[kernel_id]  # it may have changed while we asked
        if container is not None and container.paused:
            container = await self._wake_if_wanted(kernel_id, container)
            state = self.book.states[kernel_id]
        if kernel_id in self._condemned and ref is not None and state.report.status not in FINAL:
            await self._end_condemned(kernel_id, ref, self._condemned[kernel_id])
            return
        restart = state.want.restarts > state.report.restarts
        match next_step(state.want.target, state.report.status, container, restart=restart):
            case Step.START:
                await self._start(kernel_id, ref if container is not None else None)
            case Step.RUN:
                assert container is not None
                why = state.report.suspended_for if container.paused else None
                self.book.tell(kernel_id, suspended=container.paused, suspended_for=why)
                if not container.paused:
                    await self._containers.fit(kernel_id)
                    if await self._has_folders(kernel_id):
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
        """Frozen, nothing can be done to it: it is thawed when anything else is wanted than when that began, or if it
        is not whole: an agent was killed on the way, or somebody else froze one container of several."""
        state = self.book.states[kernel_id]
        if state.asleep is None:  # frozen from outside
            self.book.change(kernel_id, asleep=_digest(state.want))
        is_wanted = state.asleep not in (None, _digest(state.want))
        if state.report.runtime_ref is not None and (is_wanted or await self._is_half_frozen(kernel_id)):
            await self._runtime.unpause(state.report.runtime_ref)
            for other in self.book.together(kernel_id):
                await self._runtime.unpause(self._running_ref(other))
            return replace(container, paused=False)
        return container

    async def _is_half_frozen(self, kernel_id: KernelId) -> bool:
        """Others of its session run on, and nobody is about to freeze them."""
        for other in self.book.together(kernel_id):
            found = await self._runtime.inspect(self._running_ref(other))
            if found is not None and found.running and not found.paused:
                return self.book.states[kernel_id].want.session_id not in self._freezing
        return False

    # Steps

    async def _start(self, kernel_id: KernelId, ref: str | None) -> None:
        """``ref`` is the container if it is made already, by an agent that did not get to starting it."""
        try:
            await self._runtime.start(ref or await self._containers.make(kernel_id))
        except asyncio.CancelledError:
            if not self._was_pull_cancelled(kernel_id):
                raise
            self._look_at(kernel_id)
        except FAULTS as fault:
            if isinstance(fault, RuntimeFault) and fault.reason.code == "engine-down":
                raise  # the engine may come back; the manager has a deadline for starting
            await self._fail(kernel_id, self._site.why_not_made(fault))
        else:
            self._look_at(kernel_id)

    def _was_pull_cancelled(self, kernel_id: KernelId) -> bool:
        """True if only the pull was cancelled, because nobody wants this any more, and not our own task."""
        task = asyncio.current_task()
        state = self.book.states.get(kernel_id)
        wanted = state is not None and state.want.target is Target.RUNNING
        return not wanted and task is not None and task.cancelling() == 0

    async def _see_to(self, kernel_id: KernelId) -> None:
        state = self.book.states[kernel_id]
        ref = state.report.runtime_ref
        if ref is None or not await self._is_let_in(kernel_id, ref):
            return
        if not await self._has_doors(kernel_id) or not await self._is_bootstrapped(kernel_id, ref):
            return
        if state.report.status is not KernelStatus.RUNNING:
            log.info("kernel %s: %s -> RUNNING", kernel_id, state.want.image)
        held = await self._hold.see_to(kernel_id, ref)
        amiss = held or await asyncio.to_thread(folders.disk_full, self.book.store.path)
        reason = amiss or Reason.of("running", agent=self._site.agent)
        self.book.tell(kernel_id, status=KernelStatus.RUNNING, reason=reason)
        if not state.kernelspecs:  # adopted without a record
            image = await self._runtime.inspect_image(state.want.image_digest or state.want.image)
            self.book.change(kernel_id, kernelspecs=image.kernelspecs)
        want = self.book.states[kernel_id].want
        specs = self._specs(kernel_id)
        access: dict[str, str] = {}
        if want.access_token is not None:
            access = await self._access.grant(kernel_id, self.book.run_folder(kernel_id), want.access_token)
        processes = [replace(one, env={**access, **one.env}) for one in want.jupyter_kernels]
        await self.jupyter.converge(kernel_id, ref, processes, specs, want.image)
        self.book.tell(kernel_id)
        if want.command is not None:
            env = {name: value for name, value in access.items() if name not in want.environ}
            await self._see_to_command(kernel_id, ref, want.command, env)

    def _specs(self, kernel_id: KernelId) -> dict[str, KernelSpecFacts]:
        """What its Jupyter kernels are started by."""
        state = self.book.states[kernel_id]
        specs = state.kernelspecs
        if self._runtime.isolated:
            mounted = [mount.target for mount in state.want.mounts]
            specs = [tuned(spec, mounted) for spec in specs]
        return {spec.name: spec for spec in specs}

    async def _has_folders(self, kernel_id: KernelId) -> bool:
        """See to its folders, before anything runs in it. One that cannot have them from the start ends."""
        ref = self.book.states[kernel_id].report.runtime_ref
        if ref is None:
            return False
        try:
            await self._mounting.fit(kernel_id, ref)
        except RuntimeFault as fault:
            if await self._runtime.is_ending(ref):
                return False  # an event tells that
            has_begun = self.book.states[kernel_id].report.status is KernelStatus.RUNNING
            if has_begun or fault.reason.code == "engine-down":
                raise
            await self.jupyter.stop_all(kernel_id, fault.reason)
            await self._fail(kernel_id, fault.reason)
            return False
        return True

    async def _is_let_in(self, kernel_id: KernelId, ref: str) -> bool:
        """Where the limits of its GPUs cannot be held a session ends."""
        try:
            return await self._gate.open(kernel_id, ref)
        except NotHeld as fault:
            await self.jupyter.stop_all(kernel_id)
            await self._fail(kernel_id, self._site.why_not_made(fault))
            return False

    async def _stop_container(self, kernel_id: KernelId, ref: str) -> None:
        await self._gate.shut(kernel_id, ref)
        await self._runtime.stop(ref)

    async def _has_doors(self, kernel_id: KernelId) -> bool:
        """See to the doors that the session asked for. One that asked for a door that is not here ends."""
        for door in self.book.states[kernel_id].want.doors:
            if door not in self._doors:
                missing = Reason.of("door-missing", agent=self._site.agent, door=door)
                await self.jupyter.stop_all(kernel_id, missing)
                await self._fail(kernel_id, missing)
                return False
            try:
                await self._doors.open(kernel_id, self.book.run_folder(kernel_id), door)
            except OSError as error:  # its user hinders it, and goes without
                log.warning("kernel %s: its door %s could not be put in place: %s", kernel_id, door, error)
        return True

    async def _is_bootstrapped(self, kernel_id: KernelId, ref: str) -> bool:
        """Unpack what its image keeps for its home, then run the bootstrap scripts, the owner's first; then all else.

        A session whose script fails is of no use and ends.
        """
        if self.book.states[kernel_id].bootstrapped:
            return True
        state = self.book.states[kernel_id]
        want = state.want
        unpacking = packages.unpacking(state.packages, [mount.target for mount in want.mounts])
        if unpacking is not None and not await self._has_run(kernel_id, ref, PACKAGES, unpacking):
            return False
        if want.cluster_host is not None and not await self._has_sshd(kernel_id, ref):
            return False
        for program, script in ((OWNER_BOOTSTRAP, want.owner_bootstrap), (BOOTSTRAP, want.bootstrap)):
            if script is not None and not await self._has_run(kernel_id, ref, program, script):
                return False
        self.book.change(kernel_id, bootstrapped=True)
        return True

    async def _has_sshd(self, kernel_id: KernelId, ref: str) -> bool:
        """True once it is known whether others of its cluster find an SSH server there. It goes on without one."""
        return await self._programs.code(kernel_id, ref, CLUSTER_SSHD, CLUSTER_SSHD_SCRIPT, {}) is not None

    async def _has_run(self, kernel_id: KernelId, ref: str, program: str, script: str) -> bool:
        """True once it has ended well."""
        code = await self._programs.code(kernel_id, ref, program, script, {})
        if code is None:
            doing = "unpacking" if program == PACKAGES else "bootstrapping"
            self.book.tell(kernel_id, reason=Reason.of(doing, agent=self._site.agent))
            return False
        if code in (0, UNKNOWN_EXIT):
            return True
        line = self._programs.last_line(kernel_id, program)
        failed = Reason.of(f"{program}-failed", code=describe_exit(code), line=line)
        await self.jupyter.stop_all(kernel_id, failed)
        await self._fail(kernel_id, failed)
        return False

    async def _see_to_command(self, kernel_id: KernelId, ref: str, command: str, env: Mapping[str, str]) -> None:
        """A batch session ends with its command. That it has ended is on disk before the container is stopped."""
        code = await self._programs.code(kernel_id, ref, COMMAND, command, env)
        if code is None or await self._runtime.is_ending(ref):
            return  # if the container ended and took the command along, an event tells that
        self.book.change(kernel_id, command_code=code)
        await self._end_with_command(kernel_id, ref, code)

    async def _end_with_command(self, kernel_id: KernelId, ref: str, code: int) -> None:
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=describe_exit(code))
        reason = self._ends.out_of_memory(kernel_id) or reason if code else reason
        await self.jupyter.stop_all(kernel_id, reason)
        await self._stop_container(kernel_id, ref)
        await self._finish(kernel_id, KernelStatus.TERMINATED, code, reason)

    async def _restart(self, kernel_id: KernelId) -> None:
        """The same container with all its files. Killed in between, the next agent begins this again."""
        state = self.book.states[kernel_id]
        ref = state.report.runtime_ref
        assert ref is not None
        await self.jupyter.stop_all(kernel_id)
        await self._stop_container(kernel_id, ref)
        await self._runtime.start(ref)
        self.book.change(kernel_id, programs={}, bootstrapped=False, command_code=None)
        reason = Reason.of("creating", agent=self._site.agent)
        self.book.tell(kernel_id, status=KernelStatus.CREATING, restarts=state.want.restarts, reason=reason)
        log.info("kernel %s: restarted", kernel_id)
        self._look_at(kernel_id)

    async def _end(self, kernel_id: KernelId) -> None:
        ref = self.book.states[kernel_id].report.runtime_ref
        self.book.tell(kernel_id, status=KernelStatus.TERMINATING, reason=None)
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
        state = self.book.states[kernel_id]
        if state.command_code is not None and state.report.runtime_ref is not None:
            await self._end_with_command(kernel_id, state.report.runtime_ref, state.command_code)
            return
        reason = await self._ends.why(kernel_id, container)
        await self.jupyter.stop_all(kernel_id, reason)
        await self._finish(kernel_id, KernelStatus.TERMINATED, container.exit_code if container else None, reason)

    async def _fail(self, kernel_id: KernelId, reason: Reason) -> None:
        """It never ran. Whatever was made of it goes away before that is told."""
        log.warning("kernel %s: %s", kernel_id, reason.text)
        await self._finish(kernel_id, KernelStatus.ERROR, None, reason)

    async def _finish(self, kernel_id: KernelId, status: KernelStatus, code: int | None, reason: Reason | None) -> None:
        """Remove all of it, then let go of its devices and say so: never the other way round."""
        printed = await self._ends.last_printed(kernel_id)
        await self._clear(kernel_id)
        ended = [
            item
            if item.status is JupyterKernelStatus.DEAD
            else replace(item, status=JupyterKernelStatus.DEAD, exit_code=code, reason=reason)
            for item in self.book.all_jupyter_reports(kernel_id)
        ]
        self._forget_life(kernel_id)
        self.book.tell(
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

    def _forget_life(self, kernel_id: KernelId) -> None:
        self._ends.forget(kernel_id)
        self._gate.forget(kernel_id)
        self._condemned.pop(kernel_id, None)

    async def _clear(self, kernel_id: KernelId) -> None:
        await self._doors.shut(kernel_id)
        refs = {found.ref for found in await self._runtime.list_ours() if found.kernel_id == kernel_id}
        for ref in refs:
            await self._runtime.remove(ref)
        await self._containers.release(kernel_id)
        await asyncio.to_thread(folders.delete, self.book.store.kernel_folder(kernel_id))

    # Orphans and strays

    def _is_due(self, kernel_id: KernelId) -> bool:
        return time.monotonic() >= self._orphans.get(kernel_id, float("inf"))

    async def _remove_orphan(self, kernel_id: KernelId) -> None:
        log.warning("kernel %s: removing it, nobody wants it", kernel_id)
        if kernel_id in self.book.states:
            await self.jupyter.stop_all(kernel_id)
        await self._clear(kernel_id)
        if self._is_due(kernel_id):  # not wanted meanwhile
            self._drop(kernel_id)

    def _drop(self, kernel_id: KernelId) -> None:
        self._forget_life(kernel_id)
        self._orphans.pop(kernel_id, None)
        self._wakes.pop(kernel_id, None)
        self.book.drop(kernel_id)

    async def _find(self) -> None:
        """Compare the engine's containers with what is known: refs not written down, left-overs, and strays."""
        found = {item.kernel_id: item for item in await self._runtime.list_ours()}
        self.book.strays = {key: item for key, item in found.items() if key not in self.book.states}
        for kernel_id, item in found.items():
            state = self.book.states.get(kernel_id)
            if state is not None and state.report.status in FINAL:
                await self._clear(kernel_id)
            elif state is not None and state.report.runtime_ref != item.ref:
                self.book.tell(kernel_id, runtime_ref=item.ref)
        if self._told_everything:
            for kernel_id in self.book.strays:
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
        if event.kind == "oom" and event.kernel_id in self.book.states:
            await self._ends.note_out_of_memory(event.kernel_id)
        for kernel_id in list(self.book.states) if event.kernel_id is None else [event.kernel_id]:
            if kernel_id in self.book.states:
                self._look_at(kernel_id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self._check_runtime()
                await self._find()
            except RuntimeFault as fault:
                log.warning("sweep: %s", fault)
            self.book.save_again()
            for kernel_id in list(self.book.states):
                self._look_at(kernel_id)

    async def _check_runtime(self) -> None:
        """An engine that was restarted, or an admin who reloaded the firewall, may have undone what keeps us safe."""
        said = set(await self._runtime.check())
        for sentence in sorted(said - self._said):
            log.warning("%s", sentence)
        self._said = said


def _digest(want: KernelWant) -> str:
    """Of all that can be wanted anew; a token is exchanged without anybody wanting anything."""
    wanted = json.dumps(to_json(replace(want, access_token=None)), sort_keys=True)
    return hashlib.sha256(wanted.encode()).hexdigest()


def _delay(failures: int) -> float:
    shortest, longest = _BACKOFF_S
    return float(min(longest, shortest * 2 ** (failures - 1)))
