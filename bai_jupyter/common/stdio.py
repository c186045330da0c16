"""What goes over a stream to a process inside a container: its input, output and end. One frame each.

A frame is one byte that says what it is, then the bytes themselves. ``RESIZE`` holds rows and columns, ``ENDED`` the
exit code, ``SIGNAL`` a number: little endian.
"""

import struct
from enum import IntEnum

MAX_PIECE = 64 * 1024
"""Bytes of input or output in one frame."""

_SIZE, _CODE, _SIGNAL = struct.Struct("<HH"), struct.Struct("<i"), struct.Struct("<B")


class Kind(IntEnum):
    INPUT = 0
    OUTPUT = 1
    ERROR = 2
    INPUT_ENDS = 3
    RESIZE = 4
    SIGNAL = 5
    RESTART = 6  # a terminal's shell, by a new one
    ENDED = 7


def pack(kind: Kind, payload: bytes = b"") -> bytes:
    return bytes([kind]) + payload


def unpack(frame: bytes) -> tuple[Kind, bytes]:
    """Raises ``ValueError`` for what is not a frame."""
    if not frame:
        raise ValueError("an empty frame")
    return Kind(frame[0]), frame[1:]


def pack_size(rows: int, columns: int) -> bytes:
    return pack(Kind.RESIZE, _SIZE.pack(rows, columns))


def read_size(payload: bytes) -> tuple[int, int]:
    """Rows and columns. Raises ``ValueError``."""
    return _read(_SIZE, payload)  # type: ignore[return-value]


def pack_ended(exit_code: int) -> bytes:
    return pack(Kind.ENDED, _CODE.pack(exit_code))


def read_ended(payload: bytes) -> int:
    """The exit code. Raises ``ValueError``."""
    return _read(_CODE, payload)[0]


def pack_signal(number: int) -> bytes:
    return pack(Kind.SIGNAL, _SIGNAL.pack(number))


def read_signal(payload: bytes) -> int:
    """Raises ``ValueError``."""
    return _read(_SIGNAL, payload)[0]


def _read(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    try:
        return layout.unpack(payload)
    except struct.error as error:
        raise ValueError(f"{len(payload)} bytes where {layout.size} are expected") from error
