"""The ladder, and limits by cgroup, with the real nvidia-ml-py on a stub of the driver's library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bai_agent.shares import ladder, library
from bai_agent.shares.ladder import Enforcement, climb

_PROBE = """
import json, pathlib, sys
from decimal import Decimal
from bai_agent.shares import holding, ladder, limits, nvml
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots
library, root = nvml.Nvml(), pathlib.Path(sys.argv[1])
why = ladder.why_no_cgroup(library, root / "cgroup", has_cgroups=True)
card = DeviceFacts("GPU-stub-1", "cuda", "m", ResourceSlots({"cuda.shares": 1}), mem_bytes=1000)
held = {"cuda.shares": {"GPU-stub-1": Decimal("0.3")}}
level = ladder.Enforcement.CGROUP
shares = holding.Holding(level, limits.Rule(), [card], root / "cache", library, proc=root / "proc")
try:
    shares.hold(root, held, 42)
    said = ""
    shares.let_go(held, 42)
except holding.NotHeld as error:
    said = str(error)
print(json.dumps([why, said]))
"""


@pytest.fixture
def ask(nvml_folder: Path, tmp_path: Path) -> Any:
    """``[why there is no cgroup step, why the gate stays shut]``, by a fresh process."""
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "cgroup.controllers").touch()
    (tmp_path / "limits").mkdir()
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cgroup").write_text("0::/system.slice/docker-abc.scope\n")

    def ask(folder: Path = nvml_folder, **environ: str) -> list[str]:
        env = {**os.environ, "LD_LIBRARY_PATH": str(folder), **environ}
        command = [sys.executable, "-c", _PROBE, str(tmp_path)]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
        answer: list[str] = json.loads(done.stdout)
        return answer

    return ask


def test_the_first_step_that_works_is_taken() -> None:
    def works() -> str:
        return ""

    def fails() -> str:
        return "not here"

    assert climb([(Enforcement.CGROUP, works), (Enforcement.SHIM, works)]) is Enforcement.CGROUP
    assert climb([(Enforcement.CGROUP, fails), (Enforcement.SHIM, works)]) is Enforcement.SHIM
    assert climb([(Enforcement.CGROUP, fails), (Enforcement.SHIM, fails)]) is Enforcement.WATCH


def test_levels_are_ordered() -> None:
    assert Enforcement.CGROUP.is_at_least(Enforcement.SHIM)
    assert Enforcement.SHIM.is_at_least(Enforcement.SHIM)
    assert not Enforcement.WATCH.is_at_least(Enforcement.SHIM)


def test_a_driver_without_the_symbols_is_passed_over(ask: Any, tmp_path: Path) -> None:
    why, shut = ask()
    assert "Function Not Found" in why
    assert "Function Not Found" in shut
    assert list((tmp_path / "cgroup").iterdir()) == [tmp_path / "cgroup" / "cgroup.controllers"]
    assert ask(tmp_path)[0] == "NVML Shared Library Not Found"


def test_limits_are_set_on_the_containers_own_cgroup_and_let_go_of(ask: Any, tmp_path: Path) -> None:
    assert ask(NVML_STUB_LIMITS=str(tmp_path / "limits")) == ["", ""]
    cgroup = "/sys/fs/cgroup/system.slice/docker-abc.scope"
    assert (tmp_path / "limits" / "1").read_text().splitlines() == [f"{cgroup} 300 300", f"{cgroup} 0 300"]
    probed = (tmp_path / "limits" / "0").read_text().split()
    assert probed[-2:] == ["0", str(1 << 30)]  # nothing stays promised


def test_limits_that_cannot_be_read_back_do_not_count(ask: Any, tmp_path: Path) -> None:
    why, shut = ask(NVML_STUB_LIMITS=str(tmp_path / "limits"), NVML_STUB_FORGETFUL="1")
    assert "the driver has 0 and 0 bytes where" in why
    assert "the driver has 0 and 0 bytes where 300 and 300 were set" in shut


def test_a_process_without_a_cgroup_of_its_own_is_never_limited_for_all(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "proc" / "42" / "cgroup").write_text("0::/\n")
    _, shut = ask(NVML_STUB_LIMITS=str(tmp_path / "limits"))
    assert "process 42 is in no cgroup of its own" in shut


def test_the_preload_library_needs_mounts_and_a_compiler(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mounts nothing" in ladder.why_no_shim(tmp_path, has_mounts=False)
    assert ladder.why_no_shim(tmp_path, has_mounts=True) == ""
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]
    monkeypatch.setattr(library, "_COMPILERS", ("no-such-compiler",))
    assert "there is no C compiler" in ladder.why_no_shim(tmp_path, has_mounts=True)
