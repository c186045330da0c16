"""Every refusal and every end of a kernel: the owner reads why in one sentence, and nothing is left behind."""

import asyncio
import io
import json
import os
import signal
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from end_to_end.kernels import WAIT_S, Kernel, kernel_of, manager_of
from end_to_end.wire import Wire

from bai_jupyter.client import ManagerClient

pytestmark = pytest.mark.asyncio

on_docker = pytest.mark.parametrize(
    "cluster", [pytest.param({"runtime": "docker"}, id="docker", marks=pytest.mark.docker)], indirect=True
)
FINAL = ["TERMINATED", "CANCELLED", "ERROR"]


# What is asked of every case


@asynccontextmanager
async def nothing_is_left(cluster: Any) -> AsyncIterator[None]:
    """After the block: no session that is not over, no slot in use, no container, no folder of a kernel."""
    yield
    left: dict[str, Any] = {}

    async def none() -> bool:
        async with ManagerClient(cluster.config) as client:
            left["sessions"] = [session["status"] for session in await client.list_sessions()]
            agents = await client.list_agents()
            left["used"] = [used for agent in agents for used in agent["used"].values() if float(used)]
        left["folders"] = list((cluster.folder / "agent" / "kernels").iterdir())
        left["containers"] = containers_of(cluster)
        return not any(left.values())

    try:
        await cluster.until(none)
    except TimeoutError as error:
        raise AssertionError(f"{left}\n{error}") from None


def containers_of(cluster: Any) -> list[Any]:
    """Containers of this cluster's agent."""
    if cluster.runtime != "docker":
        return list(cluster.kernels_alive())
    import docker

    agent_id = (cluster.folder / "agent" / "agent-id").read_text().strip()
    with docker.APIClient() as engine:
        found: list[Any] = engine.containers(all=True, filters={"label": f"bai.agent-id={agent_id}"})
        return found


async def last_session(cluster: Any) -> dict[str, Any]:
    """The newest session, over or not."""
    async with ManagerClient(cluster.config) as client:
        sessions = await client.list_sessions([*FINAL, "PENDING", "PREPARING", "CREATING", "RUNNING", "TERMINATING"])
    return dict(sessions[0])


async def is_told(cluster: Any, manager: Any, code: str) -> dict[str, Any]:
    """Wait until a kernel's owner is told this reason, and give it back."""

    async def told() -> bool:
        reason = getattr(manager.provisioner, "reason", None)
        return reason is not None and reason["code"] == code

    try:
        await cluster.until(told)
    except TimeoutError as error:
        raise AssertionError(f"not {code}: {getattr(manager.provisioner, 'reason', None)}\n{error}") from None
    return dict(manager.provisioner.reason)


async def end_of(cluster: Any, kernel: Kernel) -> dict[str, Any]:
    """Wait until the kernel is dead for Jupyter; why."""

    async def is_dead() -> bool:
        return not await kernel.manager.is_alive()

    await cluster.until(is_dead)
    return dict(kernel.manager.provisioner.reason)


async def give_up(start: "asyncio.Task[None]", manager: Any) -> None:
    """What a user does who waits no longer."""
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await manager.shutdown_kernel(now=True)


# Refused, or kept waiting


