"""What must be so before anything of a session runs: its folders are there, the limits of its GPUs hold, its doors are
open, what its image keeps for its home is unpacked there, its bootstrap scripts have ended well.

Level-triggered like all of the reconciler: asked again at each look, and after each start of the container.
"""

import logging

from bai_agent.book import Book
from bai_agent.containers import Site
from bai_agent.doors import Doors
from bai_agent.gate import Gate
from bai_agent.mounting import Mounting
from bai_agent.programs import BOOTSTRAP, CLUSTER_SSHD, CLUSTER_SSHD_SCRIPT, OWNER_BOOTSTRAP, PACKAGES, Programs
from bai_agent.runtimes import packages
from bai_agent.runtimes.base import UNKNOWN_EXIT, Runtime, RuntimeFault, describe_exit
from bai_agent.shares.holding import NotHeld
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus

log = logging.getLogger(__name__)


class Unfit(BaiError):
    """What it cannot be without is not to be had here: the session is of no use and ends."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class Readiness:
    def __init__(
        self, runtime: Runtime, site: Site, book: Book, mounting: Mounting, gate: Gate, doors: Doors, programs: Programs
    ) -> None:
        self._runtime, self._site, self._book = runtime, site, book
        self._mounting, self._gate, self._doors, self._programs = mounting, gate, doors, programs

    async def reached(self, kernel_id: KernelId, ref: str) -> bool:
        """False while it is not: something that was begun here will have the kernel looked at again.

        Raises ``Unfit``, and ``RuntimeFault`` for what is to be tried again.
        """
        return (
            await self._has_folders(kernel_id, ref)
            and await self._is_let_in(kernel_id, ref)
            and await self._has_doors(kernel_id)
            and await self._is_bootstrapped(kernel_id, ref)
        )

    async def _has_folders(self, kernel_id: KernelId, ref: str) -> bool:
        """One that cannot have them from the start is of no use."""
        try:
            await self._mounting.fit(kernel_id, ref)
        except RuntimeFault as fault:
            if await self._runtime.is_ending(ref):
                return False  # an event tells that
            has_begun = self._book.states[kernel_id].report.status is KernelStatus.RUNNING
            if has_begun or fault.reason.code == "engine-down":
                raise
            raise Unfit(fault.reason) from fault
        return True

    async def _is_let_in(self, kernel_id: KernelId, ref: str) -> bool:
        """The limits of its GPUs hold."""
        try:
            return await self._gate.open(kernel_id, ref)
        except NotHeld as fault:
            raise Unfit(self._site.why_not_made(fault)) from fault

    async def _has_doors(self, kernel_id: KernelId) -> bool:
        """Those that it asked for."""
        for door in self._book.states[kernel_id].want.doors:
            if door not in self._doors:
                raise Unfit(Reason.of("door-missing", agent=self._site.agent, door=door))
            try:
                await self._doors.open(kernel_id, self._book.run_folder(kernel_id), door)
            except OSError as error:  # its user hinders it, and goes without
                log.warning("kernel %s: its door %s could not be put in place: %s", kernel_id, door, error)
        return True

    async def _is_bootstrapped(self, kernel_id: KernelId, ref: str) -> bool:
        """What its image keeps is unpacked first; the owner's script runs before the session's own."""
        state = self._book.states[kernel_id]
        if state.bootstrapped:
            return True
        want = state.want
        unpacking = packages.unpacking(state.packages, [mount.target for mount in want.mounts])
        if unpacking is not None and not await self._has_run(kernel_id, ref, PACKAGES, unpacking):
            return False
        if want.cluster_host is not None and not await self._has_sshd(kernel_id, ref):
            return False
        for program, script in ((OWNER_BOOTSTRAP, want.owner_bootstrap), (BOOTSTRAP, want.bootstrap)):
            if script is not None and not await self._has_run(kernel_id, ref, program, script):
                return False
        self._book.change(kernel_id, bootstrapped=True)
        return True

    async def _has_sshd(self, kernel_id: KernelId, ref: str) -> bool:
        """True once it is known whether others of its cluster find an SSH server there. It goes on without one."""
        return await self._programs.code(kernel_id, ref, CLUSTER_SSHD, CLUSTER_SSHD_SCRIPT, {}) is not None

    async def _has_run(self, kernel_id: KernelId, ref: str, program: str, script: str) -> bool:
        """True once it has ended well."""
        code = await self._programs.code(kernel_id, ref, program, script, {})
        if code is None:
            doing = "unpacking" if program == PACKAGES else "bootstrapping"
            self._book.tell(kernel_id, reason=Reason.of(doing, agent=self._site.agent))
            return False
        if code in (0, UNKNOWN_EXIT):
            return True
        if (program, code) == (PACKAGES, packages.NO_TAR):
            raise Unfit(Reason.of("packages-no-tar"))
        line = self._programs.last_line(kernel_id, program)
        raise Unfit(Reason.of(f"{program}-failed", code=describe_exit(code), line=line))
