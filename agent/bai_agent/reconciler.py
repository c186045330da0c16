"""Wanted containers against found containers: start, adopt, end, remove orphans.

Level-triggered: a message or an event only says *look at this kernel again*; what to do follows from what is wanted and
what is there. ``looks`` is the loop: one task per kernel at a time, errors back off. A slow sweep looks at everything,
so a lost event costs time and nothing else. ``steps`` is the decision, pure; the rest carries it out.

Owns neither the processes in a container (``jupyter_kernels``) nor the link.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from bai_agent import folders
from bai_agent.book import FINAL, Book, boot_id, first_revision, recovered_revision
from bai_agent.containers import FAULTS, Containers, Site, as_kept
from bai_agent.devices.base import Figures
from bai_agent.devices.inventory import Inventory
from bai_agent.doors import Doors
from bai_agent.ends import Ends
from bai_agent.freezing import Freezing
from bai_agent.gate import Gate
from bai_agent.hold import Hold, Patience
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.looks import Looks
from bai_agent.manager_access import ManagerAccess
from bai_agent.mounting import Mounting
from bai_agent.programs import COMMAND, Programs
from bai_agent.readiness import Readiness, Unfit
from bai_agent.removal import Removal
from bai_agent.runtimes.base import ContainerEvent, Runtime, RuntimeFault
from bai_agent.runtimes.kernelspecs import tuned
from bai_agent.shares.holding import Holding
from bai_agent.shares.watchdog import Watched
from bai_agent.state import KernelState, StateFolder
from bai_agent.steps import STARTING, Step, next_step
from bai_agent.warm_pool import WarmPool
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import (
    KernelReport,
    KernelSpecFacts,
    KernelWant,
    Wanted,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

log = logging.getLogger(__name__)

_WANTED = STARTING | {KernelStatus.RUNNING}
_SWEEP_S = 30.0
_STATS_TIMEOUT_S = 5.0


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
        self.jupyter: JupyterKernels
        self.book = Book(store, on_report)
        self._looks = Looks(self._reconcile, self._tell_what_it_waits_for)
        self._runtime = runtime
        self._site = site
        self._doors, self._access = doors, access
        self._containers = Containers(runtime, inventory, shares, site, self.book, pool)
        self._mounting = Mounting(runtime, site, self.book)
        self._gate = Gate(runtime, shares, self.book)
        self._hold = Hold(runtime, self.book, patience or Patience(), self._looks.later)
        self._ends = Ends(runtime, site.agent, self.book)
        self._programs = Programs(runtime, self.book, self._looks.now)
        self._readiness = Readiness(runtime, site, self.book, self._mounting, self._gate, doors, self._programs)
        self._removal = Removal(runtime, self.book, self._containers, self._gate, doors, self._ends)
        self._freezing = Freezing(runtime, self.book)
        self._orphan_grace_s = orphan_grace_s
        self._orphans: dict[KernelId, float] = {}  # not wanted: when to remove
        self._told_everything = False  # a complete Wanted has come
        self._background: list[asyncio.Task[None]] = []
        self._said: set[str] = set()  # what the runtime said works badly

    # Life

    async def start(self) -> None:
        """Find what an earlier agent left and go on with it."""
        self.book.jupyter_reports = self.jupyter.reports
        self._removal.jupyter = self.jupyter
        self.book.load()
        await self._find()
        for kernel_id, state in self.book.states.items():
            if state.report.status not in FINAL and state.report.runtime_ref is not None:
                await self._adopt(kernel_id, state.report.runtime_ref, state.want.image)
            self._looks.now(kernel_id)
        await self._check_runtime()
        self._background = [asyncio.create_task(self._listen()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Stop looking. Containers stay."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._looks.stop()
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
            self._removal.condemn(kernel_id, reason)
            self._looks.now(kernel_id)

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
                async with asyncio.timeout(_STATS_TIMEOUT_S):
                    figures[str(kernel_id)] = await self._runtime.stats(ref)
        return {kernel_id: figure for kernel_id, figure in figures.items() if figure}

    def running(self) -> list[KernelId]:
        return self.book.running()

    def together(self, kernel_id: KernelId) -> list[KernelId]:
        """Those that run of the same session, this one among them."""
        return self.book.together(kernel_id)

    def is_starting_something(self) -> bool:
        """A container, or a Jupyter kernel in one."""
        return any(
            state.report.status in STARTING
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
        """Also if only others of its session are."""
        return self._freezing.is_suspended(kernel_id)

    async def suspend(self, kernel_id: KernelId, why: Reason | None = None) -> None:
        """Freeze all of its session, ``why`` if not by somebody's word. Raises ``KeyError`` or ``RuntimeFault``."""
        await self._freezing.suspend(kernel_id, why)

    async def resume(self, kernel_id: KernelId) -> None:
        """Let its session go on. Raises ``KeyError`` or ``RuntimeFault``."""
        await self._freezing.resume(kernel_id)

    async def rescue(self, kernel_id: KernelId) -> None:
        """Before an interrupt: what waits for memory gets enough of it to hear of that."""
        await self._hold.rescue(kernel_id)

    async def release_mount(self, kernel_id: KernelId, target: str, *, is_forced: bool) -> None:
        """Take a folder away that is wanted no longer, by force also if it is in use: from all containers of the
        session, or from none.

        Raises ``KeyError`` or ``RuntimeFault``.
        """
        self.book.running_ref(kernel_id)
        released = []
        try:
            for one in self.book.together(kernel_id):
                await self._mounting.release(one, self.book.running_ref(one), target, is_forced=is_forced)
                released.append(one)
        except RuntimeFault:
            for one in released:
                self._mounting.put_back(one, target)
                self._looks.now(one)
            raise

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
        self._looks.now(kernel_id)

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
            self._looks.later(self._orphan_grace_s, kernel_id)

    # Looking

    def jupyter_changed(self, kernel_id: KernelId) -> None:
        """For ``JupyterKernels``: a report of that kernel has changed."""
        state = self.book.states.get(kernel_id)
        if state is not None and state.report.status not in FINAL:
            self.book.tell(kernel_id)

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
            is_condemned = self._removal.is_condemned(kernel_id)
            container = await self._freezing.thaw_if_wanted(kernel_id, container, is_condemned=is_condemned)
            state = self.book.states[kernel_id]
        if self._removal.is_condemned(kernel_id):
            await self._removal.end_condemned(kernel_id)
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
                    await self._see_to(kernel_id)
            case Step.RESTART:
                await self._restart(kernel_id)
            case Step.END:
                await self._removal.end(kernel_id)
            case Step.ENDED:
                await self._removal.explain(kernel_id, container)
            case Step.CLEAR:
                await self._removal.clear(kernel_id)
            case Step.NOTHING:
                pass

    # Steps

    async def _start(self, kernel_id: KernelId, ref: str | None) -> None:
        """``ref`` is the container if it is made already, by an agent that did not get to starting it."""
        try:
            await self._runtime.start(ref or await self._containers.make(kernel_id))
        except asyncio.CancelledError:
            if not self._was_pull_cancelled(kernel_id):
                raise
            self._looks.now(kernel_id)
        except FAULTS as fault:
            if isinstance(fault, RuntimeFault) and fault.reason.code == "engine-down":
                raise  # the engine may come back; the manager has a deadline for starting
            await self._removal.fail(kernel_id, self._site.why_not_made(fault))
        else:
            self._looks.now(kernel_id)

    def _was_pull_cancelled(self, kernel_id: KernelId) -> bool:
        """True if only the pull was cancelled, because nobody wants this any more, and not our own task."""
        task = asyncio.current_task()
        state = self.book.states.get(kernel_id)
        wanted = state is not None and state.want.target is Target.RUNNING
        return not wanted and task is not None and task.cancelling() == 0

    async def _see_to(self, kernel_id: KernelId) -> None:
        ref = self.book.ref_of(kernel_id)
        if ref is None or not await self._is_ready(kernel_id, ref):
            return
        state = self.book.states[kernel_id]
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

    async def _is_ready(self, kernel_id: KernelId, ref: str) -> bool:
        try:
            return await self._readiness.reached(kernel_id, ref)
        except Unfit as unfit:
            await self._removal.fail(kernel_id, unfit.reason)
            return False

    def _specs(self, kernel_id: KernelId) -> dict[str, KernelSpecFacts]:
        """What its Jupyter kernels are started by."""
        state = self.book.states[kernel_id]
        specs = state.kernelspecs
        if self._runtime.isolated:
            mounted = [mount.target for mount in state.want.mounts]
            specs = [tuned(spec, mounted) for spec in specs]
        return {spec.name: spec for spec in specs}

    async def _see_to_command(self, kernel_id: KernelId, ref: str, command: str, env: Mapping[str, str]) -> None:
        """A batch session ends with its command. That it has ended is on disk before the container is stopped."""
        code = await self._programs.code(kernel_id, ref, COMMAND, command, env)
        if code is None or await self._runtime.is_ending(ref):
            return  # if the container ended and took the command along, an event tells that
        self.book.change(kernel_id, command_code=code)
        await self._removal.end_with_command(kernel_id, code)

    async def _restart(self, kernel_id: KernelId) -> None:
        """The same container with all its files. Killed in between, the next agent begins this again."""
        state = self.book.states[kernel_id]
        ref = state.report.runtime_ref
        assert ref is not None
        await self._removal.stop(kernel_id, ref)
        await self._runtime.start(ref)
        self.book.change(kernel_id, programs={}, bootstrapped=False, command_code=None)
        reason = Reason.of("creating", agent=self._site.agent)
        self.book.tell(kernel_id, status=KernelStatus.CREATING, restarts=state.want.restarts, reason=reason)
        log.info("kernel %s: restarted", kernel_id)
        self._looks.now(kernel_id)

    # Orphans and strays

    def _is_due(self, kernel_id: KernelId) -> bool:
        return time.monotonic() >= self._orphans.get(kernel_id, float("inf"))

    async def _remove_orphan(self, kernel_id: KernelId) -> None:
        log.warning("kernel %s: removing it, nobody wants it", kernel_id)
        if kernel_id in self.book.states:
            await self.jupyter.stop_all(kernel_id)
        await self._removal.clear(kernel_id)
        if self._is_due(kernel_id):  # not wanted meanwhile
            self._drop(kernel_id)

    def _drop(self, kernel_id: KernelId) -> None:
        self._removal.forget(kernel_id)
        self._orphans.pop(kernel_id, None)
        self.book.drop(kernel_id)

    async def _find(self) -> None:
        """Compare the engine's containers with what is known: refs not written down, left-overs, and strays."""
        found = {item.kernel_id: item for item in await self._runtime.list_ours()}
        self.book.strays = {key: item for key, item in found.items() if key not in self.book.states}
        for kernel_id, item in found.items():
            state = self.book.states.get(kernel_id)
            if state is not None and state.report.status in FINAL:
                await self._removal.clear(kernel_id)
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
                self._looks.now(kernel_id)

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
                self._looks.now(kernel_id)

    async def _check_runtime(self) -> None:
        """An engine that was restarted, or an admin who reloaded the firewall, may have undone what keeps us safe."""
        said = set(await self._runtime.check())
        for sentence in sorted(said - self._said):
            log.warning("%s", sentence)
        self._said = said
