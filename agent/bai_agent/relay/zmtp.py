"""Connect to a Jupyter kernel's IPC sockets, and the ZMTP 3.0 handshake (RFC 23, NULL mechanism).

After the handshake everything on the socket is tape; exactly the handshake's bytes have been read.
"""

import socket
import struct
import time
from pathlib import Path

from bai_agent.relay.peers import Peer, RefusedSocketError, connect_to

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
_SUBSCRIBE_ALL = b"\x00\x01\x01"  # one frame of one byte: 1 = subscribe, to the empty prefix
_COMMAND_FLAG = 0x04
_HANDSHAKE_S = 10.0


def connect(path: Path, socket_type: str, identity: bytes, peer: Peer, deadline: float) -> socket.socket:
    """A connected, non-blocking socket behind the handshake.

    Waits for the socket to appear until ``deadline`` (``time.monotonic``). Raises ``TimeoutError``, or
    ``RefusedSocketError`` when something is there that is not the kernel's.
    """
    while True:
        try:
            sock = connect_to(path, peer)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on {path.name}") from None
            time.sleep(0.005)
    sock.settimeout(_HANDSHAKE_S)
    _shake_hands(sock, socket_type, identity)
    sock.setblocking(False)
    return sock


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
