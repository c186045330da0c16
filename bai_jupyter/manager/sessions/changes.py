"""Changes of sessions that run: another size, other folders, suspended and resumed.

What is written is carried out by the session's agent; a call is answered once that has dealt with it.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bai_jupyter.common.errors import BadRequest, PublicError, Unavailable
from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FolderStatus, SessionStatus
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.streams import Streams
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import mounts, placements, vfolders
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import Viewer
from bai_jupyter.manager.sessions import foreseen, requests
from bai_jupyter.manager.sessions.events import Hub, Subscription
from bai_jupyter.manager.sessions.foreseen import Verdict
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.service import SessionService, not_running

CHANGE_PATIENCE_S = 20.0


class SessionChanges:
    def __init__(
        self,
        sessions: SessionService,
        store: Store,
        registry: Registry,
        streams: Streams,
        hub: Hub,
        reconciler: Reconciler,
    ) -> None:
        self._sessions, self._store, self._hub = sessions, store, hub
        self._registry, self._streams, self._reconciler = registry, streams, reconciler

    async def resize(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> SessionRecord:
        """Give a running session other amounts of CPU and memory. Returns when its containers have them.

        Raises ``PublicError``; then it has what it had. If its agent falls silent meanwhile, ``Unavailable``: the
        change is made when that is back.
        """
        session, changes = await self._read_resize(caller, ref, body)
        self._check_in_use(session, changes)
        with self._hub.subscribe(session.user_id, session.id) as subscription:
            number = await self._store.write(placements.resize, session.id, changes)
            if number is None:
                raise not_running(await self._sessions.get(caller, session.id))
            self._sessions.changed(session)

            def is_done(session: SessionRecord) -> bool:
                return all(kernel.resizes >= number for kernel in session.kernels)

            session = await self._await_change(session.id, is_done, subscription)
        for kernel in session.kernels:
            if kernel.refused is not None and kernel.resizes == number:
                raise BadRequest(kernel.refused)
        self._reconciler.nudge_group(session.resource_group)  # what it gave up may be waited for
        return session

    async def foresee_resize(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> Verdict:
        """What ``resize`` would come to, as far as it can be told without asking the agent. Changes nothing."""
        session, changes = await self._read_resize(caller, ref, body)
        try:
            self._check_in_use(session, changes)
            if await self._store.foresee(placements.resize, session.id, changes) is None:
                raise not_running(await self._sessions.get(caller, session.id))
        except PublicError as error:
            return foreseen.refused(error)
        return foreseen.now(ResourceSlots({**session.slots, **changes}))

    async def _read_resize(
        self, caller: Caller, ref: str, body: Mapping[str, Any]
    ) -> tuple[SessionRecord, ResourceSlots]:
        """A session that can be given other amounts, and these. Raises ``PublicError``."""
        session = await self._sessions.get(caller, ref)
        if session.status is not SessionStatus.RUNNING or session.kernel is None:
            raise not_running(session)
        changes = requests.read_resize(body, session, await self._sessions.image_of(session))
        if not session.kernel.isolated:
            raise BadRequest(Reason.of("resize-runtime", agent=session.kernel.agent_name))
        self._sessions.reach(session)
        return session, changes

    def _check_in_use(self, session: SessionRecord, changes: ResourceSlots) -> None:
        for kernel in session.kernels:
            requests.check_in_use(session, changes, self._registry.stats(kernel.agent_id, kernel.id))

    async def _await_change(
        self, session_id: SessionId, is_done: Callable[[SessionRecord], bool], subscription: Subscription
    ) -> SessionRecord:
        """Wait until the agent has dealt with what was written; the session then, which runs."""
        try:
            async with asyncio.timeout(CHANGE_PATIENCE_S):
                while True:
                    session = (await self._sessions.get_many([session_id]))[0]
                    if session.status is not SessionStatus.RUNNING or session.kernel is None:
                        raise not_running(session)
                    if is_done(session):
                        return session
                    await subscription.changes()
        except TimeoutError:
            raise Unavailable(
                f"The agent of session {session.name} has not answered within {CHANGE_PATIENCE_S:g} s. "
                "The change is kept, and made when it does."
            ) from None

    async def attach_folder(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> SessionRecord:
        """Give a running session one more of its owner's folders. Returns when it is there, in all its containers.

        Raises ``PublicError``; then the session is as it was. If its agent falls silent meanwhile, ``Unavailable``: the
        folder comes when that is back.
        """
        session = await self._sessions.get(caller, ref)
        found = await self._store.read(vfolders.visible, Viewer(session.user_id), [FolderStatus.READY])
        folder, want = requests.read_attach(body, session, found)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        self._sessions.reach(session)
        session = await self._change_mounts(session, partial(mounts.attach, folder=folder, want=want))
        for kernel in session.kernels:
            if want not in session.mounts and want.target in kernel.refused_mounts:
                raise BadRequest(kernel.refused_mounts[want.target])
        return session

    async def detach_folder(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> SessionRecord:
        """Take a folder away from a running session. One that is in use is refused, or with ``force`` taken at once.

        Returns when it is gone. Raises ``PublicError``; if its agent falls silent meanwhile, as ``attach_folder``.
        """
        session = await self._sessions.get(caller, ref)
        mount, is_forced = requests.read_detach(body, session)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._sessions.call(session, "release_mount", {"target": mount.target, "force": is_forced})
        return await self._change_mounts(session, partial(mounts.detach, target=mount.target))

    async def _change_mounts(self, session: SessionRecord, change: Callable[..., int | None]) -> SessionRecord:
        """Write the change, and wait until the agent has dealt with it."""
        with self._hub.subscribe(session.user_id, session.id) as subscription:
            number = await self._store.write(change, session_id=session.id)
            if number is None:
                raise _overtaken((await self._sessions.get_many([session.id]))[0])
            self._sessions.changed(session)

            def is_done(session: SessionRecord) -> bool:  # a further change takes back what one of several refused
                return all(kernel.mount_changes >= session.mount_changes for kernel in session.kernels)

            return await self._await_change(session.id, is_done, subscription)

    async def suspend(self, caller: Caller, ref: str) -> SessionRecord:
        """Freeze what is in a running session in which nothing runs. It keeps what it holds, and wakes when used."""
        session = await self._sessions.get(caller, ref)
        if session.kernel is not None and not session.kernel.isolated:
            raise BadRequest(Reason.of("suspend-runtime", agent=session.kernel.agent_name))
        if session.kernel is not None and self._streams.traffic.runs_command(session.kernel.id):
            raise BadRequest(Reason.of("suspend-busy"))
        return await self._ask_container(caller, session.id, "suspend")

    async def resume(self, caller: Caller, ref: str) -> SessionRecord:
        """Let a suspended session go on; nothing happens to one that is not."""
        return await self._ask_container(caller, ref, "resume")

    async def _ask_container(self, caller: Caller, ref: str, method: str) -> SessionRecord:
        session = await self._sessions.get(caller, ref)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._sessions.call(session, method, {})
        return (await self._sessions.get_many([session.id]))[0]


def _overtaken(session: SessionRecord) -> PublicError:
    """Between reading and writing something else was faster."""
    if session.status is not SessionStatus.RUNNING or session.is_ending:
        return not_running(session)
    return BadRequest("The session's folders, or what you may use, were changed just now. Look again.")
