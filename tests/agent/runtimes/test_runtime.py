"""The runtime contract, on both runtimes."""

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import pytest
from bai_agent.runtimes.base import CreateRequest, RuntimeFault

pytestmark = pytest.mark.asyncio


async def test_a_container_is_created_then_started_then_removed(bench: Any) -> None:
    want = bench.want()
    ref = await bench.runtime.create(CreateRequest(want, bench.prepare(want)))
    created = await bench.runtime.inspect(ref)
    assert created is not None
    assert (created.running, created.started_at) == (False, None)
    assert await bench.runtime.main_pid(ref) is None

    await bench.runtime.start(ref)
    running = await bench.runtime.inspect(ref)
    assert running is not None
    assert running.running
    assert running.started_at is not None
    assert not await bench.runtime.is_ending(ref)
    pid = await bench.runtime.main_pid(ref)
    assert pid is not None
    assert os.path.exists(f"/proc/{pid}")

    await bench.runtime.stop(ref)
    assert await bench.runtime.main_pid(ref) is None
    stopped = await bench.runtime.inspect(ref)
    assert stopped is not None
    assert not stopped.running
    assert stopped.exit_code is not None
    assert await bench.runtime.is_ending(ref)

    await bench.runtime.remove(ref)
    assert await bench.runtime.inspect(ref) is None
    await bench.runtime.remove(ref)  # again: does nothing
    assert await bench.runtime.is_ending(ref)


async def test_create_and_start_may_be_repeated(bench: Any) -> None:
    want, ref = await bench.launch()
    again, ref_again = await bench.launch(want)
    assert (again, ref_again) == (want, ref)
    assert [found.ref for found in await bench.runtime.list_ours()] == [ref]


async def test_ours_are_found_by_another_runtime_with_what_was_written_on_them(bench: Any) -> None:
    want = bench.want()
    devices = {"cuda.device": {"GPU-1": "1"}}
    ref = await bench.runtime.create(CreateRequest(want, bench.prepare(want), devices=devices))
    await bench.runtime.start(ref)
    other = bench.remake()
    try:
        (found,) = await other.list_ours()
        assert (found.kernel_id, found.session_id, found.ref) == (want.kernel_id, want.session_id, ref)
        assert found.running
        assert found.devices == devices
    finally:
        await other.close()


async def test_exec_gives_output_exit_code_environment_and_cwd(bench: Any) -> None:
    want, ref = await bench.launch(bench.want(environ={**bench.environ, "COLOUR": "red"}))
    log = bench.folder(want.kernel_id) / "run" / "log"
    script = 'echo "$COLOUR $SHAPE"; echo bad >&2; touch here; exit 7'
    process = await bench.runtime.exec(
        ref, ["/bin/sh", "-c", script], env={"SHAPE": "round"}, cwd="/home/work", log_path=log
    )
    assert await bench.runtime.wait(process) == 7
    assert await bench.runtime.exit_code(process) == 7
    assert log.read_text() == "red round\nbad\n"
    assert (bench.folder(want.kernel_id) / "scratch" / "here").exists()


async def test_a_program_that_is_not_there_ends_with_127(bench: Any) -> None:
    want, ref = await bench.launch()
    log = bench.folder(want.kernel_id) / "run" / "log"
    process = await bench.runtime.exec(ref, ["/no/such/program"], env={}, cwd="/home/work", log_path=log)
    assert await bench.runtime.wait(process) == 127
    assert "/no/such/program" in log.read_text()


async def test_processes_inside_are_not_root(bench: Any) -> None:
    want, ref = await bench.launch()
    code, output = await bench.run(want, ref, "id -u")
    assert code == 0
    assert output.strip() == str(1000 if os.geteuid() == 0 else os.geteuid())


async def test_signal_reaches_the_whole_group_and_tells_how_it_ended(bench: Any) -> None:
    want, ref = await bench.launch()
    await bench.run(want, ref, "true")  # the idle process is there by now
    before = _with_marker(want.kernel_id)
    run = bench.folder(want.kernel_id) / "run"
    script = 'sleep 100 & echo started >/run/bai/started; wait; echo "not reached"'
    script = script.replace("/run/bai", bench.runtime.to_inside(want.kernel_id, run))
    process = await bench.runtime.exec(ref, ["/bin/sh", "-c", script], env={}, cwd="/home/work", log_path=run / "log")
    await _until(lambda: (run / "started").exists())
    assert await bench.runtime.exit_code(process) is None
    await bench.runtime.signal(process, signal.SIGTERM)
    assert await bench.runtime.wait(process) == 128 + signal.SIGTERM
    await bench.runtime.signal(process, signal.SIGTERM)  # gone: nothing happens
    await _until(lambda: _with_marker(want.kernel_id) == before)


