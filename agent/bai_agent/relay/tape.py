"""Tapes: what a Jupyter kernel wrote to its sockets, byte for byte, and what is on its way to it.

Both are made so that a ``kill -9`` of the relay at any instant loses nothing and repeats nothing, as long as the agent
holds duplicates of the descriptors:

* ``Tape`` moves bytes socket -> pipe -> file with ``splice``. Each move happens inside the kernel as one step: the
  bytes are in the socket, or in the pipe, or in the file, never in the memory of a process that can die. The file's
  size is the count of bytes recorded. Long messages never enter Python at all.
* ``RequestTape`` is a file of whole messages sent with ``sendfile`` at the descriptor's own file position. That
  position lives in the kernel and is shared by the duplicates, so it is the exact count of bytes that were sent.
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from bai_jupyter.common.records import Envelope, is_last, message_end, read_frame_header

SEGMENT_BYTES = 8 * 1024 * 1024
REQUEST_FILE_BYTES = 4 * 1024 * 1024
_MOVE_BYTES = 1024 * 1024
_WINDOW = 64 * 1024
_START_WIDTH = 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Tape:
    """One channel's recording: a run of segment files named by the offset of their first byte.

    ``start`` is the first offset still held and always begins a message; ``end`` is where the recording stands.
    When more than ``limit_bytes`` are held, whole segments are dropped and ``start`` moves to the next message. A
    message that is longer than the limit moves ``start`` past ``end``: it is dropped while it still arrives.
    """

    def __init__(self, folder: Path, name: str, limit_bytes: int, pipe: tuple[int, int]) -> None:
        self._folder = folder
        self._name = name
        self._limit_bytes = limit_bytes
        self.pipe = pipe
        self.is_full = False  # the disk is, and what is in the pipe waits for room
        self._start_file = os.open(folder / f"{name}.start", os.O_RDWR | os.O_CREAT, 0o600)
        self.start = int(os.pread(self._start_file, _START_WIDTH, 0) or 0)
        self._keep_start()
        self._segments = self._find_segments()
        if not self._segments:
            self._add_segment(0)
        last = max(self._segments)
        self.end = last + os.fstat(self._segments[last]).st_size

    def _find_segments(self) -> dict[int, int]:
        paths = {int(path.stem.rpartition("-")[2]): path for path in self._folder.glob(f"{self._name}-*.tape")}
        return {offset: os.open(paths[offset], os.O_RDWR) for offset in sorted(paths)}

    def _path(self, offset: int) -> Path:
        return self._folder / f"{self._name}-{offset:020d}.tape"

    def _add_segment(self, offset: int) -> None:
        self._segments[offset] = os.open(self._path(offset), os.O_RDWR | os.O_CREAT, 0o600)

    def _keep_start(self) -> None:
        """In place and always as long, so that it works on a full disk too: that is when the oldest has to go."""
        os.pwrite(self._start_file, b"%0*d" % (_START_WIDTH, self.start), 0)

    def record(self, sock: int) -> int | None:
        """Move what the socket holds to the file. Bytes moved; 0 at the socket's end; ``None`` if it held nothing.

        Not while ``is_full``: the pipe may have no room either.
        """
        try:
            taken: int | None = os.splice(sock, self.pipe[1], _MOVE_BYTES, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            taken = None
        self.drain()
        return taken

    def drain(self) -> None:
        """Move what is in the pipe to the file. On a full disk the oldest segments go, then ``is_full`` is set."""
        self.is_full = False
        while not self.is_full:
            try:
                self._move()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self.is_full = not self._drop_oldest()

    def _move(self) -> None:
        first = max(self._segments)
        if self.end - first >= SEGMENT_BYTES:
            self._add_segment(self.end)
            self._trim()
            first = self.end
        place = self.end - first
        self.end += os.splice(
            self.pipe[0], self._segments[first], _MOVE_BYTES, offset_dst=place, flags=os.SPLICE_F_NONBLOCK
        )

    def read(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``, which must lie in ``start <= offset < end``."""
        first = max(begin for begin in self._segments if begin <= offset)
        return os.pread(self._segments[first], size, offset - first)

    def truncate_torn_tail(self) -> None:
        """Cut an unfinished message off the end. For when its socket is gone and the rest will never come."""
        whole = max((boundary for boundary in self._boundaries() if boundary <= self.end), default=self.start)
        for begin in [begin for begin in self._segments if begin > whole]:
            self._remove(begin)
        last = max(self._segments)
        os.ftruncate(self._segments[last], whole - last)
        self.end = whole

    def _trim(self) -> None:
        while self.end - min(self._segments) > self._limit_bytes and self._drop_oldest():
            pass

    def _drop_oldest(self) -> bool:
        """Drop the oldest segment; False if there is only one, or its last message has no end yet."""
        if len(self._segments) < 2:
            return False
        first, second = sorted(self._segments)[:2]
        boundary = next((end for end in self._boundaries() if end >= second), None)
        if boundary is None:
            return False
        self.start = boundary
        self._keep_start()
        self._remove(first)
        return True

    def _remove(self, begin: int) -> None:
        os.close(self._segments.pop(begin))
        self._path(begin).unlink()

    def _boundaries(self) -> Iterator[int]:
        """The end of each message from ``start`` on, read from the frame headers.

        The last one lies beyond ``end`` when the header of a long last frame is there and its body is not.
        """
        offset, base, window = self.start, self.start, b""
        while offset < self.end:
            header = read_frame_header(window, offset - base) if offset - base <= len(window) else None
            if header is None:
                if window and base == offset:
                    return
                base, window = offset, self._read_across(offset)
                continue
            flags, length, header_length = header
            offset += header_length + length
            if is_last(flags):
                yield offset

    def _read_across(self, offset: int) -> bytes:
        """A window of bytes from ``offset``, joined over a segment's edge so that no header is cut in two."""
        data = self.read(offset, _WINDOW)
        rest = offset + len(data)
        return data if len(data) >= 9 or rest >= self.end else data + self.read(rest, _WINDOW)

    def close_segments(self) -> None:
        """Close what a successor opens for itself; the pipe is its too."""
        for descriptor in (*self._segments.values(), self._start_file):
            os.close(descriptor)


