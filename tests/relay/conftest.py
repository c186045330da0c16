"""A real ipykernel on IPC sockets, recorded by a real relay that a real keeper keeps."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from bai_agent.keeper import Keeper
from jupyter_client.session import Session

from bai_jupyter.common.records import (
    Channel,
    Envelope,
    FrameReader,
    Hello,
    Kind,
    Record,
    RecordReader,
    pack_frames,
    pack_hello,
    pack_request,
    read_welcome,
)

KEY = b"key of this test"
PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 5}
DEADLINE_S = 60


class TapeReader:
    """Reads a relay's socket as a stream would: messages, and requests of its own, until they are taken."""

    def __init__(self, folder: Path, reader: str = "00" * 8, positions: dict[str, int] | None = None) -> None:
        self.folder, self.id = folder, reader
        self.session = Session(key=KEY)
        self.frames = {channel: FrameReader((positions or {}).get(channel.name.lower(), 0)) for channel in Channel}
        self.counter = 0
        self._untaken: dict[int, list[bytes]] = {}
        self.gaps: list[Record] = []
        self.ended = False
        self._inbox: asyncio.Queue[tuple[Channel, dict]] = asyncio.Queue()

    async def dial(self) -> "TapeReader":
        self._records = RecordReader()
        while True:
            try:
                self._in, self._out = await asyncio.open_unix_connection(str(self.folder / "relay.sock"), limit=1 << 20)
                break
            except OSError:
                await asyncio.sleep(0.01)
        positions = {channel.name.lower(): frames.position for channel, frames in self.frames.items()}
        for channel, frames in self.frames.items():
            frames.jump(positions[channel.name.lower()])
        self._out.write(pack_hello(Hello(self.id, positions)))
        for pieces in self._untaken.values():
            self._out.writelines(pieces)
        return self

    def send(self, msg_type: str, content: dict, channel: Channel = Channel.SHELL, counter: int | None = None) -> str:
        self.counter = counter or self.counter + 1
        message = self.session.msg(msg_type, content)
        envelope = Envelope(bytes.fromhex(self.id), self.counter, b"client").pack()
        frames = [envelope, *self.session.serialize(message)]
        self._untaken[self.counter] = list(pack_request(channel, self.counter, pack_frames(frames)))
        self._out.writelines(self._untaken[self.counter])
        return message["header"]["msg_id"]

    def execute(self, code: str, counter: int | None = None) -> str:
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        return self.send("execute_request", {**content, "stop_on_error": True}, counter=counter)

    async def next(self) -> tuple[Channel, dict] | None:
        """The next message; ``None`` when the relay is gone or has given all there is."""
        while self._inbox.empty():
            if self.ended:
                return None
            try:
                data = await asyncio.wait_for(self._in.read(1 << 20), DEADLINE_S)
            except ConnectionError:
                data = b""
            if not data:
                return None
            for record in self._records.feed(data):
                self._take(record)
        return self._inbox.get_nowait()

    def _take(self, record: Record) -> None:
        if record.kind == Kind.DATA:
            for frames in self.frames[Channel(record.channel)].feed(record.offset, record.payload):
                _, parts = self.session.feed_identities(frames)
                self._inbox.put_nowait((Channel(record.channel), self.session.deserialize(parts)))
        elif record.kind == Kind.GAP:
            self.gaps.append(record)
            self.frames[Channel(record.channel)].jump(record.offset)
        elif record.kind == Kind.TAKEN:
            self._untaken.pop(record.offset, None)
        elif record.kind == Kind.ENDED:
            self.ended = True
        elif record.kind == Kind.WELCOME:
            self.welcome = read_welcome(record.payload)

    async def run(self, code: str) -> str:
        """Execute and give back stdout, after reply and idle."""
        return await self.collect(self.execute(code))

    async def collect(self, msg_id: str, during: Callable[[int], None] = lambda lines: None) -> str:
        out: list[str] = []
        lines = 0
        waits = {"execute_reply", "idle"}
        while waits:
            received = await self.next()
            if received is None:  # the relay was killed: dial the next one
                self.close()
                await self.dial()
                continue
            _, message = received
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                out.append(content["text"])
                lines += content["text"].count("\n")
                during(lines)
                await asyncio.sleep(0)  # the keeper is on this loop too
            waits.discard(message["msg_type"])
            waits.discard(content.get("execution_state"))
        return "".join(out)

    def close(self) -> None:
        self._out.transport.abort()


class Setup:
    """A kernel with its keeper. ``ours`` is the relay's folder."""

    def __init__(self, folder: Path) -> None:
        self.run, self.ours = folder / "run", folder / "ours"
        self.run.mkdir()
        self.ours.mkdir()
        self.readers: list[TapeReader] = []
        self.keepers: list[Keeper] = []

    def start_kernel(self) -> None:
        info = {"transport": "ipc", "ip": str(self.run / "k"), "hb_port": 4, "key": KEY.decode()}
        info |= {f"{name}_port": port for name, port in PORTS.items()} | {"signature_scheme": "hmac-sha256"}
        (self.run / "c.json").write_text(json.dumps(info))
        self.kernel = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(self.run / "c.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "IPYTHONDIR": str(self.run / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )

    def orders(self, **changes: object) -> dict[str, object]:
        sockets = {name: str(self.run / f"k-{port}") for name, port in PORTS.items()}
        peer = {"sid": self.kernel.pid}
        return {"sockets": sockets, "peer": peer, "limit_bytes": 1 << 30, "connect_s": 20, **changes}

    def keeper(self) -> Keeper:
        self.keepers.append(Keeper(self.ours))
        return self.keepers[-1]

    @property
    def worker(self) -> int:
        worker = self.keepers[-1].worker
        assert worker is not None
        return worker

    @property
    def guardian(self) -> int:
        return next(pid for pid in self.processes if pid != self.worker)

    @property
    def processes(self) -> list[int]:
        """The relay's processes, by their process group."""
        group = os.getpgid(self.worker)
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if _group(pid) == group and not _is_zombie(pid)]

    async def reader(self, reader: str = "00" * 8) -> TapeReader:
        self.readers.append(TapeReader(self.ours, reader))
        return await self.readers[-1].dial()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest_asyncio.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    setup = Setup(tmp_path)
    setup.start_kernel()
    yield setup
    for reader in setup.readers:
        reader.close()
    for keeper in setup.keepers:
        await keeper.stop()
    setup.kernel.send_signal(signal.SIGKILL)
    setup.kernel.wait()
    await asyncio.sleep(0)


@pytest.fixture
def numbered() -> Callable[[int], str]:
    """What ``for i in range(n): print(i)`` prints."""
    return lambda count: "".join(f"{i}\n" for i in range(count))
