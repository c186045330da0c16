"""An agent without containers: real messages over the real WebSocket, kernels in a dictionary.

What it "runs" survives its connection, as containers do. It does at once what is wanted, unless told to hold or fail.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bai_agent.runtimes.base import RuntimeFault
from bai_agent.streams import Streams
from bai_agent.volumes import Volumes
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from bai_jupyter.common.errors import ProtocolError
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.messages import (
    PROTOCOL_VERSION,
    Call,
    DeviceFacts,
    Forget,
    Heartbeat,
    Hello,
    ImageFacts,
    JupyterKernelReport,
    KernelReport,
    KernelSpecFacts,
    KernelWant,
    Message,
    Refused,
    Reply,
    Wanted,
    Welcome,
    decode,
    encode,
    to_json,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

PYTHON = KernelSpecFacts("python3", "Python 3", "python", ["python", "-m", "ipykernel", "-f", "{connection_file}"])
IMAGE = ImageFacts("bai/python:test", "sha256:1", "x86_64", 1000, {}, [PYTHON])
_STEPS = (KernelStatus.PREPARING, KernelStatus.CREATING, KernelStatus.RUNNING)
_OVER = (KernelStatus.TERMINATED, KernelStatus.ERROR)

StreamHandler = Callable[[WebSocketClientConnection, dict[str, Any]], Awaitable[None]]


class FakeAgent:
    """``hold_at``: how far starting kernels go (None: nothing is even taken up). ``fail_with``: why starting fails.

    ``held`` are real volumes, if it is to have any.
    """

    def __init__(self, endpoint: str, join_token: str | None = None, **facts: Any) -> None:
        self.endpoint, self.join_token = endpoint, join_token
        self.credential: str | None = None
        self.agent_id: str | None = None
        self.hold_at: KernelStatus | None = KernelStatus.RUNNING
        self.fail_with: Reason | None = None
        self.keep_ending = False  # does not report TERMINATED when asked to end
        self.kernels: dict[str, KernelReport] = {}
        self.wants: dict[str, KernelWant] = {}
        self.sizes: dict[str, ResourceSlots] = {}  # what each kernel has
        self.forgotten: list[str] = []
        self.calls: list[Call] = []
        self.refused: Reason | None = None
        self.on_stream: StreamHandler = echo
        self.call_results: dict[str, dict[str, Any]] = {
            "interrupt": {},
            "logs": {"logs": "hello\n"},
            "remove_image": {},
            "make_folder": {},
            "open_ports": {"ports": []},
            "release_mount": {},
        }
        self.call_errors: dict[str, Reason] = {}
        self.held: Volumes | None = None
        self.figures: dict[str, float] = {"cpu_used_s": 1.0}  # of every kernel
        self.engine_trouble = ""
        self.resize_refused: Reason | None = None
        self.keep_size = False  # does not deal with changes of slots
        self.refused_mounts: dict[str, Reason] = {}  # by target
        self.keep_mounts = False  # does not deal with changes of mounts
        self._streams = Streams(endpoint)
        self.linked = asyncio.Event()
        self.facts = {
            "name": "lab-1",
            "runtime": "docker",
            "isolated": True,
            "architecture": "x86_64",
            "slots": ResourceSlots.parse({"cpu": 8, "mem": "32g"}),
            "images": [IMAGE],
            "volumes": ["local:home"],
            "protocol": PROTOCOL_VERSION,
            **facts,
        }
        self._socket: WebSocketClientConnection | None = None
        self._is_over = True
        self._tasks: set[asyncio.Task[None]] = set()

    # Connection

    async def connect(self) -> None:
        """Dial once, say Hello, and start listening. Returns when told what is wanted, or refused."""
        await self._dial()
        await self.send(self._hello())
        first = await self._receive()
        if isinstance(first, Refused):
            self.refused = first.reason
            await self.close()
            return
        assert isinstance(first, Welcome), first
        self.agent_id = first.agent_id
        self.credential = first.credential or self.credential
        self.linked.set()
        await self._deal_with(await self._receive_wanted())
        self._spawn(self._listen())
        self._spawn(self._beat(first.heartbeat_s))

    async def stay_connected(self) -> None:
        """Dial again whenever the link breaks, until ``close``."""

        async def keep() -> None:
            while True:
                if not self.linked.is_set():
                    with suppress(OSError, WebSocketClosedError, asyncio.TimeoutError, EOFError):
                        self.drop_link()
                        await self.connect()
                await asyncio.sleep(0.05)

        self._spawn(keep())
        await self.linked.wait()

    async def close(self) -> None:
        """As if the agent's process were killed: its kernels live on in ``kernels``."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._streams.close()
        self.drop_link()
        while not self._is_over:  # what has come and nobody took would keep tornado waiting for ever
            with suppress(EOFError, ProtocolError):
                await self._receive()

    def drop_link(self) -> None:
        self.linked.clear()
        if self._socket is not None:
            self._socket.close()

    async def send(self, message: Message) -> None:
        assert self._socket is not None
        await self._socket.write_message(encode(message))

    async def report(self, kernel_id: str, status: KernelStatus, **values: Any) -> KernelReport:
        """Change a kernel and tell of it, with the next revision unless one is given."""
        before = self.kernels[kernel_id]
        values = {"revision": before.revision + 1, **values}
        self.kernels[kernel_id] = replace(before, status=status, **values)
        await self.send(self.kernels[kernel_id])
        return self.kernels[kernel_id]

    async def begin(self, kernel_id: str, status: KernelStatus) -> None:
        """Take up a wanted kernel by hand and report ``status``."""
        session_id = self.wants[kernel_id].session_id
        self.kernels[kernel_id] = KernelReport(self.wants[kernel_id].kernel_id, session_id, status, revision=0)
        await self.report(kernel_id, status)

    async def proceed(self) -> None:
        """Bring everything to where ``hold_at`` and the wants say, as after a change of ``hold_at``."""
        for want in list(self.wants.values()):
            await self._carry_out(want)

    async def _dial(self) -> None:
        url = self.endpoint.replace("http", "ws", 1) + "/agent/link"
        self._socket = await websocket_connect(HTTPRequest(url, connect_timeout=5), max_message_size=1 << 25)
        self._is_over = False

    async def _receive(self) -> Message:
        assert self._socket is not None
        text = await self._socket.read_message()
        if text is None:
            self._is_over = True
            raise EOFError("the manager closed the link")
        return decode(text)

    async def _receive_wanted(self) -> Message:
        """The whole truth; before it come at most ends that were put on record, and parts of it."""
        while True:
            message = await self._receive()
            if isinstance(message, Wanted) and message.complete:
                return message
            await self._deal_with(message)

    async def _listen(self) -> None:
        try:
            while True:
                await self._deal_with(await self._receive())
        except (EOFError, WebSocketClosedError):
            self.drop_link()

    async def _beat(self, pause_s: float) -> None:
        while self.linked.is_set():
            with suppress(WebSocketClosedError):
                figures = dict.fromkeys(self.kernels, self.figures)
                await self.send(Heartbeat(figures, engine_trouble=self.engine_trouble))
            await asyncio.sleep(pause_s)

    # What the manager says

    async def _deal_with(self, message: Message) -> None:
        match message:
            case Wanted(kernels, complete):
                if complete:
                    await self._remove_unwanted({want.kernel_id for want in kernels})
                for want in kernels:
                    self.wants[want.kernel_id] = want
                    await self._carry_out(want)
            case Forget(kernel_ids):
                self.forgotten += kernel_ids
                for kernel_id in kernel_ids:
                    self.kernels.pop(kernel_id, None)
                    self.wants.pop(kernel_id, None)
            case Call():
                self.calls.append(message)
                self._spawn(self._answer(message))

    async def _remove_unwanted(self, wanted: set[str]) -> None:
        self.wants = {kernel_id: want for kernel_id, want in self.wants.items() if kernel_id in wanted}
        for kernel_id in self.kernels.keys() - wanted:
            if self.kernels[kernel_id].status not in _OVER:
                await self.report(kernel_id, KernelStatus.TERMINATED)

    async def _carry_out(self, want: KernelWant) -> None:
        known = self.kernels.get(want.kernel_id)
        if known is not None and known.status in _OVER:
            return
        if self.hold_at is None and want.target is Target.RUNNING:
            return
        self.sizes.setdefault(want.kernel_id, want.slots)
        if known is None:
            self.kernels[want.kernel_id] = KernelReport(
                want.kernel_id, want.session_id, KernelStatus.PREPARING, revision=0
            )
        if want.target is Target.TERMINATED:
            if not self.keep_ending:
                await self.report(want.kernel_id, KernelStatus.TERMINATED)
        elif self.fail_with is not None:
            await self.report(want.kernel_id, KernelStatus.ERROR, reason=self.fail_with)
        else:
            await self._start(want)

    async def _start(self, want: KernelWant) -> None:
        status = self.kernels[want.kernel_id].status
        assert self.hold_at is not None
        for step in _STEPS[: _STEPS.index(self.hold_at) + 1]:
            if status is not KernelStatus.RUNNING:
                await self.report(want.kernel_id, step)
        if self.kernels[want.kernel_id].status is KernelStatus.RUNNING:
            await self._run_processes(want)
            if want.resizes != self.kernels[want.kernel_id].resizes and not self.keep_size:
                await self._resize(want)
            if want.mount_changes != self.kernels[want.kernel_id].mount_changes and not self.keep_mounts:
                await self._mount(want)

    async def _mount(self, want: KernelWant) -> None:
        refused = {
            one.target: self.refused_mounts[one.target] for one in want.mounts if one.target in self.refused_mounts
        }
        values = {"mount_changes": want.mount_changes, "refused_mounts": refused}
        await self.report(want.kernel_id, KernelStatus.RUNNING, **values)

    async def _resize(self, want: KernelWant) -> None:
        refused, before = self.resize_refused, self.sizes.get(want.kernel_id)
        has = want.slots if refused is None or before is None else before
        self.sizes[want.kernel_id] = has
        await self.report(want.kernel_id, KernelStatus.RUNNING, resizes=want.resizes, slots=has, refused=refused)

    async def _run_processes(self, want: KernelWant) -> None:
        reports = [
            JupyterKernelReport(
                one.jupyter_kernel_id,
                one.generation,
                JupyterKernelStatus.RUNNING if one.target is Target.RUNNING else JupyterKernelStatus.DEAD,
            )
            for one in want.jupyter_kernels
        ]
        known = self.kernels[want.kernel_id]
        if reports != known.jupyter_kernels or known.restarts != want.restarts:
            values = {"jupyter_kernels": reports, "restarts": want.restarts}
            await self.report(want.kernel_id, KernelStatus.RUNNING, **values)

    async def _answer(self, call: Call) -> None:
        error = self.call_errors.get(call.method)
        if error is None and call.method == "open_stream":
            await self._open_stream(call)
        elif error is None and self.held is not None and call.method in self.held.calls:
            await self._work_on_folders(call)
        elif error is None and call.method in ("inspect_image", "commit"):
            name = call.params["name"]
            image = next((one for one in self.facts["images"] if one.name == name), replace(IMAGE, name=name))
            await self.send(Reply(call.call_id, to_json(image), None))
        elif error is None and call.method in ("suspend", "resume"):
            raw = call.params.get("reason")
            values = {"suspended": call.method == "suspend", "suspended_for": Reason.from_json(raw) if raw else None}
            await self.report(call.params["kernel_id"], KernelStatus.RUNNING, **values)
            await self.send(Reply(call.call_id, {}, None))
        elif error is None and call.method == "save":
            await self.send(Reply(call.call_id, self.call_results.get("save", {"kernels": []}), None))
        elif error is None and call.method == "figures":
            await self.send(Reply(call.call_id, dict(self.figures), None))
        else:
            result = None if error else self.call_results[call.method]
            await self.send(Reply(call.call_id, result, error))

    async def _work_on_folders(self, call: Call) -> None:
        assert self.held is not None
        try:
            reply = Reply(call.call_id, await self.held.calls[call.method](call.params), None)
        except RuntimeFault as fault:
            reply = Reply(call.call_id, None, fault.reason)
        await self.send(reply)

    async def _open_stream(self, call: Call) -> None:
        endpoint = call.params["endpoint"]
        if self.held is not None and endpoint["kind"] in self.held.streams:
            await self._streams.open(call.params["stream_id"], call.params["ticket"], self.held.end(endpoint))
            await self.send(Reply(call.call_id, {}, None))
            return
        socket = await self.dial_stream(call.params["stream_id"], call.params["ticket"])
        try:
            await self.send(Reply(call.call_id, {}, None))
            await self.on_stream(socket, endpoint)
        finally:
            socket.close()

    async def dial_stream(self, stream_id: str, ticket: str) -> WebSocketClientConnection:
        url = f"{self.endpoint.replace('http', 'ws', 1)}/agent/streams/{stream_id}?ticket={ticket}"
        return await websocket_connect(HTTPRequest(url, connect_timeout=5), max_message_size=1 << 20)

    def _hello(self) -> Hello:
        facts = dict(self.facts)
        slots = facts["slots"]
        cpu = DeviceFacts("cpu-0", "cpu", "fake", ResourceSlots({"cpu": slots["cpu"]}))
        devices = facts.pop("devices", [cpu])
        return Hello(
            version="0.1.0",
            credential=self.credential,
            join_token=JoinToken.parse(self.join_token).secret if self.join_token else None,
            devices=devices,
            kernels=list(self.kernels.values()),
            **facts,
        )

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def echo(socket: WebSocketClientConnection, _endpoint: dict[str, Any]) -> None:
    """Send every frame back."""
    with suppress(WebSocketClosedError):
        while (frame := await socket.read_message()) is not None:
            await socket.write_message(frame, binary=True)