def new_pipe() -> tuple[int, int]:
    """A pipe with room for a burst."""
    ends = os.pipe()
    with contextlib.suppress(OSError):  # an unprivileged process may be held to less; then the default stays
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _MOVE_BYTES)
    return ends


class RequestTape:
    """Messages on their way to one socket of the kernel, each appended whole and sent once.

    ``taken`` maps a reader's id to the highest counter on this tape or, for what was dropped, in the ``taken`` file.
    """

    def __init__(self, folder: Path, name: str, descriptor: int) -> None:
        self._taken_file = folder / f"{name}.taken"
        self.descriptor = descriptor
        self.taken: dict[str, int] = json.loads(self._taken_file.read_text()) if self._taken_file.exists() else {}
        self._size = self._recover()

    @staticmethod
    def open(folder: Path, name: str) -> int:
        """A descriptor for a new connection. What is on the tape already went to a socket that is gone: not again."""
        descriptor = os.open(folder / f"{name}.requests", os.O_RDWR | os.O_CREAT, 0o600)
        os.lseek(descriptor, 0, os.SEEK_END)
        return descriptor

    def _recover(self) -> int:
        """Read the counters of the messages on the tape and cut off a torn last one, which nobody was told is taken."""
        data = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        size = 0
        for begin, end in _messages(data):
            self._note(data[begin:end])
            size = end
        os.ftruncate(self.descriptor, size)
        if os.lseek(self.descriptor, 0, os.SEEK_CUR) > size:
            os.lseek(self.descriptor, size, os.SEEK_SET)
        return size

    def _note(self, message: bytes) -> Envelope | None:
        header = read_frame_header(message, 0)
        assert header is not None
        _, length, header_length = header
        envelope = Envelope.read(message[header_length : header_length + length])
        if envelope is not None:
            reader = envelope.reader.hex()
            self.taken[reader] = max(self.taken.get(reader, 0), envelope.counter)
        return envelope

    def append(self, reader: str, counter: int, message: bytes) -> bool:
        """Take one message; False if this counter was taken before.

        Raises ``ValueError`` if it is not one whole message in an envelope of this reader and counter: half a message
        would break the stream for everybody.
        """
        if counter <= self.taken.get(reader, 0):
            return False
        envelope = self._read_envelope(message)
        if envelope is None or (envelope.reader.hex(), envelope.counter) != (reader, counter):
            raise ValueError("a request must carry its own envelope")
        self._write(message)
        self.taken[reader] = counter
        return True

    @staticmethod
    def _read_envelope(message: bytes) -> Envelope | None:
        header = read_frame_header(message, 0)
        if header is None or message_end(message, 0) != len(message):
            raise ValueError("a request must be one whole message")
        _, length, header_length = header
        return Envelope.read(message[header_length : header_length + length])

    def _write(self, message: bytes) -> None:
        view, offset = memoryview(message), self._size
        try:
            while view:
                written = os.pwrite(self.descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError:  # half a message must not lie behind the next one
            os.ftruncate(self.descriptor, self._size)
            raise
        self._size = offset

    @property
    def unsent(self) -> int:
        return self._size - os.lseek(self.descriptor, 0, os.SEEK_CUR)

    def send(self, sock: int) -> bool:
        """Send as much as the socket takes; True if nothing is left. Raises ``OSError`` if the socket is gone."""
        while (left := self.unsent) > 0:
            try:
                os.sendfile(sock, self.descriptor, None, left)
            except BlockingIOError:
                return False
        return True

    def shrink(self) -> None:
        """Empty a long tape once all of it is sent; the counters stay in the ``taken`` file.

        In this order a kill in between repeats nothing: a position behind the end means "all sent" (``_recover``).
        """
        if self._size < REQUEST_FILE_BYTES or self.unsent:
            return
        scratch = self._taken_file.with_suffix(".tmp")
        try:
            scratch.write_text(json.dumps(self.taken))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return  # it may grow a little longer
        scratch.replace(self._taken_file)
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self._size = 0


def _messages(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while (end := message_end(data, start)) is not None:
        yield start, end
        start = end
