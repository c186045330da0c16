"""The relay and its keeper around a real kernel: what survives which kill."""

import asyncio
import os
import signal
import socket
import sys

import pytest
from bai_agent import keeper
from bai_agent.keeper import RelayFailedError
from bai_agent.relay.__main__ import NOT_LISTENING, NOT_THE_KERNEL

from bai_jupyter.common.records import Channel, Kind, pack

pytestmark = pytest.mark.asyncio

LINES = 30_000
PRINTS = """import os, time
for i in range({n}):
    print(i, flush=True)
    if i % 100 == 0:
        time.sleep(0.01)
        while os.path.exists({pause!r}): time.sleep(0.01)
"""


class Kills:
    """Of a relay whose kernel prints. It ends its hundred lines and waits for the next relay: for the time that a busy
    machine takes for it, the kernel's own queue is too short (it holds 1,000 messages, and then drops)."""

    def __init__(self, setup, reader):
        self.count = 0
        self._setup, self._reader, self._pause = setup, reader, setup.run / "pause"
        self._killed: set[int] = set()
        self._waiting: list[asyncio.Task[None]] = []

    def prints(self, lines: int) -> str:
        return PRINTS.format(n=lines, pause=str(self._pause))

    def kill(self, victim: str) -> None:
        """Unless it is not mended yet."""
        processes = self._setup.processes
        if len(processes) < 2 or self._killed & set(processes) or self._pause.exists():
            return
        pids = {"worker": [self._setup.worker], "guardian": [self._setup.guardian], "both": processes}[victim]
        self._pause.touch()
        self._waiting.append(asyncio.create_task(self._go_on(self._reader.welcome)))
        self._killed.update(pids)
        self.count += 1
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    async def _go_on(self, welcome) -> None:
        while self._reader.welcome is welcome:
            await asyncio.sleep(0.01)
        self._pause.unlink()

    async def end(self) -> None:
        await asyncio.gather(*self._waiting)


async def test_executes(setup):
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    assert await reader.run("print(6 * 7)") == "42\n"


async def test_two_readers_share_output_but_not_replies(setup):
    await setup.keeper().start(setup.orders())
    first, second = await setup.reader("00" * 8), await setup.reader("11" * 8)
    msg_id = first.execute("print('hello')")
    await first.collect(msg_id)
    heard, replies = [], []
    while "idle" not in heard:
        channel, message = await second.next()
        if message["parent_header"].get("msg_id") == msg_id:
            heard.append(message["content"].get("execution_state") or message["content"].get("text"))
            replies += [message] if channel is Channel.SHELL else []
    assert "hello\n" in heard  # readers see all tapes; whose reply it is tells the envelope


async def test_a_late_reader_gets_everything_from_the_start(setup, numbered):
    await setup.keeper().start(setup.orders())
    first = await setup.reader()
    await first.run("for i in range(30000): print(i)")
    late = await setup.reader("22" * 8)
    out = ""
    while out.count("\n") < 30000:
        _, message = await late.next()
        out += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
    assert out == numbered(30000)


@pytest.mark.parametrize("victim", ["worker", "guardian", "both"])
async def test_relay_killed_again_and_again_loses_nothing_and_repeats_nothing(setup, numbered, victim):
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    kills = Kills(setup, reader)

    def kill_at(seen: int) -> None:
        if seen > LINES // 12 * (kills.count + 1) and kills.count < 10:
            kills.kill(victim)

    assert await reader.collect(reader.execute(kills.prints(LINES)), during=kill_at) == numbered(LINES)
    assert kills.count >= 5
    assert await reader.run("print(i)") == f"{LINES - 1}\n"
    await kills.end()


