"""The variables of kernels: saved in their owner's home folder, and restored into kernels of the same owner.

Saving is a call to the agent, restoring a restart of the kernel with the folder to begin with. Where a save lies
follows from session and kernel, and what it holds is noted with the kernel once it is whole.
"""

import logging
import posixpath
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bai_jupyter.common.errors import BadRequest, BaiError, NotFound, Unavailable
from bai_jupyter.common.ids import JupyterKernelId, SessionId
from bai_jupyter.common.messages import MountWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus, Target
from bai_jupyter.manager.agents.link import AgentFault
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.db import jupyter_kernels, sessions
from bai_jupyter.manager.db.folder_rules import HOME as HOME_FOLDER
from bai_jupyter.manager.db.records import JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.requests import HOME, bad_value

log = logging.getLogger(__name__)

FOLDER = ".bai/variables"
USUAL_S, MOST_S = 60.0, 600.0  # for each kernel
_CALL_MARGIN_S = 30.0


def folder_for(session: SessionRecord, jupyter_kernel_id: str) -> str:
    """Where a Jupyter kernel's variables are saved, inside: in the home folder, or else what ends with the session."""
    mount = _home_of(session)
    return posixpath.join(mount.target if mount else HOME, FOLDER, session.id, jupyter_kernel_id)


def find_save(source: SessionRecord, target: SessionRecord, jupyter_kernel_id: str) -> str:
    """Where ``target`` sees what was saved of a Jupyter kernel of ``source``. Raises ``BadRequest`` if it does not."""
    there, here = _home_of(source), _home_of(target)
    if source.id == target.id:
        return folder_for(source, jupyter_kernel_id)
    if there is None or here is None or (there.volume, there.subpath) != (here.volume, here.subpath):
        folder = there.name if there else "of session " + source.name
        raise BadRequest(Reason.of("saved-elsewhere", folder=folder, name=target.name))
    return posixpath.join(here.target, FOLDER, source.id, jupyter_kernel_id)


def saved_of(source: SessionRecord, target: SessionRecord, kernel: str | None) -> list[JupyterKernelRecord]:
    """The Jupyter kernels of ``source`` that are saved, or the one that is named, for a session of the same owner.

    Raises ``NotFound`` if there is none.
    """
    if source.user_id != target.user_id:
        raise NotFound(Reason.of("not-found", kind="session", name=source.name), title="No such session.")
    saved = [one for one in source.jupyter_kernels if one.saved is not None and kernel in (None, one.id)]
    if not saved:
        raise NotFound(Reason.of("saved-none", name=source.name), title="Nothing is saved.")
    return saved


def pair(
    source: SessionRecord, target: SessionRecord, kernel: str | None, into: str | None
) -> list[tuple[JupyterKernelRecord, JupyterKernelRecord]]:
    """Which saved Jupyter kernel goes into which one. In its own session each goes into itself.

    Raises ``NotFound`` if nothing is saved, or one that was named is not there; ``BadRequest`` if it must be said.
    """
    saved = saved_of(source, target, kernel)
    wanted = [one for one in target.jupyter_kernels if one.target is Target.RUNNING and into in (None, one.id)]
    if source.id == target.id and into is None:
        wanted_ids = {one.id for one in wanted}
        paired = [(one, one) for one in saved if one.id in wanted_ids]
        if paired:
            return paired
    if len(saved) == len(wanted) == 1:
        return [(saved[0], wanted[0])]
    raise _which(saved, wanted)


def choose_save(source: SessionRecord, target: SessionRecord, kernel: str | None) -> str:
    """The folder for a new Jupyter kernel of ``target`` to begin with. Raises as ``pair``."""
    saved = saved_of(source, target, kernel)
    if len(saved) != 1:
        raise _which(saved, [])
    return find_save(source, target, saved[0].id)


class Variables:
    """``nudge`` is called for sessions of which something else is wanted."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        hub: Hub,
        nudge: Callable[[SessionId], None],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._registry, self._hub, self._nudge, self._now = store, registry, hub, nudge, now

    async def save(self, session: SessionRecord, seconds: object = None) -> list[dict[str, Any]]:
        """Save those of each Jupyter kernel of a running session, each at most so long. As ``messages.Call`` says.

        Raises ``PublicError`` if nothing was saved.
        """
        limit_s = USUAL_S if seconds is None else seconds
        if isinstance(limit_s, bool) or not isinstance(limit_s, int | float) or not 1 <= limit_s <= MOST_S:
            raise bad_value("seconds", seconds, f"a number from 1 to {MOST_S:g}")
        if session.status is not SessionStatus.RUNNING or session.kernel is None:
            raise BadRequest(Reason.of("not-running", name=session.name, status=session.status.value))
        link = self._registry.link(session.kernel.agent_id)
        if link is None:
            raise Unavailable(f"The agent of session {session.name} is not connected just now. Try again.")
        timeout_s = max(1, len(session.jupyter_kernels)) * limit_s + _CALL_MARGIN_S
        try:
            params = {"kernel_id": session.kernel.id, "seconds": limit_s}
            answer: list[dict[str, Any]] = (await link.call("save", params, timeout_s))["kernels"]
        except AgentFault as error:
            raise BadRequest(error.reason) from error
        noted = {JupyterKernelId(one["jupyter_kernel_id"]): self._note(one) for one in answer if not one["refused"]}
        if noted:
            await self._store.write(jupyter_kernels.note_saved, session.id, noted)
            self._hub.publish(session.id, session.user_id)
        elif answer:
            raise BadRequest(Reason.from_json(answer[0]["refused"]))
        else:
            raise BadRequest(Reason.of("save-nothing", name=session.name))
        return answer

    async def save_before_stop(self, session_id: SessionId, seconds: float) -> bool:
        """Save what can be; it is stopped all the same. Whether anything that outlives it was saved."""
        found = await self._store.read(sessions.load_many, [session_id])
        try:
            for session in found:
                await self.save(session, seconds)
        except BaiError as error:
            log.info("variables of session %s were not saved before its stop: %s", session_id, error)
            return False
        return any(_home_of(session) is not None for session in found)

    async def wake(self, source: SessionRecord, target: SessionRecord, kernel: str | None, into: str | None) -> None:
        """Restart Jupyter kernels of ``target`` with what was saved of ``source``. Raises ``PublicError``."""
        if target.status is not SessionStatus.RUNNING:
            raise BadRequest(Reason.of("not-running", name=target.name, status=target.status.value))
        folders = {one.id: find_save(source, target, saved.id) for saved, one in pair(source, target, kernel, into)}
        for jupyter_kernel_id, folder in folders.items():
            await self._store.write(jupyter_kernels.restart, jupyter_kernel_id, folder)
        self._hub.publish(target.id, target.user_id)
        self._nudge(target.id)

    def _note(self, one: Mapping[str, Any]) -> dict[str, Any]:
        kept = ("variables", "bytes", "left_out", "doubtful")
        return {"at": self._now().isoformat(), **{name: one[name] for name in kept}}


def _which(saved: Sequence[JupyterKernelRecord], running: Sequence[JupyterKernelRecord]) -> BadRequest:
    ids = [", ".join(one.id for one in these) or "none" for these in (saved, running)]
    counts = {"saved": len(saved), "running": len(running)}
    return BadRequest(Reason.of("wake-which", **counts, saved_ids=ids[0], running_ids=ids[1]))


def _home_of(session: SessionRecord) -> MountWant | None:
    """Its owner's home folder, where nobody else writes; another folder of that name is never at that place."""
    place = posixpath.join(HOME, HOME_FOLDER)
    return next((one for one in session.mounts if one.target == place and not one.read_only), None)
