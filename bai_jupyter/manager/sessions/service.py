"""Use cases of sessions and their Jupyter kernels: what the API offers, without HTTP."""

import asyncio
import json
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import AlreadyExists, BadRequest, Forbidden, NotFound, PublicError, Unavailable
from bai_jupyter.common.ids import (
    JupyterKernelId,
    KernelId,
    SessionId,
    UserId,
    new_jupyter_kernel_id,
    new_session_id,
)
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FolderStatus, JupyterKernelStatus, SessionResult, SessionStatus
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.streams import AGENT_AWAY, ENDED, NO_SUCH, AgentSocket, Streams
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import (
    accounts,
    catalog,
    groups,
    jupyter_kernels,
    mounts,
    people,
    placements,
    sessions,
    settings,
    vfolders,
)
from bai_jupyter.manager.db.admission import owner_of
from bai_jupyter.manager.db.jupyter_kernels import NewJupyterKernel
from bai_jupyter.manager.db.placements import GroupState
from bai_jupyter.manager.db.records import ImageRecord, JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.db.sessions import NewSession
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import Viewer
from bai_jupyter.manager.scheduler import Waiting, verdict
from bai_jupyter.manager.sessions import capacity, lifecycle, requests, scheduling, variables
from bai_jupyter.manager.sessions.events import Hub, Subscription
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.requests import HOME, Offer, Resolved, SessionRequest, bad_value
from bai_jupyter.manager.sessions.routes import ANY_OWN_PORT, at_own_port, paths_above
from bai_jupyter.manager.sessions.scheduling import Conditions
from bai_jupyter.manager.vfolders.homes import Homes

CALL_TIMEOUT_S = 15.0
ENDING_PATIENCE_S = 20.0
CHANGE_PATIENCE_S = 20.0
LOG_LINES = 2000
LIST_LIMIT = 1000
MATCH_LIMIT = 100
_SETTLED = frozenset({SessionStatus.RUNNING, SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR})


DependencyGraph = Mapping[SessionId, tuple[SessionRecord, Collection[SessionId]]]
"""``{id: (session, what it depends on directly)}``"""


class StreamRefused(Exception):
    """A kernel stream cannot be had; ``code`` is the WebSocket close code that says why."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


@dataclass(frozen=True)
class Created:
    """A session that was asked for. ``status`` is the session's, or TIMEOUT if it did not run in time."""

    session: SessionRecord
    status: str
    is_new: bool


