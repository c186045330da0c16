"""The records of a kernel stream, and the ZMTP frames inside them.

A relay keeps, for each channel of a Jupyter kernel, a *tape*: the exact bytes the kernel wrote to its socket after the
ZMTP handshake. A position on a tape is a byte offset, so "resume where I was" is one number per channel, and a replay
is a file copy. The relay sends pieces of tape; whoever reads the stream puts messages together again (``FrameReader``).

Record on the wire, little endian::

    u32 length of what follows | u8 kind | u8 channel | u64 offset | payload

====== ======================= ============================================================================
kind   from                    offset and payload
====== ======================= ============================================================================
HELLO  reader                  0; JSON ``Hello``: who reads, and from where on each tape
WELCOME relay                  0; JSON ``Welcome``: what is on the tapes, which requests were taken
DATA   relay                   offset of the first byte; raw tape, any length up to ``MAX_PIECE``
REQUEST reader                 the reader's own counter; one ZMTP message, split in pieces by ``MORE``
TAKEN  relay                   highest counter taken from this reader: it is on disk and will be sent once
GAP    relay                   offset at which the tape goes on; what lay before it was dropped
ENDED  relay                   0; the kernel's process has ended, and DATA up to here is all there is
KEEP   agent                   0; hand me duplicates of your descriptors, and again whenever they change
====== ======================= ============================================================================

A request carries an envelope as its first frame (``Envelope``), which the kernel sends back in its answer, as Jupyter's
protocol demands of identity frames. So replies find their way without anybody reading the message, and a relay that was
killed learns from its own request tape which requests it had already taken.

Tuples, not dataclasses: those import ``inspect``, and with it a megabyte into every relay.
"""

import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from io import BytesIO
from typing import NamedTuple

HEADER = struct.Struct("<IBBQ")
_AFTER_LENGTH = HEADER.size - 4
MAX_PIECE = 64 * 1024
MAX_RECORD = MAX_PIECE + HEADER.size
_READER_BYTES = 8

MORE = 0x80
"""Set on a REQUEST's channel byte: another piece of the same message follows."""


class Kind(IntEnum):
    HELLO = 1
    WELCOME = 2
    DATA = 3
    REQUEST = 4
    TAKEN = 5
    GAP = 6
    ENDED = 7
    KEEP = 8


class Channel(IntEnum):
    SHELL = 0
    IOPUB = 1
    STDIN = 2
    CONTROL = 3


class Hello(NamedTuple):
    """``reader`` is a stable id of who reads (16 hex digits). ``positions`` maps a channel's name to an offset;
    a channel that is left out starts at the live end."""

    reader: str
    positions: dict[str, int]


class Welcome(NamedTuple):
    """``start`` and ``end`` are the offsets each tape holds; ``taken`` is this reader's highest request counter."""

    start: dict[str, int]
    end: dict[str, int]
    taken: int


class Record(NamedTuple):
    kind: int
    channel: int
    offset: int
    payload: bytes


def pack(kind: Kind, channel: int = 0, offset: int = 0, payload: bytes = b"") -> bytes:
    return HEADER.pack(_AFTER_LENGTH + len(payload), kind, channel, offset) + payload


def pack_hello(hello: Hello) -> bytes:
    return pack(Kind.HELLO, payload=json.dumps(hello._asdict()).encode())


def pack_welcome(welcome: Welcome) -> bytes:
    return pack(Kind.WELCOME, payload=json.dumps(welcome._asdict()).encode())


def pack_request(channel: Channel, counter: int, message: bytes) -> Iterator[bytes]:
    """One request as records of at most ``MAX_PIECE`` payload bytes."""
    pieces = range(0, len(message), MAX_PIECE)
    for start in pieces:
        more = MORE if start + MAX_PIECE < len(message) else 0
        yield pack(Kind.REQUEST, channel | more, counter, message[start : start + MAX_PIECE])


def read_hello(payload: bytes) -> Hello:
    """Raises ``ValueError`` if it is not one."""
    try:
        raw = json.loads(payload)
        hello = Hello(str(raw["reader"]), {str(k): int(v) for k, v in raw["positions"].items()})
        if len(bytes.fromhex(hello.reader)) != _READER_BYTES or min(hello.positions.values(), default=0) < 0:
            raise ValueError("not a reader's id, or a position below 0")
        return hello
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError("not a hello") from error


def read_welcome(payload: bytes) -> Welcome:
    """The relay is trusted: anything else is an error of ours, raised as it comes."""
    raw = json.loads(payload)
    return Welcome(raw["start"], raw["end"], raw["taken"])


class RecordReader:
    """Cuts a byte stream into records. ``feed`` what arrived, then iterate."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield each record that is now whole. Raises ``ValueError`` on a length that no record has."""
        self._buffer += data
        end = 0
        try:
            while len(self._buffer) - end >= HEADER.size:
                length, kind, channel, offset = HEADER.unpack_from(self._buffer, end)
                if not _AFTER_LENGTH <= length <= MAX_RECORD:
                    raise ValueError(f"record of {length} bytes")
                start, after = end + HEADER.size, end + 4 + length
                if len(self._buffer) < after:
                    break
                end = after
                yield Record(kind, channel, offset, bytes(memoryview(self._buffer)[start:end]))
        finally:  # also when the caller stops halfway: what was given out is not given out again
            del self._buffer[:end]


