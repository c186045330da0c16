"""The agent as a program: a real process, killed without warning, between a real runtime and a bare manager."""

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from bai_jupyter.common.ids import AgentId, JupyterKernelId, KernelId, new_kernel_id
from bai_jupyter.common.messages import (
    Call,
    Forget,
    Heartbeat,
    Hello,
    JupyterKernelWant,
    KernelReport,
    Message,
    Refused,
    Reply,
    Wanted,
    Welcome,
    decode,
    encode,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

pytestmark = pytest.mark.asyncio

TOKEN = "join-me"


class LinkHandler(WebSocketHandler):
    def initialize(self, manager: "PlainManager") -> None:
        self.manager = manager

    def open(self) -> None:  # type: ignore[override]
        self.manager.sockets.append(self)

    async def on_message(self, text: str | bytes) -> None:
        await self.manager.heard(self, decode(text))

    def on_close(self) -> None:
        self.manager.sockets.remove(self)


class PlainManager:
    """The manager's end of the link without a manager: what it hears is kept, what it says the test decides."""

    def __init__(self) -> None:
        self.sockets: list[LinkHandler] = []
        self.hellos: list[Hello] = []
        self.reports: dict[KernelId, list[KernelReport]] = {}
        self.replies: dict[str, Reply] = {}
        self.beats: list[Heartbeat] = []
        self.wants: dict[KernelId, Any] = {}
        self.credential = "secret-credential"
        self.changed = asyncio.Condition()
        listener, self.port = bind_unused_port()
        self.server = HTTPServer(Application([("/agent/link", LinkHandler, {"manager": self})]))
        self.server.add_socket(listener)

    async def heard(self, socket: LinkHandler, message: Message) -> None:
        match message:
            case Hello() as hello:
                self.hellos.append(hello)
                for report in hello.kernels:
                    self.reports.setdefault(report.kernel_id, []).append(report)
                await self._welcome(socket, hello)
            case KernelReport() as report:
                self.reports.setdefault(report.kernel_id, []).append(report)
            case Heartbeat() as beat:
                self.beats.append(beat)
            case Reply() as reply:
                self.replies[reply.call_id] = reply
        async with self.changed:
            self.changed.notify_all()

    async def _welcome(self, socket: LinkHandler, hello: Hello) -> None:
        joins = hello.join_token == TOKEN
        if not joins and hello.credential != self.credential:
            await socket.write_message(encode(Refused(Reason.of("agent-denied"))))
            socket.close()
            return
        await socket.write_message(encode(Welcome(AgentId("a"), self.credential if joins else None, 0.2)))
        await socket.write_message(encode(Wanted(list(self.wants.values()), complete=True)))

    async def want(self, *wants: Any) -> None:
        self.wants |= {want.kernel_id: want for want in wants}
        await self.say(Wanted(list(wants), complete=False))

    async def say(self, message: Message) -> None:
        await self.sockets[-1].write_message(encode(message))

    async def call(self, method: str, **params: Any) -> Reply:
        call_id = f"{method}-{len(self.replies)}"
        await self.say(Call(call_id, method, params))
        await self.until(lambda: call_id in self.replies)
        return self.replies[call_id]

    async def until(self, claim: Callable[[], bool], patience_s: float = 20) -> None:
        async with asyncio.timeout(patience_s), self.changed:
            await self.changed.wait_for(claim)

    async def status(self, kernel_id: KernelId, status: KernelStatus) -> KernelReport:
        await self.until(lambda: bool(self.reports.get(kernel_id)) and self.last(kernel_id).status is status)
        return self.last(kernel_id)

    def last(self, kernel_id: KernelId) -> KernelReport:
        return max(self.reports[kernel_id], key=lambda report: report.revision)


class Agent:
    """``python -m bai_agent`` as a process."""

    def __init__(self, manager: PlainManager, bench: Any, labels: dict[str, str]) -> None:
        self.manager, self.bench = manager, bench
        # The very runtime that the bench uses to look: its id is the agent's.
        own_id = getattr(bench.runtime, "_agent_id", None)
        if own_id:
            (bench.state_dir / "agent-id").write_text(own_id)
        self.options = {
            "manager_url": f"http://127.0.0.1:{manager.port}",
            "state_dir": str(bench.state_dir),
            "name": "lab-1",
            "runtime": bench.runtime.name,
            "volumes": json.dumps({"local:home": str(bench.volume)}),
            "mock_devices": json.dumps([{"id": "m", "count": 2, "slots": {"mock.device": 1}}]),
            "orphan_grace_s": "0.2",
            "container_labels": json.dumps(labels),
            "python": "/usr/bin/python3" if os.geteuid() == 0 else sys.executable,
        }
        self.environ: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.log = bench.state_dir.parent / "agent.log"

    async def start(self, token: str = TOKEN) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bai_agent",
                *(f"--AgentApp.{name}={value}" for name, value in self.options.items()),
                env={**os.environ, **self.environ, "BAI_JOIN_TOKEN": token},
                stderr=log,
                stdout=log,
            )

    async def end(self, signum: int = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signum)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def restart(self) -> None:
        seen = len(self.manager.hellos)
        await self.end()
        await self.start()
        await self.manager.until(lambda: len(self.manager.hellos) > seen)


