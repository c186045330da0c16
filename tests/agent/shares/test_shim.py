"""The preload library on a stub of the driver (no GPU was near): what a program sees, gets and is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bai_agent.shares import library
from cuda_stubs import GPU, OTHER_GPU, Probe, compile_c


@contextmanager
def holding(probe: Probe, words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has done ``words`` and holds what it has until the end."""
    command = probe.command(f"{words} hold")
    environ = {**probe.environ, "BAI_TEST_RUN": os.environ["BAI_TEST_RUN"]}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "holding" not in process.stdout.readline():
            assert process.poll() is None
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["link", "dlsym", "proc", "proc-old", "ptsz"])
def test_however_a_program_finds_the_driver_it_sees_and_gets_its_share(probe: Probe, how: str) -> None:
    said = probe.run(f"{how} total info alloc 3000 info alloc 1000 free info")
    assert said == ["total 4096", "info 3840 4096", "alloc 0", "info 840 4096", "alloc 2", "free 0", "info 3840 4096"]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("managed", "dlsym"),
        ("async", "dlsym"),
        ("async", "proc"),
        ("async", "ptsz"),
        ("pitch", "dlsym"),
        ("array", "dlsym"),
        ("create", "dlsym"),
        ("create", "proc"),
    ],
)
def test_every_kind_of_memory_counts(probe: Probe, kind: str, how: str) -> None:
    assert probe.run(f"{how} {kind} alloc 3000 plain alloc 1000 info") == ["alloc 0", "alloc 2", "info 840 4096"]
    assert probe.run(f"{how} {kind} alloc 4000 info") == ["alloc 2", "info 3840 4096"]


@pytest.mark.parametrize("kind", ["async", "array"])
def test_what_is_freed_by_its_own_call_may_be_taken_again(probe: Probe, kind: str) -> None:
    assert probe.run(f"dlsym {kind} alloc 3000 free alloc 3000") == ["alloc 0", "free 0", "alloc 0"]


def test_physical_memory_counts_as_long_as_a_mapping_keeps_it(probe: Probe) -> None:
    assert probe.run("dlsym create alloc 3000 map release alloc 3000")[-1] == "alloc 2"
    assert probe.run("dlsym create alloc 3000 map release unmap alloc 3000")[-1] == "alloc 0"
    assert probe.run("dlsym create alloc 3000 release alloc 3000")[-1] == "alloc 0"


def test_a_context_takes_its_memory_along(probe: Probe) -> None:
    assert probe.run("alloc 3000 reset alloc 3000") == ["alloc 0", "alloc 0"]


def test_what_the_driver_refuses_is_not_counted(probe: Probe) -> None:
    assert probe.run("bytes 13 info") == ["bytes 2", "info 3840 4096"]


def test_an_absurd_size_is_refused(probe: Probe) -> None:
    assert probe.run("bytes 18446744073709551615 info") == ["bytes 2", "info 3840 4096"]


def test_a_gpu_that_was_not_given_gives_nothing(probe: Probe) -> None:
    assert probe.run("device 1 total info alloc 1") == ["total 0", "info 0 0", "alloc 2"]


def test_each_gpu_has_its_own_limit(probe: Probe) -> None:
    probe.limit((GPU, 1024, 0), (OTHER_GPU, 2048, 0))
    said = probe.run("alloc 1000 alloc 1000 device 1 info alloc 2000 alloc 1000")
    assert said == ["alloc 0", "alloc 2", "info 2048 2048", "alloc 0", "alloc 2"]


def test_without_limits_nothing_is_given(probe: Probe) -> None:
    (probe.folder / "limits").unlink()
    assert probe.run("alloc 1") == ["alloc 2"]
    probe.limit((GPU, 4096, 0))
    (probe.folder / "usage").unlink()
    assert probe.run("alloc 1") == ["alloc 2"]


def test_another_process_counts_and_is_refused_alone(probe: Probe) -> None:
    with holding(probe, "alloc 3000") as first:
        assert probe.run("info alloc 1000 alloc 800") == ["info 840 4096", "alloc 2", "alloc 0"]
        assert first.poll() is None
    # It was killed, and could give nothing back.
    assert probe.run("info alloc 3800") == ["info 3840 4096", "alloc 0"]


def test_a_process_that_ended_and_was_not_waited_for_holds_nothing(probe: Probe) -> None:
    with holding(probe, "alloc 3000") as first:
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # now it is a zombie, and stays one
        assert probe.run("alloc 3000") == ["alloc 0"]


def test_a_child_does_not_hold_what_its_parent_holds_and_counts_beside_it(probe: Probe) -> None:
    assert probe.run("alloc 3000 fork info alloc 1000 alloc 800") == ["alloc 0", "info 840 4096", "alloc 2", "alloc 0"]


def test_threads_that_get_each_others_addresses_leave_a_right_count(probe: Probe) -> None:
    assert probe.run("threads 3000 info alloc 3840") == ["threads 0", "info 3840 4096", "alloc 0"]


