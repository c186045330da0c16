"""Jupyter kernels of sessions: started, restarted, interrupted, ended, and the streams to their relays."""

import json
import posixpath
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from bai_jupyter.common.errors import BadRequest, NotFound, Unavailable
from bai_jupyter.common.ids import JupyterKernelId, new_jupyter_kernel_id
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, SessionStatus
from bai_jupyter.manager.agents.link import AgentFault
from bai_jupyter.manager.agents.streams import AGENT_AWAY, ENDED, NO_SUCH, AgentSocket
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import jupyter_kernels
from bai_jupyter.manager.db.jupyter_kernels import NewJupyterKernel
from bai_jupyter.manager.db.records import JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions import requests, variables
from bai_jupyter.manager.sessions.requests import HOME, bad_value
from bai_jupyter.manager.sessions.service import SessionService, not_running


class StreamRefused(Exception):
    """A kernel stream cannot be had; ``code`` is the WebSocket close code that says why."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


class JupyterKernelService:
    def __init__(self, sessions: SessionService, store: Store, vault: Vault, now: Callable[[], datetime]) -> None:
        self._sessions, self._store, self._vault, self._now = sessions, store, vault, now

    async def start(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> JupyterKernelRecord:
        session = await self._sessions.get(caller, ref)
        wake = requests.optional_text("wake", body.get("wake"))
        if wake is None:
            return await self.start_process(session, body)
        kernel = requests.optional_text("wake_kernel", body.get("wake_kernel"))
        folder = variables.choose_save(await self._sessions.get(caller, wake), session, kernel)
        return await self.start_process(session, body, wake_from=folder)

    async def get(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        return _pick(await self._sessions.get(caller, ref), jupyter_kernel_id)

    async def restart(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> JupyterKernelRecord:
        return await self.restart_process(await self._sessions.get(caller, ref), jupyter_kernel_id)

    async def interrupt(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> None:
        await self.interrupt_process(await self._sessions.get(caller, ref), jupyter_kernel_id)

    async def end(self, caller: Caller, ref: str, jupyter_kernel_id: str) -> None:
        session = await self._sessions.get(caller, ref)
        process = _pick(session, jupyter_kernel_id)
        reason = Reason.of("kernel-shutdown", who=caller.user_name)
        await self._store.write(jupyter_kernels.ask_end, process.id, reason)
        self._sessions.changed(session)

    async def open_stream(
        self, caller: Caller, ref: str, jupyter_kernel_id: str, generation: int | None
    ) -> AgentSocket:
        """A stream to a Jupyter kernel's relay. Raises ``StreamRefused``."""
        try:
            session = await self._sessions.get(caller, ref)
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
        self._sessions.changed(session)
        return created

    async def restart_process(self, session: SessionRecord, jupyter_kernel_id: str) -> JupyterKernelRecord:
        process = _pick(session, jupyter_kernel_id)
        restarted = await self._store.write(jupyter_kernels.restart, process.id)
        if restarted is None:
            raise not_running((await self._sessions.get_many([session.id]))[0])
        self._sessions.changed(session)
        return restarted

    async def interrupt_process(self, session: SessionRecord, jupyter_kernel_id: str) -> None:
        process = _pick(session, jupyter_kernel_id)
        if session.status is not SessionStatus.RUNNING:
            raise not_running(session)
        await self._sessions.call(session, "interrupt", {"jupyter_kernel_id": process.id})

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
            return await self._sessions.open(session, endpoint)
        except AgentFault as error:
            raise StreamRefused(ENDED if ended else AGENT_AWAY, error.reason.code) from error
        except Unavailable as error:
            raise StreamRefused(AGENT_AWAY, error.message) from error

    async def _find_kernelspec(self, session: SessionRecord, name: object) -> KernelSpecFacts:
        image = await self._sessions.image_of(session)
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
        return not_running((await self._sessions.get_many([session.id]))[0])


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


def _pick(session: SessionRecord, jupyter_kernel_id: str) -> JupyterKernelRecord:
    for process in session.jupyter_kernels:
        if process.id == jupyter_kernel_id:
            return process
    raise NotFound(Reason.of("not-found", kind="Jupyter kernel", name=jupyter_kernel_id), title="No such kernel.")


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
