"""`bai up` and `bai down` with the real manager, agent and JupyterLab, on the process runtime."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from bai_jupyter.cli.local import memory_ahead
from bai_jupyter.cli.machine import Engine
from bai_jupyter.cli.servers import DataFolder, left_behind, started_at
from bai_jupyter.cli.terminal import CommandFailed
from bai_jupyter.cli.up import SERVERS, choose_runtime

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path: a unix socket's name below it must fit in 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="bai") as folder:
        yield Path(folder)


def command(folder: Path, *argv: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from bai_jupyter.cli import main; sys.exit(main())", *argv]


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("BACKEND_", "BAI_CRED"))}


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *argv), cwd=folder, env=environ(), capture_output=True, text=True, timeout=240, check=False
    )


def until(condition: Callable[[], Any], what: str, deadline_s: float = 60) -> Any:
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)
    return found


@dataclass
class RunningUp:
    folder: Path
    taken: int
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> None:
        out, err = (self.folder / "out").open("w"), (self.folder / "err").open("w")
        with out, err:
            argv = command(self.folder, "up", "--runtime", "process", "--port", str(self.taken))
            self.process = subprocess.Popen(argv, cwd=self.folder, env=environ(), stdout=out, stderr=err)
        until(lambda: "Open" in self.out or self.process.poll() is not None, "bai up")
        assert self.process.poll() is None, self.err

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def url(self) -> str:
        return self.out.split()[1]

    def pids(self) -> dict[str, int]:
        return dict(left_behind(DataFolder(self.folder / ".bai"), SERVERS))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def up(place: Path) -> Iterator[RunningUp]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = RunningUp(place, taken.getsockname()[1])
        running.start()
        yield running
        if running.process.poll() is None:
            running.stop()
        run(place, "down")


def test_the_phases_are_told_with_their_times(up: RunningUp) -> None:
    lines = up.err.splitlines()
    assert re.match(r"Backend.AI on this machine +bai_jupyter \d", lines[0])
    phases = [line.split()[1] for line in lines if re.search(r"\d+\.\d s$", line)]
    assert phases == ["Checked", "Manager", "Agent", "Images", "Lab"]
    assert "process (not isolated)" in up.err
    assert "keys: .bai/credentials.json, only yours" in up.out


def test_a_taken_port_is_said_and_the_next_one_serves(up: RunningUp) -> None:
    port = int(re.search(r":(\d+)/lab", up.url)[1])
    assert port > up.taken
    assert f"Port {up.taken} is taken; lab takes {port}." in up.err
    with urlopen(up.url, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200


def test_what_is_private_is_private(up: RunningUp) -> None:
    bai = up.folder / ".bai"
    for name in ("credentials.json", "run/up.json", "jupyter/server_config.json"):
        assert stat.S_IMODE((bai / name).stat().st_mode) == 0o600, name
    token = up.url.partition("token=")[2]
    for pid in up.pids().values():
        words = Path(f"/proc/{pid}/cmdline").read_text()
        assert token not in words
        assert json.loads((bai / "credentials.json").read_text())["secret_key"] not in words


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_under_root_lab_and_cells_run_as_another_user(up: RunningUp) -> None:
    pids = up.pids()
    owner = (up.folder / ".bai" / "home").stat().st_uid
    assert owner != 0
    assert {Path(f"/proc/{pids[name]}").stat().st_uid for name in ("lab", "agent")} == {owner}
    assert Path(f"/proc/{pids['manager']}").stat().st_uid == 0


def test_a_second_up_says_where_the_first_one_is(up: RunningUp) -> None:
    second = run(up.folder, "up")
    assert second.returncode == 0
    assert up.url in second.stdout
    assert str(up.process.pid) in second.stderr
    refused = run(up.folder, "up", "--check")
    assert refused.returncode == 1
    assert "bai down" in refused.stderr


def test_a_killed_server_is_started_again(up: RunningUp) -> None:
    for name in ("manager", "agent"):
        before = up.pids()[name]
        os.kill(before, signal.SIGKILL)
        until(lambda name=name, before=before: up.pids().get(name) not in (before, None), f"a new {name}")
        assert f"{name} ended (code -9); started again." in until(lambda: up.err, "a message")
    assert until(lambda: run(up.folder, "agent", "list").stdout.count("Ready"), "the agent") == 1


def test_sessions_stay_when_the_servers_stop_and_down_ends_them(up: RunningUp) -> None:
    started = run(up.folder, "session", "start", "local", "--name", "stays", "--cpu", "1", "--mem", "256m")
    assert started.returncode == 0, started.stderr
    assert "Running" in started.stdout
    pids = up.pids()
    assert up.stop() == 0
    assert "Stopped lab, agent, manager. Sessions stay" in up.err
    assert not any(started_at(pid) for pid in pids.values())

    down = run(up.folder, "down")
    assert down.returncode == 0, down.stderr
    assert "Ended stays." in down.stdout
    assert run(up.folder, "down").stdout.splitlines() == ["No sessions to end.", "No servers ran."]


def test_down_stops_a_running_up_after_ending_its_sessions(up: RunningUp) -> None:
    if up.process.poll() is None:
        up.stop()
    up.start()
    assert run(up.folder, "session", "start", "local", "--name", "ends", "-q").stdout == "ends\n"
    down = run(up.folder, "down", "--json")
    assert json.loads(down.stdout) == {"ended": ["ends"], "stopped": ["lab", "agent", "manager"]}
    assert up.process.wait(60) == 0


def test_servers_that_a_killed_up_left_are_taken_away(up: RunningUp) -> None:
    if up.process.poll() is None:
        up.stop()
    up.start()
    left = up.pids()
    up.process.kill()
    up.process.wait()
    assert all(started_at(pid) for pid in left.values())
    up.start()
    assert "Stopped manager, which an earlier `bai up` had left." in up.err
    assert not any(started_at(pid) for pid in left.values())
    assert up.stop() == 0


# On folders of their own


def test_check_runs_a_notebook_and_leaves_nothing(free_port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bai") as folder:
        checked = run(Path(folder), "up", "--check", "--runtime", "process", "--port", str(free_port), "--json")
        assert checked.returncode == 0, checked.stderr
        *phases, result = map(json.loads, checked.stdout.splitlines())
        assert [phase["phase"] for phase in phases] == ["Checked", "Manager", "Agent", "Images", "Lab", "Notebook"]
        assert all(phase["ok"] for phase in phases)
        assert result["output"] == "42"
        assert result["session"]["agent"] == "local"
        assert result["session"]["runtime"] == "process"
        assert float(result["session"]["slots"]["cpu"]) >= 1
        assert left_behind(DataFolder(Path(folder) / ".bai"), SERVERS) == []
        assert run(Path(folder), "down").stdout.splitlines() == ["No sessions to end.", "No servers ran."]


@pytest.fixture
def docker_place() -> Iterator[Path]:
    """A folder whose agent's containers and network are gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="bai") as folder:
        yield Path(folder)
        options = [f"--AgentApp.state_dir={folder}/.bai/agent", "--AgentApp.runtime=docker", "--cleanup"]
        subprocess.run([sys.executable, "-m", "bai_agent", *options], capture_output=True, timeout=60, check=True)