@pytest_asyncio.fixture
async def manager() -> AsyncIterator[PlainManager]:
    made = PlainManager()
    yield made
    made.server.stop()
    for socket in list(made.sockets):
        socket.close()
    await made.server.close_all_connections()


@pytest_asyncio.fixture
async def agent(bench: Any, manager: PlainManager, test_run: dict[str, str]) -> AsyncIterator[Agent]:
    made = Agent(manager, bench, test_run)
    await made.start()
    try:
        await manager.until(lambda: bool(manager.hellos))
        yield made
    finally:
        await made.end()
        print(made.log.read_text()[-8000:])


async def test_it_joins_keeps_its_credential_and_says_what_it_has(agent: Agent, manager: PlainManager) -> None:
    hello = manager.hellos[0]
    assert (hello.name, hello.runtime, hello.join_token) == ("lab-1", agent.bench.runtime.name, TOKEN)
    assert hello.slots["mock.device"] == 2
    assert hello.volumes == ["local:home"]
    assert agent.bench.image in {image.name for image in hello.images}
    await manager.until(lambda: bool(manager.beats))
    assert manager.beats[0].engine_trouble == ""
    await agent.restart()
    assert (manager.hellos[-1].credential, manager.hellos[-1].join_token) == (manager.credential, None)
    kept = agent.bench.state_dir / "credential"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in agent.log.read_text()
    assert manager.credential not in agent.log.read_text()