async def test_requests_queued_while_the_relay_is_killed_run_once_each(setup):
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    await reader.run("L = []")
    reader.execute("import time; time.sleep(0.5)")
    for n in range(5):
        reader.execute(f"L.append({n})")
    while reader.counter > (await _taken(setup, reader.id)):
        await asyncio.sleep(0.01)
    last, worker = reader.counter, setup.worker
    os.kill(worker, signal.SIGKILL)
    while setup.worker == worker:
        await asyncio.sleep(0.01)
    again = await setup.reader()
    for counter in range(last - 4, last + 1):  # a reader that did not hear TAKEN sends again
        again.execute("L.append('twice')", counter=counter)
    assert await again.run("print(L)") == "[0, 1, 2, 3, 4]\n"


async def test_the_agent_dies_then_the_relay_then_goes_on(setup, numbered):
    """The keeper leaves without a word, another adopts the relay, and holds its descriptors when it is killed."""
    first = setup.keeper()
    await first.start(setup.orders())
    reader = await setup.reader()
    kills = Kills(setup, reader)
    msg_id = reader.execute(kills.prints(LINES))
    await first.leave()
    second = setup.keeper()
    assert await second.adopt()

    def kill_once(seen: int) -> None:
        if seen > LINES // 4 and kills.count == 0:
            kills.kill("both")

    assert await reader.collect(msg_id, during=kill_once) == numbered(LINES)
    assert kills.count == 1
    await kills.end()
    first._group = None  # it is not its relay any more


async def test_long_output_is_held_in_files_not_in_memory(setup):
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    await reader.run("pass")
    before = _peak_kib(setup.worker)
    out = await reader.run("import sys; _ = sys.stdout.write(('x' * 99 + '\\n') * 500_000)")
    assert len(out) == 50_000_000
    assert _peak_kib(setup.worker) - before < 4096


async def test_beyond_the_bound_a_reader_gets_a_gap_and_goes_on_at_a_message(setup):
    await setup.keeper().start(setup.orders(limit_bytes=16 << 20))
    busy = await setup.reader()
    await busy.run("for i in range(60): print('x' * 999_999, flush=True)\nprint('end')")
    late = await setup.reader("33" * 8)
    out = ""
    while not out.endswith("end\n"):
        _, message = await late.next()
        out += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
    assert [record.channel for record in late.gaps] == [Channel.IOPUB]
    assert 0 < len(out) < 60_000_000
    held = sum(path.stat().st_size for path in setup.ours.glob("iopub-*.tape"))
    assert held < 100 << 20


async def test_the_end_of_the_kernel_is_told_after_all_its_output(setup):
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    msg_id = reader.execute("print('last words', flush=True); import os, time; time.sleep(0.3); os._exit(3)")
    heard = []
    while (received := await reader.next()) is not None:
        if received[1]["parent_header"].get("msg_id") == msg_id:
            heard.append(received[1]["content"].get("text"))
    assert "last words\n" in heard
    assert reader.ended
    reader.execute("'nobody is left to do it'")
    reader._out.write_eof()
    await reader._in.read()  # the relay has read all that was said, and let go
    again = await setup.reader()
    await again.next()
    assert again.welcome.taken == 1


async def test_tapes_can_be_read_after_kernel_and_relay_are_gone(setup):
    keeper = setup.keeper()
    await keeper.start(setup.orders())
    reader = await setup.reader()
    await reader.run("print('kept')")
    await keeper.stop()
    await setup.keeper().start({"limit_bytes": 1 << 30, "descriptors": {}})
    late = await setup.reader("44" * 8)
    texts = []
    while (received := await late.next()) is not None:
        texts.append(received[1]["content"].get("text"))
    assert "kept\n" in texts


# What must be refused


async def test_refuses_a_symlink_in_place_of_the_socket(setup, tmp_path):
    (setup.run / "elsewhere").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(setup.run / "elsewhere" / "s"))
        other.listen()
        (setup.run / "link-1").symlink_to(setup.run / "elsewhere" / "s")
        orders = setup.orders()
        orders["sockets"] = {**orders["sockets"], "shell": str(setup.run / "link-1")}
        with pytest.raises(RelayFailedError) as caught:
            await setup.keeper().start(orders)
    assert caught.value.exit_code == NOT_THE_KERNEL


