"""Server-sent events: a snapshot, then changes, and only one's own."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.db import background


@asynccontextmanager
async def listening(client, path="/events/session-views?sessionName=*", last_id=None):
    """Yields a queue of ``(event, data)``, read from a connection of its own. ``received.ids``: those that came."""
    received: asyncio.Queue = asyncio.Queue()
    received.ids = []
    host, port = client.endpoint.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = client.request("GET", path, content_type=None).headers
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}:{port}", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [] if last_id is None else [f"Last-Event-ID: {last_id}"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")

    async def read() -> None:
        while block := await reader.readuntil(b"\n\n"):
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line and line[0] != ":")
            if fields:
                received.ids += [int(fields["id"])] if "id" in fields else []
                received.put_nowait((fields["event"], json.loads(fields["data"])))

    reading = asyncio.create_task(read())
    try:
        yield received
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()
        await writer.wait_closed()


async def until_status(received, name, status):
    async with asyncio.timeout(20):
        while True:
            event, view = await received.get()
            assert event == "session_changed"
            if (view["name"], view["status"]) == (name, status):
                return view


@pytest.fixture
def another(helpers, admin):
    """Another client of the same user, for what goes on while the first listens."""
    one = helpers.client(admin.endpoint, admin.access_key, admin.secret_key)
    yield one
    one.close()


@pytest.mark.asyncio
async def test_snapshot_and_changes(agent, admin, another):
    await another.create("first-one")
    await another.until_status("first-one", "RUNNING")
    async with listening(admin) as received:
        view = await until_status(received, "first-one", "RUNNING")
        assert view["agent"] == "lab-1"
        await another.create("next-one")
        await until_status(received, "next-one", "RUNNING")
        await another.post("/session/next-one/jupyter-kernels", {"kernelspec": "python3", "key": "k"})
        async with asyncio.timeout(20):
            while True:
                _, view = await received.get()
                if [one["status"] for one in view["jupyterKernels"]] == ["running"]:
                    break
        await another.call("DELETE", "/session/first-one")
        assert (await until_status(received, "first-one", "TERMINATED"))["reason"]["code"] == "user-requested"


@pytest.mark.asyncio
async def test_one_session_only(agent, admin, another):
    created = await another.create("first-one")
    await another.create("next-one")
    await another.until_status("next-one", "RUNNING")
    async with listening(admin, f"/events/session-views?sessionId={created['sessionId']}") as received:
        await another.call("DELETE", "/session/next-one")
        await another.until_status("next-one", "TERMINATED")
        await another.until_status("first-one", "RUNNING")
        await another.call("DELETE", "/session/first-one")
        names = set()
        async with asyncio.timeout(20):
            while True:
                _, view = await received.get()
                names.add(view["name"])
                if view["status"] == "TERMINATED":
                    break
        assert names == {"first-one"}


@pytest.mark.asyncio
async def test_strangers_sessions_are_not_told(agent, admin, make_user):
    alice = await make_user("alice")
    async with listening(alice) as received:
        await admin.create("secret-work")
        await admin.until_status("secret-work", "RUNNING")
        helper = type(alice)(alice.endpoint, alice.access_key, alice.secret_key)
        await helper.create("her-work")
        _, first = await asyncio.wait_for(received.get(), 20)
        assert first["name"] == "her-work"
        helper.close()


@pytest.mark.asyncio
async def test_a_session_that_is_not_ours_is_a_404(agent, admin, make_user):
    alice = await make_user("alice")
    created = await admin.create("secret-work")
    assert (await alice.call("GET", f"/events/session-views?sessionId={created['sessionId']}")).status == 404


@pytest.mark.asyncio
async def test_a_listener_that_left_is_forgotten(manager, agent, admin, another, helpers):
    async with listening(admin) as received:
        await another.create("first-one")
        await received.get()
        assert manager.services.hub.listeners
    await helpers.wait_until(lambda: not manager.services.hub.listeners, "no listeners")


# In Backend.AI's words

STARTING = [
    "session_enqueued",
    "session_scheduled",
    "kernel_preparing",
    "session_preparing",
    "kernel_creating",
    "kernel_started",
    "session_started",
]
ENDING = ["kernel_terminating", "session_terminating", "kernel_terminated", "session_terminated"]


async def next_events(received, count):
    async with asyncio.timeout(20):
        return [await received.get() for _ in range(count)]


@pytest.mark.asyncio
async def test_the_life_of_a_session(agent, admin, another):
    async with listening(admin, "/events/session?sessionName=*&scope=*") as received:
        created = await another.create("my-work")
        events = await next_events(received, len(STARTING))
        assert [name for name, _ in events] == STARTING
        await another.call("DELETE", "/session/my-work")
        ends = await next_events(received, len(ENDING))
        assert [name for name, _ in ends] == ENDING
        facts = {"sessionName": "my-work", "sessionId": created["sessionId"], "ownerAccessKey": admin.access_key}
        assert all(facts.items() <= data.items() for _, data in (*events, *ends))
        assert (ends[-1][1]["reason"], ends[-1][1]["exitCode"]) == ("user-requested", None)
        assert ends[0][1].keys() - ends[1][1].keys() == {"kernelId", "clusterRole", "clusterIdx"}
        assert received.ids == sorted(set(received.ids))


@pytest.mark.asyncio
async def test_a_listener_goes_on_where_it_was(agent, admin, another):
    path = "/events/session?sessionName=*&scope=session"
    async with listening(admin, path) as received:
        await another.create("my-work")
        first = await next_events(received, 1)
        seen = received.ids[0]
    await another.until_status("my-work", "RUNNING")
    async with listening(admin, path, last_id=seen) as received:
        rest = await next_events(received, 3)
    assert [name for name, _ in (*first, *rest)] == [name for name in STARTING if name.startswith("session")]


@pytest.mark.asyncio
async def test_the_stream_of_one_session_ends_with_it(agent, admin, another):
    created = await another.create("my-work")
    await another.until_status("my-work", "RUNNING")
    path = f"/stream/kernel/_/events?sessionId={created['sessionId']}&scope=kernel"
    async with listening(admin, path) as received:
        await another.create("other-work")
        await another.call("DELETE", "/session/my-work")
        events = await next_events(received, 3)
        assert [name for name, _ in events] == ["kernel_terminating", "kernel_terminated", "server_close"]
    async with listening(admin, path) as late:  # it hears at least how it ended
        assert [name for name, _ in await next_events(late, 2)] == ["kernel_terminated", "server_close"]
    async with listening(admin, path, last_id=10**9) as later:
        assert [name for name, _ in await next_events(later, 1)] == ["server_close"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "outcome"), [(0, "session_success"), (3, "session_failure")])
async def test_the_outcome_of_a_batch_session(agent, admin, another, helpers, code, outcome):
    body = {"name": "my-work", "image": helpers.image.name, "type": "batch", "startupCommand": "x", "enqueueOnly": True}
    created = await another.post("/session", {**body, "config": {"resources": {"cpu": 1, "mem": "1g"}}})
    view = await another.until_status("my-work", "RUNNING")
    async with listening(admin, f"/events/session?sessionId={created['sessionId']}&scope=session") as received:
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=code)
        await agent.report(view["containerId"], KernelStatus.TERMINATED, exit_code=code, reason=reason)
        events = await next_events(received, 3)
        assert [name for name, _ in events] == [outcome, "session_terminated", "server_close"]
        assert events[0][1]["exitCode"] == code


@pytest.mark.asyncio
async def test_what_cannot_be_listened_to(agent, admin, make_user):
    created = await admin.create("secret-work")
    alice = await make_user("alice")
    assert (await alice.call("GET", f"/events/session?sessionId={created['sessionId']}")).status == 404
    assert (await admin.call("GET", "/events/session?sessionName=*&scope=everything")).status == 400
    async with listening(alice, "/events/session?sessionName=*", last_id=0) as received:
        helper = type(alice)(alice.endpoint, alice.access_key, alice.secret_key)
        await helper.create("her-work")
        assert (await next_events(received, 1))[0][1]["sessionName"] == "her-work"
        helper.close()


# Background tasks


class Work:
    """A task that goes on when it is told to."""

    def __init__(self, error=None):
        self.error, self.steps = error, asyncio.Queue()

    async def __call__(self, progress):
        for number in range(1, 3):
            await self.steps.get()
            await progress(number, 2, f"step {number}")
        if self.error:
            raise self.error
        return "all done"

    def go_on(self):
        self.steps.put_nowait(None)


async def admins_id(admin):
    return (await admin.get("/auth"))["user"]["id"]


@pytest.mark.asyncio
async def test_the_progress_of_a_task(manager, admin):
    work = Work()
    task_id = await manager.tasks.start(await admins_id(admin), "testing", work)
    path = f"/events/background-task?task_id={task_id}"
    async with listening(admin, path) as received:
        facts = {"task_id": task_id, "message": "", "current_progress": 0, "total_progress": 0}
        assert await next_events(received, 1) == [("bgtask_updated", facts)]
        work.go_on()
        ((_, data),) = await next_events(received, 1)
        assert (data["current_progress"], data["total_progress"], data["message"]) == (1, 2, "step 1")
        seen = received.ids[-1]
    work.go_on()
    async with listening(admin, path, last_id=seen) as received:
        async with asyncio.timeout(20):
            names = [(await received.get())]
            while names[-1][0] != "server_close":
                names.append(await received.get())
        assert names[-2] == (
            "bgtask_done",
            {**facts, "message": "all done", "current_progress": 2, "total_progress": 2},
        )
    async with listening(admin, path) as late:
        assert [name for name, _ in await next_events(late, 3)] == ["bgtask_updated", "bgtask_done", "server_close"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BadRequest("There is no room."), "There is no room."),
        (KeyError("secret"), "Something went wrong in the manager"),
    ],
)
async def test_a_task_that_fails(manager, admin, error, says):
    work = Work(error)
    task_id = await manager.tasks.start(await admins_id(admin), "testing", work)
    work.go_on()
    work.go_on()
    async with listening(admin, f"/events/background-task?task_id={task_id}") as received:
        async with asyncio.timeout(20):
            while (event := await received.get())[0] == "bgtask_updated":
                pass
        assert event[0] == "bgtask_failed"
        assert event[1]["message"].startswith(says)


@pytest.mark.asyncio
async def test_what_a_stopped_manager_was_at_is_told_by_the_next(manager, admin):
    work = Work()
    task_id = await manager.tasks.start(await admins_id(admin), "testing", work)
    async with listening(admin, f"/events/background-task?task_id={task_id}") as received:
        await next_events(received, 1)
        work.go_on()
        await next_events(received, 1)
        await manager.tasks.close()
        assert (await next_events(received, 2))[1][0] == "bgtask_cancelled"
    task_id = await manager.store.write(background.create, await admins_id(admin), "testing", datetime.now(UTC))
    await manager.tasks.open()  # as after kill -9
    async with listening(admin, f"/events/background-task?task_id={task_id}") as received:
        assert (await next_events(received, 2))[1][1]["message"] == "The manager was restarted. Try again."


@pytest.mark.asyncio
async def test_others_tasks_are_a_404(manager, admin, make_user):
    work = Work()
    task_id = await manager.tasks.start(await admins_id(admin), "testing", work)
    alice = await make_user("alice")
    assert (await alice.call("GET", f"/events/background-task?task_id={task_id}")).status == 404
    assert (await admin.call("GET", "/events/background-task?task_id=nothing")).status == 404
