"""Whether a Jupyter kernel runs something, and when it did last: from what it publishes, as its relay records it.

A kernel says ``busy`` and ``idle`` for everything that it is asked. Only what somebody does counts: a page that is
opened again, or looks now and then how the kernel is, asks for things too.

Only the headers of frames are read, and the bodies of short messages, so long output costs next to nothing. The tape is
what the session's user says: a user can make the own kernel look busy, as with ``while True``, and nobody else's.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bai_jupyter.common.records import is_last, read_frame_header

_ACTS = frozenset({"execute_request", "complete_request", "inspect_request", "comm_open", "comm_msg", "comm_close"})
SAVER = "bai-save"
"""Who asks for variables to be saved: that is nobody's use of the kernel."""

_DELIMITER = b"<IDS|MSG>"
_HEADER, _PARENT, _CONTENT = 2, 3, 5  # frames behind the delimiter, which is 0
_LONGEST_BYTES = 64 * 1024  # of a frame that is read: those of a status are short
_WINDOW = 64 * 1024
_MOST_FRAMES = 100_000  # in one look, which takes less than a second then; a kernel that says more is busy
_FRAMES_THAT_MATTER = 32

Frame = tuple[int, int]
"""Where its body begins, and how long that is."""


class Listener:
    """Follows one launch's IOPub tape. ``is_busy`` and ``active_at`` (seconds since the epoch) as of the last look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._position: int | None = None  # where the next message begins
        self.is_busy = False
        self.active_at: float | None = None

    def look(self) -> None:
        """Read what came since the last look. May block; raises nothing: without a tape there is nothing to tell."""
        with suppress(OSError, ValueError):
            self._look()

    def _look(self) -> None:
        tape = _Segments(self._folder)
        is_first = self._position is None
        self._position = max(self._position or 0, tape.start)
        reader = _Reader(tape, self._position)
        for frames in reader.messages():
            busy = _busy(tape, frames)
            if busy is not None:
                self.is_busy = busy
                self.active_at = tape.written_at if is_first else time.time()
            self._position = reader.position
        if reader.is_behind:
            self.is_busy, self.active_at = True, time.time()


class _Segments:
    """The files of a tape as they are now; see ``relay.tape``."""

    def __init__(self, folder: Path) -> None:
        self.start = int((folder / "iopub.start").read_bytes() or 0)
        paths = {int(path.stem.rpartition("-")[2]): path for path in folder.glob("iopub-*.tape")}
        self._paths = {offset: paths[offset] for offset in sorted(paths)}
        last = max(self._paths)
        facts = self._paths[last].stat()
        self.end = last + facts.st_size
        self.written_at = facts.st_mtime
        self._window, self._base = b"", 0

    def read(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes, fewer at the end of what is there."""
        if not self._base <= offset <= offset + size <= self._base + len(self._window):
            self._window, self._base = self._across(offset, max(size, _WINDOW)), offset
        return self._window[offset - self._base : offset - self._base + size]

    def _across(self, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size and offset + len(data) < self.end:
            at = offset + len(data)
            begin = max(first for first in self._paths if first <= at)
            with self._paths[begin].open("rb") as file:
                file.seek(at - begin)
                piece = file.read(size - len(data))
            if not piece:
                break
            data += piece
        return data


class _Reader:
    """Goes from frame to frame. ``is_behind``: there were more than one look may read."""

    def __init__(self, tape: _Segments, position: int) -> None:
        self._tape, self.position, self.is_behind = tape, position, False

    def messages(self) -> Iterator[list[Frame]]:
        """The first frames of each whole message, all that matter."""
        frames: list[Frame] = []
        for _ in range(_MOST_FRAMES):
            header = read_frame_header(self._tape.read(self.position, 9), 0)
            if header is None:
                return
            flags, length, header_length = header
            if len(frames) < _FRAMES_THAT_MATTER:
                frames.append((self.position + header_length, length))
            self.position += header_length + length
            if self.position > self._tape.end:
                return
            if is_last(flags):
                yield frames
                frames = []
        self.is_behind = True


def _busy(tape: _Segments, frames: list[Frame]) -> bool | None:
    """What a message says of the kernel; None if it says nothing, or nobody asked for it."""
    is_delimiter = (length == len(_DELIMITER) and tape.read(at, length) == _DELIMITER for at, length in frames)
    parts = frames[next((index for index, is_it in enumerate(is_delimiter) if is_it), len(frames)) :]
    if len(parts) <= _CONTENT or _field(tape, parts[_HEADER], "msg_type") != "status":
        return None
    if _field(tape, parts[_PARENT], "msg_type") not in _ACTS or _field(tape, parts[_PARENT], "username") == SAVER:
        return None
    return _field(tape, parts[_CONTENT], "execution_state") == "busy"


def _field(tape: _Segments, frame: Frame, name: str) -> object:
    at, length = frame
    if length > _LONGEST_BYTES:
        return None
    try:
        found = json.loads(tape.read(at, length))
    except ValueError:
        return None
    return found.get(name) if isinstance(found, dict) else None
