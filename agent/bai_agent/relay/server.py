"""The relay's loop: record what the kernel says, send what readers ask, serve tapes to whoever reads.

One thread, one epoll. The kernel is never slowed: its sockets are emptied to disk before any reader is served, and a
reader that is slow is simply further back on the tape. On a full disk its sockets are left alone until there is room
again: what the kernel says meanwhile waits in pipe, socket and its own queue.
"""

import json
import logging
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from bai_agent.relay.tape import RequestTape, Tape
from bai_jupyter.common.records import (
    MAX_PIECE,
    MORE,
    Channel,
    Kind,
    Record,
    RecordReader,
    Welcome,
    pack,
    pack_welcome,
    read_hello,
)

log = logging.getLogger("bai_agent.relay")

MAX_REQUEST_BYTES = 512 * 1024 * 1024
_LOOK_ROUND_S = 30.0
_FULL_ROUND_S = 0.5  # between two looks whether a full disk has room again
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_URGENT_FIRST = (Channel.CONTROL, Channel.SHELL, Channel.STDIN, Channel.IOPUB)


class KernelSocket:
    """One connection to the kernel: its tape, and for all but IOPub the requests on their way to it.

    ``sock`` is ``None`` once the kernel has closed it; then only the tape is left to read.
    """

    def __init__(self, channel: Channel, sock: socket.socket | None, tape: Tape, requests: RequestTape | None) -> None:
        self.channel = channel
        self.sock = sock
        self.tape = tape
        self.requests = requests


