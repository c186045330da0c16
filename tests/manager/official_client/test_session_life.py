"""Options, batch sessions, templates, dependencies, events and forced ends, as the official client has them."""

import asyncio
import json

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

SMALL = ["--enqueue-only", "-r", "cpu=1", "-r", "mem=1g", "--arch", "x86_64"]

TEMPLATE = """
api_version: v1
kind: taskTemplate
metadata: {name: exam, tag: spring}
spec:
  session_type: interactive
  kernel: {image: "bai/python:test", environ: {MODE: fast}}
  resources: {cpu: 1, mem: 1g}
"""


@pytest.fixture
def succeed(client):
    """``out = await succeed("session", "logs", …)``: what the command printed; it must not fail."""

    async def succeed(*words):
        finished = await client.cli(*words)
        assert finished.code == 0, finished
        return finished.out

    return succeed


@pytest.fixture
def finish(admin, agent):
    async def finish(name, code, log=""):
        kernel_id = (await admin.until_status(name, "RUNNING"))["containerId"]
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=code)
        await agent.report(kernel_id, KernelStatus.TERMINATED, exit_code=code, reason=reason, log=log)

    return finish


async def test_create_with_every_option(succeed, agent, admin, helpers, tmp_path):
    (tmp_path / "bootstrap.sh").write_text("echo hello\n")
    words = ["--name", "my-work", "--tag", "exam", "-e", "MODE=fast", "-v", "home", "--preopen", "8080,9090"]
    words += ["--bootstrap-script", str(tmp_path / "bootstrap.sh"), "--callback-url", "https://example.com/hook"]
    words += ["--resource-opts", "shmem=128m", "--starts-at", "1s", "--max-wait", "60", "--sgroup", "default"]
    await succeed("session", "create", *words, *SMALL, helpers.image.name)
    view = await admin.until_status("my-work", "RUNNING")
    assert (view["tag"], view["preopenPorts"], view["startsAt"] is not None) == ("exam", [8080, 9090], True)
    assert json.loads(view["resourceOpts"]) == {"shmem": str(128 * 1024**2)}
    want = agent.wants[view["containerId"]]
    assert (want.bootstrap, want.environ["MODE"]) == ("echo hello\n", "fast")


async def test_dependent_batch_sessions(succeed, client, agent, admin, helpers, finish):
    batch = ["--type", "batch", "-c", "python train.py", *SMALL]
    await succeed("session", "create", "--name", "my-first-step", *batch, helpers.image.name)
    await succeed(
        "session", "create", "--name", "my-next-step", "--depends", "my-first-step", *batch, helpers.image.name
    )
    first, second = await admin.session("my-first-step"), await admin.session("my-next-step")
    tree = await succeed("session", "show-graph", "my-next-step")
    assert tree.index("next (") < tree.index("first (")  # the client shows the part before the last
    assert first["id"] in await succeed("session", "show-graph", "--table", "my-next-step")

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(client.cli(*words, first["id"])) for words in (["session", "events"], ["events"])]
        await finish("my-first-step", 0, "loss 0.1\n")
        await admin.until_status("my-next-step", "RUNNING")
    for one in watching:
        lines = one.result().out.splitlines()
        events = [line.split()[0] for line in lines if line.startswith(("session_", "kernel_"))]
        assert events[-2:] == ["session_success", "session_terminated"]
    assert await succeed("task-logs", first["id"]) == "loss 0.1\n"
    assert "loss 0.1" in await succeed("session", "logs", first["id"])
    shown = await client.cli("session", "status-history", first["id"])
    assert "Actual Resource Allocation Time" in shown.err
    await finish("my-next-step", 3)
    assert (await admin.until_status(second["id"], "TERMINATED"))["result"] == "failure"


async def test_a_batch_session_needs_a_command(client, agent, helpers):
    refused = await client.cli("session", "create", "--name", "my-work", "--type", "batch", *SMALL, helpers.image.name)
    assert "startupCommand" in refused.out + refused.err


async def test_restart(succeed, agent, admin):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    await succeed("session", "restart", "my-work")
    view = await admin.until_status("my-work", "RUNNING")
    assert agent.wants[view["containerId"]].restarts == 1


async def test_forced_with_all_that_depends_on_it_and_its_figures(succeed, agent, admin, helpers):
    first = await admin.create("first-step")
    await admin.until_status("first-step", "RUNNING")
    agent.keep_ending = True
    body = {"name": "next-step", "image": helpers.image.name, "enqueueOnly": True, "dependencies": ["first-step"]}
    second = await admin.post("/session", body)

    async def is_measured():
        return (await admin.session("first-step"))["liveStat"]

    await helpers.wait_until(is_measured, "figures")
    shown = await succeed("session", "destroy", "--forced", "--recursive", "--stats", "first-step")
    assert "cpu_used" in shown
    assert (await admin.session(first["sessionId"]))["status"] == "TERMINATED"
    assert (await admin.session(second["sessionId"]))["status"] == "CANCELLED"


async def test_templates(succeed, agent, admin, helpers, tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    await succeed("session-template", "create", "-f", str(path))
    (kept,) = await admin.get("/template/session")
    listed = await succeed("session-template", "list")
    assert (kept["id"] in listed, "exam" in listed) == (True, True)
    assert "MODE: fast" in await succeed("session-template", "get", kept["id"])

    words = ["--name", "my-work", "--enqueue-only", "--tag", "autumn", kept["id"]]
    await succeed("session", "create-from-template", *words)
    await succeed("create-from-template", *words)  # gives back the one that there is
    assert len((await admin.get("/sessions"))["sessions"]) == 1
    view = await admin.until_status("my-work", "RUNNING")
    assert (view["image"], view["tag"]) == (helpers.image.name, "autumn")
    assert agent.wants[view["containerId"]].environ["MODE"] == "fast"

    path.write_text(TEMPLATE.replace("exam", "retake"))
    await succeed("session-template", "update", "-f", str(path), kept["id"])
    assert (await admin.get("/template/session"))[0]["name"] == "retake"
    await succeed("session-template", "delete", "--force", kept["id"])
    assert await admin.get("/template/session") == []


async def test_abuse_history(succeed, agent, admin):
    await admin.create("my-work")
    await succeed("session", "abuse-history", "my-work")


FOLLOW = """
    import asyncio
    from ai.backend.client.session import AsyncSession

    async def follow(task_id):
        async with AsyncSession() as session:
            async with session.BackgroundTask(task_id).listen_events() as response:
                return [event.event async for event in response]

    result = asyncio.run(follow(api.ComputeSession("my-work").commit()["bgtask_id"]))
"""


async def test_an_image_is_made_in_the_background(succeed, client, agent, admin):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    assert (await client.sdk(FOLLOW))[-2:] == ["bgtask_done", "server_close"]
    await succeed("session", "commit", "my-work")


async def test_watch_ends_with_the_exit_code_of_the_command(manager, client, agent, admin, helpers, finish):
    body = {"name": "my-work", "image": helpers.image.name, "enqueueOnly": True, "type": "batch"}
    created = await admin.post("/session", {**body, "startupCommand": "python train.py"})
    await admin.until_status("my-work", "RUNNING")
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(client.cli(*words, "my-work")) for words in (["session", "watch"], ["watch"])]
        await helpers.wait_until(lambda: manager.services.hub.listeners == 2, "two clients that watch")
        await finish("my-work", 3)
    assert [one.result().code for one in watching] == [3, 3], watching
    assert (await admin.session(created["sessionId"]))["result"] == "failure"