class SessionService:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        streams: Streams,
        hub: Hub,
        vault: Vault,
        reconciler: Reconciler,
        conditions: Conditions,
        homes: Homes,
        now: Callable[[], datetime],
        route_ports: Sequence[int] = (),
    ) -> None:
        self._store, self._registry, self._streams, self._hub = store, registry, streams, hub
        self._vault, self._reconciler, self._conditions = vault, reconciler, conditions
        self._homes, self._now = homes, now
        self._own_routes = [at_own_port(port) for port in route_ports]

    # Sessions

    async def create(self, caller: Caller, body: Mapping[str, Any]) -> Created:
        """Queue a session, or give back the live one of that name. Raises ``PublicError`` and leaves nothing behind."""
        request = await self._read_request(body)
        if request.manager_access is not None:
            _check_grant(caller, request)
        if request.route is not None or request.doors:
            policy.require(caller.signing_role, "session:serve")
        await self._outlast_namesake(caller, request.name)
        present = await self._present(caller, request)
        if present is not None:
            return Created(present, present.status, is_new=False)
        caller = await self._in_project(caller, request.project)
        resolved = await self._resolve(caller, request)
        depends_on = await self._find_dependencies(caller, request)
        await self._homes.ensure(caller.user_id)
        new = self._new_session(caller, request, resolved, depends_on)
        is_own = new.route_path == ANY_OWN_PORT
        if is_own and not self._own_routes:
            raise BadRequest(Reason.of("route-ports-missing"))
        routes = self._own_routes if is_own else ()
        created: tuple[SessionRecord, bool] | None = await self._store.write(sessions.create, new, self._now(), routes)
        if created is None and is_own:
            raise Unavailable(Reason.of("route-ports-taken", count=len(routes)))
        if created is None:
            raise AlreadyExists(Reason.of("route-taken", path=new.route_path))
        session, is_new = created
        if not is_new:
            self._check_reuse(request, session)
        else:
            self._hub.publish(session.id, session.user_id)
            self._reconciler.nudge_group(session.resource_group)
        if request.enqueue_only:
            return Created(session, session.status, is_new)
        return await self._await_running(session, request.max_wait_s, is_new=is_new)

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
        self._changed(session)
        await self._reconciler.nudge_dependents(session.id)

    async def restart(self, caller: Caller, ref: str) -> None:
        """Start the container again, with its files, and every Jupyter kernel in it."""
        session = await self.get(caller, ref)
        if not await self._store.write(sessions.restart, session.id, self._now()):
            raise not_running(await self.get(caller, session.id))
        self._changed(session)

    async def resize(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> SessionRecord:
        """Give a running session other amounts of CPU and memory. Returns when its containers have them.

        Raises ``PublicError``; then it has what it had. If its agent falls silent meanwhile, ``Unavailable``: the
        change is made when that is back.
        """
        session = await self.get(caller, ref)
        if session.status is not SessionStatus.RUNNING or session.kernel is None:
            raise not_running(session)
        changes = requests.read_resize(body, session, await self.image_of(session))
        if not session.kernel.isolated:
            raise BadRequest(Reason.of("resize-runtime", agent=session.kernel.agent_name))
        self._reach(session)
        for kernel in session.kernels:
            requests.check_in_use(session, changes, self._registry.stats(kernel.agent_id, kernel.id))
        with self._hub.subscribe(session.user_id, session.id) as subscription:
            number = await self._store.write(placements.resize, session.id, changes)
            if number is None:
                raise not_running(await self.get(caller, session.id))
            self._changed(session)

            def is_done(session: SessionRecord) -> bool:
                return all(kernel.resizes >= number for kernel in session.kernels)

            session = await self._await_change(session.id, is_done, subscription)
        for kernel in session.kernels:
            if kernel.refused is not None and kernel.resizes == number:
                raise BadRequest(kernel.refused)
        self._reconciler.nudge_group(session.resource_group)  # what it gave up may be waited for
        return session

    async def _await_change(
        self, session_id: SessionId, is_done: Callable[[SessionRecord], bool], subscription: Subscription
    ) -> SessionRecord:
        """Wait until the agent has dealt with what was written; the session then, which runs."""
        try:
            async with asyncio.timeout(CHANGE_PATIENCE_S):
                while True:
                    session = (await self.get_many([session_id]))[0]
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
        session = await self.get(caller, ref)
        found = await self._store.read(vfolders.visible, Viewer(session.user_id), [FolderStatus.READY])
        folder, want = requests.read_attach(body, session, found)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        self._reach(session)
        session = await self._change_mounts(session, partial(mounts.attach, folder=folder, want=want))
        for kernel in session.kernels:
            if want not in session.mounts and want.target in kernel.refused_mounts:
                raise BadRequest(kernel.refused_mounts[want.target])
        return session

    async def detach_folder(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> SessionRecord:
        """Take a folder away from a running session. One that is in use is refused, or with ``force`` taken at once.

        Returns when it is gone. Raises ``PublicError``; if its agent falls silent meanwhile, as ``attach_folder``.
        """
        session = await self.get(caller, ref)
        mount, is_forced = requests.read_detach(body, session)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._call(session, "release_mount", {"target": mount.target, "force": is_forced})
        return await self._change_mounts(session, partial(mounts.detach, target=mount.target))

    async def _change_mounts(self, session: SessionRecord, change: Callable[..., int | None]) -> SessionRecord:
        """Write the change, and wait until the agent has dealt with it."""
        with self._hub.subscribe(session.user_id, session.id) as subscription:
            number = await self._store.write(change, session_id=session.id)
            if number is None:
                raise _overtaken((await self.get_many([session.id]))[0])
            self._changed(session)

            def is_done(session: SessionRecord) -> bool:  # a further change takes back what one of several refused
                return all(kernel.mount_changes >= session.mount_changes for kernel in session.kernels)

            return await self._await_change(session.id, is_done, subscription)

    async def suspend(self, caller: Caller, ref: str) -> SessionRecord:
        """Freeze what is in a running session in which nothing runs. It keeps what it holds, and wakes when used."""
        session = await self.get(caller, ref)
        if session.kernel is not None and not session.kernel.isolated:
            raise BadRequest(Reason.of("suspend-runtime", agent=session.kernel.agent_name))
        if session.kernel is not None and self._streams.traffic.runs_command(session.kernel.id):
            raise BadRequest(Reason.of("suspend-busy"))
        return await self._ask_container(caller, session.id, "suspend")

    async def resume(self, caller: Caller, ref: str) -> SessionRecord:
        """Let a suspended session go on; nothing happens to one that is not."""
        return await self._ask_container(caller, ref, "resume")

    async def _ask_container(self, caller: Caller, ref: str, method: str) -> SessionRecord:
        session = await self.get(caller, ref)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._call(session, method, {})
        return (await self.get_many([session.id]))[0]

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
            raise AlreadyExists(Reason.of("name-taken", name=wanted))
        self._changed(session)

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
        result = await self._call(session, "logs", {"kernel_id": kernel.id, "tail": LOG_LINES})
        return str(result.get("logs", ""))

    async def dry_run(self, caller: Caller, body: Mapping[str, Any]) -> dict[str, Any]:
        """What would happen to this request: ``{"verdict", "reason", "estimate_s", "slots"}``. Changes nothing.

        ``slots`` are those of each container, as presets, policies and images have them where nothing is asked for.
        """
        request = await self._read_request({"name": "dry-run", **body})
        try:
            caller = await self._in_project(caller, request.project)
            resolved = await self._resolve(caller, request)
        except PublicError as error:
            reason = error.reason or Reason.of("other", text=error.message)
            return {"verdict": "refused", "reason": reason.to_json(), "estimate_s": None, "slots": None}
        answer, slots = await self._verdict(caller, resolved), resolved.slots.to_json()
        if isinstance(answer, Waiting):
            why = answer.reason.to_json()
            return {"verdict": "wait", "reason": why, "estimate_s": answer.estimate_s, "slots": slots}
        return {"verdict": "now", "reason": None, "estimate_s": None, "slots": slots}

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

    async def check_presets(self, caller: Caller, project: object, group: object) -> capacity.CapacityView:
        """What the caller could still start in a project, in one resource group or in all that they may use."""
        caller = await self._in_project(caller, requests.optional_text("group", project))
        wanted = requests.optional_text("scaling_group", group)
        found = await self._store.read(capacity.load, owner_of(caller))
        if wanted is not None and wanted not in found.groups:
            names = ", ".join(found.groups) or "none"
            raise NotFound(Reason.of("group-unknown", group=wanted, groups=names))
        return capacity.describe(found, self._conditions.is_linked, wanted)

    # Jupyter kernels

    async def start_jupyter_kernel(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> JupyterKernelRecord:
        session = await self.get(caller, ref)
        wake = requests.optional_text("wake", body.get("wake"))
        if wake is None:
            return await self.start_process(session, body)
        kernel = requests.optional_text("wake_kernel", body.get("wake_kernel"))
        folder = variables.choose_save(await self.get(caller, wake), session, kernel)
        return await self.start_process(session, body, wake_from=folder)

    async def get_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        return _pick(await self.get(caller, ref), jupyter_kernel_id)

    async def restart_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        return await self.restart_process(await self.get(caller, ref), jupyter_kernel_id)

    async def interrupt_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> None:
        await self.interrupt_process(await self.get(caller, ref), jupyter_kernel_id)

    async def end_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> None:
        session = await self.get(caller, ref)
        process = _pick(session, jupyter_kernel_id)
        reason = Reason.of("kernel-shutdown", who=caller.user_name)
        await self._store.write(jupyter_kernels.ask_end, process.id, reason)
        self._changed(session)

    async def open_stream(
        self, caller: Caller, ref: str, jupyter_kernel_id: str, generation: int | None
    ) -> AgentSocket:
        """A stream to a Jupyter kernel's relay. Raises ``StreamRefused``."""
        try:
            session = await self.get(caller, ref)
        except NotFound as error:
            raise StreamRefused(NO_SUCH, error.message) from error
        return await self.open_relay(session, jupyter_kernel_id, generation)

    # The same for a session that was looked up already

    async def start_process(
        self, session: SessionRecord, body: Mapping[str, Any], *, wake_from: str | None = None
    ) -> JupyterKernelRecord:
        spec = await self._find_kernelspec(session, body.get("kernelspec"))
        cwd, notice = choose_cwd(session, body.get("folder"), body.get("path"))
        secret = {"key": _key(body.get("key")), "env": _env(body.get("env"))}
        new = NewJupyterKernel(
            id=_jupyter_kernel_id(body.get("id")),
            session_id=session.id,
            kernelspec=spec.name,
            interrupt_mode=spec.interrupt_mode,
            secret_encrypted=self._vault.seal(json.dumps(secret)),
            cwd=cwd,
            notice=notice,
            wake_from=wake_from,
        )
        created = await self._store.write(jupyter_kernels.create, new, self._now())
        if created is None:
            raise await self._why_no_start(session, new.id)
        self._changed(session)
        return created

    async def restart_process(self, session: SessionRecord, jupyter_kernel_id: str) -> JupyterKernelRecord:
        process = _pick(session, jupyter_kernel_id)
        restarted = await self._store.write(jupyter_kernels.restart, process.id)
        if restarted is None:
            raise not_running((await self.get_many([session.id]))[0])
        self._changed(session)
        return restarted

    async def interrupt_process(self, session: SessionRecord, jupyter_kernel_id: str) -> None:
        process = _pick(session, jupyter_kernel_id)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._call(session, "interrupt", {"jupyter_kernel_id": process.id})

    async def open_relay(self, session: SessionRecord, jupyter_kernel_id: str, generation: int | None) -> AgentSocket:
        """Raises ``StreamRefused``."""
        try:
            process = _pick(session, jupyter_kernel_id)
        except NotFound as error:
            raise StreamRefused(NO_SUCH, error.message) from error
        wanted = process.generation if generation is None else generation
        if wanted > process.generation:
            raise StreamRefused(NO_SUCH, "no such generation yet")
        if session.is_final:
            raise StreamRefused(ENDED, "the session has ended")
        ended = wanted < process.generation or process.status is JupyterKernelStatus.DEAD
        endpoint = {"kind": "jupyter", "jupyter_kernel_id": process.id, "generation": wanted}
        try:
            return await self._open(session, endpoint)
        except AgentFault as error:
            raise StreamRefused(ENDED if ended else AGENT_AWAY, error.reason.code) from error
        except Unavailable as error:
            raise StreamRefused(AGENT_AWAY, error.message) from error

    async def open_inside(self, session: SessionRecord, endpoint: dict[str, Any]) -> AgentSocket:
        """A stream to something in a running session (``endpoint`` as in ``messages.Call``). Join or close it.

        Raises ``PublicError``.
        """
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        try:
            return await self._open(session, endpoint)
        except AgentFault as error:
            raise BadRequest(error.reason) from error

    async def open_ports(self, session: SessionRecord) -> Sequence[int]:
        """At which TCP ports something in a running session listens. Raises ``PublicError``."""
        return [int(port) for port in (await self._call(session, "open_ports", {}))["ports"]]

    async def image_of(self, session: SessionRecord) -> ImageRecord | None:
        """None if it is offered no more; what runs goes on."""
        images = await self._store.recall(catalog.list_images)
        return next((image for image in images if image.name == session.image), None)

    # Inside

    async def _outlast_namesake(self, caller: Caller, name: str) -> None:
        """Wait while the caller's session of that name is ending: it is of no use any more, and its name is taken."""
        found = await self._store.read(sessions.find, name, caller.user_id, any_owner=False)
        if found is None or not found.is_ending:
            return
        with self._hub.subscribe(found.user_id, found.id) as subscription:
            try:
                async with asyncio.timeout(ENDING_PATIENCE_S):
                    while (await self.get_many([found.id]))[0].is_ending:
                        await subscription.changes()
            except TimeoutError:
                raise AlreadyExists(Reason.of("name-ending", name=name), data={"existingSessionId": found.id}) from None

    async def _present(self, caller: Caller, request: SessionRequest) -> SessionRecord | None:
        """The caller's live session of that name, if it will do; so a repeated request needs no free room."""
        found = await self._store.read(sessions.find, request.name, caller.user_id, any_owner=False)
        if found is None or found.is_final or found.name != request.name:
            return None
        self._check_reuse(request, found)
        return found

    def _check_reuse(self, request: SessionRequest, present: SessionRecord) -> None:
        if present.image != request.image:
            raise AlreadyExists(Reason.of("name-taken", name=request.name), data={"existingSessionId": present.id})
        if not request.reuse:
            raise AlreadyExists(
                f"You already have a session {request.name}, and asked not to use it again. Choose another name.",
                data={"existingSessionId": present.id},
            )

    async def _read_request(self, body: Mapping[str, Any]) -> SessionRequest:
        """With the image's own name where an alias was given."""
        request = requests.read_request(body)
        return replace(request, image=await self._store.read(catalog.real_name, request.image))

    async def _in_project(self, caller: Caller, name: str | None) -> Caller:
        """The caller as a member of the project that is asked for, or else of the one they prefer."""
        projects = await self._store.read(people.usable_projects, caller.user_id)
        wanted = next(iter(projects), people.DEFAULT) if name is None else name
        if wanted not in projects:
            raise NotFound(Reason.of("project-unknown", project=wanted, projects=", ".join(projects) or "none"))
        return replace(caller, project_id=projects[wanted])

    async def _resolve(self, caller: Caller, request: SessionRequest) -> Resolved:
        offer = await self._store.read(_load_offer, caller, request.group)
        return requests.resolve(
            request, offer, caller.user_id, allow_unsafe_runtime=self._conditions.allow_unsafe_runtime
        )

    async def _find_dependencies(self, caller: Caller, request: SessionRequest) -> tuple[SessionId, ...]:
        """The caller's own sessions. Refuses those that are missing, and those that have failed already."""
        found = {}
        for ref in request.dependencies:
            one = await self._store.read(sessions.find, ref, caller.user_id, any_owner=False)
            if one is None:
                raise NotFound(Reason.of("not-found", kind="session", name=ref), title="No such session.")
            if one.result is SessionResult.FAILURE:
                raise BadRequest(lifecycle.dependency_failed(lifecycle.Dependency(one.name, one.status, one.result)))
            found[one.id] = one
        return tuple(found)

    def _seal(self, text: str | None) -> str | None:
        return None if text is None else self._vault.seal(text)

    def _new_session(
        self, caller: Caller, request: SessionRequest, resolved: Resolved, depends_on: tuple[SessionId, ...]
    ) -> NewSession:
        starts_at = request.starts_at
        return NewSession(
            name=request.name,
            type=request.kind,
            user_id=caller.user_id,
            access_key=caller.access_key,
            domain=caller.domain,
            project_id=caller.project_id,
            resource_group=resolved.group,
            image=resolved.image,
            image_digest=resolved.image_digest,
            architecture=resolved.architecture,
            slots=resolved.slots,
            cluster_size=resolved.cluster_size,
            shm_bytes=resolved.shm_bytes,
            mounts=resolved.mounts,
            environ_encrypted=self._vault.seal(json.dumps(dict(request.environ))),
            manager_access=request.manager_access,
            tag=request.tag,
            starts_at=self._now() + starts_at if isinstance(starts_at, timedelta) else starts_at,
            command=request.command,
            bootstrap_encrypted=self._seal(request.bootstrap),
            callback_encrypted=self._seal(request.callback_url),
            preopen_ports=request.preopen_ports,
            resource_opts=request.resource_opts,
            route_path=request.route.path if request.route else None,
            route_port=request.route.port if request.route else None,
            doors=request.doors,
            depends_on=depends_on,
        )

    async def _await_running(self, session: SessionRecord, max_wait_s: float, *, is_new: bool) -> Created:
        """Wait until it runs or cannot; 0 waits without limit, as in Backend.AI."""
        with self._hub.subscribe(session.user_id, session.id) as subscription:
            try:
                async with asyncio.timeout(max_wait_s or None):
                    while (session := (await self.get_many([session.id]))[0]).status not in _SETTLED:
                        await subscription.changes()
            except TimeoutError:
                return Created(session, "TIMEOUT", is_new)
        return Created(session, session.status, is_new)

    async def _verdict(self, caller: Caller, resolved: Resolved) -> object:
        owner = owner_of(caller)
        group, image = resolved.group, resolved.image
        state: GroupState | None = await self._store.read(placements.load_group, group, [owner], [image])
        assert state is not None
        snapshot = scheduling.take_snapshot(state, self._conditions, self._now())
        excluded = scheduling.exclusions(state, self._conditions, resolved, caller.user_id)
        asked = scheduling.candidate(new_session_id(), owner, resolved, self._now(), excluded)
        return await asyncio.to_thread(verdict, snapshot, scheduling.group_policy(state.group), asked)

    async def _find_kernelspec(self, session: SessionRecord, name: object) -> KernelSpecFacts:
        image = await self.image_of(session)
        specs = image.kernelspecs if image else ()
        for spec in specs:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in specs) or "none"
        raise BadRequest(Reason.of("no-kernelspec", image=session.image, kernelspec=name, names=names))

    async def _why_no_start(self, session: SessionRecord, jupyter_kernel_id: str) -> BadRequest:
        found = await self._store.read(jupyter_kernels.find, jupyter_kernel_id)
        if found is not None and found.session_id != session.id:
            return bad_value("id", jupyter_kernel_id, "an id that is not in use")
        return not_running((await self.get_many([session.id]))[0])

    async def _call(self, session: SessionRecord, method: str, params: dict[str, Any]) -> dict[str, Any]:
        link, kernel_id = self._reach(session)
        try:
            return await link.call(method, {"kernel_id": kernel_id, **params}, CALL_TIMEOUT_S)
        except AgentFault as error:
            raise BadRequest(error.reason) from error

    async def _open(self, session: SessionRecord, endpoint: dict[str, Any]) -> AgentSocket:
        """A stream into the session. Raises ``AgentFault`` or ``Unavailable``."""
        link, kernel_id = self._reach(session)
        return await self._streams.open(link, kernel_id, endpoint)

    def _reach(self, session: SessionRecord) -> tuple[AgentLink, KernelId]:
        link = self._link(session)
        if link is None or session.kernel is None:
            raise Unavailable(f"The agent of session {session.name} is not connected just now. Try again.")
        return link, session.kernel.id

    def _link(self, session: SessionRecord) -> AgentLink | None:
        return self._registry.link(session.kernel.agent_id) if session.kernel else None

    def announce(self, session_id: SessionId, user_id: UserId) -> None:
        """Something of a session was written: who watches it and its agent are told."""
        self._hub.publish(session_id, user_id)
        self._reconciler.nudge_session(session_id)

    def _changed(self, session: SessionRecord) -> None:
        self.announce(session.id, session.user_id)
        if session.status is SessionStatus.PENDING:
            self._reconciler.nudge_group(session.resource_group)


def choose_cwd(session: SessionRecord, folder: object, path: object) -> tuple[str, Reason | None]:
    """Where a Jupyter kernel starts: ``path`` inside the mount of ``folder``; ``/home/work`` if that is not mounted."""
    inside = str(path or "").strip("/")
    if ".." in inside.split("/") or "\0" in inside:
        raise bad_value("path", path, "a path inside the folder")
    if not folder:
        return HOME, None
    for mount in session.mounts:
        if mount.name == folder:
            return posixpath.normpath(posixpath.join(mount.target, inside)), None
    return HOME, Reason.of("path-unmounted", path=posixpath.join(str(folder), inside), cwd=HOME)


def _load_offer(conn: Connection, caller: Caller, group: str) -> Offer:
    owner = owner_of(caller)
    state = placements.load_group(conn, group, [owner], with_pending=False)
    return Offer(
        groups=groups.usable(conn, [scope for _, scope in owner.scopes()]),
        agents=state.agents if state else (),
        images=catalog.list_images(conn, caller.user_id),
        presets=catalog.list_presets(conn),
        limits=state.limits[owner] if state else (),
        used=state.used if state else {},
        vfolders=vfolders.visible(conn, Viewer(caller.user_id), [FolderStatus.READY]),
        occupants=state.occupants if state else {},
        frozen=settings.frozen(conn),
    )


def _check_grant(caller: Caller, request: SessionRequest) -> None:
    """A person may give a session access to the manager; a service only to a server of its ward, which has a route.

    What it may there is no more than what the service may in the ward's name. Raises ``Forbidden``.
    """
    policy.require(caller.signing_role, "session:grant-access")
    if caller.service_key is not None and request.route is None:
        raise Forbidden(Reason.of("grant-without-route"))


def _pick(session: SessionRecord, jupyter_kernel_id: str) -> JupyterKernelRecord:
    for process in session.jupyter_kernels:
        if process.id == jupyter_kernel_id:
            return process
    raise NotFound(Reason.of("not-found", kind="Jupyter kernel", name=jupyter_kernel_id), title="No such kernel.")


def _overtaken(session: SessionRecord) -> PublicError:
    """Between reading and writing something else was faster."""
    if session.status is not SessionStatus.RUNNING or session.is_ending:
        return not_running(session)
    return BadRequest("The session's folders, or what you may use, were changed just now. Look again.")


def not_running(session: SessionRecord) -> BadRequest:
    return BadRequest(Reason.of("not-running", name=session.name, status=session.status.value))


def _jupyter_kernel_id(given: object) -> JupyterKernelId:
    if given is None:
        return new_jupyter_kernel_id()
    try:
        return JupyterKernelId(str(UUID(str(given))))
    except ValueError as error:
        raise bad_value("id", given, "a UUID") from error


def _key(given: object) -> str:
    if not isinstance(given, str):
        raise BadRequest(Reason.of("bad-value", field="key", given="what was sent", expected="a text"))
    return given


def _env(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise BadRequest(Reason.of("bad-value", field="env", given="what was sent", expected="an object of texts"))
    return dict(given)
