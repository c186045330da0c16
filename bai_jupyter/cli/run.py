"""``bai run``: a job. A batch session of a script here or a command there, whose log and exit code are this program's.

The script goes along with the request and lies in the session's own home: nothing is left in a folder. It ends with
the session; who goes earlier leaves it running.
"""

import argparse
import asyncio
import base64
import secrets
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.session import request_of, until_started
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import Json, ManagerClient, SessionRequest
from bai_jupyter.common.errors import BadRequest, NotFound, Unavailable
from bai_jupyter.common.slots import format_size
from bai_jupyter.common.statuses import FINAL, SessionResult
from bai_jupyter.words import sentence_of

MAX_SCRIPT_BYTES = 64 * 1024
_INTERPRETERS: Mapping[str, str] = {".py": "python", ".sh": "sh", ".r": "Rscript", ".js": "node", ".lua": "lua"}
_LOOK_S = 0.5


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    script = _read(options.file) if options.file else None
    options.batch = command_of(options.file, options.command)
    if not options.batch:
        raise CommandFailed("What is to run? Give a file, or -- and a command: bai run -- nvidia-smi", Exit.USAGE)
    return with_manager(lambda client: _run(client, options, script, terminal))


def command_of(file: str | None, words: Sequence[str]) -> str:
    """For the session's shell. ``words`` are a script's arguments, or a command; a single one is taken as shell."""
    if file is None:
        return words[0] if len(words) == 1 else shlex.join(words)
    path = Path(file)
    interpreter = _INTERPRETERS.get(path.suffix.lower())
    return shlex.join([*([interpreter, path.name] if interpreter else [f"./{path.name}"]), *words])


def putting(name: str, content: bytes) -> str:
    """A shell script that writes this file, which may be run, into the folder that it runs in."""
    quoted = shlex.quote(f"./{name}")
    return f"base64 -d > {quoted} <<'END'\n{base64.encodebytes(content).decode()}END\nchmod 700 {quoted}\n"


def news(seen: str, text: str) -> str | None:
    """What is new in a log, of which only the last lines are kept; None if lines were missed."""
    if text.startswith(seen):
        return text[len(seen) :]
    start = 0
    while 0 < (start := seen.find("\n", start) + 1) < len(seen):
        if text.startswith(seen[start:]):
            return text[len(seen) - start :]
    return None


def _read(file: str) -> bytes:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.", Exit.USAGE) from error
    if len(content) > MAX_SCRIPT_BYTES:
        raise CommandFailed(
            f"{file} has {format_size(len(content))}, and a script may have {format_size(MAX_SCRIPT_BYTES)}. Put it "
            f"into a folder (bai vfolder put), mount that (--mount), and run it there: bai run -- COMMAND",
            Exit.USAGE,
        )
    return content


async def _run(client: ManagerClient, options: argparse.Namespace, script: bytes | None, terminal: Terminal) -> int:
    options.image = options.image or await _only_image(client)
    options.name = options.name or f"run-{secrets.token_hex(3)}"
    request: SessionRequest = await request_of(client, options)
    if script is not None:
        request = replace(request, bootstrap=putting(Path(options.file).name, script))
    session = (await client.create_session(request))["sessionId"]
    if not options.follow:
        view = await client.get_session(session)
        if terminal.as_json:
            terminal.document(view)
        else:
            terminal.line(options.name)
        terminal.say(_way_back(options.name))
        return Exit.DONE
    await until_started(client, session, options.name, options, terminal)
    view = await _follow(client, session, options.name, terminal)
    if terminal.as_json:
        terminal.document(view)
    terminal.say(f"{options.name}: {sentence_of(view)}")
    return Exit.DONE if view["result"] == SessionResult.SUCCESS else int(view.get("exitCode") or Exit.FAILED)


async def _follow(client: ManagerClient, session: str, name: str, terminal: Terminal) -> Json:
    """Print the log as it comes; the last view. Goes on when the manager was away."""
    seen = ""
    try:
        while True:
            with suppress(Unavailable):
                view = await client.get_session(session)  # before the log, so that none of it is missed at the end
                seen = _show(seen, await _log(client, session), terminal)
                if view["status"] in FINAL:
                    return view
            await asyncio.sleep(_LOOK_S)
    except asyncio.CancelledError:
        terminal.say(f"\n{name} goes on. {_way_back(name)}")
        raise


async def _log(client: ManagerClient, session: str) -> str:
    """Nothing while there is none yet, or none any more."""
    with suppress(NotFound, BadRequest):
        return await client.logs(session)
    return ""


def _show(seen: str, text: str, terminal: Terminal) -> str:
    if not text:
        return seen
    fresh = news(seen, text)
    if fresh is None:
        terminal.say("[some lines came too fast and are not shown]")
        fresh = text
    if not terminal.as_json:
        terminal.stdout.write(fresh)
        terminal.stdout.flush()
    return text


async def _only_image(client: ManagerClient) -> str:
    names = [str(one["name"]) for one in await client.list_images()]
    if len(names) == 1:
        return names[0]
    raise CommandFailed(f"In which environment? Say --image. There are: {', '.join(names) or 'none'}.", Exit.USAGE)


def _way_back(name: str) -> str:
    return f"Its log: bai session logs {name}. To end it: bai session rm {name}"
