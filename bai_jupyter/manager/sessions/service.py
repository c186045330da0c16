"""Use cases of sessions and their Jupyter kernels: what the API offers, without HTTP."""

import asyncio
import json
import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import AlreadyExists, BadRequest, NotFound, PublicError, Unavailable
from bai_jupyter.common.ids import JupyterKernelId, SessionId, new_jupyter_kernel_id, new_session_id
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, SessionStatus
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.streams import AGENT_AWAY, ENDED, NO_SUCH, AgentSocket, Streams
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import accounts, catalog, jupyter_kernels, placements, sessions
from bai_jupyter.manager.db.jupyter_kernels import NewJupyterKernel
from bai_jupyter.manager.db.placements import GroupState
from bai_jupyter.manager.db.records import JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.db.sessions import NewSession
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.scheduler import Waiting, verdict
from bai_jupyter.manager.sessions import requests, scheduling
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.requests import HOME, Offer, Resolved, SessionRequest, bad_value
from bai_jupyter.manager.sessions.scheduling import Conditions

CALL_TIMEOUT_S = 15.0
LOG_LINES = 2000
LIST_LIMIT = 1000
_SETTLED = frozenset({SessionStatus.RUNNING, SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR})


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
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._registry, self._streams, self._hub = store, registry, streams, hub
        self._vault, self._reconciler, self._conditions, self._now = vault, reconciler, conditions, now

    # Sessions

    async def create(self, caller: Caller, body: Mapping[str, Any]) -> Created:
        """Queue a session, or give back the live one of that name. Raises ``PublicError`` and leaves nothing behind."""
        request = requests.read_request(body)
        present = await self._present(caller, request)
        if present is not None:
            return Created(present, present.status, is_new=False)
        resolved = await self._resolve(caller, request)
        session, is_new = await self._store.write(
            sessions.create, self._new_session(caller, request, resolved), self._now()
        )
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
        found = await self._store.read(sessions.find, ref, caller.user_id, any_owner=any_owner)
        if found is None:
            raise NotFound(Reason.of("not-found", kind="session", name=ref), title="No such session.")
        return found

    async def get_many(self, session_ids: Collection[SessionId]) -> list[SessionRecord]:
        return await self._store.read(sessions.load_many, session_ids)

    async def list(
        self, caller: Caller, statuses: Collection[SessionStatus], *, everybody: bool = False
    ) -> "list[SessionRecord]":
        if everybody:
            policy.require(caller.role, "session:any-owner")
        return await self._store.read(
            sessions.list_sessions, None if everybody else caller.user_id, statuses, LIST_LIMIT
        )

    async def end(self, caller: Caller, ref: str) -> None:
        session = await self.get(caller, ref)
        await self._store.write(
            sessions.ask_end,
            session.id,
            Reason.of("cancelled-by", who=caller.user_name),
            Reason.of("user-requested", who=caller.user_name),
            self._now(),
        )
        self._changed(session)

    async def rename(self, caller: Caller, ref: str, name: object) -> None:
        session = await self.get(caller, ref)
        wanted = requests.read_name(name)
        if not await self._store.write(sessions.rename, session.id, wanted):
            raise AlreadyExists(Reason.of("name-taken", name=wanted))
        self._changed(session)

    async def logs(self, caller: Caller, ref: str) -> str:
        """The last lines that the container's main process wrote; nothing before it exists or after it is gone."""
        session = await self.get(caller, ref)
        if session.kernel is None or session.is_final:
            return ""
        result = await self._call(session, "logs", {"tail": LOG_LINES})
        return str(result.get("logs", ""))

    async def dry_run(self, caller: Caller, body: Mapping[str, Any]) -> dict[str, Any]:
        """What would happen to this request: ``{"verdict", "reason", "estimate_s"}``. Changes nothing."""
        request = requests.read_request({"name": "dry-run", **body})
        try:
            resolved = await self._resolve(caller, request)
        except PublicError as error:
            reason = error.reason or Reason.of("other", text=error.message)
            return {"verdict": "refused", "reason": reason.to_json(), "estimate_s": None}
        answer = await self._verdict(caller, resolved)
        if isinstance(answer, Waiting):
            return {"verdict": "wait", "reason": answer.reason.to_json(), "estimate_s": answer.estimate_s}
        return {"verdict": "now", "reason": None, "estimate_s": None}

    # Jupyter kernels

    async def start_jupyter_kernel(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> JupyterKernelRecord:
        session = await self.get(caller, ref)
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
        )
        created = await self._store.write(jupyter_kernels.create, new, self._now())
        if created is None:
            await self._explain_no_start(caller, session, new.id)
        assert created is not None
        self._changed(session)
        return created

    async def get_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        return _pick(await self.get(caller, ref), jupyter_kernel_id)

    async def restart_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        session = await self.get(caller, ref)
        process = _pick(session, jupyter_kernel_id)
        restarted = await self._store.write(jupyter_kernels.restart, process.id)
        if restarted is None:
            raise _not_running(await self.get(caller, session.id))
        self._changed(session)
        return restarted

    async def interrupt_jupyter_kernel(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> None:
        session = await self.get(caller, ref)
        process = _pick(session, jupyter_kernel_id)
        if session.status is not SessionStatus.RUNNING:
            raise _not_running(session)
        await self._call(session, "interrupt", {"jupyter_kernel_id": process.id})

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
            process = _pick(session, jupyter_kernel_id)
        except NotFound as error:
            raise StreamRefused(NO_SUCH, error.message) from error
        wanted = process.generation if generation is None else generation
        if wanted > process.generation:
            raise StreamRefused(NO_SUCH, "no such generation yet")
        if session.is_final:
            raise StreamRefused(ENDED, "the session has ended")
        ended = wanted < process.generation or process.status is JupyterKernelStatus.DEAD
        link = self._link(session)
        if link is None or session.kernel is None:
            raise StreamRefused(AGENT_AWAY, "not running, or the agent is away; dial again")
        endpoint = {"kind": "jupyter", "jupyter_kernel_id": process.id, "generation": wanted}
        try:
            return await self._streams.open(link, session.kernel.id, endpoint)
        except AgentFault as error:
            raise StreamRefused(ENDED if ended else AGENT_AWAY, error.reason.code) from error
        except Unavailable as error:
            raise StreamRefused(AGENT_AWAY, "the agent did not answer; dial again") from error

    # Inside

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

    async def _resolve(self, caller: Caller, request: SessionRequest) -> Resolved:
        offer = await self._store.read(_load_offer, caller, request.group)
        return requests.resolve(
            request, offer, caller.user_id, allow_unsafe_runtime=self._conditions.allow_unsafe_runtime
        )

    def _new_session(self, caller: Caller, request: SessionRequest, resolved: Resolved) -> NewSession:
        return NewSession(
            name=request.name,
            type="interactive",
            user_id=caller.user_id,
            access_key=caller.access_key,
            domain=caller.domain,
            project_id=caller.project_id,
            resource_group=resolved.group,
            image=resolved.image,
            image_digest=resolved.image_digest,
            architecture=resolved.architecture,
            slots=resolved.slots,
            shm_bytes=resolved.shm_bytes,
            mounts=resolved.mounts,
            environ_encrypted=self._vault.seal(json.dumps(dict(request.environ))),
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
        key = (caller.domain, caller.project_id, caller.user_id, caller.access_key)
        state: GroupState | None = await self._store.read(placements.load_group, resolved.group, [key])
        assert state is not None
        snapshot = scheduling.take_snapshot(state, self._conditions, self._now())
        excluded = scheduling.exclusions(state, self._conditions, resolved, caller.user_id)
        asked = scheduling.candidate(new_session_id(), caller.access_key, resolved, self._now(), excluded)
        return await asyncio.to_thread(verdict, snapshot, scheduling.group_policy(state.group), asked)

    async def _find_kernelspec(self, session: SessionRecord, name: object) -> KernelSpecFacts:
        images = {image.name: image for image in await self._store.read(catalog.list_images)}
        image = images.get(session.image)
        specs = image.kernelspecs if image else ()
        for spec in specs:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in specs) or "none"
        raise BadRequest(Reason.of("no-kernelspec", image=session.image, kernelspec=name, names=names))

    async def _explain_no_start(self, caller: Caller, session: SessionRecord, jupyter_kernel_id: str) -> None:
        found = await self._store.read(jupyter_kernels.find, jupyter_kernel_id)
        if found is not None and found.session_id != session.id:
            raise bad_value("id", jupyter_kernel_id, "an id that is not in use")
        raise _not_running(await self.get(caller, session.id))

    async def _call(self, session: SessionRecord, method: str, params: dict[str, Any]) -> dict[str, Any]:
        link = self._link(session)
        if link is None or session.kernel is None:
            raise Unavailable(f"The agent of session {session.name} is not connected just now. Try again.")
        try:
            return await link.call(method, {"kernel_id": session.kernel.id, **params}, CALL_TIMEOUT_S)
        except AgentFault as error:
            raise BadRequest(error.reason) from error

    def _link(self, session: SessionRecord) -> AgentLink | None:
        return self._registry.link(session.kernel.agent_id) if session.kernel else None

    def _changed(self, session: SessionRecord) -> None:
        self._hub.publish(session.id, session.user_id)
        self._reconciler.nudge_session(session.id)
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
    key = (caller.domain, caller.project_id, caller.user_id, caller.access_key)
    state = placements.load_group(conn, group, [key], with_pending=False)
    return Offer(
        groups=catalog.list_groups(conn),
        agents=state.agents if state else (),
        images=catalog.list_images(conn),
        presets=catalog.list_presets(conn),
        limits=state.limits[caller.access_key] if state else (),
        used=state.used if state else {},
        vfolders=accounts.list_vfolders(conn, caller.user_id),
        occupants=state.occupants if state else {},
    )


def _pick(session: SessionRecord, jupyter_kernel_id: str) -> JupyterKernelRecord:
    for process in session.jupyter_kernels:
        if process.id == jupyter_kernel_id:
            return process
    raise NotFound(Reason.of("not-found", kind="Jupyter kernel", name=jupyter_kernel_id), title="No such kernel.")


def _not_running(session: SessionRecord) -> BadRequest:
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
