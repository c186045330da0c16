"""`bai session exec` and `attach` as programs of their own, with real containers; `attach` at a real terminal."""

import asyncio
import fcntl
import os
import re
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.request import urlopen

import pytest
from end_to_end.runtimes import on_both_runtimes
from loopback import free_port

from bai_jupyter.client import ManagerClient

DEADLINE_S = 60.0

pytestmark = [pytest.mark.asyncio, on_both_runtimes]


async def a_session(cluster: Any, *ports: int) -> None:
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
        config = {"resources": {"cpu": "1", "mem": "256m"}, "preopen_ports": ports}
        await client.request(
            "POST", "/session", {"name": "demo", "image": image, "enqueueOnly": True, "config": config}
        )
        await client.wait_for("demo", timeout_s=DEADLINE_S)


async def start(cluster: Any, *words: str, noun: str = "session", **options: Any) -> asyncio.subprocess.Process:
    """A command line of ``bai`` with the cluster's credentials."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from bai_jupyter.cli import main; sys.exit(main())",
        noun,
        *words,
        env={**os.environ, "BAI_CREDENTIALS": str(cluster.credentials)},
        **{"stdin": pipe, "stdout": pipe, "stderr": pipe, **options},
    )


async def run(cluster: Any, *words: str, typed: bytes = b"", **options: Any) -> tuple[int | None, bytes, bytes]:
    process = await start(cluster, *words, **options)
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate(typed)
    return process.returncode, out, err


async def test_a_command_in_a_session(cluster: Any) -> None:
    """One cluster for all of it: starting one takes the time."""
    port = free_port()
    await a_session(cluster, port)
    await an_app_has_a_local_port(cluster, port)
    await it_has_our_input_output_and_end(cluster)
    await ctrl_c_is_the_commands_and_it_ends_with_us(cluster)
    await it_can_have_a_terminal_of_its_own(cluster)
    code, out, err = await run(cluster, "attach", "demo")  # which is nothing without a terminal
    assert (code, out, b"bai session exec demo -- COMMAND" in err) == (2, b"", True)


async def it_has_our_input_output_and_end(cluster: Any) -> None:
    ran = await run(cluster, "exec", "demo", "--", "sh", "-c", "cat; echo amiss >&2; exit 3", typed=b"one\ntwo\n")
    assert ran == (3, b"one\ntwo\n", b"amiss\n")
    much = os.urandom(3 * 1024**2)
    assert await run(cluster, "exec", "demo", "--", "cat", typed=much) == (0, much, b"")
    words = ("exec", "-e", "COLOUR=blue green", "--cwd", "/", "-n", "demo", "--", "sh", "-c")
    assert await run(cluster, *words, 'cat; echo "$COLOUR" "$PWD" "$@"', "sh", "--", "-x") == (
        0,
        b"blue green / -- -x\n",
        b"",
    )
    code, _, _ = await run(cluster, "exec", "demo", "--", "no-such-program")
    assert code == 127
    code, _, err = await run(cluster, "exec", "nobody", "--", "true")
    assert (code, b"nobody" in err) == (4, True)


async def an_app_has_a_local_port(cluster: Any, port: int) -> None:
    closed = await run(cluster, "forward", "demo", str(port), noun="app")
    assert closed[:2] == (3, b"")
    assert f"port {port}".encode() in closed[2]
    serve = (
        "import os, http.server as h; os.chdir('/'); "
        "h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['P']), bind='127.0.0.1')"
    )
    server = await start(cluster, "exec", "-n", "-e", f"P={port}", "demo", "--", "python3", "-c", serve)

    async def answers() -> bool:
        forward = await start(cluster, "forward", "demo", str(port), noun="app")
        assert forward.stdout is not None
        try:
            place = (await forward.stdout.readline()).decode().strip()
            return bool(place) and "Directory listing" in await asyncio.to_thread(read, f"http://{place}/")
        finally:
            with suppress(ProcessLookupError):
                forward.send_signal(signal.SIGINT)
            await forward.communicate()

    await cluster.until(answers)
    server.kill()
    await server.communicate()


def read(url: str) -> str:
    with urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310 - it is ours
        return answer.read().decode()


async def ctrl_c_is_the_commands_and_it_ends_with_us(cluster: Any) -> None:
    script = "trap 'echo heard; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    running = await start(cluster, "exec", "demo", "--", "sh", "-c", script)
    assert running.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        assert await running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGINT)
        assert (await running.communicate())[0] == b"heard\n"
    assert running.returncode == 7

    running = await start(cluster, "exec", "demo", "--", "sh", "-c", "echo $$; exec sleep 1000")
    assert running.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        pid = (await running.stdout.readline()).decode().strip()
        running.kill()
        await running.communicate()

    async def is_gone() -> bool:
        code, _, _ = await run(cluster, "exec", "-n", "demo", "--", "sh", "-c", f"kill -0 {pid}")
        return code == 1

    await cluster.until(is_gone)


class Screen:
    """This side of a real terminal at which a program runs."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        self.seen = ""
        os.write(self.master, keys.encode())

    async def until(self, pattern: str) -> str:
        """Wait until the screen has shown it, since the last that was typed."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while (found := re.search(pattern, self.seen)) is None:
                    try:
                        self.seen += os.read(self.master, 65536).decode(errors="replace")
                    except BlockingIOError:
                        await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} is not in {self.seen!r}") from None
        return found[0]

    def take_over(self) -> None:
        """In the child: this is its terminal, so that it hears of changes of size."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def a_screen(rows: int, columns: int) -> Iterator[Screen]:
    screen = Screen()
    screen.resize(rows, columns)
    try:
        yield screen
    finally:
        os.close(screen.master)
        os.close(screen.slave)


