"""Sessions: asked for, watched, changed and ended; their logs, terminals and commands."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection
from bai_jupyter.client.faults import ManagerAway, SessionEnded, error_of
from bai_jupyter.client.paths import session_path
from bai_jupyter.client.session_request import SessionRequest
from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL, SessionStatus

_COMMAND_START_S = 60.0


class Sessions(Connection):
    async def create_session(self, request: SessionRequest, timeout_s: float = 30) -> Json:
        """Ask for a session: ``{"sessionId", "sessionName", "status", "created"}``.

        With ``enqueue_only=False`` the manager holds the answer for up to ``max_wait_s``; give ``timeout_s`` more.
        """
        return await self.request("POST", "/session", request.to_json(), timeout_s=timeout_s)

    async def dry_run(self, request: SessionRequest, instead_of: str | None = None) -> Json:
        """What would happen: ``{"verdict": "now" | "wait" | "refused", "reason", "estimate_s", "slots"}``.

        ``instead_of``: once that session had ended.
        """
        ended = {} if instead_of is None else {"insteadOf": instead_of}
        return await self.request("POST", "/resource/dry-run", {**request.to_json(), **ended})

    async def get_session(self, session: str, owner: str | None = None) -> Json:
        """``owner``: for admins, the keypair of somebody whose session it is; so in all calls that take it."""
        return await self.request("GET", session_path(session), query={"owner_access_key": owner})

    async def find_running(self, session: str) -> str:
        """The id of a running session of one's own. Raises ``NotFound``: a superadmin sees others', but joins none."""
        view = await self.get_session(session)
        if view["userId"] != (await self.whoami())["id"]:
            raise NotFound(Reason.of("not-found", kind="session", name=session))
        if view["status"] != SessionStatus.RUNNING:
            raise NotFound(Reason.of("not-running", name=view["name"], status=view["status"]))
        return str(view["id"])

    async def list_sessions(self, statuses: Collection[str] = (), everyone: bool = False) -> list[Json]:
        """Session views, newest first; without ``statuses`` all that have not ended. ``everyone``: superadmins."""
        query = {"status": ",".join(statuses) or None, "all": "true" if everyone else None}
        return (await self.request("GET", "/sessions", query=query))["sessions"]

    async def destroy_session(self, session: str, forced: bool = False, owner: str | None = None) -> None:
        """Ask for its end; it is gone when its status is final (``wait_for``)."""
        query = {"forced": "true" if forced else None, "owner_access_key": owner}
        await self.request("DELETE", session_path(session), query=query)

    async def rename(self, session: str, name: str) -> None:
        await self.request("POST", f"{session_path(session)}/rename", query={"name": name})

    async def resize(self, session: str, resources: Mapping[str, str]) -> Json:
        """Other amounts of ``cpu`` and ``mem`` for a running session. Its view, once it has them."""
        return await self.request("POST", f"{session_path(session)}/resize", {"resources": dict(resources)})

    async def foresee_resize(self, session: str, resources: Mapping[str, str]) -> Json:
        """What ``resize`` would come to, as ``dry_run`` tells it."""
        path = f"{session_path(session)}/resize/dry-run"
        return await self.request("POST", path, {"resources": dict(resources)})

    async def attach_folder(
        self, session: str, folder: str, path: str | None = None, *, read_only: bool = False
    ) -> Json:
        """One more folder for a running session, at ``/home/work/NAME`` or ``path``. Its view, once it is there."""
        given = {"path": path, "permission": "ro" if read_only else None}
        body = {"folder": folder, **{name: value for name, value in given.items() if value is not None}}
        return await self.request("POST", f"{session_path(session)}/attach-folder", body)

    async def detach_folder(self, session: str, folder: str, *, force: bool = False) -> Json:
        """Take a folder away from a running session; by force also if it is in use, which ends what uses it."""
        return await self.request("POST", f"{session_path(session)}/detach-folder", {"folder": folder, "force": force})

    async def suspend(self, session: str) -> Json:
        """Freeze a session in which nothing runs; it wakes when it is used. Its view."""
        return await self.request("POST", f"{session_path(session)}/suspend")

    async def resume(self, session: str) -> Json:
        return await self.request("POST", f"{session_path(session)}/resume")

    async def save(self, session: str, seconds: float = 60) -> list[Json]:
        """Save the variables of a session's kernels of Python and R, each at most so long: what was saved of each.

        ``{"jupyter_kernel_id", "refused", "variables", "bytes", "left_out", "doubtful"}``; of the last two
        ``{"name", "type", "why"}`` each.
        """
        body = {"seconds": seconds}
        timeout_s = 30 + 10 * seconds  # there may be several kernels
        return (await self.request("POST", f"{session_path(session)}/save", body, timeout_s=timeout_s))["kernels"]

    async def wake(
        self, session: str, source: str | None = None, kernel: str | None = None, into: str | None = None
    ) -> Json:
        """Restart Jupyter kernels with what was saved of them, or of those of the session ``source``. Its view."""
        body = {"source": source, "kernel": kernel, "into": into}
        given = {name: value for name, value in body.items() if value is not None}
        return await self.request("POST", f"{session_path(session)}/wake", given)

    async def extend(self, session: str) -> Json:
        """Keep a session for a while that would be stopped for being idle. Its ``idleChecks``."""
        return (await self.request("POST", f"{session_path(session)}/extend"))["idleChecks"]

    async def restart(self, session: str) -> None:
        """Start its containers again, with their files, and every Jupyter kernel in them."""
        await self.request("PATCH", session_path(session))

    async def commit(self, session: str, name: str | None = None) -> Json:
        """Begin to make an image of its container, for oneself alone: ``image``, its name, and ``bgtask_id``."""
        return await self.request("POST", f"{session_path(session)}/commit", {"name": name} if name else None)

    async def task_end(self, task_id: str, wait_s: float) -> Json:
        """How a background task of one's own ended, ``{"status", "message"}``; ``running`` if not within ``wait_s``."""
        query = {"task_id": task_id}
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(wait_s),
                aclosing(self._told("/events/background-task", query, wait_s + 60)) as events,
            ):
                async for name, data in events:
                    if (status := name.removeprefix("bgtask_")) in ("done", "failed", "cancelled"):
                        return {"status": status, "message": data["message"]}
        return {"status": "running", "message": ""}

    async def logs(self, session: str, kernel_id: str | None = None, owner: str | None = None) -> str:
        """Of its main container, or of that one."""
        query = {"kernel_id": kernel_id, "owner_access_key": owner}
        found = await self.request("GET", f"{session_path(session)}/logs", query=query)
        return found["result"]["logs"]

    async def status_history(self, session: str, owner: str | None = None) -> list[Json]:
        """Each change of its status, oldest first: ``{"status", "at", "reason"}``."""
        query = {"owner_access_key": owner}
        return (await self.request("GET", f"{session_path(session)}/status-history", query=query))["changes"]

    async def events(
        self, session_id: str | None = None, silence_s: float = 60
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield ``(event, data)`` of one session, or of all of one's own: first each as it is now, then each change.

        Ends when the connection ends or says nothing for ``silence_s`` (a cable was pulled; comments of the manager
        count as a sign of life). The caller then dials again, and misses nothing by the first rule. Raises as
        ``request`` does if it cannot begin. Close the generator (``contextlib.aclosing``) to hang up.
        """
        query = {"sessionId": session_id} if session_id else {"sessionName": "*"}
        async with aclosing(self._told("/events/session-views", query, silence_s)) as events:
            async for event in events:
                yield event

    async def wait_for(
        self,
        session: str,
        statuses: Collection[str] = (SessionStatus.RUNNING,),
        timeout_s: float = 300,
        on_change: Callable[[Json], None] | None = None,
    ) -> Json:
        """Wait until the session is in one of ``statuses`` and return its view; ``on_change`` sees each view till then.

        Redials while the manager is away, with growing pauses of at most 2 s. Raises ``SessionEnded`` if it reached
        another final status, ``NotFound``, and when time is up ``TimeoutError``, or ``ManagerAway`` if that is why.
        """
        away: ManagerAway | None = None
        pause_s = 0.1
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        view = await self._watch_until(session, statuses, on_change)
                        if view is not None:
                            return view
                        away, pause_s = None, 0.1
                    except ManagerAway as error:
                        away = error
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 2.0)
        except TimeoutError:
            if away is not None:
                raise away from None
            raise

    async def _watch_until(
        self, session: str, statuses: Collection[str], on_change: Callable[[Json], None] | None
    ) -> Json | None:
        view = await self.get_session(session)
        if (found := _arrived(view, statuses)) is not None:
            return found
        async with aclosing(self.events(view["id"])) as events:
            async for name, view in events:
                if name != "session_changed":
                    continue
                if (found := _arrived(view, statuses)) is not None:
                    return found
                if on_change is not None:
                    on_change(view)
        return None

    async def open_terminal(self, session: str) -> WebSocketClientConnection:
        """Look at a session's terminal: the JSON messages of ``/stream/session/{s}/pty``.

        ``close_code`` at the end is 1000 if its shell has ended; else it goes on, and can be looked at again.
        """
        return await self._dial(f"/stream{session_path(session)}/pty")

    async def open_command(
        self,
        session: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> WebSocketClientConnection:
        """Run a command, which lives as long as its stream: frames of ``common.stdio``, the last of which is ``ENDED``.

        ``terminal``: rows and columns of one of its own, else it has three pipes. Raises ``PublicError``.
        """
        connection = await self._dial(f"/stream{session_path(session)}/command")
        wanted = {"argv": list(argv), "env": dict(env or {}), "cwd": cwd, "terminal": terminal}
        answer: str | bytes | None = None
        with suppress(WebSocketClosedError, TimeoutError):
            async with asyncio.timeout(_COMMAND_START_S):
                await connection.write_message(json.dumps(wanted))
                answer = await connection.read_message()
        if answer == "{}":
            return connection
        connection.close()
        if answer is None:
            raise ManagerAway(self.config.endpoint)
        raise error_of(BadRequest.status, "application/json", str(answer).encode(), self.config.endpoint)


def _arrived(view: Json, statuses: Collection[str]) -> Json | None:
    if view["status"] in statuses:
        return view
    if view["status"] in FINAL:
        raise SessionEnded(view)
    return None
