"""What the kernel is told to do with processes that want more memory than they may have."""

from pathlib import Path

import pytest
from bai_agent.hold import wanted_limit
from bai_agent.runtimes import cgroups
from bai_agent.runtimes.base import MemoryLimit

PID = 77
GRANTED, MARGIN = 1000, 64


@pytest.mark.parametrize(
    ("has", "overdue", "wanted"),
    [
        # as an engine makes it; as it stays
        (MemoryLimit(1000, kills=True), False, MemoryLimit(936, kills=False)),
        (MemoryLimit(936, kills=False), False, MemoryLimit(936, kills=False)),
        # held
        (MemoryLimit(936, kills=False, is_reached=True), False, MemoryLimit(936, kills=False, is_reached=True)),
        (MemoryLimit(936, kills=False, is_reached=True), True, MemoryLimit(936, kills=True, is_reached=True)),
        # it has had the margin
        (MemoryLimit(1000, kills=False, is_reached=True), False, MemoryLimit(1000, kills=True, is_reached=True)),
        # somebody was killed, or more was granted: as in the beginning
        (MemoryLimit(936, kills=True), True, MemoryLimit(936, kills=False)),
        (MemoryLimit(400, kills=False), False, MemoryLimit(936, kills=False)),
    ],
)
def test_wanted_limit(has: MemoryLimit, overdue: bool, wanted: MemoryLimit) -> None:
    assert wanted_limit(has, GRANTED, MARGIN, overdue=overdue) == wanted


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory controller of version 1, made up: its folder."""
    memory = tmp_path / "cgroup" / "memory" / "c1"
    memory.mkdir(parents=True)
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 1\noom_kill 0\n")
    for name in ("limit_in_bytes", "memsw.limit_in_bytes"):
        (memory / f"memory.{name}").write_text("1000\n")
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    (tmp_path / "proc" / str(PID) / "cgroup").write_text("7:memory:/c1\n0::/c1\n")
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_PROC", tmp_path / "proc")
    return memory


def test_the_limit_is_read_and_set_with_that_of_swap(host: Path) -> None:
    assert cgroups.memory_limit(PID) == MemoryLimit(1000, kills=True, is_reached=True)
    cgroups.limit_memory(PID, MemoryLimit(936, kills=False))
    assert (host / "memory.oom_control").read_text() == "1"
    assert (host / "memory.limit_in_bytes").read_text() == "936"
    assert (host / "memory.memsw.limit_in_bytes").read_text() == "936"


def test_a_host_that_does_not_count_swap(host: Path) -> None:
    (host / "memory.memsw.limit_in_bytes").unlink()
    cgroups.limit_memory(PID, MemoryLimit(1200, kills=True))
    assert (host / "memory.oom_control").read_text() == "0"
    assert (host / "memory.limit_in_bytes").read_text() == "1200"
    assert not (host / "memory.memsw.limit_in_bytes").exists()


def test_a_host_of_version_2_and_a_process_that_is_gone_have_none(host: Path, tmp_path: Path) -> None:
    assert cgroups.memory_limit(PID + 1) is None
    cgroups.limit_memory(PID + 1, MemoryLimit(1, kills=False))
    (tmp_path / "proc" / str(PID) / "cgroup").write_text("0::/c1\n")
    assert cgroups.memory_limit(PID) is None
