"""The watchdog: its decisions, and that it reaches the right process and nobody else."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bai_agent.runtimes import pids
from bai_agent.shares.nvml import Loads, Nvml, Use
from bai_agent.shares.watchdog import Watchdog, Watched, confirmed, excesses, figures_of, kill, owner_of

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason

ONE, TWO = KernelId("kernel-1"), KernelId("kernel-2")
WATCHED = [Watched(ONE, "ref-1", {"gpu-a": 100}), Watched(TWO, "ref-2", {"gpu-a": 50, "gpu-b": 50})]


def use(device: str, pid: int, used: int) -> Use:
    return Use(device, pid, 1, used)


def test_all_processes_of_a_session_count_together_per_gpu() -> None:
    uses = [use("gpu-a", 1, 60), use("gpu-a", 2, 60), use("gpu-a", 3, 50), use("gpu-b", 3, 50), use("gpu-a", 9, 999)]
    (only,) = excesses(uses, WATCHED, {1: ONE, 2: ONE, 3: TWO}, 10)
    assert (only.kernel_id, only.device_id, only.used_bytes, only.limit_bytes) == (ONE, "gpu-a", 120, 100)
    assert excesses(uses, WATCHED, {1: ONE, 2: ONE, 3: TWO}, 20) == []


def test_of_a_gpu_that_was_not_given_nothing_may_be_held() -> None:
    (only,) = excesses([use("gpu-b", 1, 11)], WATCHED, {1: ONE}, 10)
    assert (only.kernel_id, only.limit_bytes) == (ONE, 0)


def test_what_sessions_hold_of_their_shares_is_told_of_each() -> None:
    uses = [use("gpu-a", 1, 60), use("gpu-a", 3, 20), use("gpu-b", 3, 5), use("gpu-a", 9, 999)]
    assert figures_of(uses, WATCHED, {1: ONE, 3: TWO}, {}) == {
        ONE: {"cuda_mem_used_bytes": 60.0, "cuda_mem_total_bytes": 100.0},
        TWO: {"cuda_mem_used_bytes": 25.0, "cuda_mem_total_bytes": 100.0},
    }


def test_a_session_s_load_is_that_of_its_own_processes_and_known_or_absent() -> None:
    owners = {1: ONE, 2: ONE, 3: TWO}

    def loads_of(loads: Loads) -> list[float | None]:
        told = figures_of([], WATCHED, owners, loads)
        return [told[one].get("cuda_util_pct") for one in (ONE, TWO)]

    on_a = {1: 20.0, 2: 15.0, 3: 40.0, 9: 25.0}
    assert loads_of({"gpu-a": on_a, "gpu-b": {3: 20.0}}) == [35.0, 30.0]
    assert loads_of({"gpu-a": on_a}) == [35.0, None]  # of one of the two GPUs nothing is known
    assert loads_of({"gpu-a": {}, "gpu-b": {9: 99.0}}) == [0.0, 0.0]
    assert loads_of({"gpu-a": {1: 80.0, 2: 70.0}}) == [100.0, None]
    assert loads_of({}) == [None, None]


_LOADS = """
import json, pathlib, sys
from bai_agent.shares.nvml import Nvml
nvml, file = Nvml(), pathlib.Path(sys.argv[1])
for lines in json.loads(sys.argv[2]):
    file.write_text("".join(f"{line}\\n" for line in lines))
    print(json.dumps(nvml.loads(["GPU-stub-0", "GPU-stub-1", "GPU-gone"])))
"""


def test_loads_are_those_since_the_last_look(nvml_folder: Path, tmp_path: Path) -> None:
    """The real nvidia-ml-py on a stub of the driver's library."""
    looks = [
        ["0 11 100 90"],  # may be old, so it only says from when on
        ["0 10 90 70", "0 11 150 30", "0 12 140 20", "0 13 150 4294967295", "1 11 7 50"],
        ["0 11 150 30", "0 12 140 20", "1 11 7 50"],
        ["0 12 160 5", "0 12 170 60"],
    ]

    def ask(**environ: str) -> list[Any]:
        command = [sys.executable, "-c", _LOADS, str(tmp_path / "loads"), json.dumps(looks)]
        env = {**os.environ, "LD_LIBRARY_PATH": str(nvml_folder), **environ}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert ask(NVML_STUB_LOADS=str(tmp_path / "loads")) == [
        {},
        {"GPU-stub-0": {"11": 30.0, "12": 20.0}, "GPU-stub-1": {"11": 50.0}},
        {"GPU-stub-0": {}, "GPU-stub-1": {}},
        {"GPU-stub-0": {"12": 60.0}, "GPU-stub-1": {}},
    ]
    assert ask() == [{}, {}, {}, {}]  # this driver does not tell