def test_a_program_that_closes_all_its_files_keeps_its_own_and_is_counted_on(probe: Probe) -> None:
    said = probe.run("alloc 1000 closeall alloc 1000 info fork closeall alloc 3000 alloc 1800")
    assert said == ["alloc 0", "closeall 1", "alloc 0", "info 1840 4096", "closeall 1", "alloc 2", "alloc 0"]


def test_a_program_that_becomes_another_lets_go(probe: Probe) -> None:
    assert probe.run("alloc 3000 exec info alloc 3000") == ["alloc 0", "info 3840 4096", "alloc 0"]


def test_many_at_once_never_hold_more_than_the_share(probe: Probe, tmp_path: Path) -> None:
    """Three race for the one place that there is, and whoever has it looks whether another has it too."""
    environ = {**probe.environ, "BAI_TEST_RUN": os.environ["BAI_TEST_RUN"]}
    command = probe.command("alone 2000 20000")
    racers = [subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    figures = [racer.communicate(timeout=100)[0].split() for racer in racers]
    assert sum(int(times) for _, times, _ in figures) > 0
    assert [others for _, _, others in figures] == ["0", "0", "0"]


def test_who_wraps_functions_still_finds_the_next_one(probe: Probe, tmp_path: Path) -> None:
    """``dlsym(RTLD_NEXT, …)`` looks behind whoever calls it, which must not become our library."""
    source = tmp_path / "wrap.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <unistd.h>\n"
        "pid_t getpid(void) {\n"
        '    pid_t (*next)(void) = dlsym(RTLD_NEXT, "getpid");\n'
        "    return next == getpid ? -1 : next();\n}\n"
    )
    compile_c("-shared", "-fPIC", "-o", tmp_path / "wrap.so", source)
    preloaded = f"{probe.library}:{tmp_path / 'wrap.so'}"
    done = subprocess.run(
        probe.command("alloc 3000 info"),
        env={**probe.environ, "LD_PRELOAD": preloaded},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["alloc 0", "info 840 4096"]


_SMI = """
import json, pynvml
pynvml.nvmlInit()
told = []
for index in range(2):
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    for version in (None, pynvml.nvmlMemory_v2):
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=version)
        told.append([figure >> 20 for figure in (memory.total, memory.free, memory.used)])
print(json.dumps(told))
"""


def test_the_management_library_tells_the_share_and_nothing_of_neighbours(probe: Probe, nvml_folder: Path) -> None:
    """The real nvidia-ml-py, as nvidia-smi and monitors ask; the stub says that a neighbour holds 100 GiB."""
    environ = {**os.environ, **probe.environ, "LD_LIBRARY_PATH": str(nvml_folder), "NVML_STUB_UUID": GPU}

    def told() -> list[list[int]]:
        command = [sys.executable, "-c", _SMI]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
        answer: list[list[int]] = json.loads(done.stdout)
        return answer

    assert told() == [[4096, 3840, 256]] * 2 + [[0, 0, 0]] * 2  # the second was not given
    with holding(probe, "alloc 3000"):
        assert told()[:2] == [[4096, 840, 3256]] * 2
    environ["LD_PRELOAD"] = ""
    assert told()[1] == [141 << 10, 40 << 10, 100 << 10]


# Building


def test_it_loads_in_images_with_an_old_c_library(probe: Probe) -> None:
    assert library.newest_glibc(probe.library.read_bytes()) <= library.NEWEST_GLIBC


def test_it_is_built_once_and_again_when_its_source_changes(
    library_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library.build(library_cache)
    built_at = first.stat().st_mtime_ns
    assert library.build(library_cache) == first
    assert first.stat().st_mtime_ns == built_at
    changed = tmp_path / "shim.c"
    changed.write_text(library.SOURCE.read_text() + "\n")
    monkeypatch.setattr(library, "SOURCE", changed)
    assert library.build(library_cache) != first


def test_no_compiler_and_a_broken_source_are_told(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "shim.c"
    broken.write_text("no C at all")
    monkeypatch.setattr(library, "SOURCE", broken)
    with pytest.raises(library.NoLibrary, match=r"failed: .*error"):
        library.build(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(library.NoLibrary, match="no C compiler"):
        library.build(tmp_path)


def test_a_library_that_breaks_programs_is_not_used(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "shim.c"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void go(void) { _Exit(3); }\n")
    monkeypatch.setattr(library, "SOURCE", source)
    with pytest.raises(library.NoLibrary, match="no program runs with it"):
        library.build(tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_the_usage_file_is_as_large_as_the_library_takes_it_for(probe: Probe, tmp_path: Path) -> None:
    from bai_agent.shares import holding as holding_module

    source: Any = library.SOURCE.read_text()
    assert "#define ROWS 1024" in source
    assert "#define MAX_GPUS 16" in source
    assert holding_module._USAGE_BYTES == 16 + 1024 * (16 + 16 * 8)