async def test_an_unknown_image_is_refused(cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        with pytest.raises(Exception, match=r"There is no environment nonsense:1 for you\. Nearest: "):
            await manager.start_kernel(bai_image="nonsense:1")
    async with ManagerClient(cluster.config) as client:
        assert await client.list_sessions(FINAL) == []


async def test_more_than_any_agent_has_is_refused(cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        with pytest.raises(Exception, match=r"Asked for 4000 CPU.*; the largest agent in group default has"):
            await manager.start_kernel(bai_resources={"cpu": "4000", "mem": "1g"})
    async with ManagerClient(cluster.config) as client:
        assert await client.list_sessions(FINAL) == []


async def test_a_wrong_key_is_refused(cluster, monkeypatch):
    wrong = cluster.folder / "wrong.json"
    wrong.touch(mode=0o600)
    wrong.write_text(json.dumps({**json.loads(cluster.credentials.read_text()), "secret_key": "x" * 40}))
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        monkeypatch.setenv("BAI_CREDENTIALS", str(wrong))
        with pytest.raises(Exception, match="The key or signature is not valid"):
            await manager.start_kernel()
    async with ManagerClient(cluster.config) as client:
        assert await client.list_sessions(FINAL) == []


async def test_a_manager_that_is_away_is_said(cluster):
    async with manager_of(cluster) as manager:
        cluster.kill("manager")
        with pytest.raises(Exception, match=r"The Backend.AI manager at http://127.0.0.1:\d+ does not answer"):
            await manager.start_kernel()


async def test_without_an_agent_it_waits_and_can_be_cancelled(cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        cluster.kill("agent")
        start = asyncio.ensure_future(manager.start_kernel())
        reason = await is_told(cluster, manager, "no-agent")
        assert reason["text"].startswith("No agent of group default is connected. Tell your admin")
        await give_up(start, manager)
    assert (await last_session(cluster))["status"] == "CANCELLED"


# An engine that is away


@pytest.fixture
def engine(docker_client: Any, python_image: str, folder: Path, monkeypatch: Any, missing: Any) -> Iterator[Wire]:
    """Between the agent and the real engine. Ask for it before ``cluster``."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        missing("docker", "the engine is not at a unix socket here")
    wire = Wire(folder / "engine.sock", Path(address.removeprefix("unix://")))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{wire.near}")
    yield wire
    wire.close()


@on_docker
async def test_an_engine_that_is_away_at_the_start_is_said_and_the_start_goes_on_when_it_is_back(engine, cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        with engine.away():
            start = asyncio.ensure_future(manager.start_kernel())
            reason = await is_told(cluster, manager, "engine-down")
            assert reason["text"] == (
                "The container engine on local does not answer: No such file or directory. Tell your admin."
            )
        await asyncio.wait_for(start, WAIT_S)
        assert (await last_session(cluster))["reason"]["code"] == "running"


@on_docker
async def test_a_start_that_was_given_up_while_the_engine_was_away_leaves_nothing(engine, cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        with engine.away():
            start = asyncio.ensure_future(manager.start_kernel())
            await is_told(cluster, manager, "engine-down")
            await give_up(start, manager)
    assert (await last_session(cluster))["reason"]["code"] == "user-requested"


@on_docker
async def test_a_kernel_goes_on_while_the_engine_is_away_and_only_its_restart_waits(engine, cluster):
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        await kernel.run("x = 1")
        with engine.away():
            assert await kernel.run("print(x)") == "1\n"
            restart = asyncio.ensure_future(kernel.manager.restart_kernel(now=True))
            await is_told(cluster, kernel.manager, "engine-down")
            assert not restart.done()
        await asyncio.wait_for(restart, WAIT_S)
        await kernel.client.wait_for_ready(timeout=WAIT_S)
        assert "NameError" in await kernel.run("print(x)")
        await is_told(cluster, kernel.manager, "running")


@on_docker
async def test_a_kernel_that_ends_while_the_engine_is_away_has_ended_by_itself(engine, cluster):
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        with engine.away():
            kernel.client.execute("import os; os._exit(7)")
            reason = await end_of(cluster, kernel)
            assert reason["text"].startswith("The kernel ended by itself (code 7).")


# Images with something wrong


MakeImage = Callable[..., str]
KERNELS = "/usr/local/share/jupyter/kernels"


@pytest.fixture
def make_image(docker_client: Any, python_image: str, test_run: dict[str, str]) -> Iterator[MakeImage]:
    """``make_image(*lines, **files)``: the Python image and more lines of a Dockerfile. Its name."""
    made: list[str] = []

    def make(*lines: str, **files: str) -> str:
        context = io.BytesIO()
        files["Dockerfile"] = "\n".join([f"FROM {python_image}", "USER root", *lines])
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(text.encode()), 0o755
                tar.addfile(member, io.BytesIO(text.encode()))
        context.seek(0)
        name = f"bai-test-refusals:{uuid.uuid4().hex[:8]}"
        docker_client.images.build(fileobj=context, custom_context=True, tag=name, labels=test_run, rm=True)
        made.append(name)
        return name

    yield make
    for name in made:
        with suppress(Exception):  # a test may have removed it
            docker_client.images.remove(name, force=True)


def kernelspec(*argv: str) -> str:
    return json.dumps({"argv": list(argv), "display_name": "Demo", "language": "demo"})


@on_docker
async def test_an_image_that_cannot_be_pulled(cluster, make_image, docker_client):
    image = make_image()
    await cluster.add_image(image)
    docker_client.images.remove(image, force=True)
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        with pytest.raises(Exception, match=f"Could not pull {image} on local: .+"):
            await manager.start_kernel(bai_image=image)
    session = await last_session(cluster)
    assert (session["status"], session["reason"]["code"]) == ("ERROR", "pull-failed")


@on_docker
async def test_a_kernelspec_whose_program_is_not_in_the_image(cluster, make_image):
    image = make_image(f"COPY spec {KERNELS}/ghost/kernel.json", spec=kernelspec("/opt/gone/python", "-m", "ghost"))
    await cluster.add_image(image)
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        sentence = f"{image} has no program /opt/gone/python for kernel ghost. Choose another kernel"
        with pytest.raises(Exception, match=sentence):
            await manager.start_kernel(bai_image=image, bai_kernelspec="ghost")


@on_docker
async def test_a_kernel_that_ends_while_starting_shows_its_code_and_last_line(cluster, make_image):
    spec = kernelspec("/bin/sh", "-c", "echo first; echo no luck today; exit 3")
    image = make_image(f"COPY spec {KERNELS}/short/kernel.json", spec=spec)
    await cluster.add_image(image)
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        sentence = r'The kernel ended while starting \(code 3\)\. Last line: "no luck today"\.'
        with pytest.raises(Exception, match=sentence):
            await manager.start_kernel(bai_image=image, bai_kernelspec="short")


@on_docker
async def test_a_container_that_exits_at_once_shows_its_code_and_last_line(cluster, make_image):
    image = make_image("COPY sh /bin/sh", sh="#!/bin/bash\necho this shell is broken\nexit 5\n")
    await cluster.add_image(image)
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        sentence = r'The container ended at once with code 5\. Last line: "this shell is broken"\.'
        with pytest.raises(Exception, match=sentence):
            await manager.start_kernel(bai_image=image)


# A full disk


@pytest.fixture
def state_disk(folder: Path, small_disk: Any) -> Any:
    """The agent's state folder on a disk of its own. Ask for it before ``cluster``."""
    (folder / "agent").mkdir()
    return small_disk(folder / "agent", "24m")


@on_docker
async def test_a_start_on_a_full_disk_is_refused(state_disk, cluster):
    async with nothing_is_left(cluster), manager_of(cluster) as manager:
        state_disk.fill()
        with pytest.raises(Exception, match=r"The agent's disk is full: 24 MiB of 24 MiB\. Delete files, or ask for"):
            await manager.start_kernel()


@on_docker
async def test_kernel_and_output_outlive_a_full_disk_and_an_agent_that_starts_on_it(state_disk, cluster):
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        await kernel.run("get_ipython().history_manager.enabled = False")  # it would say that it cannot be written
        printing = asyncio.ensure_future(
            kernel.run("import time\nfor i in range(200): print(i, flush=True); time.sleep(0.02)")
        )
        relays = cluster.relay_pids()
        state_disk.fill()
        await is_told(cluster, kernel.manager, "disk-full")
        assert cluster.relay_pids() == relays
        cluster.kill("agent")
        links = cluster.log("agent").count("linked to")
        cluster.start("agent")
        await cluster.until(partial(cluster.is_linked_after, links))
        assert cluster.relay_pids() == relays
        state_disk.make_room()
        assert await asyncio.wait_for(printing, WAIT_S) == "".join(f"{i}\n" for i in range(200))
        state_disk.fill()
        with pytest.raises(Exception, match="The agent's disk is full"):
            await kernel.manager.restart_kernel(now=True)
        state_disk.make_room()
        await kernel.manager.restart_kernel(now=True)
        await kernel.client.wait_for_ready(timeout=WAIT_S)
        await is_told(cluster, kernel.manager, "running")


# Ended while it ran


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker", "hold_s": 0}], indirect=True)
async def test_out_of_memory_is_said_with_its_figures(cluster):
    async with (
        nothing_is_left(cluster),
        kernel_of(cluster, bai_resources={"cpu": "1", "mem": "256m"}) as kernel,
    ):
        kernel.client.execute("x = bytearray(1024**3)")
        reason = await end_of(cluster, kernel)
        assert reason["code"] == "oom-killed"
        assert reason["params"]["limit"] == "256 MiB"
        assert reason["text"].startswith("Out of memory: the kernel used")


@on_docker
async def test_a_kernel_that_is_killed_inside_its_container_is_named_with_the_signal(cluster):
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        kernel.client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        reason = await end_of(cluster, kernel)
        assert reason["text"].startswith("The kernel ended by itself (code 137, SIGKILL). Container and files are")
        assert (await last_session(cluster))["status"] == "RUNNING"
        await kernel.manager.restart_kernel(now=True)
        await kernel.client.wait_for_ready(timeout=WAIT_S)
        assert await kernel.run("print(6 * 7)") == "42\n"


@on_docker
async def test_a_container_that_is_killed_from_outside_is_the_reason_of_its_kernels_too(cluster, docker_client):
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        (container,) = containers_of(cluster)
        docker_client.api.kill(container["Id"], signal.SIGKILL)
        reason = await end_of(cluster, kernel)
        assert reason["code"] == "killed-outside"
        assert "from outside Backend.AI (code 137, SIGKILL). Files in folders are kept" in reason["text"]
        assert kernel.manager.provisioner.view["status"] == "TERMINATED"


@on_docker
async def test_a_host_that_restarted_is_the_reason_of_what_it_ended(cluster, docker_client):
    """As after a restart: no agent, no container, and what was written down is of an earlier run of the host."""
    async with nothing_is_left(cluster), kernel_of(cluster) as kernel:
        cluster.kill("agent")
        (container,) = containers_of(cluster)
        docker_client.api.remove_container(container["Id"], force=True)
        (state,) = (cluster.folder / "agent" / "kernels").glob("*/state.json")
        state.write_text(json.dumps({**json.loads(state.read_text()), "boot_id": "an earlier one"}))
        cluster.start("agent")
        reason = await end_of(cluster, kernel)
        assert reason["text"] == "local restarted; the container could not be continued. Start again as it was."
