"""Suspended sessions: frozen and thawed, all containers of one together.

What is wanted when a kernel is frozen is remembered as a digest, on disk: frozen, nothing can be done to it, so it is
thawed when anything else is wanted.
"""

import contextlib
import hashlib
import json
from dataclasses import replace

from bai_agent.book import Book
from bai_agent.runtimes.base import ContainerState, Runtime, RuntimeFault
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import KernelWant, to_json
from bai_jupyter.common.reasons import Reason


class Freezing:
    def __init__(self, runtime: Runtime, book: Book) -> None:
        self._runtime, self._book = runtime, book
        self._freezing: set[SessionId] = set()  # some of its containers are frozen already

    def is_suspended(self, kernel_id: KernelId) -> bool:
        """Also if only others of its session are: an engine that failed, or a kill, may have left it so."""
        state = self._book.states.get(kernel_id)
        if state is None or state.want.cluster_host is None:
            return state is not None and state.report.suspended
        return any(self._book.states[one].report.suspended for one in self._book.together(kernel_id))

    async def suspend(self, kernel_id: KernelId, why: Reason | None = None) -> None:
        """Freeze what runs in it and in its session's others, in all or in none; ``why`` if not by somebody's word.

        Raises ``KeyError`` or ``RuntimeFault``.
        """
        self._book.running_ref(kernel_id)
        session_id = self._book.states[kernel_id].want.session_id
        self._freezing.add(session_id)
        try:
            for one in self._book.together(kernel_id):
                self._book.change(one, asleep=_digest(self._book.states[one].want))
                await self._runtime.pause(self._book.running_ref(one))
                self._book.tell(one, suspended=True, suspended_for=why)
        except (KeyError, RuntimeFault):  # one of them ends just now, or an engine fails
            with contextlib.suppress(RuntimeFault):
                await self._thaw(kernel_id)
            raise
        finally:
            self._freezing.discard(session_id)

    async def resume(self, kernel_id: KernelId) -> None:
        """Let it and its session's others go on, those that were suspended. Raises ``KeyError`` or ``RuntimeFault``."""
        self._book.running_ref(kernel_id)
        await self._thaw(kernel_id)

    async def _thaw(self, kernel_id: KernelId) -> None:
        """Those of its session that run; one that has ended meanwhile needs it no more."""
        for one in self._book.together(kernel_id):
            with contextlib.suppress(KeyError):
                await self._runtime.unpause(self._book.running_ref(one))
                self._book.tell(one, suspended=False, suspended_for=None)

    async def thaw_if_wanted(
        self, kernel_id: KernelId, container: ContainerState, *, is_condemned: bool = False
    ) -> ContainerState:
        """Frozen, nothing can be done to it: it is thawed when anything else is wanted than when that began, when it is
        to end, or if it is not whole: an agent was killed on the way, or somebody else froze one container of several.
        """
        state = self._book.states[kernel_id]
        if state.asleep is None:  # frozen from outside
            self._book.change(kernel_id, asleep=_digest(state.want))
        is_wanted = is_condemned or state.asleep not in (None, _digest(state.want))
        if state.report.runtime_ref is not None and (is_wanted or await self._is_half_frozen(kernel_id)):
            await self._runtime.unpause(state.report.runtime_ref)
            await self._thaw(kernel_id)
            return replace(container, paused=False)
        return container

    async def _is_half_frozen(self, kernel_id: KernelId) -> bool:
        """Others of its session run on, and nobody is about to freeze them."""
        for other in self._book.together(kernel_id):
            ref = self._book.ref_of(other)
            found = await self._runtime.inspect(ref) if ref is not None else None
            if found is not None and found.running and not found.paused:
                return self._book.states[kernel_id].want.session_id not in self._freezing
        return False


def _digest(want: KernelWant) -> str:
    """Of all that can be wanted anew; a token is exchanged without anybody wanting anything."""
    wanted = json.dumps(to_json(replace(want, access_token=None)), sort_keys=True)
    return hashlib.sha256(wanted.encode()).hexdigest()