async def at(screen: Screen, cluster: Any, *words: str) -> asyncio.subprocess.Process:
    ends = {"stdin": screen.slave, "stdout": screen.slave, "stderr": screen.slave}
    return await start(cluster, *words, **ends, start_new_session=True, preexec_fn=screen.take_over)


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(DEADLINE_S):
        return await process.wait()


async def test_a_sessions_terminal_at_ours(cluster: Any) -> None:
    await a_session(cluster)
    with a_screen(30, 100) as screen:
        mode = termios.tcgetattr(screen.slave)
        attached = await at(screen, cluster, "attach", "demo")
        await screen.until("Ctrl-\\]")
        screen.type("stty size; kept=still\r")
        await screen.until(r"30 100\r\n")
        screen.resize(40, 120)

        async def has_new_size() -> bool:
            screen.type("stty size; echo asked-$((1+1))\r")
            await screen.until(r"asked-2\r\n")
            return "40 120\r\n" in screen.seen

        await cluster.until(has_new_size)
        screen.type("echo sleeps; sleep 1000\r")
        await screen.until(r"(?<!echo )sleeps\r\n")
        screen.type("\x03")
        await screen.until(r"\^C")
        screen.type("echo code-$?\r")
        await screen.until(r"code-130\r\n")

        sleeps = await start(cluster, "exec", "demo", "--", "sh", "-c", "echo ready; sleep 1000")
        assert sleeps.stdout is not None
        assert await sleeps.stdout.readline() == b"ready\n"
        cluster.kill("manager")
        _, err = await sleeps.communicate()
        assert (sleeps.returncode, b"bai session info demo" in err) == (5, True)
        await screen.until("dialling again")
        cluster.start("manager")
        await screen.until(r"\x1b\[2J")
        screen.type("echo it-$kept\r")
        await screen.until(r"it-still\r\n")

        screen.type("\x1d")
        await screen.until("bai session attach demo")
        assert await ended(attached) == 0
        assert termios.tcgetattr(screen.slave) == mode

        attached = await at(screen, cluster, "attach", "demo")
        await screen.until("Ctrl-\\]")
        screen.type("echo again-$kept; exit\r")
        await screen.until(r"again-still\r\n")
        await screen.until("The session goes on")
        assert await ended(attached) == 0


async def it_can_have_a_terminal_of_its_own(cluster: Any) -> None:
    with a_screen(30, 100) as screen:
        mode = termios.tcgetattr(screen.slave)
        script = "stty size; read line; echo got-$line; test -t 0; exit $?"
        running = await at(screen, cluster, "exec", "-t", "demo", "--", "sh", "-c", script)
        await screen.until(r"30 100\r\n")
        screen.type("here\r")
        await screen.until(r"got-here\r\n")
        assert await ended(running) == 0
        assert termios.tcgetattr(screen.slave) == mode