@pytest.mark.docker
def test_check_with_docker_and_down_takes_away_the_network(
    free_port: int, python_image: str, docker_client, docker_place: Path
) -> None:
    options = ["--runtime", "docker", "--port", str(free_port), "--no-build", "--json"]
    checked = run(docker_place, "up", "--check", *options)
    logs = "\n".join(path.read_text() for path in (docker_place / ".bai" / "run").glob("*.log"))
    assert checked.returncode == 0, checked.stderr + logs
    result = json.loads(checked.stdout.splitlines()[-1])
    assert result["output"] == "42"
    assert (result["session"]["runtime"], result["session"]["isolated"]) == ("docker", True)
    own_id = (docker_place / ".bai" / "agent" / "agent-id").read_text().strip()
    label = {"label": f"bai.agent-id={own_id}"}
    assert docker_client.networks.list(filters=label)
    assert run(docker_place, "down").returncode == 0
    assert docker_client.networks.list(filters=label) == []


def test_a_server_that_cannot_start_is_reported_and_the_others_are_not_started(tmp_path: Path) -> None:
    (tmp_path / ".bai").mkdir()
    (tmp_path / ".bai" / "manager").write_text("in the way")
    ran = run(tmp_path, "up", "--runtime", "process")
    assert ran.returncode == 1
    assert "manager ended while starting (code 1)." in ran.stderr
    assert "manager.log" in ran.stderr
    assert "Agent" not in ran.stderr
    assert left_behind(DataFolder(tmp_path / ".bai"), SERVERS) == []


def test_down_where_nothing_ever_ran(tmp_path: Path) -> None:
    ran = run(tmp_path, "down")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "Nothing runs" in ran.stderr


def test_the_runtime_is_chosen_by_what_answers() -> None:
    answers, silent = Engine("20.10", "v1"), Engine(trouble="Docker does not answer: start it.")
    assert choose_runtime("auto", answers) == choose_runtime("docker", answers) == "docker"
    assert choose_runtime("auto", silent) == choose_runtime("process", answers) == "process"
    with pytest.raises(CommandFailed, match="--runtime process"):
        choose_runtime("docker", silent)


@pytest.mark.parametrize(("total_gib", "mib"), [(2, 64), (8, 256), (16, 512), (256, 512)])
def test_containers_started_ahead_take_a_small_part_of_the_machine(total_gib: int, mib: int) -> None:
    assert memory_ahead(total_gib * 1024**3) == str(mib * 1024**2)
