"""Child processes, the data folder and becoming another user, with real processes."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bai_jupyter.cli import as_user
from bai_jupyter.cli.servers import (
    DataFolder,
    Server,
    free_port,
    left_behind,
    started_at,
    stop_process,
    write_private,
)
from bai_jupyter.cli.terminal import CommandFailed

IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / ".bai")
    folder.make(passable=False)
    return folder


def python(folder: DataFolder, code: str, name: str = "thing") -> Server:
    return Server(name, [sys.executable, "-c", code], dict(os.environ), folder)


async def never() -> bool:
    return False


@pytest.mark.asyncio
async def test_a_child_that_dies_while_starting_is_reported_with_its_last_lines(folder: DataFolder) -> None:
    server = python(folder, "print('\\n'.join(map(str, range(100)))); raise SystemExit(7)")
    await server.start()
    with pytest.raises(CommandFailed) as caught:
        await server.ready(never, 30)
    text = str(caught.value)
    assert "thing ended while starting (code 7)" in text
    assert "    99" in text
    assert "    50" not in text
    assert str(folder.log("thing")) in text
    assert not await server.stop()


@pytest.mark.asyncio
async def test_a_child_that_is_never_ready(folder: DataFolder) -> None:
    server = python(folder, "import time; print('still busy', flush=True); time.sleep(600)")
    await server.start()
    with pytest.raises(CommandFailed, match="not ready after 0 s"):
        await server.ready(never, 0)
    assert await server.stop()
    assert server.process.returncode == -15


@pytest.mark.asyncio
async def test_a_child_that_does_not_listen_is_killed(folder: DataFolder, monkeypatch) -> None:
    monkeypatch.setattr("bai_jupyter.cli.servers.STOP_GRACE_S", 0.3)
    server = python(folder, IGNORES_TERM)
    await server.start()

    async def is_deaf() -> bool:
        return "deaf" in folder.log("thing").read_text()

    await server.ready(is_deaf, 30)
    assert left_behind(folder, ["thing"]) == [("thing", server.process.pid)]
    assert os.getpgid(server.process.pid) == server.process.pid  # the terminal's Ctrl-C does not reach it
    assert await server.stop()
    assert server.process.returncode == -9
    assert left_behind(folder, ["thing"]) == []


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_reused_pid_is_not_ours(folder: DataFolder, stranger) -> None:
    record = {"pid": stranger.pid, "started": started_at(stranger.pid)}
    folder.pid_file("a").write_text(json.dumps(record))
    folder.pid_file("b").write_text(json.dumps({**record, "started": "1"}))
    folder.pid_file("c").write_text("rubbish")
    assert left_behind(folder, ["a", "b", "c", "d"]) == [("a", stranger.pid)]


def test_a_process_that_is_not_our_child_is_stopped_and_waited_for(folder: DataFolder) -> None:
    said = folder.log("deaf")
    start = f"subprocess.Popen([sys.executable, '-c', {IGNORES_TERM!r}], stdout=open({str(said)!r}, 'w')).pid"
    code = f"import subprocess, sys; print({start})"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, timeout=60, check=True, text=True
    )
    pid = int(told.stdout)
    deadline = time.monotonic() + 30
    while "deaf" not in said.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started_at(pid) is not None
    stop_process(pid, grace_s=0.3)
    assert started_at(pid) is None


def test_one_up_for_each_folder(folder: DataFolder) -> None:
    assert not folder.is_locked()
    with folder.lock() as is_ours:
        assert is_ours
        assert folder.is_locked()
        with folder.lock() as is_ours_too:
            assert not is_ours_too
    assert not folder.is_locked()


def test_the_folder_and_its_files_are_private(folder: DataFolder) -> None:
    write_private(folder.credentials, "{}")
    write_private(folder.credentials, "{}\n")
    folder.write_state({"url": "x"})
    assert folder.read_state() == {"url": "x"}
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder.path, folder.run, folder.credentials)}
    assert list(modes.values()) == [0o700, 0o700, 0o600]
    assert stat.S_IMODE(folder.state_file.stat().st_mode) == 0o600


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port(port)
        assert port < found < port + 50
        with pytest.raises(CommandFailed, match="--port"):
            free_port(port, tries=1)


# Another user


def test_the_closed_folder_on_a_way(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    for path in (*tmp_path.parents[:-1], tmp_path, inner):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):  # noqa: S108
            path.chmod(path.stat().st_mode | 0o011)
    inner.parent.chmod(0o700)
    assert as_user.closed_folder(inner, 4242, 4242) == inner.parent
    assert as_user.closed_folder(inner, os.geteuid(), os.getegid()) is None
    inner.parent.chmod(0o710)
    assert as_user.closed_folder(inner, 4242, inner.parent.stat().st_gid) is None


def run_as(uid: int, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bai_jupyter.cli.as_user", str(uid), str(uid), *options, "--"]
    return subprocess.run([*argv, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@needs_root
def test_another_user_runs_this_python_and_gains_nothing() -> None:
    told = run_as(4242, "import os, bai_jupyter, tornado; print(os.getresuid(), os.getresgid(), os.getgroups())")
    assert told.stdout == f"{(4242,) * 3} {(4242,) * 3} []\n", told.stderr


@needs_root
def test_a_closed_folder_shows_only_the_way(tmp_path: Path) -> None:
    for path in [tmp_path, *tmp_path.parents[:-2]]:
        path.chmod(path.stat().st_mode | 0o011)
    closed = tmp_path / "closed"
    (closed / "mine").mkdir(parents=True)
    (closed / "secret").write_text("s3cret")
    os.chown(closed / "mine", 4242, 4242)
    closed.chmod(0o700)
    code = f"import os; print(sorted(os.listdir({str(closed)!r}))); open({str(closed / 'mine' / 'file')!r}, 'w')"
    told = run_as(4242, code, "--show", str(closed / "mine"))
    assert told.stdout == "['mine']\n", told.stderr
    assert (closed / "mine" / "file").stat().st_uid == 4242
    assert (closed / "secret").read_text() == "s3cret"


@needs_root
def test_a_folder_that_stays_closed_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    told = run_as(4242, "print('ran')", "--show", str(tmp_path / "closed"))
    assert told.returncode == 1
    assert "User 4242 cannot reach" in told.stderr
    assert "Traceback" not in told.stderr


def test_started_at_tells_processes_apart(stranger) -> None:
    assert started_at(os.getpid()) == started_at(os.getpid())
    stranger.kill()
    deadline = time.monotonic() + 10
    while started_at(stranger.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started_at(stranger.pid) is None