# ZMTP 3.0 frames (RFC 23): flags, length, body

_MORE_FRAMES, _LONG, _COMMAND = 0x01, 0x02, 0x04


def pack_frames(frames: list[bytes]) -> bytes:
    """A multipart message as it goes over the wire."""
    parts: list[bytes] = []
    for index, frame in enumerate(frames):
        flags = _MORE_FRAMES if index < len(frames) - 1 else 0
        if len(frame) > 255:
            parts.append(struct.pack(">BQ", flags | _LONG, len(frame)))
        else:
            parts.append(struct.pack(">BB", flags, len(frame)))
        parts.append(frame)
    return b"".join(parts)


def read_frame_header(data: bytes | bytearray | memoryview, start: int) -> tuple[int, int, int] | None:
    """Flags, body length and header length of the frame at ``start``; ``None`` if the header is not whole yet."""
    if len(data) - start < 2:
        return None
    flags = data[start]
    if not flags & _LONG:
        return flags, data[start + 1], 2
    if len(data) - start < 9:
        return None
    return flags, int.from_bytes(data[start + 1 : start + 9], "big"), 9


def is_last(flags: int) -> bool:
    return not flags & _MORE_FRAMES


def is_command(flags: int) -> bool:
    return bool(flags & _COMMAND)


def message_end(data: bytes | bytearray | memoryview, start: int) -> int | None:
    """Where the multipart message that begins at ``start`` ends; ``None`` if it is not whole.

    Reads frame headers only, so it is cheap for long bodies.
    """
    while (header := read_frame_header(data, start)) is not None:
        flags, length, header_length = header
        start += header_length + length
        if start > len(data):
            return None
        if is_last(flags):
            return start
    return None


class FrameReader:
    """Puts the messages of one tape together again.

    ``position`` is the offset just behind the last whole message that ``feed`` gave out: resume there. Bytes before it
    are never needed again. A piece may begin before ``position`` (a replay); the part already read is skipped.

    The body of a frame is copied once, however long it is and in however many pieces it comes.
    """

    def __init__(self, position: int) -> None:
        self.jump(position)

    def jump(self, position: int) -> None:
        """Go on at ``position`` after a gap; an unfinished message is forgotten."""
        self.position = position
        self._end = position  # behind all that was fed
        self._rest = b""  # fed, and not looked at
        self._frames: list[bytes] = []  # of the unfinished message
        self._body = BytesIO()  # of the unfinished frame, what has come of it
        self._missing = 0  # bytes of that body still to come
        self._flags = 0

    def feed(self, offset: int, data: bytes) -> Iterator[list[bytes]]:
        """Yield each message that is now whole, as its frames. Commands (such as PING) are dropped.

        Raises ``ValueError`` if bytes are missing between what was read and ``offset``.
        """
        if offset > self._end:
            raise ValueError(f"tape jumps from {self._end} to {offset}")
        fresh = data[self._end - offset :]
        self._end += len(fresh)
        data, at = self._rest + fresh, 0
        try:
            while True:
                if not self._missing:
                    header = read_frame_header(data, at)
                    if header is None:
                        return
                    self._flags, self._missing, header_length = header
                    at += header_length
                piece = data[at : at + self._missing]
                at += len(piece)
                self._missing -= len(piece)
                if self._missing:
                    self._body.write(piece)
                    return
                if self._body.tell():
                    self._body.write(piece)
                    piece, self._body = self._body.getvalue(), BytesIO()
                if not is_command(self._flags):
                    self._frames.append(piece)
                if is_last(self._flags):
                    message, self._frames = self._frames, []
                    self.position = self._end - len(data) + at
                    if message:
                        yield message
        finally:  # also when the caller stops halfway: the rest is given out next time
            self._rest = data[at:]


_ENVELOPE = struct.Struct("<2s8sQ")
_MAGIC = b"bj"


class Envelope(NamedTuple):
    """The identity frame that a request carries to the kernel and its answers carry back.

    ``reader`` (8 bytes) and ``counter`` say which request of whom this is; ``client`` is the identity of the ZMQ client
    behind the reader, if there is one.
    """

    reader: bytes
    counter: int
    client: bytes

    def pack(self) -> bytes:
        return _ENVELOPE.pack(_MAGIC, self.reader, self.counter) + self.client

    @classmethod
    def read(cls, frame: bytes) -> "Envelope | None":
        """``None`` if the frame is not an envelope (a kernel that drops identities, or somebody else's)."""
        if len(frame) < _ENVELOPE.size or not frame.startswith(_MAGIC):
            return None
        _, reader, counter = _ENVELOPE.unpack_from(frame)
        return cls(reader, counter, frame[_ENVELOPE.size :])
