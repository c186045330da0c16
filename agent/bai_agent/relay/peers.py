"""Connect to a unix socket that a process of a session has made.

The folder it lies in can be written by the session's user, so nothing in it is believed: the socket is opened without
following links, connected through that very descriptor, and the process that listens on it must belong to the session.
"""

import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

UCRED = struct.Struct("3i")
"""What the operating system says of who is at the other end: pid, uid and gid as we see them."""


class RefusedSocketError(Exception):
    """The socket is not what a process of this session would have made."""


class Peer(NamedTuple):
    """Who may listen on a session's sockets: a process of this cgroup, or of this process session (``sid``)."""

    cgroup: str | None = None
    sid: int | None = None

    def admits(self, pid: int) -> bool:
        try:
            if self.cgroup is not None:
                return self.cgroup in Path(f"/proc/{pid}/cgroup").read_text()
            return self.sid is not None and os.getsid(pid) == self.sid
        except OSError:  # it has ended: then it is no kernel
            return False


def connect_to(path: Path, peer: Peer, timeout_s: float | None = None) -> socket.socket:
    """A connected socket, each of whose calls may take ``timeout_s``.

    Raises ``RefusedSocketError``, or ``OSError`` if nothing listens there.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        node = os.open(path.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISSOCK(os.fstat(node).st_mode):
            raise RefusedSocketError(f"{path.name} is not a socket")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(f"/proc/self/fd/{node}")
            pid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))[0]
            if not peer.admits(pid):
                raise RefusedSocketError(f"{path.name} belongs to a process outside the session")
        except BaseException:
            sock.close()
            raise
        return sock
    finally:
        os.close(node)
