"""TCP connections to ports inside a container, also to what listens on the container's own loopback address only.

Nothing is opened for that in any network: the socket is made inside the container's network namespace and dialled from
there, as a process of the container would.
"""

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Callable

from bai_agent.runtimes.base import RuntimeFault
from bai_jupyter.common.reasons import Reason

_CLONE_NEWNET = 0x40000000
_TIMEOUT_S = 5.0


async def connect_to(host: str, port: int, make: Callable[[], socket.socket] | None = None) -> socket.socket:
    """A connected socket, not blocking. Raises ``RuntimeFault`` with ``port-closed``."""
    sock = make() if make else socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except (OSError, TimeoutError) as error:
        sock.close()
        cause = os.strerror(error.errno).lower() if error.errno else "no answer in time"
        raise RuntimeFault(Reason.of("port-closed", port=port, cause=cause)) from error
    return sock


def socket_in(namespace: int) -> socket.socket:
    """A TCP socket inside the network namespace of that descriptor. Raises ``OSError``.

    Only a thread can change over, so one is made for it, which then ends.
    """
    made: list[socket.socket | OSError] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            made.append(OSError(number, os.strerror(number)))
        else:
            made.append(socket.socket())

    thread = threading.Thread(target=make, name="socket-in-namespace")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
