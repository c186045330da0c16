"""Containers that were started ahead: once claimed they are what a container of one's own would have been."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from bai_agent.devices.base import ContainerOptions
from bai_agent.runtimes.base import CreateRequest, Identity, Recipe, Size
from bai_agent.runtimes.spares import LABEL, Spare

from bai_jupyter.common.messages import KernelWant
from bai_jupyter.common.slots import ResourceSlots

pytestmark = [pytest.mark.asyncio, pytest.mark.docker]

SAME_FOR_ALL = (
    "CapAdd",
    "CapDrop",
    "SecurityOpt",
    "PidsLimit",
    "Init",
    "Privileged",
    "IpcMode",
    "NetworkMode",
    "ShmSize",
)
SAME_FOR_ALL += ("LogConfig", "RestartPolicy", "Devices", "ReadonlyPaths", "MaskedPaths", "UsernsMode", "PidMode")
SAME_FOR_ALL += ("Memory", "MemorySwap", "NanoCpus", "CpusetCpus", "Ulimits", "ExtraHosts", "PortBindings")


@pytest.fixture
def make_want(docker_bench: Any, docker_client: Any, python_image: str) -> Callable[..., KernelWant]:
    docker_bench.volume.chmod(0o755)
    for name in ("data", "papers"):
        (docker_bench.volume / name).mkdir()
        (docker_bench.volume / name / "hello").write_text(name)
        (docker_bench.volume / name).chmod(0o777)

    def make(**changes: Any) -> KernelWant:
        image = changes.pop("image", python_image)
        values = {
            "image": image,
            "image_digest": docker_client.images.get(image).id,
            "slots": ResourceSlots.parse({"cpu": "1.5", "mem": "256m"}),
            "environ": {"COLOUR": "red"},
            "mounts": [docker_bench.mount("data", "data"), docker_bench.mount("papers", "papers", read_only=True)],
        }
        want: KernelWant = docker_bench.want(**{**values, **changes})
        return want

    return make


async def make_spare(bench: Any, want: KernelWant, identity: Identity | None = None) -> Spare:
    """One that suits."""
    folders = bench.prepare(want)
    bound = bench.runtime.bound(folders.mounts)
    recipe = Recipe(want.image_digest, identity or folders.identity, bound, want.shm_bytes)
    for name in ("run", "scratch"):
        place = bench.folder(want.kernel_id) / name
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir()
        place.rmdir()
    spare: Spare = await bench.runtime.spares.make(recipe)
    return spare


async def claim(bench: Any, spare: Spare, want: KernelWant) -> str:
    bench.runtime.spares.begin(spare, want)
    ref: str = await bench.runtime.spares.finish(spare, CreateRequest(want, bench.prepare(want)))
    await bench.runtime.start(ref)
    await mount(bench, ref, want)
    return ref


async def mount(bench: Any, ref: str, want: KernelWant) -> None:
    """What is done to a container each time that it was started."""
    assert await bench.runtime.change_mounts(ref, [], bench.prepare(want).mounts, must_be_empty=False) == {}


async def test_a_claimed_one_is_as_one_made_for_its_kernel(
    docker_bench: Any, docker_client: Any, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want()
    spare = await make_spare(docker_bench, want)
    assert await docker_bench.runtime.list_ours() == []  # it is nobody's
    ref = await claim(docker_bench, spare, want)
    other, cold = await docker_bench.launch(make_want())
    ours, its = (docker_client.api.inspect_container(one) for one in (ref, cold))
    assert {name: ours["HostConfig"].get(name) for name in SAME_FOR_ALL} == {
        name: its["HostConfig"].get(name) for name in SAME_FOR_ALL
    }
    assert ours["Config"]["User"] == its["Config"]["User"]
    assert [list(one["NetworkSettings"]["Networks"]) for one in (ours, its)] == [[docker_bench.runtime.bridge]] * 2

    found = {one.kernel_id: one for one in await docker_bench.runtime.list_ours()}
    assert found[want.kernel_id].session_id == want.session_id
    assert found[want.kernel_id].config_hash == found[other.kernel_id].config_hash
    assert (await docker_bench.runtime.inspect(ref)).size == Size(Decimal("1.5"), 256 * 1024**2)
    script = """
        env | grep -v -e KERNEL_ID -e SESSION_ID -e HOSTNAME | sort; cat data/hello papers/hello; pwd; id
        ls -A . /run/bai /tmp /var/tmp /dev/shm; touch data/new-$BACKENDAI_KERNEL_ID; touch papers/no 2>&1
        grep -e Cap -e Seccomp -e NoNew /proc/self/status
    """
    says = {one.kernel_id: await docker_bench.run(one, at, script) for one, at in ((want, ref), (other, cold))}
    ahead, fresh = (
        [line for line in says[one.kernel_id][1].splitlines() if "log-" not in line] for one in (want, other)
    )
    assert [line for line in ahead if not line.startswith("standby.")] == fresh
    assert (docker_bench.volume / "data" / f"new-{want.kernel_id}").exists()


async def test_it_has_its_files_when_its_container_is_started_again_and_leaves_nothing(
    docker_bench: Any, minimal_image: str, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want(image=minimal_image)
    ref = await claim(docker_bench, await make_spare(docker_bench, want), want)
    await docker_bench.run(want, ref, "echo kept >file")
    await docker_bench.runtime.stop(ref)
    await docker_bench.runtime.start(ref)
    await mount(docker_bench, ref, want)
    code, said = await docker_bench.run(want, ref, "cat file data/hello; echo; echo $COLOUR $BACKENDAI_SESSION_NAME")
    assert (code, said) == (0, "kept\ndata\nred My Session!\n")
    await docker_bench.runtime.remove(ref)
    assert not list((docker_bench.state_dir / "spares").iterdir())
    assert not (docker_bench.folder(want.kernel_id) / "claim.json").exists()


async def test_its_standby_serves_one_launch_of_the_kernel_that_it_waits_for(
    docker_bench: Any, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want()
    spare = await make_spare(docker_bench, want)
    assert spare.standby is not None
    ref = await claim(docker_bench, spare, want)
    runtime, run = docker_bench.runtime, docker_bench.folder(want.kernel_id) / "run"

    async def start(name: str, *argv: str) -> Any:
        return await runtime.exec(ref, argv, env={}, cwd="/home/work", log_path=run / name)

    script = await start("first", "/bin/sh", "-c", "exit 3")
    assert await runtime.wait(script) == 3
    kernel = await start("second", *spare.standby.argv, "--version")
    assert kernel.host_pid == spare.standby.host_pid
    assert await runtime.wait(kernel) == 0
    assert (run / "second").read_text()
    again = await start("third", *spare.standby.argv, "--version")
    assert again.host_pid != kernel.host_pid
    assert await runtime.wait(again) == 0


async def test_an_agent_that_does_not_know_whether_it_told_the_standby_starts_afresh(
    docker_bench: Any, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want()
    spare = await make_spare(docker_bench, want)
    assert spare.standby is not None
    ref = await claim(docker_bench, spare, want)
    log = docker_bench.folder(want.kernel_id) / "run" / "log"
    argv = [*spare.standby.argv, "-f", "/run/bai/connection.json"]
    told = await docker_bench.runtime.exec(ref, argv, env={}, cwd="/home/work", log_path=log)
    assert told.host_pid == spare.standby.host_pid
    next_runtime = docker_bench.remake()
    await next_runtime.check()
    try:
        fresh = await next_runtime.exec(ref, argv, env={}, cwd="/home/work", log_path=log)
        assert fresh.host_pid != told.host_pid
        await next_runtime.wait(told)  # it was ended
        await next_runtime.signal(fresh, 9)
        await next_runtime.wait(fresh)
    finally:
        await next_runtime.close()


async def test_without_python_only_the_container_is_there_already(
    docker_bench: Any, minimal_image: str, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want(image=minimal_image)
    spare = await make_spare(docker_bench, want)
    assert spare.standby is None
    ref = await claim(docker_bench, spare, want)
    assert await docker_bench.run(want, ref, 'echo "$COLOUR"; cat data/hello') == (0, "red\ndata")


async def test_nothing_out_of_a_mounted_folder_runs_before_it_is_somebody_s(
    docker_bench: Any, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want(mounts=[docker_bench.mount(".local", "data")])
    version = "import sys; print(f'lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages')"
    other, ref = await docker_bench.launch(make_want())
    _, place = await docker_bench.run(other, ref, f'python3 -c "{version}"')
    packages = docker_bench.volume / "data" / place.strip()
    packages.mkdir(parents=True)
    (packages / "usercustomize.py").write_text("open('/home/work/.local/ran', 'a').write('x')\n")
    spare = await make_spare(docker_bench, want)
    assert spare.standby is not None
    assert not (docker_bench.volume / "data" / "ran").exists()
    ref = await claim(docker_bench, spare, want)
    log = docker_bench.folder(want.kernel_id) / "run" / "log"
    argv = [*spare.standby.argv, "--version"]
    process = await docker_bench.runtime.exec(ref, argv, env={}, cwd="/home/work", log_path=log)
    assert process.host_pid == spare.standby.host_pid
    assert await docker_bench.runtime.wait(process) == 0
    assert (docker_bench.volume / "data" / "ran").read_text() == "x"  # a fresh one sees what the user has put there


async def test_one_is_pinned_to_its_kernel_s_cores(docker_bench: Any, minimal_image: str, make_want: Any) -> None:
    want = make_want(image=minimal_image)
    spare = await make_spare(docker_bench, want)
    docker_bench.runtime.spares.begin(spare, want)
    request = CreateRequest(want, docker_bench.prepare(want), ContainerOptions(cpus=(0,)))
    ref = await docker_bench.runtime.spares.finish(spare, request)
    assert (await docker_bench.runtime.inspect(ref)).size.cpus == (0,)


async def test_one_is_not_given_to_who_needs_something_else(
    docker_bench: Any, docker_client: Any, minimal_image: str, make_want: Callable[..., KernelWant]
) -> None:
    want = make_want(image=minimal_image)
    spare = await make_spare(docker_bench, want, Identity(1001, 1001))
    with pytest.raises(OSError, match="not what this kernel needs"):
        await claim(docker_bench, spare, want)
    await docker_bench.runtime.spares.abandon(want.kernel_id)
    assert not docker_client.containers.list(all=True, filters={"label": f"{LABEL}={spare.spare_id}"})


async def test_none_is_kept_whose_processes_cannot_be_seen(
    docker_bench: Any,
    docker_client: Any,
    minimal_image: str,
    make_want: Callable[..., KernelWant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unseen(ref: str) -> None:
        return None

    monkeypatch.setattr(docker_bench.runtime, "main_pid", unseen)
    with pytest.raises(OSError, match="not on this host"):
        await make_spare(docker_bench, make_want(image=minimal_image))
    mine = {"label": f"bai.agent-id={docker_bench.runtime._agent_id}"}
    assert docker_client.containers.list(all=True, filters=mine) == []
    assert not list((docker_bench.state_dir / "spares").iterdir())


async def test_an_image_is_removed_though_one_was_started_of_it(
    docker_bench: Any, docker_client: Any, minimal_image: str
) -> None:
    name = f"bai-test-copy-{uuid.uuid4().hex[:8]}"
    container = docker_client.containers.create(minimal_image, ["true"], labels=docker_bench.runtime._labels)
    try:
        copy = container.commit(name, "1")
    finally:
        container.remove()
    spare = await make_spare(docker_bench, docker_bench.want(image_digest=copy.id))
    assert await docker_bench.runtime.spares.live([spare]) == [spare]
    await docker_bench.runtime.remove_image(f"{name}:1")
    assert not docker_client.images.list(name)
    assert await docker_bench.runtime.spares.live([spare]) == []