async def test_refuses_a_socket_of_a_process_outside_the_session(setup):
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(str(setup.run / "mine"))
        mine.listen()
        orders = setup.orders()
        orders["sockets"] = {**orders["sockets"], "shell": str(setup.run / "mine")}
        with pytest.raises(RelayFailedError) as caught:
            await setup.keeper().start(orders)
    assert caught.value.exit_code == NOT_THE_KERNEL


async def test_refuses_what_is_not_a_socket(setup):
    (setup.run / "file").write_text("no")
    orders = setup.orders()
    orders["sockets"] = {**orders["sockets"], "shell": str(setup.run / "file")}
    with pytest.raises(RelayFailedError) as caught:
        await setup.keeper().start(orders)
    assert caught.value.exit_code == NOT_THE_KERNEL


async def test_says_so_when_nothing_listens(setup):
    orders = setup.orders(connect_s=0.2)
    orders["sockets"] = {**orders["sockets"], "shell": str(setup.run / "nothing")}
    with pytest.raises(RelayFailedError) as caught:
        await setup.keeper().start(orders)
    assert caught.value.exit_code == NOT_LISTENING


async def test_a_broken_request_ends_its_reader_and_hurts_nobody_else(setup):
    await setup.keeper().start(setup.orders())
    good, bad = await setup.reader(), await setup.reader("55" * 8)
    bad._out.write(pack(Kind.REQUEST, Channel.SHELL, 1, b"\x00\x10half a message"))
    while await bad.next() is not None:
        pass
    assert await good.run("print('fine')") == "fine\n"


async def test_a_relay_imports_nothing_large():
    """One runs beside every Jupyter kernel: what it imports is paid for each time."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import bai_agent.relay.__main__; print(*sys.modules)"
    relay = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-E", "-c", code, *keeper._ROOTS, stdout=asyncio.subprocess.PIPE
    )
    modules, _ = await relay.communicate()
    assert relay.returncode == 0
    assert not {"inspect", "dataclasses", "asyncio", "subprocess"} & set(modules.decode().split())


async def _taken(setup, reader_id: str) -> int:
    probe = await setup.reader(reader_id)
    await probe.next()
    probe.close()
    return probe.welcome.taken


def _peak_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


async def test_a_full_disk_stops_the_recording_and_not_the_relay(setup, small_disk):
    """Nothing is lost of what the kernel's own queue holds, and the relay that had no room is the one that goes on."""
    disk = small_disk(setup.ours, "4m")  # less than a tape's first file
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    await reader.run("pass")
    worker, width = setup.worker, 10_000
    disk.fill(leave=200_000)
    msg_id = reader.execute(f"for i in range(300): print(f'{{i:{width}}}', flush=True)")
    async with asyncio.timeout(30):
        while disk.free_bytes:
            await asyncio.sleep(0.01)
    disk.make_room()
    out = await reader.collect(msg_id)
    assert [int(line) for line in out.splitlines()] == list(range(300))
    assert reader.gaps == []
    assert setup.worker == worker
    assert await reader.run("print(6 * 7)") == "42\n"


async def test_a_request_that_finds_no_room_leaves_nothing_on_its_tape(setup, small_disk):
    """Blanks, for what is left of them behind a shorter request would read as messages to the next worker."""
    disk = small_disk(setup.ours, "4m")
    await setup.keeper().start(setup.orders())
    reader = await setup.reader()
    await reader.run("pass")
    worker = setup.worker
    disk.fill()
    reader.execute("x = 1" + " " * 50_000)
    assert await reader.next() is None  # the relay takes no more from this reader: it has to dial again
    assert b" " * 100 not in (setup.ours / "shell.requests").read_bytes()
    disk.make_room()
    again = await setup.reader()
    again.counter = reader.counter - 1
    assert await again.run("print('x' in globals())") == "False\n"
    assert setup.worker == worker
