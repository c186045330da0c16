"""Use cases of a session's apps: list them, start and stop them, open a byte stream to one.

An app is a process that the session's user could have started as well: it runs with no other rights, and its process
id is kept in a file of theirs.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.agents.streams import AgentSocket, ByteStream
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.commands import output_of
from bai_jupyter.manager.sessions.ports import DISCOVERED, TERMINAL, App, app_at, apps_of, command_line, with_ports
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.service import SessionService

START_S = 30.0
_ANSWER_EVERY_S = 0.1
_FOLDER = "/run/bai/app-"

# The folder comes as "$0": the command's own folder for its log and process id. The rest is the app's.
_START = """
mkdir -p "$0" && exec >>"$0/log" 2>&1 </dev/null
setsid sh -c 'echo "$$" >"$0/pid"; exec sh -c "$1"' "$0" "$1" &
"""
_STOP = 'test -f "$0/pid" || exit 3; kill -TERM "-$(cat "$0/pid")" && rm -f "$0/pid"'


class Apps:
    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions
        self._starting: WeakValueDictionary[tuple[SessionId, str], asyncio.Lock] = WeakValueDictionary()

    async def list(self, session: SessionRecord) -> list[App]:
        image = await self._sessions.image_of(session)
        return apps_of(image.labels if image else {}, session.preopen_ports)

    async def list_all(self, session: SessionRecord) -> Sequence[App]:
        """And at which other ports something listens just now, if its agent can tell."""
        apps = await self.list(session)
        found: Sequence[int] = ()
        if session.status is SessionStatus.RUNNING:
            with suppress(PublicError):
                found = await self._sessions.open_ports(session)
        return with_ports(apps, [port for port in found if port != session.route_port], DISCOVERED)

    async def find(self, session: SessionRecord, name: object, port: object = None) -> tuple[App, int]:
        """The app, of which any port is one, and which of its ports. Raises ``NotFound`` listing what there is."""
        apps = await self.list(session)
        named = {one.name: one for one in apps}
        named.setdefault("terminal", named[TERMINAL.name])
        app = named.get(str(name)) or app_at(str(name))
        if app is None:
            names = ", ".join(one.name for one in apps) or "none"
            raise NotFound(Reason.of("app-unknown", app=name, names=names), title="No such app service.")
        if port is None or port == "":
            return app, app.ports[0]
        if str(port) not in map(str, app.ports):
            raise bad_value("port", port, f"one of {', '.join(map(str, app.ports))}")
        return app, int(str(port))

    async def start(self, caller: Caller, ref: str, body: Mapping[str, Any]) -> tuple[SessionRecord, App]:
        """Returns when it answers. One that answers already is left as it is. Raises ``PublicError``."""
        session = await self._sessions.get(caller, ref)
        app, port = await self.find(session, body.get("app"), body.get("port"))
        if app.command is not None:
            (await self.open(session, app, port, body)).close(1000)
        return session, app

    async def shut_down(self, caller: Caller, ref: str, name: object) -> None:
        session = await self._sessions.get(caller, ref)
        app, _ = await self.find(session, name)
        code, _, errors = await output_of(self._sessions, session, ["/bin/sh", "-c", _STOP, _FOLDER + app.name])
        if code == 3:
            raise BadRequest(
                f"{app.name} was not started here, so it is not ended. End its process inside the session."
            )
        if code != 0:
            raise BadRequest(f"{app.name} could not be ended: {errors.strip()}.")

    async def open(
        self, session: SessionRecord, app: App, port: int, body: Mapping[str, Any] | None = None
    ) -> AgentSocket:
        """A byte stream to an app, which is started if it does not answer and can be. Join or close it.

        ``body`` may hold ``envs`` and ``arguments`` for the start. Raises ``PublicError``.
        """
        if app.is_terminal:
            return await self._sessions.open_inside(session, {"kind": "page"})
        if app.command is None:
            return await self.open_port(session, port)
        given = body or {}
        env, arguments = _object("envs", given.get("envs")), _object("arguments", given.get("arguments"))
        return await self._make_answer(session, app, port, env, arguments)

    async def open_terminal(self, caller: Caller, ref: str, size: tuple[int, int]) -> ByteStream:
        """The session's terminal, rows and columns large: frames of ``common.stdio``. Raises ``PublicError``."""
        session = await self._sessions.get(caller, ref)
        endpoint = {"kind": "terminal", "rows": size[0], "columns": size[1]}
        return ByteStream(await self._sessions.open_inside(session, endpoint))

    async def open_port(self, session: SessionRecord, port: int) -> AgentSocket:
        """A byte stream to any port inside a session. Join or close it. Raises ``PublicError``; with reason
        ``port-closed`` if nothing listens there."""
        return await self._sessions.open_inside(session, {"kind": "port", "port": port})

    async def _open_if_answers(self, session: SessionRecord, port: int) -> AgentSocket | None:
        try:
            return await self.open_port(session, port)
        except PublicError as error:
            if error.reason is not None and error.reason.code == "port-closed":
                return None
            raise

    async def _make_answer(
        self, session: SessionRecord, app: App, port: int, env: Mapping[str, str], arguments: Mapping[str, object]
    ) -> AgentSocket:
        """Open it, or start it first: once, however many come at the same time."""
        answering = await self._open_if_answers(session, port)
        if answering is not None:
            return answering
        lock = self._starting.setdefault((session.id, app.name), asyncio.Lock())
        async with lock:
            answering = await self._open_if_answers(session, port)
            if answering is not None:
                return answering
            command = command_line(app, session.id, port, arguments)
            argv = ["/bin/sh", "-c", _START, _FOLDER + app.name, command]
            code, _, errors = await output_of(self._sessions, session, argv, env)
            if code != 0:
                raise BadRequest(f"{app.name} could not be started: {errors.strip()}.")
            return await self._await_answer(session, app, port)

    async def _await_answer(self, session: SessionRecord, app: App, port: int) -> AgentSocket:
        try:
            async with asyncio.timeout(START_S):
                while (answering := await self._open_if_answers(session, port)) is None:
                    await asyncio.sleep(_ANSWER_EVERY_S)
                return answering
        except TimeoutError:
            why = f"{app.name} was started and does not answer at port {port} within {START_S:g} s"
            raise BadRequest(f"{why}. The session's logs may say why.") from None


def _object(field: str, given: object) -> dict[str, Any]:
    """Clients send these as JSON inside JSON."""
    if isinstance(given, str) and given:
        try:
            given = json.loads(given)
        except ValueError:
            raise bad_value(field, given, "JSON") from None
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping):
        raise bad_value(field, given, "an object")
    if field == "envs" and not all(isinstance(value, str) for value in given.values()):
        raise bad_value(field, given, "an object of texts")
    return dict(given)
