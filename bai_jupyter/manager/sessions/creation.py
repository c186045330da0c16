"""Sessions asked for: created or found again, tried out, and what could still be started."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import AlreadyExists, BadRequest, Forbidden, NotFound, PublicError, Unavailable
from bai_jupyter.common.ids import SessionId, new_session_id
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FolderStatus, SessionResult, SessionStatus
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import catalog, groups, people, placements, sessions, settings, vfolders
from bai_jupyter.manager.db.admission import owner_of
from bai_jupyter.manager.db.placements import GroupState
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.sessions import NewSession
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import Viewer
from bai_jupyter.manager.scheduler import Waiting, verdict
from bai_jupyter.manager.sessions import capacity, foreseen, lifecycle, requests, scheduling
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.foreseen import Verdict
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.requests import Offer, Resolved, SessionRequest
from bai_jupyter.manager.sessions.routes import ANY_OWN_PORT, at_own_port
from bai_jupyter.manager.sessions.scheduling import Conditions
from bai_jupyter.manager.sessions.service import SessionService
from bai_jupyter.manager.vfolders.homes import Homes

ENDING_PATIENCE_S = 20.0
_SETTLED = frozenset({SessionStatus.RUNNING, SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR})


@dataclass(frozen=True)
class Created:
    """A session that was asked for. ``status`` is the session's, or TIMEOUT if it did not run in time."""

    session: SessionRecord
    status: str
    is_new: bool


class SessionCreation:
    """``route_ports`` are the manager's own ports that sessions may have."""

    def __init__(
        self,
        sessions: SessionService,
        store: Store,
        hub: Hub,
        vault: Vault,
        reconciler: Reconciler,
        conditions: Conditions,
        homes: Homes,
        now: Callable[[], datetime],
        route_ports: Sequence[int] = (),
    ) -> None:
        self._sessions, self._store, self._hub, self._vault = sessions, store, hub, vault
        self._reconciler, self._conditions, self._homes, self._now = reconciler, conditions, homes, now
        self._own_routes = [at_own_port(port) for port in route_ports]

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

    async def dry_run(self, caller: Caller, body: Mapping[str, Any]) -> Verdict:
        """What would happen to this request; with ``insteadOf``, once that session had ended. Changes nothing.

        ``slots`` are as presets, policies and images have them where nothing is asked for.
        """
        request = await self._read_request({"name": "dry-run", **body})
        ref = requests.optional_text("insteadOf", body.get("insteadOf"))
        ended = None if ref is None else (await self._sessions.get(caller, ref)).id
        try:
            caller = await self._in_project(caller, request.project)
            resolved = await self._resolve(caller, request, ended)
        except PublicError as error:
            return foreseen.refused(error)
        answer = await self._judge(caller, resolved, ended)
        if isinstance(answer, Waiting):
            return foreseen.wait(answer.reason, answer.estimate_s, resolved.slots)
        return foreseen.now(resolved.slots)

    async def check_presets(self, caller: Caller, project: object, group: object) -> capacity.CapacityView:
        """What the caller could still start in a project, in one resource group or in all that they may use."""
        caller = await self._in_project(caller, requests.optional_text("group", project))
        wanted = requests.optional_text("scaling_group", group)
        found = await self._store.read(capacity.load, owner_of(caller), self._now())
        if wanted is not None and wanted not in found.groups:
            names = ", ".join(found.groups) or "none"
            raise NotFound(Reason.of("group-unknown", group=wanted, groups=names))
        return capacity.describe(found, self._conditions.is_linked, wanted)

    # Inside

    async def _outlast_namesake(self, caller: Caller, name: str) -> None:
        """Wait while the caller's session of that name is ending: it is of no use any more, and its name is taken."""
        found = await self._store.read(sessions.find, name, caller.user_id, any_owner=False)
        if found is None or not found.is_ending:
            return
        with self._hub.subscribe(found.user_id, found.id) as subscription:
            try:
                async with asyncio.timeout(ENDING_PATIENCE_S):
                    while (await self._sessions.get_many([found.id]))[0].is_ending:
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

    async def _resolve(self, caller: Caller, request: SessionRequest, ended: SessionId | None = None) -> Resolved:
        offer: Offer = await self._read(ended, _load_offer, caller, request.group, self._now())
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
                    while (session := (await self._sessions.get_many([session.id]))[0]).status not in _SETTLED:
                        await subscription.changes()
            except TimeoutError:
                return Created(session, "TIMEOUT", is_new)
        return Created(session, session.status, is_new)

    async def _read(self, ended: SessionId | None, unit: Callable[..., Any], *args: Any) -> Any:
        """What ``unit`` reads; were it not for the session ``ended``, if there is one."""
        if ended is None:
            return await self._store.read(unit, *args)
        return await self._store.foresee(_without, ended, self._now(), unit, *args)

    async def _judge(self, caller: Caller, resolved: Resolved, ended: SessionId | None) -> object:
        owner = owner_of(caller)
        group, image = resolved.group, resolved.image
        load = partial(placements.load_group, now=self._now())
        state: GroupState | None = await self._read(ended, load, group, [owner], [image])
        assert state is not None
        snapshot = scheduling.take_snapshot(state, self._conditions, self._now())
        excluded = scheduling.exclusions(state, self._conditions, resolved, caller.user_id)
        asked = scheduling.candidate(new_session_id(), owner, resolved, self._now(), excluded)
        return await asyncio.to_thread(verdict, snapshot, scheduling.group_policy(state.group), asked)


def _without(conn: Connection, session_id: SessionId, now: datetime, unit: Callable[..., Any], *args: Any) -> Any:
    """Unit to foresee: what another one finds when the session has ended and its containers are gone."""
    reason = Reason.of("other", text="")  # it is never read
    sessions.force_end(conn, session_id, reason, reason, now, None, linked=False)
    return unit(conn, *args)


def _load_offer(conn: Connection, caller: Caller, group: str, now: datetime) -> Offer:
    owner = owner_of(caller)
    state = placements.load_group(conn, group, [owner], now=now, with_pending=False)
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
