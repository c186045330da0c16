"""Which folders a container that runs has: those that are wanted, put there and taken away while it runs.

Level-triggered like all of the reconciler: what is wanted is compared with what the container has, so whatever was
killed in between, the next look makes them equal. A folder that could not be put there is refused once, which takes it
off the session's record, and is not tried again; what must go is tried until it is gone. What was released stays away
though it is wanted, until the manager has written that down; if it never does, it comes back.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping

from bai_agent import folders
from bai_agent.book import Book
from bai_agent.containers import Site
from bai_agent.runtimes.base import Mount, Runtime, RuntimeFault
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import MountWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus

log = logging.getLogger(__name__)

_RELEASED_S = 30.0


class Mounting:
    def __init__(self, runtime: Runtime, site: Site, book: Book) -> None:
        self._runtime, self._site, self._book = runtime, site, book
        self._released: dict[tuple[KernelId, str], tuple[int, float]] = {}  # after which change, and until when

    async def fit(self, kernel_id: KernelId, ref: str) -> None:
        """Give the container the folders that are wanted, and no others.

        Raises ``RuntimeFault`` if one cannot be had by a session that has not begun, or one cannot be taken away.
        """
        state = self._book.states[kernel_id]
        want, report = state.want, state.report
        is_settled = report.mount_changes == want.mount_changes
        refused = dict(report.refused_mounts) if is_settled else {}
        released = self._released_of(kernel_id)
        wanted = [one for one in want.mounts if one.target not in refused and one.target not in released]
        there = await self._runtime.mounted(ref)
        kept = await self._kept(ref, wanted, state.mounted, there)
        missing = [one for one in wanted if one not in kept]
        gone = there.keys() - {one.target for one in kept}
        if missing or gone:
            has_begun = report.status is KernelStatus.RUNNING
            failed = await self._change(kernel_id, ref, gone, missing, must_be_empty=has_begun)
            if failed and not has_begun:
                raise RuntimeFault(next(iter(failed.values())))
            refused |= failed
        mounted = [one for one in wanted if one.target not in refused]
        if mounted != state.mounted:
            log.info("kernel %s: has %s", kernel_id, ", ".join(one.target for one in mounted) or "no folder")
            self._book.change(kernel_id, mounted=mounted)
        self._book.tell(kernel_id, mount_changes=want.mount_changes, refused_mounts=refused)

    async def release(self, kernel_id: KernelId, ref: str, target: str, *, is_forced: bool) -> None:
        """Take a folder away; what uses it is ended by force, or keeps it there.

        Raises ``RuntimeFault``: with ``folder-busy``, or if it cannot be done at all.
        """
        if is_forced:
            await self._runtime.change_mounts(ref, [target], [], must_be_empty=False)
        elif users := await self._runtime.release(ref, target):
            path = self._place(kernel_id, target)
            raise RuntimeFault(Reason.of("folder-busy", path=path, users=", ".join(users)))
        state = self._book.states[kernel_id]
        self._released[kernel_id, target] = (state.want.mount_changes, time.monotonic() + _RELEASED_S)
        self._book.change(kernel_id, mounted=[one for one in state.mounted if one.target != target])

    def put_back(self, kernel_id: KernelId, target: str) -> None:
        """What was released is wanted all the same: the next look brings it."""
        self._released.pop((kernel_id, target), None)

    def _released_of(self, kernel_id: KernelId) -> set[str]:
        now, number = time.monotonic(), self._book.states[kernel_id].want.mount_changes
        self._released = {key: value for key, value in self._released.items() if value[1] > now}
        return {target for (one, target), (after, _) in self._released.items() if (one, after) == (kernel_id, number)}

    async def _kept(
        self, ref: str, wanted: Iterable[MountWant], mounted: Iterable[MountWant], there: Mapping[str, bool]
    ) -> list[MountWant]:
        """Those that it has already. One that is not on our record is looked at: nothing that is right is touched."""
        present = [one for one in wanted if one.target in there]
        return [one for one in present if one in mounted or await self._sees(ref, one)]

    async def _sees(self, ref: str, want: MountWant) -> bool:
        try:
            mount = await self._resolve(want)
        except RuntimeFault:
            return False
        return await self._runtime.sees(ref, mount)

    async def _change(
        self,
        kernel_id: KernelId,
        ref: str,
        gone: Iterable[str],
        missing: Iterable[MountWant],
        *,
        must_be_empty: bool,
    ) -> dict[str, Reason]:
        found, failed = [], {}
        for want in missing:
            try:
                found.append((want, await self._resolve(want)))
            except RuntimeFault as fault:
                failed[want.target] = fault.reason
        try:
            causes = await self._runtime.change_mounts(
                ref, sorted(gone), [mount for _, mount in found], must_be_empty=must_be_empty
            )
        except RuntimeFault as fault:
            if fault.reason.code != "mounts-fixed":
                raise
            log.debug("%s", fault)  # what must go stays until the container ends
            return {**failed, **{want.target: fault.reason for want, _ in found}}
        wants = [want for want, _ in found if want.target in causes]
        return {**failed, **{want.target: self._why(kernel_id, want, causes[want.target]) for want in wants}}

    def _why(self, kernel_id: KernelId, want: MountWant, cause: str) -> Reason:
        cause = f"{self._place(kernel_id, want.target)}: {cause}"
        return Reason.of("mount-failed", folder=want.name, agent=self._site.agent, cause=cause)

    def _place(self, kernel_id: KernelId, target: str) -> str:
        """For people: with the container, where there are several."""
        host = self._book.states[kernel_id].want.cluster_host
        return f"{host}:{target}" if host else target

    async def _resolve(self, want: MountWant) -> Mount:
        return await asyncio.to_thread(folders.resolve, want, self._site.volumes, self._site.agent)
