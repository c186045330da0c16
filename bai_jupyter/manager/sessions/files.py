"""Files inside a session: listed, sent and fetched by commands that run there as the session's user.

So whatever a path or a link leads to, it is what that user can reach in there and nothing of the host. Paths are taken
below the home folder. Contents are streamed: at most a few pieces are in memory.
"""

import json
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from uuid import uuid4

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.stdio import Kind
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.commands import Command, output_of, start_command
from bai_jupyter.manager.sessions.requests import HOME, bad_value
from bai_jupyter.manager.sessions.service import SessionService

MAX_DOWNLOADS = 100
MAX_LISTED = 10_000
_SHELL = ("/bin/sh", "-c")

_LIST = r'cd "$1" && find . -mindepth 1 -maxdepth 1 -printf "%f\0%s\0%M\0%T@\0%C@\0%A@\0" | head -z -n "$2"'
_FIELDS = 6

# The end of the input says nothing: it also comes when the agent is killed. So the name is given by a second command,
# when all was taken, and an upload that was cut off removes its draft.
_RECEIVE = """
trap 'rm -f "$2"; exit 1' TERM
mkdir -p "$(dirname "$1")" && cat >"$2" || { rm -f "$2"; exit 1; }
"""
_NAME = 'mv -T "$2" "$1" || { rm -f "$2"; exit 1; }'
_CHECK_ALL = 'for path; do test -r "$path" || { echo "$path"; exit 1; }; done'
_CHECK_FILE = 'test -f "$1" && test -r "$1" || { echo "$1"; exit 1; }'


class Upload:
    """A file on its way into a session. It is there as a whole after ``finish``, or not at all."""

    def __init__(self, place: str, command: Command, give_name: Callable[[], Awaitable[None]]) -> None:
        self._place, self._command, self._give_name = place, command, give_name

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more."""
        await self._command.write(data)

    async def finish(self) -> None:
        """Raises ``PublicError`` with what the session said if it could not be written."""
        with closing(self._command):
            await self._command.end_input()
            said = b"".join([piece async for _, piece in self._command.output()])
        if self._command.exit_code != 0:
            raise _not_written(self._place, said.decode(errors="replace"))
        await self._give_name()

    def abandon(self) -> None:
        self._command.close()


class SessionFiles:
    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def listing(self, caller: Caller, ref: str, path: object) -> dict[str, object]:
        """As clients expect it: the entries are JSON text, and what went wrong is a text beside them."""
        session = await self._sessions.get(caller, ref)
        place = read_path("path", path or ".")
        script = [*_SHELL, _LIST, "bai", place, str(MAX_LISTED * _FIELDS)]
        _, listed, errors = await output_of(self._sessions, session, script)
        entries = [] if errors else read_listing(listed)
        return {
            "files": json.dumps(entries),
            "errors": errors.strip(),
            "folder_path": str(path or "."),
            "abspath": place,
        }

    async def begin_upload(self, session: SessionRecord, path: object) -> "Upload":
        """Write a file. Raises ``PublicError``."""
        place = read_path("filename", path)
        if place == HOME:
            raise bad_value("filename", path, "the name of a file")
        names = [place, f"{place}.{uuid4().hex[:8]}.part"]
        command = await start_command(self._sessions, session, [*_SHELL, _RECEIVE, "bai", *names])

        async def give_name() -> None:
            code, _, errors = await output_of(self._sessions, session, [*_SHELL, _NAME, "bai", *names])
            if code != 0:
                raise _not_written(place, errors)

        return Upload(place, command, give_name)

    async def find(self, caller: Caller, ref: str, files: object) -> tuple[SessionRecord, list[str]]:
        """What is to be fetched, each seen to be there. Raises ``PublicError``."""
        if not isinstance(files, list) or not 1 <= len(files) <= MAX_DOWNLOADS:
            raise bad_value("files", files, f"a list of 1 to {MAX_DOWNLOADS} paths")
        session = await self._sessions.get(caller, ref)
        places = [read_path("files", one) for one in files]
        await self._check(session, _CHECK_ALL, places)
        return session, places

    async def find_one(self, caller: Caller, ref: str, file: object) -> tuple[SessionRecord, str]:
        session = await self._sessions.get(caller, ref)
        place = read_path("file", file)
        await self._check(session, _CHECK_FILE, [place])
        return session, place

    def archive(self, session: SessionRecord, place: str) -> AsyncIterator[bytes]:
        """One file or folder as a tar archive, in pieces; its name in there is its last part."""
        folder, name = posixpath.split(place)
        return self._output(session, ["tar", "-C", folder, "-cf", "-", "--", name], changed_meanwhile=1)

    def content(self, session: SessionRecord, place: str) -> AsyncIterator[bytes]:
        return self._output(session, ["cat", "--", place])

    async def _output(
        self, session: SessionRecord, argv: Sequence[str], changed_meanwhile: int = 0
    ) -> AsyncIterator[bytes]:
        """``changed_meanwhile`` is an exit code that is none of failure."""
        with closing(await start_command(self._sessions, session, argv)) as command:
            await command.end_input()
            async for kind, piece in command.output():
                if kind is Kind.OUTPUT:
                    yield piece
        if command.exit_code not in (0, changed_meanwhile):
            raise BadRequest(f"{argv[0]} ended with code {command.exit_code} in the session.")

    async def _check(self, session: SessionRecord, script: str, places: Sequence[str]) -> None:
        code, missing, _ = await output_of(self._sessions, session, [*_SHELL, script, "bai", *places])
        if code != 0:
            raise BadRequest(Reason.of("file-unknown", path=missing.strip()))


def _not_written(place: str, said: str) -> BadRequest:
    return BadRequest(f"{place} could not be written: {said.strip()}.")


def read_path(field: str, path: object) -> str:
    """An absolute path in the home folder; relative ones begin there. Raises ``BadRequest``. Pure."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise bad_value(field, path, "a path")
    place = posixpath.normpath(posixpath.join(HOME, path))
    if place != HOME and not place.startswith(HOME + "/"):
        raise bad_value(field, path, f"a path in {HOME}")
    return place


def read_listing(listed: str) -> list[dict[str, object]]:
    """What ``find`` said, as Backend.AI lists files. Pure."""
    words = listed.split("\0")[:-1]
    entries = []
    for start in range(0, len(words) - _FIELDS + 1, _FIELDS):
        name, size, mode, modified, changed, accessed = words[start : start + _FIELDS]
        entries.append(
            {
                "filename": name,
                "size": int(size),
                "mode": mode,
                "mtime": float(modified),
                "ctime": float(changed),
                "atime": float(accessed),
            }
        )
    return sorted(entries, key=lambda entry: str(entry["filename"]))
