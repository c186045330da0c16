"""Connect to a Jupyter kernel's IPC sockets, and the ZMTP 3.0 handshake (RFC 23, NULL mechanism).

The folder the sockets lie in can be written by the session's user, so nothing in it is believed: the socket is opened
without following links, connected through that very descriptor, and the process that listens on it must belong to the
session. After the handshake everything on the socket is tape; exactly the handshake's bytes have been read.
"""

import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import NamedTuple

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
_SUBSCRIBE_ALL = b"\x00\x01\x01"  # one frame of one byte: 1 = subscribe, to the empty prefix
_UCRED = struct.Struct("3i")
_COMMAND_FLAG = 0x04
_HANDSHAKE_S = 10.0


class RefusedSocketError(Exception):
    """The socket is not what a Jupyter kernel of this session would have made."""


class Peer(NamedTuple):
    """Who may listen on a kernel's sockets: a process of this cgroup, or of this process session (``sid``)."""

    cgroup: str | None = None
    sid: int | None = None

    def admits(self, pid: int) -> bool:
        try:
            if self.cgroup is not None:
                return self.cgroup in Path(f"/proc/{pid}/cgroup").read_text()
            return self.sid is not None and os.getsid(pid) == self.sid
        except OSError:  # it has ended: then it is no kernel
            return False


def connect(path: Path, socket_type: str, identity: bytes, peer: Peer, deadline: float) -> socket.socket:
    """A connected, non-blocking socket behind the handshake.

    Waits for the socket to appear until ``deadline`` (``time.monotonic``). Raises ``TimeoutError``, or
    ``RefusedSocketError`` when something is there that is not the kernel's.
    """
    while True:
        try:
            sock = _open(path, peer)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on {path.name}") from None
            time.sleep(0.005)
    sock.settimeout(_HANDSHAKE_S)
    _shake_hands(sock, socket_type, identity)
    sock.setblocking(False)
    return sock


def _open(path: Path, peer: Peer) -> socket.socket:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        node = os.open(path.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISSOCK(os.fstat(node).st_mode):
            raise RefusedSocketError(f"{path.name} is not a socket")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(f"/proc/self/fd/{node}")
            pid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
            if not peer.admits(pid):
                raise RefusedSocketError(f"{path.name} belongs to a process outside the session")
        except BaseException:
            sock.close()
            raise
        return sock
    finally:
        os.close(node)


def _shake_hands(sock: socket.socket, socket_type: str, identity: bytes) -> None:
    properties = {b"Socket-Type": socket_type.encode(), b"Identity": identity}
    body = b"\x05READY" + b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value for name, value in properties.items()
    )
    sock.sendall(GREETING + bytes([_COMMAND_FLAG, len(body)]) + body)
    greeting = _read_exactly(sock, len(GREETING))
    if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3 or greeting[12:16] != b"NULL":
        raise RefusedSocketError("the peer does not speak ZMTP 3 with the NULL mechanism")
    flags, length = _read_exactly(sock, 2)
    command = _read_exactly(sock, length)
    if not flags & _COMMAND_FLAG or not command.startswith(b"\x05READY"):
        raise RefusedSocketError("the peer refused the ZMTP handshake")
    if socket_type == "SUB":
        sock.sendall(_SUBSCRIBE_ALL)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise RefusedSocketError("the peer closed during the handshake")
        data += piece
    return data
