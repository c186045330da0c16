"""The pool of containers started ahead: whom it is for, and that an agent killed at any step of a claim loses, shares
and counts twice nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from agent.agents import DEADLINE_S, World, agents_on, die_after
from bai_agent.runtimes import packages
from bai_agent.runtimes.base import RuntimeFault
from bai_agent.runtimes.spares import LABEL
from bai_agent.warm_pool import is_foreseeable

from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import KernelWant, Wanted
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus, Target


@pytest.mark.parametrize(
    ("changes", "foreseeable"),
    [
        ({}, True),
        ({"slots": {"cpu": "0.5", "mem": "128m", "cuda.device": "0"}}, True),
        ({"slots": {"cpu": "1", "mem": "1g", "cuda.device": "1"}}, False),
        ({"slots": {"cpu": "1", "mem": "1g", "cuda.shares": "0.1"}}, False),
        ({"slots": {"cpu": "1", "mem": "127m"}}, False),
        ({"slots": {"mem": "1g"}}, False),
        ({"slots": {"cpu": "1"}}, False),
        ({"command": "train"}, False),
        ({"cluster_host": "main1"}, False),
        ({"image_digest": ""}, False),
    ],
)
def test_only_a_session_without_devices_gets_a_container_started_ahead(
    changes: dict[str, Any], foreseeable: bool
) -> None:
    values = {"slots": {"cpu": "1", "mem": "1g"}, "image_digest": "sha256:1", **changes}
    values["slots"] = ResourceSlots.parse(values["slots"])
    want = KernelWant(
        KernelId("k"), SessionId("s"), "name", Target.RUNNING, "image", shm_bytes=0, environ={}, mounts=[], **values
    )
    assert is_foreseeable(want) is foreseeable


@pytest_asyncio.fixture
async def world(docker_bench: Any, docker_client: Any) -> AsyncIterator[World]:
    (docker_bench.volume / "data").mkdir(mode=0o777)
    (docker_bench.volume / "data" / "hello").write_text("hello")
    async with agents_on(docker_bench, docker_client.images.get(docker_bench.image).id) as made:
        yield made


def owner_of(world: World, step: str) -> Any:
    owners = {"resize": world.runtime, "main_pid": world.runtime, "_request": world.reconciler._containers}
    return owners.get(step, world.runtime.spares)


@pytest.mark.docker
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("step", "nth", "is_kept"),
    [
        ("_keep", 1, False),
        ("_move", 1, False),
        ("_move", 2, False),
        ("_link", 1, False),
        ("_request", 1, False),
        ("resize", 1, False),
        ("_keep", 2, True),
    ],
)
async def test_an_agent_is_killed_after_a_step_of_a_claim(
    world: World, docker_client: Any, monkeypatch: pytest.MonkeyPatch, step: str, nth: int, is_kept: bool
) -> None:
    want = world.want()
    await world.fill(want)
    (spare_id,) = world.spares()
    died = die_after(monkeypatch, owner_of(world, step), step, nth)
    world.reconciler.wanted(Wanted([want], complete=False))
    async with asyncio.timeout(DEADLINE_S):
        await died.wait()
    await world.kill()
    world.told.clear()

    await world.agent()
    running = await world.status(want.kernel_id, KernelStatus.RUNNING)
    assert running.runtime_ref is not None
    ours = docker_client.containers.list(all=True, filters={"label": f"bai.agent-id={world.runtime._agent_id}"})
    assert [one.id for one in ours] == [running.runtime_ref]
    assert (LABEL in ours[0].labels) is is_kept
    assert world.spares() == ([spare_id] if is_kept else [])
    assert world.reconciler.held() == {want.kernel_id: running.devices}
    assert running.devices["mem"] == {"mem": str(128 * 1024**2)}
    (found,) = await world.runtime.list_ours()
    assert (found.kernel_id, found.ref, found.running) == (want.kernel_id, running.runtime_ref, True)
    script = 'echo "$BACKENDAI_SESSION_ID"; cat data/hello'
    bench = replace(world.bench, runtime=world.runtime)
    assert await bench.run(want, running.runtime_ref, script) == (0, f"{want.session_id}\nhello")

    world.reconciler.wanted(Wanted([replace(want, target=Target.TERMINATED)], complete=False))
    await world.status(want.kernel_id, KernelStatus.TERMINATED)
    assert not docker_client.containers.list(all=True, filters={"label": f"bai.agent-id={world.runtime._agent_id}"})
    assert world.spares() == []


@pytest.mark.docker
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("step", "nth", "error"),
    [
        ("_keep", 1, OSError("no space")),
        ("_move", 2, OSError("no space")),
        ("_link", 1, OSError("no space")),
        ("_request", 1, RuntimeFault(Reason.of("other", text="the engine failed"))),
        ("main_pid", 1, RuntimeFault(Reason.of("engine-down", agent="lab-1", cause="silent"))),
        ("resize", 1, RuntimeFault(Reason.of("resize-failed", agent="lab-1", cause="the engine failed"))),
        ("_keep", 2, OSError("no space")),
    ],
)
async def test_whatever_fails_at_a_step_of_a_claim_the_kernel_starts_cold(
    world: World, docker_client: Any, monkeypatch: pytest.MonkeyPatch, step: str, nth: int, error: Exception
) -> None:
    want = world.want()
    await world.fill(want)
    failed = die_after(monkeypatch, owner_of(world, step), step, nth, error)
    world.reconciler.wanted(Wanted([want], complete=False))
    running = await world.status(want.kernel_id, KernelStatus.RUNNING)
    assert failed.is_set()
    assert running.reason == Reason.of("running", agent="lab-1")  # and nothing of the failure
    (ours,) = docker_client.containers.list(all=True, filters={"label": f"bai.agent-id={world.runtime._agent_id}"})
    assert ours.id == running.runtime_ref
    assert LABEL not in ours.labels
    assert world.spares() == []
    assert world.reconciler.held() == {want.kernel_id: running.devices}
    bench = replace(world.bench, runtime=world.runtime)
    assert await bench.run(want, running.runtime_ref, "cat data/hello") == (0, "hello")


@pytest.mark.docker
@pytest.mark.asyncio
async def test_the_next_user_finds_nothing_of_the_one_before(world: World) -> None:
    """Both are given one that was started ahead, of the same kind."""
    bench = replace(world.bench, runtime=world.runtime)
    (bench.volume / "theirs").mkdir(mode=0o777)
    seen = []
    for folder, colour in (("data", "crimson"), ("theirs", "teal")):
        want = world.want(mounts=[bench.mount("own", folder)], environ={"SECRET": colour})
        await world.fill(want)
        recipe = world.reconciler._containers._recipe(want)
        spare_id = world.pool._ready[recipe][0].spare_id
        world.reconciler.wanted(Wanted([want], complete=False))
        running = await world.status(want.kernel_id, KernelStatus.RUNNING)
        assert spare_id in world.spares()  # it has the container that was started ahead
        code, found = await bench.run(
            want,
            running.runtime_ref,
            "find /tmp /var/tmp /dev/shm /home/work /run/bai -type f; env; ls own; cat /proc/[0-9]*/cmdline;"
            'for place in /tmp /dev/shm /home/work; do echo "$SECRET" >"$place/$SECRET"; done; sleep 1000 & :',
        )
        assert code == 0
        seen.append((want, running.runtime_ref, spare_id, found))
        world.reconciler.wanted(Wanted([replace(want, target=Target.TERMINATED)], complete=False))
        await world.status(want.kernel_id, KernelStatus.TERMINATED)
    (first, ref, spare_id, its), (_, next_ref, next_spare_id, found) = seen
    assert "crimson" in its
    assert "hello" in its
    assert first.session_id in its
    assert "teal" in found
    assert (ref == next_ref, spare_id == next_spare_id) == (False, False)
    for trace in ("crimson", "hello", "sleep\0001000", first.session_id, first.kernel_id, spare_id):
        assert trace not in found


@pytest.mark.docker
@pytest.mark.asyncio
async def test_one_that_fails_at_its_claim_is_replaced_by_one_made_for_the_kernel(
    world: World, docker_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = world.want()
    await world.fill(want)
    (spare,) = next(iter(world.pool._ready.values()))
    docker_client.api.kill(spare.ref)
    world.reconciler.wanted(Wanted([want], complete=False))
    running = await world.status(want.kernel_id, KernelStatus.RUNNING)
    assert running.runtime_ref != spare.ref
    ours = docker_client.containers.list(all=True, filters={"label": f"bai.agent-id={world.runtime._agent_id}"})
    assert [one.id for one in ours] == [running.runtime_ref]
    assert world.spares() == []


@pytest.mark.docker
@pytest.mark.asyncio
async def test_it_is_bounded_and_emptied_when_memory_is_short(
    world: World, docker_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        return len(docker_client.containers.list(all=True, filters=mine))

    mine = {"label": [f"bai.agent-id={world.runtime._agent_id}", LABEL]}
    for _ in range(3):
        world.pool.take(world.reconciler._containers._recipe(world.want()))
    world.pool.is_busy = lambda: True
    assert await world.pool._look()
    assert count() == 0  # what is started for somebody goes first
    world.pool.is_busy = lambda: False
    while not await world.pool._look():
        pass
    assert count() == 2
    monkeypatch.setattr("bai_agent.demand.is_short_of_memory", lambda _: True)
    assert await world.pool._look()
    assert (count(), world.spares()) == (0, [])


@pytest.mark.docker
@pytest.mark.asyncio
@pytest.mark.parametrize("is_warm", [True, False])
async def test_what_its_image_brings_along_is_in_the_home_before_its_script_runs(
    world: World, docker_client: Any, is_warm: bool
) -> None:
    name = f"bai-user/test-{world.image_digest[-8:]}/with-packages:{is_warm}".lower()
    first = world.want()
    await world.fill(first)
    world.reconciler.wanted(Wanted([first], complete=False))
    ref = (await world.status(first.kernel_id, KernelStatus.RUNNING)).runtime_ref
    local = world.bench.folder(first.kernel_id) / "scratch/.local"
    (local / "lib").mkdir(parents=True)
    (local / "lib/one").write_text("one")
    try:
        made = await world.runtime.commit(ref, name)
        want = world.want(image=name, image_digest=made.digest, bootstrap="cat ~/.local/lib/one > ~/seen")
        want = replace(want, environ={"HOME": "/home/work"})
        if is_warm:
            await world.fill(want)
        world.reconciler.wanted(Wanted([want], complete=False))
        running = await world.status(want.kernel_id, KernelStatus.RUNNING)
        home = world.bench.folder(want.kernel_id) / "scratch"
        assert (home / "seen").read_text() == "one"
        assert (home / ".local/lib/one").stat().st_uid == home.stat().st_uid
        labels = docker_client.api.inspect_container(running.runtime_ref)["Config"]["Labels"]
        assert bool(labels[LABEL]) is is_warm

        await world.kill()
        await world.agent()  # which knows its own containers, also one whose image was made of one
        assert (await world.runtime.inspect(running.runtime_ref)).running
        again = await world.runtime.commit(running.runtime_ref, name)
        assert packages.parts_of(again.labels) == ["lib"]
    finally:
        wants = [state.want for state in world.reconciler.book.states.values()]
        world.reconciler.wanted(Wanted([replace(one, target=Target.TERMINATED) for one in wants], complete=False))
        for one in wants:
            await world.status(one.kernel_id, KernelStatus.TERMINATED)
        await world.runtime.remove_image(name)


@pytest.mark.docker
@pytest.mark.asyncio
async def test_a_session_that_cannot_have_them_says_so(world: World, docker_client: Any, test_run: Any) -> None:
    """Its image says that it has some, and has none."""
    said = "tar: can't open '/opt/bai/packages.tar': No such file or directory"
    await says_so(world, docker_client, test_run, world.image_digest, "packages-failed", said)


@pytest.mark.docker
@pytest.mark.asyncio
async def test_a_session_without_tar_says_so(
    world: World, docker_client: Any, test_run: Any, python_image: str
) -> None:
    """One whose shell has none of its own."""
    await says_so(world, docker_client, test_run, python_image, "packages-no-tar", "has no tar", "ENV PATH=/nowhere")


async def says_so(world: World, docker_client: Any, test_run: Any, base: str, code: str, said: str, *more: str) -> None:
    changes = [f"LABEL {packages.LABEL}=lib", *more]
    container = docker_client.api.create_container(base, ["/"], labels=test_run)["Id"]
    try:
        liar = docker_client.api.commit(container, changes=changes)["Id"]
    finally:
        docker_client.api.remove_container(container)
    try:
        want = world.want(image=liar, image_digest=liar)
        world.reconciler.wanted(Wanted([want], complete=False))
        ended = await world.status(want.kernel_id, KernelStatus.ERROR)
        assert ended.reason is not None
        assert (ended.reason.code, said in ended.reason.text) == (code, True), ended.reason.text
        world.reconciler.forget([want.kernel_id])
    finally:
        docker_client.api.remove_image(liar)
