"""A process that waits to become a Jupyter kernel: the same kernel as a fresh one, or a fresh one."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bai_agent.runtimes import standby
from jupyter_client import BlockingKernelClient

DEADLINE_S = 60

ASK = """
import json, os, sys
facts = {"pid": os.getpid(), "argv": sys.argv, "path": sys.path, "name": __name__, "shape": os.environ["SHAPE"]}
facts["main"] = list(vars(sys.modules["__main__"]))[:3]
open("draft", "w").write(json.dumps(facts))
os.rename("draft", "facts")
"""

Launch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def launch(tmp_path: Path, home: Path) -> Iterator[Launch]:
    """One that waits, ready."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(**env: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-s", standby.__file__, str(tmp_path / "sock")]
        process = subprocess.Popen(argv, env={**os.environ, "HOME": str(home), **env}, cwd="/", start_new_session=True)
        started.append(process)
        wait_for(tmp_path / "sock")
        return process

    yield launch
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)


def tell(folder: Path, argv: list[str], **env: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(str(folder / "sock"))
        told = {"argv": argv, "env": env, "cwd": str(folder), "log": str(folder / "log")}
        sock.sendall(json.dumps(told).encode() + b"\n")
        assert json.loads(sock.makefile().readline()) == {"heard": True}


def test_it_becomes_the_kernel_that_a_fresh_interpreter_would_be(launch: Launch, tmp_path: Path, home: Path) -> None:
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f"]
    connection = write_connection(tmp_path)
    process = launch()
    tell(tmp_path, [*argv, str(connection)], SHAPE="round")
    ahead = run(connection, tmp_path / "facts")
    assert ahead.pop("pid") == process.pid
    process.kill()
    process.wait(DEADLINE_S)

    connection = write_connection(tmp_path)
    with (tmp_path / "log").open("wb") as log:
        env = {**os.environ, "HOME": str(home), "SHAPE": "round", "PYTHONNOUSERSITE": "1"}
        other = subprocess.Popen([*argv, str(connection)], env=env, cwd=tmp_path, stdout=log, stderr=log)
    try:
        fresh = run(connection, tmp_path / "facts")
    finally:
        other.kill()
        other.wait(DEADLINE_S)
    del fresh["pid"], ahead["argv"], fresh["argv"]
    assert ahead == fresh


@pytest.mark.parametrize("why", ["variable", "home", "packages"])
def test_where_it_might_differ_it_becomes_a_fresh_interpreter(
    launch: Launch, tmp_path: Path, home: Path, why: str
) -> None:
    added = tmp_path / "added"
    added.mkdir()
    process = launch(PYTHONPATH=str(added))
    env = {"PYTHONWARNINGS": "error"} if why == "variable" else {}
    if why == "packages":
        (added / "new.py").touch()
        os.utime(added, (1, 1))
    if why == "home":
        major, minor = sys.version_info[:2]
        (home / f".local/lib/python{major}.{minor}/site-packages").mkdir(parents=True)
    tell(tmp_path, [sys.executable, "-c", "print('fresh')"], **env)
    assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "log").read_text() == "fresh\n"


def write_connection(folder: Path) -> Path:
    name = uuid.uuid4().hex[:6]
    ports = {f"{channel}_port": port for port, channel in enumerate(("shell", "iopub", "stdin", "hb", "control"), 1)}
    info = {"transport": "ipc", "ip": str(folder / name), "key": name, "signature_scheme": "hmac-sha256", **ports}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(info))
    return path


def run(connection: Path, facts: Path) -> dict[str, Any]:
    """What a kernel finds itself to be."""
    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    client.start_channels(hb=False)
    try:
        client.execute(ASK)
        wait_for(facts)
    finally:
        client.stop_channels()
    found: dict[str, Any] = json.loads(facts.read_text())
    facts.unlink()
    return found


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} has not come"
        time.sleep(0.01)
