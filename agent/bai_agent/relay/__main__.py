"""Start a relay: ``python -m bai_agent.relay FOLDER``. Its orders lie in ``FOLDER/relay.json``.

::

    {"sockets": {"shell": "/…/k-1", "iopub": "/…/k-2", "stdin": "/…/k-3", "control": "/…/k-5"},
     "peer": {"cgroup": "…"} or {"sid": 123}, "limit_bytes": 1073741824, "connect_s": 300,
     "descriptors": {"shell.socket": 5, …}}          # only when it follows a relay that was killed

A relay is two processes: the worker does everything, its guardian holds the same descriptors and forks the next worker
within milliseconds when this one is killed. A worker whose guardian is killed becomes the guardian of a new worker.

Exit codes: 0 ended, 3 the kernel did not listen in time, 4 what listens is not the kernel.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bai_agent.relay.peers import Peer, RefusedSocketError
from bai_agent.relay.server import KernelSocket, Relay, listen
from bai_agent.relay.tape import RequestTape, Tape, new_pipe
from bai_agent.relay.zmtp import connect
from bai_jupyter.common.records import Channel

IDENTITY = b"bai-relay"
NOT_LISTENING, NOT_THE_KERNEL = 3, 4
_SOON_S, _PAUSE_S = 0.02, 0.5  # a worker that dies so soon is at fault itself: then no hurry

log = logging.getLogger("bai_agent.relay")


def main(folder: Path) -> int:
    orders = json.loads((folder / "relay.json").read_text())
    try:
        held = orders["descriptors"] if "descriptors" in orders else _connect(folder, orders)
    except TimeoutError as error:
        log.error("%s", error)
        return NOT_LISTENING
    except RefusedSocketError as error:
        log.error("%s", error)
        return NOT_THE_KERNEL
    listener = listen(folder)

    def work(guardian: int) -> bool:
        kernel = [_open(folder, channel, held, orders["limit_bytes"]) for channel in Channel]
        return Relay(folder, kernel, listener, guardian).run()

    return _guard(work)


def _guard(work: Callable[[int], bool]) -> int:
    """Keep a worker running. Returns, in whichever process is the last, when it has nothing more to do."""
    while True:
        started = time.monotonic()
        end_for_worker, end_for_guardian = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(end_for_guardian)
            needs_guardian = work(end_for_worker)
            os.close(end_for_worker)
            if not needs_guardian:
                return 0
            continue
        os.close(end_for_worker)
        _, status = os.waitpid(pid, 0)
        os.close(end_for_guardian)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return 0
        log.warning("the worker was killed; starting another")
        if time.monotonic() - started < _SOON_S:
            time.sleep(_PAUSE_S)


def _connect(folder: Path, orders: dict) -> dict[str, int]:  # type: ignore[type-arg]
    """First contact with the kernel, or contact anew when nobody held the descriptors. All of them, by name."""
    deadline = time.monotonic() + orders["connect_s"]
    peer = Peer(**orders["peer"])
    held = {}
    for channel in Channel:
        name = channel.name.lower()
        socket_type = "SUB" if channel is Channel.IOPUB else "DEALER"
        held[f"{name}.socket"] = connect(Path(orders["sockets"][name]), socket_type, IDENTITY, peer, deadline).detach()
        pipe = new_pipe()
        held[f"{name}.pipe_out"], held[f"{name}.pipe_in"] = pipe
        Tape(folder, name, orders["limit_bytes"], pipe).truncate_torn_tail()
        if channel is not Channel.IOPUB:
            held[f"{name}.requests"] = RequestTape.open(folder, name)
    return held


def _open(folder: Path, channel: Channel, held: dict[str, int], limit_bytes: int) -> KernelSocket:
    """One channel as the descriptors and files say it is now."""
    name = channel.name.lower()
    if f"{name}.socket" not in held:  # the kernel had closed it: only the recording is left
        return KernelSocket(channel, None, Tape(folder, name, limit_bytes, new_pipe()), None)
    sock = socket.socket(fileno=os.dup(held[f"{name}.socket"]))
    sock.setblocking(False)
    tape = Tape(folder, name, limit_bytes, (held[f"{name}.pipe_out"], held[f"{name}.pipe_in"]))
    requests = RequestTape(folder, name, held[f"{name}.requests"]) if channel is not Channel.IOPUB else None
    return KernelSocket(channel, sock, tape, requests)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1])))
