"""A multipart body (RFC 7578) read as it comes, so that a file need never be in memory. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import HTTP
from urllib.parse import unquote

MAX_HEADERS = 16 * 1024
_END_OF_HEADERS = b"\r\n\r\n"


@dataclass(frozen=True)
class Part:
    """A part begins. ``name`` is the form's field; ``filename`` was percent-encoded, as clients do it."""

    name: str
    filename: str | None


@dataclass(frozen=True)
class PartEnds:
    pass


Event = Part | bytes | PartEnds


def boundary_of(content_type: str) -> bytes:
    """Raises ``ValueError`` if it is not a multipart body."""
    message = EmailMessage(HTTP)
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
        raise ValueError("the body must be multipart/form-data")
    return boundary.encode()


class MultipartReader:
    """``feed`` what came, and iterate over what is known by then. Raises ``ValueError`` for what is not multipart."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter has no line before it
        self._state = "preamble"

    @property
    def is_complete(self) -> bool:
        return self._state == "end"

    def feed(self, data: bytes) -> Iterator[Event]:
        self._buffer += data
        while True:
            before = self._state, len(self._buffer)
            match self._state:
                case "preamble" | "content":
                    yield from self._read_content()
                case "delimiter":
                    self._read_delimiter()
                case "headers":
                    yield from self._read_headers()
                case "end":
                    self._buffer.clear()
            if before == (self._state, len(self._buffer)):
                return

    def _read_content(self) -> Iterator[Event]:
        """All that cannot be the beginning of a delimiter."""
        end = self._buffer.find(self._delimiter)
        safe = end if end >= 0 else len(self._buffer) - len(self._delimiter) + 1
        if safe > 0:
            if self._state == "content":
                yield bytes(self._buffer[:safe])
            del self._buffer[:safe]
        if end >= 0:
            del self._buffer[: len(self._delimiter)]
            if self._state == "content":
                yield PartEnds()
            self._state = "delimiter"

    def _read_delimiter(self) -> None:
        if len(self._buffer) < 2:
            return
        following = bytes(self._buffer[:2])
        if following not in (b"\r\n", b"--"):
            raise ValueError("a boundary of the multipart body is not at the end of its line")
        del self._buffer[:2]
        self._state = "headers" if following == b"\r\n" else "end"

    def _read_headers(self) -> Iterator[Event]:
        end = self._buffer.find(_END_OF_HEADERS)
        if end < 0:
            if len(self._buffer) > MAX_HEADERS:
                raise ValueError("the headers of a part are too long")
            return
        headers = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END_OF_HEADERS)]
        self._state = "content"
        yield _part(headers)


def _part(headers: bytes) -> Part:
    message = BytesHeaderParser(policy=HTTP).parsebytes(headers)
    found = message["Content-Disposition"]
    name = found.params.get("name", "") if found is not None else ""
    filename = found.params.get("filename") if found is not None else None
    return Part(str(name), None if filename is None else unquote(str(filename)))