async def test_a_kernel_lives_from_wanted_to_forgotten(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want(slots=ResourceSlots.parse({"cpu": "0.5", "mem": "64m", "mock.device": 1}))
    await manager.want(want)
    running = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    assert running.devices["mock.device"] == {"m-0": "1"}
    (found,) = await agent.bench.runtime.list_ours()
    assert (found.kernel_id, found.ref, found.running) == (want.kernel_id, running.runtime_ref, True)
    await manager.until(lambda: manager.beats[-1].stats.get(want.kernel_id, {}).get("mem_used_bytes", 0) > 0)

    await manager.want(_ended(want))
    ended = await manager.status(want.kernel_id, KernelStatus.TERMINATED)
    assert (ended.devices, ended.reason) == ({}, None)
    assert await agent.bench.runtime.list_ours() == []
    assert not (agent.bench.folder(want.kernel_id) / "scratch").exists()
    revisions = [report.revision for report in manager.reports[want.kernel_id]]
    assert revisions == sorted(revisions)

    await manager.say(Forget([want.kernel_id]))
    await _until(lambda: not agent.bench.folder(want.kernel_id).exists())


@pytest.fixture
def npus() -> Iterator[Path]:
    """A folder below /dev with the null device under vendors' names."""
    if os.geteuid() != 0:
        pytest.skip("only root can make device nodes")
    folder = Path(f"/dev/bai-test-{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    for number in (3, 30):
        os.mknod(folder / f"npu{number}", 0o660 | stat.S_IFCHR, os.makedev(1, 3))
        (folder / f"npu{number}").chmod(0o660)
        os.chown(folder / f"npu{number}", 0, 4300 + number)
    yield folder
    shutil.rmtree(folder)


_ACME = """
from bai_agent.devices.accelerator import AcceleratorPlugin, Card
class Acme(AcceleratorPlugin):
    key, metrics = "acme", {"acme.device": "acme_one"}
    def candidates(self):
        return ["a-1"]
    def read(self, candidate):
        return Card(candidate, "Acme One", 0, (), "acme.device")
    def figures(self, card):
        return {"util_pct": 50.0}
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a plugin, for agents that are started from now on."""
    info = tmp_path / "site" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bai_jupyter.accelerators]\nacme = acme_plugin:Acme\n")
    (tmp_path / "site" / "acme_plugin.py").write_text(_ACME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


async def test_accelerators_of_a_package_are_offered_and_measured(
    agent: Agent, manager: PlainManager, acme: None
) -> None:
    await agent.restart()
    assert manager.hellos[-1].slots["acme.device"] == 1
    want = agent.bench.want(slots=ResourceSlots.parse({"mem": "64m", "acme.device": 1}))
    await manager.want(want)
    await manager.status(want.kernel_id, KernelStatus.RUNNING)
    await manager.until(lambda: manager.beats[-1].stats.get(want.kernel_id, {}).get("acme_one_util_pct") == 50.0)
    assert manager.beats[-1].devices == {"a-1": {"util_pct": 50.0}}


async def test_accelerators_of_a_table_are_offered_and_given(agent: Agent, manager: PlainManager, npus: Path) -> None:
    table = agent.bench.state_dir.parent / "npu.toml"
    table.write_text(f"""
        key = "npu"
        slot = "npu.device"
        node_pattern = '{npus}/npu(\\d+)'
        rename_to = "/dev/npu{{n}}"
        visible_env = {{ NPU_NUMBERS = "number" }}
    """)
    agent.options |= {"accelerator_tables": json.dumps([str(table)]), "device_mask": json.dumps(["npu-3", "m-1"])}
    await agent.restart()
    assert (manager.hellos[-1].slots["npu.device"], manager.hellos[-1].slots["mock.device"]) == (1, 1)
    want = agent.bench.want(slots=ResourceSlots.parse({"mem": "64m", "npu.device": 1}))
    await manager.want(want)
    running = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    assert running.devices["npu.device"] == {"npu-30": "1"}
    if agent.bench.runtime.isolated:
        script = "ls /dev/npu*; id -G; echo $NPU_NUMBERS; echo x >/dev/npu0"
        code, output = await agent.bench.run(want, running.runtime_ref, script)
        assert (code, output.split()) == (0, ["/dev/npu0", "1000", "4330", "30"])
    (npus / "npu30").unlink()
    await manager.want(_ended(want))
    await manager.status(want.kernel_id, KernelStatus.TERMINATED)
    if agent.bench.runtime.isolated:
        late = replace(want, kernel_id=new_kernel_id())
        await manager.want(late)
        failed = await manager.status(late.kernel_id, KernelStatus.ERROR)
        assert failed.reason is not None
        assert failed.reason.text == f"{npus}/npu30 was assigned but is gone from lab-1."


async def test_an_accelerator_that_no_plugin_knows_stops_the_agent_with_a_sentence(agent: Agent) -> None:
    await agent.end()
    agent.options["blocked_accelerators"] = json.dumps(["rocket"])
    await agent.start()
    assert agent.process is not None
    assert await asyncio.wait_for(agent.process.wait(), 60) == 1
    assert "no accelerator plugin rocket. There are: atom, " in agent.log.read_text()
    assert "Traceback" not in agent.log.read_text()


async def test_kill_9_of_the_agent_leaves_the_container_and_it_is_adopted(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want(slots=ResourceSlots.parse({"mem": "64m", "mock.device": 1}))
    await manager.want(want)
    before = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    state = await agent.bench.runtime.inspect(before.runtime_ref)
    await agent.restart()
    (told,) = manager.hellos[-1].kernels
    assert (told.status, told.runtime_ref, told.devices) == (KernelStatus.RUNNING, before.runtime_ref, before.devices)
    assert told.revision >= before.revision
    after = await agent.bench.runtime.inspect(before.runtime_ref)
    assert after.started_at == state.started_at

    other = agent.bench.want(slots=ResourceSlots.parse({"mem": "64m", "mock.device": 2}))
    await manager.want(other)
    refused = await manager.status(other.kernel_id, KernelStatus.ERROR)
    assert "1 of 2 free" in refused.reason.text

    await manager.want(_ended(want))
    await manager.status(want.kernel_id, KernelStatus.TERMINATED)


async def test_a_lost_state_file_loses_neither_container_nor_devices(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want(slots=ResourceSlots.parse({"mem": "64m", "mock.device": 1}))
    await manager.want(want)
    before = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    await agent.end()
    (agent.bench.folder(want.kernel_id) / "state.json").unlink()
    await agent.restart()
    await manager.until(lambda: manager.last(want.kernel_id).revision > before.revision)
    after = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    assert (after.runtime_ref, after.devices) == (before.runtime_ref, before.devices)


async def test_what_nobody_wants_is_removed(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    await manager.status(want.kernel_id, KernelStatus.RUNNING)
    keeper = agent.bench.want()
    await manager.want(keeper)
    await manager.status(keeper.kernel_id, KernelStatus.RUNNING)
    del manager.wants[want.kernel_id]
    await agent.restart()
    await _until_async(lambda: _kernels(agent), {keeper.kernel_id})
    assert manager.last(keeper.kernel_id).status is KernelStatus.RUNNING


async def test_a_container_ended_from_outside_is_told_with_that_reason(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    running = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    await agent.bench.runtime.stop(running.runtime_ref)
    ended = await manager.status(want.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason.code == "killed-outside"
    assert await agent.bench.runtime.list_ours() == []


async def test_a_kernel_that_cannot_start_says_why_and_leaves_nothing(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want(mounts=[agent.bench.mount("data", "missing")])
    await manager.want(want)
    refused = await manager.status(want.kernel_id, KernelStatus.ERROR)
    assert refused.reason.text.startswith("Folder data could not be mounted on lab-1")
    assert await agent.bench.runtime.list_ours() == []


async def test_ending_what_never_was_is_told_as_ended(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want(target=Target.TERMINATED)
    await manager.want(want)
    assert (await manager.status(want.kernel_id, KernelStatus.TERMINATED)).exit_code is None


async def test_a_kernel_killed_while_the_agent_was_away_is_told_after(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    running = await manager.status(want.kernel_id, KernelStatus.RUNNING)
    await agent.end()
    await agent.bench.runtime.stop(running.runtime_ref)
    await agent.restart()
    ended = await manager.status(want.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason.code == "killed-outside"
    await agent.restart()  # and it is still known when the manager has not taken note
    assert manager.hellos[-1].kernels[0].reason == ended.reason


async def test_sigterm_ends_the_agent_and_not_its_containers(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    await manager.status(want.kernel_id, KernelStatus.RUNNING)
    assert await agent.end(signal.SIGTERM) == 0
    (found,) = await agent.bench.runtime.list_ours()
    assert found.running


async def test_calls_are_answered_or_refused_with_a_sentence(agent: Agent, manager: PlainManager) -> None:
    facts = await manager.call("inspect_image", name=agent.bench.image)
    assert facts.result is not None
    assert facts.result["kernelspecs"]
    missing = await manager.call("logs", kernel_id="nobody", tail=10)
    assert missing.error is not None
    assert "nobody" in missing.error.text
    unknown = await manager.call("explode")
    assert unknown.error is not None
    assert "does not know the call explode" in unknown.error.text


async def test_it_comes_back_to_a_manager_that_was_away(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    await manager.status(want.kernel_id, KernelStatus.RUNNING)
    for _ in range(2):
        seen = len(manager.hellos)
        manager.sockets[-1].close()
        await manager.until(lambda seen=seen: len(manager.hellos) > seen)  # type: ignore[misc]
    assert manager.hellos[-1].kernels[0].status is KernelStatus.RUNNING


async def test_cleanup_removes_all_of_this_agent(agent: Agent, manager: PlainManager) -> None:
    want = agent.bench.want()
    await manager.want(want)
    await manager.status(want.kernel_id, KernelStatus.RUNNING)
    await agent.end(signal.SIGTERM)
    agent.options["cleanup"] = "True"
    await agent.start()
    assert agent.process is not None
    assert await asyncio.wait_for(agent.process.wait(), 30) == 0
    assert await agent.bench.runtime.list_ours() == []


async def test_two_agents_on_one_folder_are_refused(agent: Agent, manager: PlainManager) -> None:
    second = Agent(manager, agent.bench, {})
    second.log = agent.log.with_name("second.log")
    await second.start()
    assert second.process is not None
    assert await asyncio.wait_for(second.process.wait(), 20) == 1
    assert "Another agent is running" in second.log.read_text()


def _ended(want: Any) -> Any:
    return replace(want, target=Target.TERMINATED)


async def _kernels(agent: Agent) -> set[KernelId]:
    return {found.kernel_id for found in await agent.bench.runtime.list_ours()}


async def _until(claim: Callable[[], bool], patience_s: float = 20) -> None:
    async with asyncio.timeout(patience_s):
        while not claim():
            await asyncio.sleep(0.02)


async def _until_async(ask: Callable[[], Any], expected: object) -> None:
    async with asyncio.timeout(20):
        while await ask() != expected:
            await asyncio.sleep(0.05)


@pytest.mark.docker
@pytest.mark.parametrize("bench", ["docker"], indirect=True)
async def test_a_jupyter_kernel_runs_is_interrupted_and_survives_the_agent(
    agent: Agent, manager: PlainManager, python_image: str
) -> None:
    """The parts together: image, container, process inside, relay, adoption."""
    jupyter = JupyterKernelWant(
        JupyterKernelId("0123abcd-kernel"), 1, "python3", "/home/work", {}, "a-key", save_to="/home/work/.bai/v/s/k"
    )
    slots = ResourceSlots.parse({"cpu": 1, "mem": "512m"})
    want = agent.bench.want(image=python_image, jupyter_kernels=[jupyter], slots=slots)
    await manager.want(want)
    await manager.until(lambda: _jupyter_status(manager, want.kernel_id) is JupyterKernelStatus.RUNNING, 60)
    launch = json.loads((agent.bench.folder(want.kernel_id) / "jupyter" / "0123abcd-1" / "launch.json").read_text())
    await _until(lambda: _ignores_interrupts(launch["process"]["host_pid"]))
    asked = await manager.call("interrupt", kernel_id=want.kernel_id, jupyter_kernel_id=jupyter.jupyter_kernel_id)
    assert (asked.result, asked.error) == ({}, None)
    await agent.restart()
    (told,) = manager.hellos[-1].kernels[0].jupyter_kernels
    assert (told.status, told.reason) == (JupyterKernelStatus.RUNNING, None)
    saved = await manager.call("save", kernel_id=want.kernel_id, seconds=60)
    assert saved.error is None
    assert saved.result["kernels"][0]["refused"] is None
    assert (agent.bench.folder(want.kernel_id) / "scratch" / ".bai" / "v" / "s" / "k" / "manifest.json").exists()
    assert "a-key" not in agent.log.read_text()
    await manager.want(_ended(want))
    await manager.status(want.kernel_id, KernelStatus.TERMINATED)
    assert _jupyter_status(manager, want.kernel_id) is JupyterKernelStatus.DEAD


@pytest.mark.docker
async def test_the_second_session_and_its_kernel_were_started_ahead(
    docker_bench: Any, docker_client: Any, manager: PlainManager, test_run: dict[str, str], python_image: str
) -> None:
    agent = Agent(manager, docker_bench, test_run)
    agent.options["warm_pool_mem"] = "128m"
    await agent.start()
    await manager.until(lambda: bool(manager.hellos), 60)

    def session() -> Any:
        kernel_id = new_kernel_id()
        jupyter = JupyterKernelWant(JupyterKernelId(kernel_id), 1, "python3", "/home/work", {}, "a-key")
        slots = ResourceSlots.parse({"cpu": 1, "mem": "512m"})
        digest = docker_client.images.get(python_image).id
        values = {"image": python_image, "image_digest": digest, "jupyter_kernels": [jupyter], "slots": slots}
        return docker_bench.want(kernel_id=kernel_id, **values)

    async def runs(want: Any) -> KernelReport:
        await manager.until(lambda: _jupyter_status(manager, want.kernel_id) is JupyterKernelStatus.RUNNING, 60)
        return manager.last(want.kernel_id)

    def command_of(want: Any) -> list[str]:
        place = docker_bench.folder(want.kernel_id) / "jupyter" / f"{want.kernel_id[:8]}-1" / "launch.json"
        pid = json.loads(place.read_text())["process"]["host_pid"]
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")

    try:
        first, second = session(), session()
        await manager.want(first)
        await runs(first)
        await _until(lambda: "started ahead" in agent.log.read_text(), 60)
        await manager.want(second)
        report = await runs(second)
        container = docker_client.containers.get(report.runtime_ref)
        assert "bai.spare" in container.labels
        assert "NVIDIA_VISIBLE_DEVICES=void" in container.attrs["Config"]["Env"]  # without it some engines give all
        assert "/run/bai/standby.py" in command_of(second)
        assert "/run/bai/standby.py" not in command_of(first)
        await agent.restart()
        told = {one.kernel_id: one for one in manager.hellos[-1].kernels}[second.kernel_id]
        assert (told.status, told.runtime_ref) == (KernelStatus.RUNNING, report.runtime_ref)
        assert told.jupyter_kernels[0].status is JupyterKernelStatus.RUNNING
        for want in (first, second):
            await manager.want(_ended(want))
            await manager.status(want.kernel_id, KernelStatus.TERMINATED)
        assert await agent.end(signal.SIGTERM) == 0
        mine = {"label": f"bai.agent-id={docker_bench.runtime._agent_id}"}
        assert docker_client.containers.list(all=True, filters=mine) == []
    finally:
        await agent.end()
        print(agent.log.read_text()[-8000:])


def _ignores_interrupts(pid: int) -> bool:
    """As ipykernel does between cells, once it has started; before that an interrupt would end it."""
    mask = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    return bool(int(mask, 16) & 1 << (signal.SIGINT - 1))


def _jupyter_status(manager: PlainManager, kernel_id: KernelId) -> JupyterKernelStatus | None:
    if not manager.reports.get(kernel_id):
        return None
    found = manager.last(kernel_id).jupyter_kernels
    return found[0].status if found else None


async def _fractional(bench: Any, manager: PlainManager, test_run: dict[str, str], environ: dict[str, str]) -> Agent:
    made = Agent(manager, bench, test_run)
    made.options |= {"allocation_mode": "fractional", "share_excess": "terminate", "share_tolerance": "1g"}
    made.environ = environ
    await made.start()
    await manager.until(lambda: bool(manager.hellos), 60)  # it may build the library first
    return made


@pytest.mark.docker
async def test_shares_in_containers_are_held_by_the_library_and_by_the_next_agent_again(
    docker_bench: Any, manager: PlainManager, test_run: dict[str, str], nvml_folder: Path
) -> None:
    agent = await _fractional(docker_bench, manager, test_run, {"LD_LIBRARY_PATH": str(nvml_folder)})
    try:
        gpu = next(device for device in manager.hellos[0].devices if device.kind == "cuda")
        assert gpu.slots == ResourceSlots.parse({"cuda.shares": 1})
        assert gpu.attributes["enforcement"] == "shim"
        wanted = docker_bench.want(slots=ResourceSlots.parse({"cpu": "0.5", "mem": "64m", "cuda.shares": "0.5"}))
        await manager.want(wanted)
        running = await manager.status(wanted.kernel_id, KernelStatus.RUNNING)
        assert list(running.devices["cuda.shares"].values()) == ["0.5"]
        script = "cat /etc/ld.so.preload /opt/bai/gpu/limits"
        _, said = await docker_bench.run(wanted, running.runtime_ref, script)
        name = next(iter(running.devices["cuda.shares"]))
        assert said.splitlines() == ["/opt/bai/gpu/libbai_gpu.so", f"{name} {141 << 29} {512 << 20}"]
        await agent.restart()
        await manager.until(lambda: manager.last(wanted.kernel_id).revision > running.revision)
        again = await manager.status(wanted.kernel_id, KernelStatus.RUNNING)
        assert again.runtime_ref == running.runtime_ref
    finally:
        await agent.end()
        print(agent.log.read_text()[-8000:])


async def test_the_watchdog_ends_a_session_that_holds_more_than_its_share(
    process_bench: Any, manager: PlainManager, test_run: dict[str, str], nvml_folder: Path, tmp_path: Path
) -> None:
    processes = tmp_path / "processes"
    processes.touch()
    environ = {"LD_LIBRARY_PATH": str(nvml_folder), "NVML_STUB_PROCESSES": str(processes)}
    agent = await _fractional(process_bench, manager, test_run, environ)
    try:
        gpus = [device for device in manager.hellos[0].devices if device.kind == "cuda"]
        assert {gpu.attributes["enforcement"] for gpu in gpus} == {"watch"}
        slots = ResourceSlots.parse({"cuda.shares": "0.5"})
        greedy, modest = (process_bench.want(slots=slots) for _ in range(2))
        await manager.want(greedy, modest)
        for wanted in (greedy, modest):
            await manager.status(wanted.kernel_id, KernelStatus.RUNNING)
        pids = [await process_bench.runtime.main_pid(wanted.kernel_id) for wanted in (greedy, modest)]
        # Half of the Stub H200 is 70.5 GiB, and 1 GiB is tolerated.
        index = [int(next(iter(manager.last(w.kernel_id).devices["cuda.shares"]))[-1]) for w in (greedy, modest)]
        processes.write_text(f"{index[0]} {pids[0]} {72 << 30}\n{index[1]} {pids[1]} {71 << 30}\n")
        ended = await manager.status(greedy.kernel_id, KernelStatus.TERMINATED)
        assert ended.reason is not None
        assert ended.reason.text == (
            "Ended: it held 72 GiB of GPU memory; its share is 70.5 GiB. Start again with a larger share."
        )
        assert manager.last(modest.kernel_id).status is KernelStatus.RUNNING
    finally:
        await agent.end()
        for found in await process_bench.runtime.list_ours():
            await process_bench.runtime.remove(found.ref)
        print(agent.log.read_text()[-8000:])
