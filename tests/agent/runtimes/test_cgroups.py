"""What a container uses, on hosts of either cgroup version. The files are made up: a test's host is of one version."""

from pathlib import Path

import pytest
from bai_agent.runtimes import cgroups
from bai_agent.runtimes.base import Memory

PID = 77
MIB = 1024 * 1024
V1 = {
    "memory/docker/c1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory/docker/c1/memory.max_usage_in_bytes": f"{60 * MIB}\n",
    "memory/docker/c1/memory.limit_in_bytes": f"{64 * MIB}\n",
    "memory/docker/c1/memory.usage_in_bytes": f"{40 * MIB}\n",
    "memory/docker/c1/memory.stat": f"cache 1\ntotal_inactive_file {10 * MIB}\n",
    "cpuacct/docker/c1/cpuacct.usage": "1500000000\n",
}
V2 = {
    "system.slice/docker-c1.scope/memory.events": "low 0\noom 3\noom_kill 2\n",
    "system.slice/docker-c1.scope/memory.peak": f"{60 * MIB}\n",
    "system.slice/docker-c1.scope/memory.max": f"{64 * MIB}\n",
    "system.slice/docker-c1.scope/memory.current": f"{40 * MIB}\n",
    "system.slice/docker-c1.scope/memory.stat": f"anon 1\ninactive_file {10 * MIB}\n",
    "system.slice/docker-c1.scope/cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
}
OF_PROCESS = {
    "v1": "7:memory:/docker/c1\n5:cpu,cpuacct:/docker/c1\n0::/docker/c1\n",
    "v2": "0::/system.slice/docker-c1.scope\n",
}


@pytest.fixture(params=["v1", "v2"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the container's memory controller."""
    files = {"v1": V1, "v2": V2}[request.param]
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    (tmp_path / "proc" / str(PID) / "cgroup").write_text(OF_PROCESS[request.param])
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_PROC", tmp_path / "proc")
    return (tmp_path / "cgroup" / next(iter(files))).parent


def test_what_a_container_uses(host: Path) -> None:
    assert cgroups.usage(PID) == {
        "cpu_used_s": 1.5,
        "mem_used_bytes": 30 * MIB,  # without what the kernel would give back at once
        "mem_limit_bytes": 64 * MIB,
    }


def test_its_highest_and_how_often_it_was_killed_for_memory(host: Path) -> None:
    assert cgroups.memory(PID) == Memory(2, 60 * MIB, 64 * MIB)


@pytest.mark.parametrize("host", ["v2"], indirect=True)
def test_a_kernel_without_a_peak_tells_what_is_used_now(host: Path) -> None:
    (host / "memory.peak").unlink()
    assert cgroups.memory(PID) == Memory(2, 40 * MIB, 64 * MIB)


@pytest.mark.parametrize("host", ["v2"], indirect=True)
def test_no_limit_is_told_as_none(host: Path) -> None:
    (host / "memory.max").write_text("max\n")
    assert cgroups.usage(PID)["mem_limit_bytes"] == 0


def test_a_process_that_is_gone(host: Path) -> None:
    assert cgroups.usage(PID + 1) == {}
    assert cgroups.memory(PID + 1) is None