async def test_a_process_of_an_earlier_agent_is_waited_for_and_signalled(bench: Any) -> None:
    want, ref = await bench.launch()
    log = bench.folder(want.kernel_id) / "run" / "log"
    process = await bench.runtime.exec(ref, ["sleep", "100"], env={}, cwd="/home/work", log_path=log)
    other = bench.remake()
    try:
        waiting = asyncio.create_task(other.wait(process))
        await other.signal(process, signal.SIGKILL)
        code = await asyncio.wait_for(waiting, 10)
        assert code == (137 if bench.runtime.isolated else -1)
    finally:
        await other.close()


async def test_signal_spares_a_stranger_with_the_same_pid(bench: Any) -> None:
    want, ref = await bench.launch()
    log = bench.folder(want.kernel_id) / "run" / "log"
    process = await bench.runtime.exec(ref, ["sleep", "100"], env={}, cwd="/home/work", log_path=log)
    await bench.runtime.signal(replace(process, started=process.started - 1), signal.SIGKILL)
    assert await bench.runtime.exit_code(process) is None
    await bench.runtime.signal(process, signal.SIGKILL)
    assert await bench.runtime.wait(process) == 137


async def test_paths_inside_are_short_enough_for_sockets(bench: Any) -> None:
    want, ref = await bench.launch()
    socket_path = bench.folder(want.kernel_id) / "run" / "12345678-1" / "k-5"
    inside = bench.runtime.to_inside(want.kernel_id, socket_path)
    assert inside.endswith("/12345678-1/k-5")
    assert len(inside) < 100
    with pytest.raises(ValueError, match="not in the folders"):
        bench.runtime.to_inside(want.kernel_id, bench.folder(want.kernel_id) / "jupyter" / "x")
    (bench.folder(want.kernel_id) / "run" / "12345678-1").mkdir(mode=0o777)
    (bench.folder(want.kernel_id) / "run" / "12345678-1").chmod(0o777)
    assert (await bench.run(want, ref, f"touch {inside}"))[0] == 0
    assert socket_path.exists()


async def test_a_mounted_folder_is_the_volume_s(bench: Any) -> None:
    (bench.volume / "u1").mkdir()
    os.chown(bench.volume / "u1", 1000, 1000)
    (bench.volume / "u1" / "old").write_text("was here")
    want = bench.want(mounts=[bench.mount("data", "u1")])
    want, ref = await bench.launch(want)
    home = "/home/work" if bench.runtime.isolated else "."
    code, output = await bench.run(want, ref, f"cat {home}/data/old; echo new > {home}/data/fresh")
    assert (code, output) == (0, "was here")
    assert (bench.volume / "u1" / "fresh").read_text() == "new\n"
    await bench.runtime.remove(ref)
    assert (bench.volume / "u1" / "old").exists()


async def test_removal_ends_processes_that_left_the_group(bench: Any) -> None:
    want, ref = await bench.launch()
    run = bench.folder(want.kernel_id) / "run"
    inside = bench.runtime.to_inside(want.kernel_id, run)
    stubborn = f"trap '' TERM; echo up > {inside}/up; while :; do sleep 1; done"
    await bench.runtime.exec(ref, ["/bin/sh", "-c", stubborn], env={}, cwd="/home/work", log_path=run / "log")
    await _until(lambda: (run / "up").exists())
    before = _with_marker(want.kernel_id)
    assert before
    await bench.runtime.remove(ref)
    assert _with_marker(want.kernel_id) == set()


async def test_the_end_of_a_container_is_an_event(bench: Any) -> None:
    want, ref = await bench.launch()
    events = bench.runtime.events()
    try:
        assert (await asyncio.wait_for(anext(events), 10)).kind == "sync"
        await bench.runtime.stop(ref)
        event = await asyncio.wait_for(anext(events), 10)
        assert (event.kind, event.kernel_id) == ("die", want.kernel_id)
    finally:
        await events.aclose()


async def test_stats_have_figures_while_it_runs_and_none_after(bench: Any) -> None:
    _, ref = await bench.launch()
    stats = await bench.runtime.stats(ref)
    assert stats["mem_used_bytes"] > 0
    assert stats["cpu_used_s"] >= 0
    await bench.runtime.remove(ref)
    assert await bench.runtime.stats(ref) == {}


async def test_an_unknown_image_is_refused_with_a_sentence(bench: Any) -> None:
    with pytest.raises(RuntimeFault, match="no-such-image"):
        await bench.runtime.ensure_image("no-such-image.invalid/x:1", "", lambda *_: None)


async def test_images_carry_their_kernelspecs(bench: Any) -> None:
    images = {image.name: image for image in await bench.runtime.images()}
    specs = {spec.name for spec in images[bench.image].kernelspecs}
    assert specs == {"demo"} if bench.runtime.isolated else "python3" in specs
    assert images[bench.image].builtin is not bench.runtime.isolated


async def _until(claim: Any) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.01)


def _with_marker(kernel_id: str) -> set[str]:
    marker = f"BACKENDAI_KERNEL_ID={kernel_id}".encode()
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"{entry.path}/environ", "rb") as file:
                    if marker in file.read().split(b"\0"):
                        found.add(entry.name)
            except OSError:
                continue
    return found
