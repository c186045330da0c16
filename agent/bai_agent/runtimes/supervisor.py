"""The agent's side of the supervisor in a container (``supervise.py``): start a process there, learn how it ended.

All of it blocks for a moment, so it is called in a thread. Nothing that comes from inside is believed: who listens is
asked of the operating system, and so is which process was started.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from bai_agent import folders
from bai_agent.relay.peers import UCRED, Peer, RefusedSocketError, connect_to
from bai_agent.runtimes.base import INSIDE_RUN

SUPERVISED = "supervised:"
"""Begins the ref of a process that the container's supervisor has started."""

_PROGRAM, _SOCKET, _ABSENT = "supervise.py", "supervisor.sock", "unsupervised"
_CALL_TIMEOUT_S = 2.0
_START_PATIENCE_S = 1.0
_PAUSE_S = 0.002
_MAX_ANSWER_BYTES = 1024

MAIN = f"""
trap "exit 143" TERM; trap "exit 130" INT
rm -f {INSIDE_RUN}/{_SOCKET} {INSIDE_RUN}/{_ABSENT}
supervise() {{ python3 -I -S {INSIDE_RUN}/{_PROGRAM} {INSIDE_RUN}/{_SOCKET} || : >{INSIDE_RUN}/{_ABSENT}; }}
supervise >/dev/null 2>&1 </dev/null &
while :; do sleep 3600 & wait $!; done
"""
"""A container's main process, for ``sh``. A container without a supervisor says so, that nobody waits for it.

It ends with the code of the signal that ended it: any other code says that it could not do its work.
"""


class NotSupervised(Exception):
    """Nobody answers in this container, and nothing was started."""


def prepare(run: Path) -> None:
    """Put the program where the main process looks for it. ``run`` is the container's run folder."""
    folders.replace_private(run, _PROGRAM, Path(__file__).with_name(_PROGRAM).read_bytes())


def start(
    run: Path,
    container: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    patience_s: float = _START_PATIENCE_S,
) -> tuple[str, int]:
    """Start a process in a session of its own: what to ask for it by, and its pid on this host.

    Raises ``NotSupervised``, or ``OSError`` if it is not known whether it was started.
    """
    name = uuid4().hex
    with closing(_dial(run, container, patience_s)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        _say(sock, {"id": name, "argv": list(argv), "env": dict(env)})
        _, ancillary, _, _ = sock.recvmsg(_MAX_ANSWER_BYTES, socket.CMSG_SPACE(UCRED.size))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return name, UCRED.unpack(data)[0]
    raise OSError("the container's supervisor gave no answer")


def ref_of(kernel_id: str, name: str) -> str:
    """What a process is called from outside that was started by that name."""
    return f"{SUPERVISED}{kernel_id}/{name}"


def exit_code(run: Path, container: str, name: str) -> int | None:
    """``None`` while it runs. Raises ``NotSupervised`` or ``OSError`` if nobody can tell."""
    with closing(_dial(run, container, 0)) as sock:
        answer = ask(sock, {"id": name})
    code = answer.get("code", -1) if isinstance(answer, dict) else -1
    return code if code is None or isinstance(code, int) else -1


def _dial(run: Path, container: str, patience_s: float) -> socket.socket:
    """``patience_s``: how long one that has not begun to listen is waited for."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return connect_to(run / _SOCKET, Peer(cgroup=container), _CALL_TIMEOUT_S)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if os.path.lexists(run / _ABSENT) or time.monotonic() > deadline:
                raise NotSupervised from error
        except (OSError, RefusedSocketError) as error:
            raise NotSupervised from error
        time.sleep(_PAUSE_S)


def ask(sock: socket.socket, words: Mapping[str, Any]) -> Any:
    """What a program of ours answers from inside. Raises ``OSError`` or ``ValueError``."""
    _say(sock, words)
    return json.loads(sock.makefile("rb").readline(_MAX_ANSWER_BYTES) or b"{}")


def _say(sock: socket.socket, words: Mapping[str, Any]) -> None:
    sock.sendall(json.dumps(words).encode() + b"\n")