def test_one_sample_is_not_enough_and_the_largest_process_is_meant() -> None:
    owners = {1: ONE, 2: ONE, 3: TWO}
    first = excesses([use("gpu-a", 1, 300)], WATCHED, owners, 0)
    second = excesses([use("gpu-a", 1, 90), use("gpu-a", 2, 200), use("gpu-a", 3, 99)], WATCHED, owners, 0)
    assert confirmed([], first) == []
    (only,) = confirmed(first, second)
    assert only.largest.pid == 2
    assert only.reason("gpu-share-exceeded").text.startswith("It held 290 B of GPU memory; its share is 100 B.")


def test_whose_a_process_is(tmp_path: Path) -> None:
    process_runtime = Watched(ONE, ONE, {})
    for pid, cgroup, environ in (
        (1, "0::/docker/ref-2\n", b"BACKENDAI_KERNEL_ID=kernel-1\0"),  # what it says of itself does not count
        (2, "0::/user.slice\n", b"A=1\0BACKENDAI_KERNEL_ID=kernel-1\0"),
        (3, "0::/docker/other\n", b""),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(cgroup)
        (tmp_path / str(pid) / "environ").write_bytes(environ)
    assert [owner_of(pid, WATCHED, tmp_path) for pid in (1, 2, 3, 4)] == [TWO, None, None, None]
    assert [owner_of(pid, [process_runtime], tmp_path) for pid in (2, 3)] == [ONE, None]


@pytest.fixture
def sleeper() -> Iterable[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_process_that_got_the_number_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    started = pids.start_time(sleeper.pid)
    assert started is not None
    meant = Use("gpu-a", sleeper.pid, started, 1)
    assert not kill(replace(meant, started=started - 1))
    assert sleeper.poll() is None
    assert kill(meant)
    assert sleeper.wait(30) == -signal.SIGKILL


class OneProcessHolds(Nvml):
    """A GPU of which one process holds what the test says."""

    def __init__(self, pid: int, used_bytes: int) -> None:
        super().__init__()
        self.pid, self.used_bytes = pid, used_bytes

    def uses(self, device_ids: Iterable[str]) -> list[Use]:
        started = pids.start_time(self.pid)
        return [] if started is None else [Use(name, self.pid, started, self.used_bytes) for name in device_ids]

    def loads(self, device_ids: Iterable[str]) -> Loads:
        return {name: {self.pid: 42.0} for name in device_ids}


class Heard:
    """A watchdog over one kernel, and what it did."""

    def __init__(self, nvml: Nvml, ref: str, policy: str) -> None:
        self.told: list[Reason] = []
        self.ended: list[Reason] = []
        watched = [Watched(ONE, ref, {"gpu-a": 100})]
        self.dog = Watchdog(
            nvml,
            lambda: watched,
            lambda kernel_id, reason: self.told.append(reason),
            lambda kernel_id, reason: self.ended.append(reason),
            policy=policy,
            tolerance_bytes=10,
        )


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", ["log", "kill-process", "terminate"])
async def test_what_becomes_of_who_holds_too_much(policy: str) -> None:
    environ = {**os.environ, "BACKENDAI_KERNEL_ID": ONE}
    process = await asyncio.create_subprocess_exec("sleep", "60", env=environ)
    try:
        nvml = OneProcessHolds(process.pid, 110)
        heard = Heard(nvml, ONE, policy)
        for _ in range(3):
            await heard.dog.look()
        assert (heard.told, heard.ended) == ([], [])  # within the tolerance
        figures = {"cuda_mem_used_bytes": 110.0, "cuda_mem_total_bytes": 100.0, "cuda_util_pct": 42.0}
        assert heard.dog.figures == {ONE: figures}
        nvml.used_bytes = 111
        await heard.dog.look()
        assert (heard.told, heard.ended) == ([], [])  # one sample
        await heard.dog.look()
        assert [reason.code for reason in heard.told] == ([] if policy == "terminate" else ["gpu-share-exceeded"])
        assert [reason.code for reason in heard.ended] == (["gpu-share-ended"] if policy == "terminate" else [])
        if policy == "kill-process":
            assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
        else:
            assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
