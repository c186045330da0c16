"""Sessions that are there: found, shown, ended, and what is asked of their agents. Without HTTP.

They come about in ``creation``; ``changes`` are of those that run, ``jupyter_kernels`` of what runs in them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from bai_jupyter.common.errors import AlreadyExists, BadRequest, NotFound, Unavailable
from bai_jupyter.common.ids import KernelId, SessionId, UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.streams import AgentSocket, Streams
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import accounts, catalog, sessions, settings
from bai_jupyter.manager.db.records import ImageRecord, SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions import requests
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.routes import at_own_port, paths_above

CALL_TIMEOUT_S = 15.0
LOG_LINES = 2000
LIST_LIMIT = 1000
MATCH_LIMIT = 100


DependencyGraph = Mapping[SessionId, tuple[SessionRecord, Collection[SessionId]]]
"""``{id: (session, what it depends on directly)}``"""


class SessionService:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        streams: Streams,
        hub: Hub,
        reconciler: Reconciler,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._registry, self._streams, self._hub = store, registry, streams, hub
        self._reconciler, self._now = reconciler, now

    async def get(self, caller: Caller, ref: str) -> SessionRecord:
        """By id or by name. What is another's and what is missing raise the same ``NotFound``."""
        any_owner = policy.may(caller.role, "session:any-owner")
        found = await self._store.recall(sessions.find, ref, caller.user_id, any_owner=any_owner)
        if found is None or caller.only_session not in (None, found.id):
            raise NotFound(Reason.of("not-found", kind="session", name=ref), title="No such session.")
        return found

    async def at_path(self, path: str) -> tuple[SessionRecord, int] | None:
        """The live session that a request for this path goes to, and its port."""
        return await self._routed(paths_above(path))

    async def at_own_port(self, port: int) -> tuple[SessionRecord, int] | None:
        """The live session to which this port of the manager leads, and its own port."""
        return await self._routed((at_own_port(port),))

    async def _routed(self, paths: tuple[str, ...]) -> tuple[SessionRecord, int] | None:
        found = await self._store.recall(sessions.at_path, paths)
        return None if found is None or found.route_port is None else (found, found.route_port)

    async def get_by_link(self, session_id: SessionId) -> SessionRecord | None:
        """For whoever has a link that the owner was given: ``None`` also once the owner, or the keypair with which the
        session was made, is shut out."""
        found = next(iter(await self._store.recall(sessions.load_many, (session_id,))), None)
        if found is None:
            return None
        keypair = await self._store.recall(accounts.find_keypair, found.access_key)
        return found if keypair is not None and keypair.is_active else None

    async def get_many(self, session_ids: Collection[SessionId]) -> list[SessionRecord]:
        return await self._store.read(sessions.load_many, session_ids)

    async def list(
        self, caller: Caller, statuses: Collection[SessionStatus], *, everybody: bool = False
    ) -> "list[SessionRecord]":
        if everybody:
            policy.require(caller.role, "session:any-owner")
        found = await self._store.read(
            sessions.list_sessions, None if everybody else caller.user_id, statuses, LIST_LIMIT
        )
        return [one for one in found if caller.only_session in (None, one.id)]

    async def match(self, caller: Caller, ref: object) -> Sequence[SessionRecord]:
        """One's live sessions whose id or name begins with ``ref``."""
        if not isinstance(ref, str) or not ref:
            raise bad_value("id", ref, "the beginning of an id or name")
        found = await self._store.read(sessions.match, ref, caller.user_id, MATCH_LIMIT)
        return [one for one in found if caller.only_session in (None, one.id)]

    async def end(self, caller: Caller, ref: str, *, forced: bool = False, recursive: bool = False) -> SessionRecord:
        """Ask for a session's end; ``recursive`` also of all that depend on it; ``forced`` does not wait for agents."""
        session = await self.get(caller, ref)
        doomed = [session.id]
        if recursive and caller.only_session is None:
            doomed = [*await self._store.read(sessions.dependents, session.id), session.id]
        for one in await self.get_many(doomed):
            await self._end(caller, one, forced=forced)
        return session

    async def _end(self, caller: Caller, session: SessionRecord, *, forced: bool) -> None:
        who, link = caller.user_name, self._link(session)
        cancelled = Reason.of("cancelled-by", who=who)
        if forced:
            agent = session.kernel.agent_name if session.kernel else "its agent"
            stats = session.kernel and self._registry.stats(session.kernel.agent_id, session.kernel.id)
            ended = Reason.of("force-ended", who=who, agent=agent)
            await self._store.write(
                sessions.force_end,
                session.id,
                cancelled,
                ended,
                self._now(),
                dict(stats) if stats else None,
                linked=link is not None,
            )
            self._reconciler.nudge_group(session.resource_group)
        else:
            ended = Reason.of("user-requested", who=who)
            await self._store.write(sessions.ask_end, session.id, cancelled, ended, self._now())
        self.changed(session)
        await self._reconciler.nudge_dependents(session.id)

    async def restart(self, caller: Caller, ref: str) -> None:
        """Start the container again, with its files, and every Jupyter kernel in it."""
        session = await self.get(caller, ref)
        if not await self._store.write(sessions.restart, session.id, self._now()):
            raise not_running(await self.get(caller, session.id))
        self.changed(session)

    async def status_history(self, caller: Caller, ref: str) -> Sequence[sessions.StatusChange]:
        session = await self.get(caller, ref)
        return await self._store.read(sessions.status_history, session.id)

    async def dependency_graph(self, caller: Caller, ref: str) -> tuple[SessionRecord, DependencyGraph]:
        """A session and, by id, all that it depends on, directly or through others."""
        session = await self.get(caller, ref)
        if caller.only_session is not None:
            return session, {session.id: (session, ())}
        edges = await self._store.read(sessions.dependency_ids, session.id)
        records = {one.id: one for one in await self.get_many(edges)}
        return session, {found: (records[found], below) for found, below in edges.items()}

    async def rename(self, caller: Caller, ref: str, name: object) -> None:
        session = await self.get(caller, ref)
        wanted = requests.read_name(name)
        if not await self._store.write(sessions.rename, session.id, wanted):
            raise AlreadyExists(Reason.of("name-in-use", name=wanted))
        self.changed(session)

    async def logs(self, caller: Caller, ref: str, kernel_id: str | None = None) -> str:
        """The last lines that were printed in the main container, or the one of that id; of one that is gone, what is
        still kept."""
        session = await self.get(caller, ref)
        if kernel_id is not None and await self._store.read(sessions.of_kernel, kernel_id) != session.id:
            raise NotFound(Reason.of("not-found", kind="container", name=kernel_id))
        return await self._logs(session, kernel_id)

    async def task_log(self, caller: Caller, task_id: str) -> str:
        """The log of a batch session, by its id or its container's."""
        found = await self._store.read(sessions.of_kernel, task_id)
        return await self._logs(await self.get(caller, found or task_id), task_id if found else None)

    async def _logs(self, session: SessionRecord, kernel_id: str | None) -> str:
        there = () if session.is_final else session.kernels
        kernel = next((one for one in there if not one.is_gone and kernel_id in (one.id, None)), None)
        if kernel is None:
            return await self._store.read(sessions.kept_log, session.id, kernel_id) or ""
        result = await self.call(session, "logs", {"kernel_id": kernel.id, "tail": LOG_LINES})
        return str(result.get("logs", ""))

    async def freeze(self, caller: Caller, *, end_all: bool) -> None:
        """Pause new sessions, for everybody; what runs goes on, unless all are to end."""
        now = self._now()
        value = {"admin": caller.user_name, "time": now.strftime("%Y-%m-%d %H:%M UTC")}
        await self._store.write(settings.store, settings.FROZEN, value)
        self._reconciler.nudge_group(None)
        for session_id, _ in await self._store.read(sessions.live_keys) if end_all else ():
            await self.end(caller, session_id)

    async def unfreeze(self) -> None:
        await self._store.write(settings.store, settings.FROZEN, None)
        self._reconciler.nudge_group(None)

    async def image_of(self, session: SessionRecord) -> ImageRecord | None:
        """None if it is offered no more; what runs goes on."""
        images = await self._store.recall(catalog.list_images)
        return next((image for image in images if image.name == session.image), None)

    def announce(self, session_id: SessionId, user_id: UserId) -> None:
        """Something of a session was written: who watches it and its agent are told."""
        self._hub.publish(session_id, user_id)
        self._reconciler.nudge_session(session_id)

    def changed(self, session: SessionRecord) -> None:
        """As ``announce``; one that waits is looked at again."""
        self.announce(session.id, session.user_id)
        if session.status is SessionStatus.PENDING:
            self._reconciler.nudge_group(session.resource_group)

    # Its agent

    async def open_inside(self, session: SessionRecord, endpoint: dict[str, Any]) -> AgentSocket:
        """A stream to something in a running session (``endpoint`` as in ``messages.Call``). Join or close it.

        Raises ``PublicError``.
        """
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        try:
            return await self.open(session, endpoint)
        except AgentFault as error:
            raise BadRequest(error.reason) from error

    async def open_ports(self, session: SessionRecord) -> Sequence[int]:
        """At which TCP ports something in a running session listens. Raises ``PublicError``."""
        return [int(port) for port in (await self.call(session, "open_ports", {}))["ports"]]

    async def call(self, session: SessionRecord, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask the session's agent (``messages.Call``). Raises ``PublicError``."""
        link, kernel_id = self.reach(session)
        try:
            return await link.call(method, {"kernel_id": kernel_id, **params}, CALL_TIMEOUT_S)
        except AgentFault as error:
            raise BadRequest(error.reason) from error

    async def open(self, session: SessionRecord, endpoint: dict[str, Any]) -> AgentSocket:
        """A stream into the session. Raises ``AgentFault`` or ``Unavailable``."""
        link, kernel_id = self.reach(session)
        return await self._streams.open(link, kernel_id, endpoint)

    def reach(self, session: SessionRecord) -> tuple[AgentLink, KernelId]:
        """Raises ``Unavailable``."""
        link = self._link(session)
        if link is None or session.kernel is None:
            raise Unavailable(f"The agent of session {session.name} is not connected just now. Try again.")
        return link, session.kernel.id

    def _link(self, session: SessionRecord) -> AgentLink | None:
        return self._registry.link(session.kernel.agent_id) if session.kernel else None


def not_running(session: SessionRecord) -> BadRequest:
    return BadRequest(Reason.of("not-running", name=session.name, status=session.status.value))
