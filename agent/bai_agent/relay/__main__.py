"""Start a relay: ``python -m bai_agent.relay FOLDER``. Its orders lie in ``FOLDER/relay.json``.

::

    {"sockets": {"shell": "/…/k-1", "iopub": "/…/k-2", "stdin": "/…/k-3", "control": "/…/k-5"},
     "peer": {"cgroup": "…"} or {"sid": 123}, "limit_bytes": 1073741824, "connect_s": 60,
     "descriptors": {"shell.socket": 5, …}}          # only when it follows a relay that was killed

Exit codes: 0 ended, 3 the kernel did not listen in time, 4 what listens is not the kernel.
"""

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path

from bai_agent.relay.server import KernelSocket, Relay
from bai_agent.relay.tape import RequestTape, Tape
from bai_agent.relay.zmtp import Peer, RefusedSocketError, connect
from bai_jupyter.common.records import Channel

IDENTITY = b"bai-relay"
NOT_LISTENING, NOT_THE_KERNEL = 3, 4

log = logging.getLogger("bai_agent.relay")


def main(folder: Path) -> int:
    orders = json.loads((folder / "relay.json").read_text())
    try:
        kernel = _adopt(folder, orders) if "descriptors" in orders else _connect(folder, orders)
    except TimeoutError as error:
        log.error("%s", error)
        return NOT_LISTENING
    except RefusedSocketError as error:
        log.error("%s", error)
        return NOT_THE_KERNEL
    Relay(folder, kernel).run()
    return 0


def _connect(folder: Path, orders: dict) -> list[KernelSocket]:  # type: ignore[type-arg]
    """First contact with the kernel, or contact anew when nobody held the descriptors."""
    deadline = time.monotonic() + orders["connect_s"]
    peer = Peer(**orders["peer"])
    kernel = []
    for channel in Channel:
        name = channel.name.lower()
        socket_type = "SUB" if channel is Channel.IOPUB else "DEALER"
        sock = connect(Path(orders["sockets"][name]), socket_type, IDENTITY, peer, deadline)
        tape = Tape(folder, name, orders["limit_bytes"])
        tape.truncate_torn_tail()
        kernel.append(KernelSocket(channel, sock, tape, _requests(folder, channel)))
    return kernel


def _adopt(folder: Path, orders: dict) -> list[KernelSocket]:  # type: ignore[type-arg]
    """Go on where the relay before this one was killed, on the same descriptors."""
    held: dict[str, int] = orders["descriptors"]
    kernel = []
    for channel in Channel:
        name = channel.name.lower()
        if f"{name}.socket" not in held:  # the kernel had closed it: only the recording is left
            kernel.append(KernelSocket(channel, None, Tape(folder, name, orders["limit_bytes"]), None))
            continue
        sock = socket.socket(fileno=held[f"{name}.socket"])
        sock.setblocking(False)
        tape = Tape(folder, name, orders["limit_bytes"], (held[f"{name}.pipe_out"], held[f"{name}.pipe_in"]))
        kernel.append(KernelSocket(channel, sock, tape, _requests(folder, channel, held.get(f"{name}.requests"))))
    return kernel


def _requests(folder: Path, channel: Channel, descriptor: int | None = None) -> RequestTape | None:
    return None if channel is Channel.IOPUB else RequestTape(folder, channel.name.lower(), descriptor)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1])))