class Reader:
    """Somebody on the relay's socket: a stream that reads tapes, or the agent that keeps descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.records = RecordReader()
        self.id: str | None = None  # set by HELLO
        self.positions: dict[Channel, int] = {}
        self.outgoing = memoryview(b"")
        self.replies: list[bytes] = []
        self.request = bytearray()
        self.told_ended = False


class Relay:
    """Serves one Jupyter kernel.

    Guarantees: a byte is on tape before any reader sees it; a reader gets every byte from the position it named, in
    order, or a GAP; each request is sent to the kernel at most once, and once TAKEN was said, survives the relay. After
    the kernel's end none is taken.
    """

    def __init__(self, folder: Path, kernel: list[KernelSocket], listener: socket.socket, guardian: int) -> None:
        self._folder = folder
        self._is_orphan = False
        self._kernel = {item.channel: item for item in kernel}
        self._readers: dict[int, Reader] = {}
        self._epoll = select.epoll()
        self._listener = listener
        self._handlers: dict[int, Callable[[int], None]] = {listener.fileno(): self._accept, guardian: self._orphaned}
        for descriptor in self._handlers:
            self._epoll.register(descriptor, _READ)
        for item in kernel:
            item.tape.drain()
            self._watch(item)

    def run(self) -> bool:
        """Serve. True when this process has lost its guardian and needs another; False when there is nothing to serve:
        the folder was removed, nobody will ever ask again."""
        while self._folder.exists():
            is_full = any(item.tape.is_full for item in self._kernel.values())
            for descriptor, events in self._epoll.poll(_FULL_ROUND_S if is_full else _LOOK_ROUND_S):
                handler = self._handlers.get(descriptor)
                if handler is not None:  # it may have been closed by an earlier event of this round
                    handler(events)
            if is_full:
                self._try_again()
            if self._is_orphan:
                self._close()
                return True
        return False

    def _orphaned(self, _events: int) -> None:
        self._is_orphan = True

    def _close(self) -> None:
        for reader in list(self._readers.values()):
            self._drop(reader)
        for item in self._kernel.values():
            item.tape.close_segments()
        self._epoll.close()

    # The kernel's side

    def _watch(self, item: KernelSocket) -> None:
        if item.sock is not None and not item.tape.is_full:
            self._handlers[item.sock.fileno()] = lambda events: self._on_kernel(item, events)
            self._epoll.register(item.sock, _READ)
            self._send_requests(item)

    def _on_kernel(self, item: KernelSocket, events: int) -> None:
        assert item.sock is not None
        if events & _WRITE:
            self._send_requests(item)
        if events & ~_WRITE:
            has_ended = item.tape.record(item.sock.fileno()) == 0
            if has_ended or item.tape.is_full:
                self._epoll.unregister(item.sock)
                del self._handlers[item.sock.fileno()]
            if item.tape.is_full:
                log.warning("the disk is full; %s waits", item.channel.name.lower())
            if has_ended:
                log.info("the kernel closed %s", item.channel.name.lower())
                item.sock.close()
                item.sock = None
        self._serve_all()

    def _try_again(self) -> None:
        for item in self._kernel.values():
            if item.tape.is_full:
                item.tape.drain()
                self._watch(item)
        self._serve_all()

    def _serve_all(self) -> None:
        for reader in list(self._readers.values()):
            self._serve(reader)

    def _send_requests(self, item: KernelSocket) -> None:
        if item.requests is None or item.sock is None or item.tape.is_full:
            return
        try:
            done = item.requests.send(item.sock.fileno())
        except OSError as error:  # its end is noticed when it is read
            log.info("cannot send to the kernel's %s: %s", item.channel.name.lower(), error)
            done = True
        self._epoll.modify(item.sock, _READ if done else _READ | _WRITE)
        item.requests.shrink()

    @property
    def _ended(self) -> bool:
        return all(item.sock is None and not item.tape.is_full for item in self._kernel.values())

    # The readers' side

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:  # gone again
            return
        sock.setblocking(False)
        reader = Reader(sock)
        self._readers[sock.fileno()] = reader
        self._handlers[sock.fileno()] = lambda events: self._on_reader(reader, events)
        self._epoll.register(sock, _READ)

    def _drop(self, reader: Reader) -> None:
        descriptor = reader.sock.fileno()
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
            del self._handlers[descriptor]
            reader.sock.close()

    def _on_reader(self, reader: Reader, events: int) -> None:
        try:
            if events & ~_WRITE:
                data = reader.sock.recv(4 * MAX_PIECE)
                if not data:
                    self._drop(reader)
                    return
                for record in reader.records.feed(data):
                    self._take(reader, record)
        except (ValueError, OSError) as error:
            log.warning("dropped a reader: %s", error)
            self._drop(reader)
            return
        self._serve(reader)

    def _take(self, reader: Reader, record: Record) -> None:
        if record.kind == Kind.REQUEST and reader.id is not None:
            self._take_request(reader, record)
        elif record.kind == Kind.HELLO and reader.id is None:
            self._welcome(reader, record.payload)
        elif record.kind == Kind.KEEP:
            self._hand_over(reader)
        else:
            raise ValueError(f"record of kind {record.kind} out of place")

    def _welcome(self, reader: Reader, payload: bytes) -> None:
        hello = read_hello(payload)
        reader.id = hello.reader
        for channel, item in self._kernel.items():
            wanted = hello.positions.get(channel.name.lower(), item.tape.end)
            reader.positions[channel] = min(wanted, item.tape.end)
        reader.replies.append(
            pack_welcome(
                Welcome(
                    start={channel.name.lower(): item.tape.start for channel, item in self._kernel.items()},
                    end={channel.name.lower(): item.tape.end for channel, item in self._kernel.items()},
                    taken=self._taken(hello.reader),
                )
            )
        )

    def _taken(self, reader_id: str) -> int:
        return max(
            (item.requests.taken.get(reader_id, 0) for item in self._kernel.values() if item.requests), default=0
        )

    def _take_request(self, reader: Reader, record: Record) -> None:
        assert reader.id is not None
        reader.request += record.payload
        if len(reader.request) > MAX_REQUEST_BYTES:
            raise ValueError(f"a request of more than {MAX_REQUEST_BYTES} bytes")
        if record.channel & MORE:
            return
        message, reader.request = bytes(reader.request), bytearray()
        item = self._kernel[Channel(record.channel)]
        if item.requests is None:
            raise ValueError("IOPub takes no requests")
        if item.sock is None:
            return  # not taken: there is nobody left to do it, and the one after it may
        if record.offset > self._taken(reader.id) and item.requests.append(reader.id, record.offset, message):
            self._send_requests(item)
        reader.replies.append(pack(Kind.TAKEN, offset=record.offset))

    def _serve(self, reader: Reader) -> None:
        """Send until the socket is full or there is nothing more to say."""
        try:
            while reader.outgoing or self._fill(reader):
                sent = reader.sock.send(reader.outgoing)
                reader.outgoing = reader.outgoing[sent:]
        except BlockingIOError:
            self._epoll.modify(reader.sock, _READ | _WRITE)
        except OSError:
            self._drop(reader)
        else:
            self._epoll.modify(reader.sock, _READ)

    def _fill(self, reader: Reader) -> bool:
        """Put the next bytes for this reader into ``outgoing``; False if it is level with the tapes."""
        data = b"".join(reader.replies)
        reader.replies.clear()
        if reader.id is not None:
            data += self._next_piece(reader)
        reader.outgoing = memoryview(data)
        return bool(data)

    def _next_piece(self, reader: Reader) -> bytes:
        for channel in _URGENT_FIRST:
            tape, position = self._kernel[channel].tape, reader.positions[channel]
            if position < tape.start:
                reader.positions[channel] = tape.start
                return pack(Kind.GAP, channel, tape.start)
            if position < tape.end:
                piece = tape.read(position, MAX_PIECE)
                reader.positions[channel] += len(piece)
                return pack(Kind.DATA, channel, position, piece)
        if self._ended and not reader.told_ended:
            reader.told_ended = True
            return pack(Kind.ENDED)
        return b""

    # The keeper

    def _hand_over(self, keeper: Reader) -> None:
        """Send the agent duplicates of all that must not die with this process, with their names."""
        names: list[str] = []
        descriptors: list[int] = []
        for channel, item in self._kernel.items():
            if item.sock is None:
                continue
            parts = {"socket": item.sock.fileno(), "pipe_out": item.tape.pipe[0], "pipe_in": item.tape.pipe[1]}
            if item.requests is not None:
                parts["requests"] = item.requests.descriptor
            names += [f"{channel.name.lower()}.{part}" for part in parts]
            descriptors += parts.values()
        payload = json.dumps({"names": names, "worker": os.getpid(), "group": os.getpgrp()}).encode()
        keeper.sock.setblocking(True)
        socket.send_fds(keeper.sock, [pack(Kind.KEEP, payload=payload)], descriptors)
        keeper.sock.setblocking(False)


def listen(folder: Path) -> socket.socket:
    """Listen on ``relay.sock``, reached through the folder's descriptor so that a long path does not matter."""
    (folder / "relay.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{handle}/relay.sock")
    finally:
        os.close(handle)
    listener.listen(64)
    listener.setblocking(False)
    return listener
