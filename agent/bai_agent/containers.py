"""A kernel's container: what it is made from, the devices that it holds meanwhile, and its size while it runs."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from bai_agent import folders
from bai_agent.allocation import Allocation, NoRoom, allocate, part_of
from bai_agent.book import FINAL, Book, Held, amounts_of, boot_id, written
from bai_agent.devices.base import DeviceFault, OptionConflict
from bai_agent.devices.inventory import Inventory
from bai_agent.runtimes import packages
from bai_agent.runtimes.base import CreateRequest, Identity, Recipe, Runtime, RuntimeFault, Size
from bai_agent.runtimes.spares import Spare
from bai_agent.shares.holding import Holding, NotHeld
from bai_agent.state import KernelState
from bai_agent.warm_pool import WarmPool, is_foreseeable
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import FileWant, ImageFacts, KernelWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, format_size, rounded_up
from bai_jupyter.common.statuses import KernelStatus

log = logging.getLogger(__name__)

POOLED = ("cpu", "mem")  # slots whose amount can be changed while a container runs
_MIN_REPORT_STEP = 5  # percent of a pull between two reports

FAULTS = (RuntimeFault, DeviceFault, NoRoom, OptionConflict, NotHeld)
"""Why a container cannot be made."""


@dataclass(frozen=True)
class Site:
    """Where kernels run here: the agent's name for users, its volumes, and who processes are, if an admin says so.
    ``evenly``: of several devices the emptiest is given, else the fullest."""

    agent: str
    volumes: Mapping[str, Path]
    identity: Identity | None = None
    evenly: bool = False

    def why_not_made(self, fault: Exception) -> Reason:
        """What a user reads of one of ``FAULTS``."""
        match fault:
            case RuntimeFault():
                return fault.reason
            case DeviceFault():
                return Reason.of("device-not-ready", agent=self.agent, device=fault.device, cause=fault.cause)
            case NoRoom():
                figures = {"slot": fault.slot, "asked": fault.asked, "free": fault.free, "total": fault.total}
                return Reason.of("devices-taken", agent=self.agent, **figures)
            case NotHeld():
                return Reason.of("gpu-share-unheld", agent=self.agent, cause=str(fault))
            case _:
                return Reason.of("create-failed", agent=self.agent, cause=str(fault))


class Containers:
    """Guarantee: devices are held from before the container exists until ``release``."""

    def __init__(
        self,
        runtime: Runtime,
        inventory: Inventory,
        shares: Holding,
        site: Site,
        book: Book,
        pool: WarmPool | None = None,
    ) -> None:
        self._runtime, self._inventory, self._shares = runtime, inventory, shares
        self._site, self._book, self._pool = site, book, pool
        self._pulls: dict[KernelId, asyncio.Task[None]] = {}
        self._fitting = asyncio.Lock()  # each of a session's containers has all of them fitted

    # Making one

    async def make(self, kernel_id: KernelId) -> str:
        """Everything up to a container that can be started, or runs already; its ref. Each part may have been done
        before.

        Raises one of ``FAULTS``, or ``CancelledError`` after ``cancel_pull``.
        """
        want = self._book.states[kernel_id].want
        self._hold(kernel_id, want)
        ref = await self._from_pool(want) or await self._runtime.create(await self._request(want))
        self._book.change(kernel_id, want=as_kept(self._book.states[kernel_id].want, ref))
        self._book.tell(kernel_id, runtime_ref=ref)
        return ref

    async def _from_pool(self, want: KernelWant) -> str | None:
        """One that was started ahead, if there is one that suits. Whatever goes wrong costs time and nothing else."""
        if self._pool is None:
            return None
        await self._pool.abandon(want.kernel_id)
        if not is_foreseeable(want):
            return None
        spare = self._pool.take(await asyncio.to_thread(self._recipe, want))
        if spare is None:
            return None
        try:
            return await self._pool.claim(spare, want, self._request)
        except (*FAULTS, OSError) as error:
            log.warning("kernel %s: it starts cold: %s", want.kernel_id, error)
            await self._pool.abandon(want.kernel_id, spare)
            return None

    def _recipe(self, want: KernelWant) -> Recipe:
        mounts = self._runtime.bound(
            tuple(folders.resolve(one, self._site.volumes, self._site.agent) for one in want.mounts)
        )
        environ = tuple(sorted(self._inventory.options({}).env.items()))
        return Recipe(want.image_digest, self._identity(want), mounts, want.shm_bytes, environ)

    def _identity(self, want: KernelWant) -> Identity:
        return folders.identity_for(want.mounts, self._site.volumes, self._site.identity, self._site.agent)

    async def _request(self, want: KernelWant, spare: Spare | None = None) -> CreateRequest:
        """What its container is made from, with all of that in place. A spare's image is there."""
        kernel_id = want.kernel_id
        place = self._book.store.kernel_folder(kernel_id)
        prepared = await asyncio.to_thread(
            folders.prepare, place, want.mounts, self._site.volumes, self._identity(want), self._site.agent
        )
        await asyncio.to_thread(_put_files, kernel_id, prepared.scratch, want.files)
        image = spare.image if spare else await self._pulled(kernel_id, want)
        self._book.change(
            kernel_id, kernelspecs=image.kernelspecs, packages=packages.parts_of(image.labels), boot_id=boot_id()
        )
        reason = Reason.of("creating", agent=self._site.agent)
        self._book.tell(kernel_id, status=KernelStatus.CREATING, reason=reason)
        devices = self._book.states[kernel_id].report.devices
        held = amounts_of(devices)
        options = await asyncio.to_thread(self._inventory.prepare, held, place / folders.DEVICES)
        limited = await asyncio.to_thread(self._shares.prepare, place, held)
        return CreateRequest(want, prepared, options.merge(limited), devices)

    def _hold(self, kernel_id: KernelId, want: KernelWant) -> Held:
        """No await between reading what is held and writing what we take."""
        held = self._book.states[kernel_id].report.devices
        if held:
            return held
        others = self._book.held_by_others(kernel_id)
        devices = written(allocate(want.slots, self._inventory.devices, others, evenly=self._site.evenly))
        self._book.tell(kernel_id, devices=devices, reason=Reason.of("preparing", agent=self._site.agent))
        return devices

    async def _pulled(self, kernel_id: KernelId, want: KernelWant) -> ImageFacts:
        await self._pull(kernel_id, want)
        return await self._runtime.inspect_image(want.image_digest or want.image)

    async def _pull(self, kernel_id: KernelId, want: KernelWant) -> None:
        last = -_MIN_REPORT_STEP

        def progress(percent: float, done: int, total: int) -> None:
            nonlocal last
            if percent >= last + _MIN_REPORT_STEP and kernel_id in self._pulls:
                last = int(percent)
                figures = {"pct": f"{percent:.0f}", "done": format_size(done), "total": format_size(total)}
                reason = Reason.of("pulling", image=want.image, agent=self._site.agent, **figures)
                self._book.tell(kernel_id, status=KernelStatus.PULLING, reason=reason)

        pull = asyncio.create_task(self._runtime.ensure_image(want.image, want.image_digest, progress))
        self._pulls[kernel_id] = pull
        try:
            await pull
        finally:
            pull.cancel()
            del self._pulls[kernel_id]

    def cancel_pull(self, kernel_id: KernelId) -> None:
        """Nobody wants it any more."""
        pull = self._pulls.get(kernel_id)
        if pull is not None:
            pull.cancel()

    async def release(self, kernel_id: KernelId) -> None:
        """Undo what was done to its devices; the container is gone.

        What cannot be undone now is when the devices are made ready for another kernel: no end waits for it.
        """
        if self._pool is not None:
            await self._pool.abandon(kernel_id)
        held = self._book.held_by(kernel_id)
        try:
            await asyncio.to_thread(self._inventory.release, held)
        except Exception as error:  # noqa: BLE001 - an installed plugin's fault, or its tool's
            log.warning("kernel %s: its devices were not released: %s", kernel_id, error)

    # Its size

    async def fit(self, kernel_id: KernelId) -> None:
        """Give the containers of its session the CPU and memory that are wanted since they were changed, or say why all
        of them keep what they have.

        Killed in between, the next agent begins this again. What was refused is not tried again.
        """
        if _is_fitted(self._book.states[kernel_id]):
            return
        async with self._fitting:
            states = {one: self._book.states[one] for one in self._book.of_session(kernel_id)}
            if len({state.want.resizes for state in states.values()}) > 1:
                return  # an agent was killed while it wrote that down: the others' comes with the next Wanted
            refused = next((state.report.refused for state in states.values() if _is_refused(state)), None)
            await self._fit_all({one: state for one, state in states.items() if not _is_fitted(state)}, refused)

    async def _fit_all(self, before: Mapping[KernelId, KernelState], refused: Reason | None) -> None:
        """``refused``: why others of the session have kept what they had."""
        sizes = {one: await self._size_of(one) for one in before}
        if refused is None:
            try:
                sizes |= await self._resize(sizes, {one: state.want for one, state in before.items()})
            except (RuntimeFault, NoRoom) as error:
                for one in filter(self._is_there, before):
                    self._book.tell(one, devices=before[one].report.devices)
                refused = self._why_not_resized(error)
        for one in filter(self._is_there, before):
            want, has, held = before[one].want, sizes[one], amounts_of(before[one].report.devices)
            amounts = {"cpu": has.cpu, "mem": Decimal(has.mem_bytes)} if has else _pooled(held)
            slots = ResourceSlots({**want.slots, **amounts})
            log.info("kernel %s: %s", one, refused.text if refused else f"has {slots.describe()} now")
            self._book.tell(one, resizes=want.resizes, slots=slots, refused=refused)

    def _is_there(self, kernel_id: KernelId) -> bool:
        """It has not ended meanwhile: then it holds nothing any more."""
        state = self._book.states.get(kernel_id)
        return state is not None and state.report.status not in FINAL

    async def _size_of(self, kernel_id: KernelId) -> Size | None:
        ref = self._book.ref_of(kernel_id)
        container = await self._runtime.inspect(ref) if ref else None
        return container.size if container else None

    async def _resize(
        self, sizes: Mapping[KernelId, Size | None], wants: Mapping[KernelId, KernelWant]
    ) -> dict[KernelId, Size]:
        """The sizes that all of them have then; if it raises, they have those that they had.

        Devices are held before a container may use them.
        """
        has = {one: size for one, size in sizes.items() if size is not None and self._is_there(one)}
        if len(has) < len(sizes):
            raise RuntimeFault(Reason.of("resize-runtime", agent=self._site.agent))
        wanted = {one: self._wanted_size(one, wants[one]) for one in has}
        for one in has:
            await self._check_in_use(one, has[one], wanted[one])
        changed = []
        try:
            for one in has:
                if wanted[one] != has[one]:
                    await self._runtime.resize(self._ref(one), wanted[one])
                    changed.append(one)
        except RuntimeFault:
            for one in changed:
                with suppress(RuntimeFault):
                    await self._runtime.resize(self._ref(one), has[one])
            raise
        return wanted

    def _wanted_size(self, kernel_id: KernelId, want: KernelWant) -> Size:
        devices = self._hold_pooled(kernel_id, want)
        return Size(want.slots["cpu"], int(want.slots["mem"]), self._inventory.options(amounts_of(devices)).cpus)

    async def _check_in_use(self, kernel_id: KernelId, has: Size, size: Size) -> None:
        if size.mem_bytes >= has.mem_bytes:
            return
        used = int((await self._runtime.stats(self._ref(kernel_id))).get("mem_used_bytes", 0))
        if size.mem_bytes < used:
            figures = {"used": format_size(used), "asked": format_size(size.mem_bytes)}
            raise RuntimeFault(Reason.of("resize-in-use", **figures))

    def _ref(self, kernel_id: KernelId) -> str:
        ref = self._book.ref_of(kernel_id)
        if ref is None:
            raise RuntimeFault(Reason.of("resize-runtime", agent=self._site.agent))
        return ref

    def _hold_pooled(self, kernel_id: KernelId, want: KernelWant) -> Held:
        """Hold CPU and memory anew; other devices stay. No await between reading what is held and writing.

        What is not more CPU is had of the cores that it has, which others may use too since it was suspended.
        """
        held = self._book.states[kernel_id].report.devices
        kept = {slot: of for slot, of in held.items() if slot not in POOLED}
        cpu = part_of(amounts_of(held).get("cpu", {}), rounded_up("cpu", want.slots["cpu"]))
        if cpu is not None:
            kept |= written({"cpu": cpu})
        others = [*self._book.held_by_others(kernel_id), amounts_of(kept)]
        asked = ResourceSlots({slot: want.slots[slot] for slot in POOLED if slot not in kept})
        devices = {**kept, **written(allocate(asked, self._inventory.devices, others))}
        self._book.tell(kernel_id, devices=devices)
        return devices

    def _why_not_resized(self, error: RuntimeFault | NoRoom) -> Reason:
        if isinstance(error, NoRoom):
            return Reason.of("resize-failed", agent=self._site.agent, cause=str(error))
        if error.reason.code == "engine-down":
            raise error  # it may come back
        return error.reason


def as_kept(want: KernelWant, ref: str | None) -> KernelWant:
    """Once there is a container it has its files. They may be secret, and are not kept any longer."""
    return want if ref is None else replace(want, files=[])


def _put_files(kernel_id: KernelId, home: Path, files: Iterable[FileWant]) -> None:
    """One that something is in the way of is left out: a folder mounted there, or another file's folder."""
    for want in files:
        try:
            folders.put_file(home, want)
        except (OSError, ValueError) as error:
            log.warning("kernel %s: %s could not be put into its home: %s", kernel_id, want.path, error)


def _is_fitted(state: KernelState) -> bool:
    """It has what is wanted since that was changed, or that was refused."""
    want, report = state.want, state.report
    is_settled = report.resizes == want.resizes and (report.refused is not None or report.slots == want.slots)
    return want.resizes == 0 or is_settled


def _is_refused(state: KernelState) -> bool:
    return state.report.resizes == state.want.resizes and state.report.refused is not None


def _pooled(held: Allocation) -> dict[str, Decimal]:
    return {slot: sum(held.get(slot, {}).values(), Decimal(0)) for slot in POOLED}
