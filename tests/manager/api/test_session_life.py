"""What sessions can be asked for besides resources, and all that may happen between create and the end."""

import asyncio

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.db import admission

pytestmark = pytest.mark.asyncio

no_sweep = pytest.mark.parametrize("manager_options", [{"sweep_s": 1000.0}], ids=["no-sweep"])  # what happens, tells

BATCH = {"type": "batch", "startupCommand": "python train.py"}


@pytest.fixture
def create(admin, helpers):
    """``await create("my-work", type="batch", …)``: a session of that body."""

    async def create(name, status=201, **body):
        config = {"resources": {"cpu": "1", "mem": "1g"}, **body.pop("config", {})}
        body = {"name": name, "image": helpers.image.name, "enqueueOnly": True, "config": config, **body}
        return await admin.post("/session", body, status)

    return create


@pytest.fixture
def finish(admin, agent):
    """``await finish("my-work", 0)``: its command ends with that code."""

    async def finish(name, code):
        kernel_id = (await admin.until_status(name, "RUNNING"))["containerId"]
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=code)
        await agent.report(
            kernel_id, KernelStatus.TERMINATED, exit_code=code, reason=reason, log=f"ended with {code}\n"
        )

    return finish


# Options


async def test_all_that_was_asked_for_is_shown_and_reaches_the_agent(agent, admin, create):
    asked = {"preopen_ports": [8080, "9090"], "resource_opts": {"shmem": "128m"}}
    await create(
        "my-work", tag="exam", bootstrap_script="echo hello", callback_url="https://example.com/", config=asked
    )
    view = await admin.until_status("my-work", "RUNNING")
    assert (view["tag"], view["preopenPorts"], view["type"], view["result"]) == (
        "exam",
        [8080, 9090],
        "interactive",
        "undefined",
    )
    want = agent.wants[view["containerId"]]
    assert (want.bootstrap, want.command) == ("echo hello", None)
    assert want.environ["BACKENDAI_PREOPEN_PORTS"] == "8080,9090"
    assert "echo hello" not in str(view)


async def test_where_programs_listen_is_an_app_as_well(agent, admin, create):
    await create("my-work", config={"preopen_ports": [8080]})
    await admin.until_status("my-work", "RUNNING")
    asked_for = {"name": "8080", "protocol": "preopen", "ports": [8080]}
    found = {"name": "8050", "protocol": "discovered", "ports": [8050]}
    agent.call_results["open_ports"] = {"ports": [8050, 8080]}
    terminal = {"name": "ttyd", "protocol": "http", "ports": [7681]}
    assert await admin.get("/stream/session/my-work/apps") == [terminal, asked_for, found]
    agent.call_errors["open_ports"] = Reason.of("engine-down", agent="lab-1", cause="gone")
    assert await admin.get("/stream/session/my-work/apps") == [terminal, asked_for]


@no_sweep
async def test_it_starts_not_before_its_time(agent, admin, create, helpers):
    await create("my-work", starts_at="3s")
    await create("far-off", starts_at="2999-01-01T00:00:00+09:00")

    async def waits():
        return (await admin.session("my-work"))["reason"]["code"] == "starts-at"

    await helpers.wait_until(waits, "a session that waits for its time")
    view = await admin.until_status("my-work", "RUNNING")
    began = (await admin.get("/session/my-work/status-history"))["result"]["scheduled"]
    assert began >= view["startsAt"]
    assert 0 <= view["runningFor"] <= view["age"]
    view = await admin.session("far-off")
    assert view["runningFor"] is None
    assert (view["status"], view["reason"]["text"]) == (
        "PENDING",
        "Starts not before 2998-12-31 15:00 UTC, as you asked.",
    )


# Batch


@pytest.mark.parametrize(
    ("code", "result", "text"), [(0, "success", "Finished."), (3, "failure", "Failed with code 3.")]
)
async def test_a_batch_session_ends_with_its_command(agent, admin, create, finish, code, result, text):
    created = await create("my-work", **BATCH)
    await finish("my-work", code)
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    assert (view["result"], view["exitCode"], view["reason"]["text"]) == (result, code, text)
    assert view["startupCommand"] == "python train.py"
    assert view["statusData"]["session"] == {"exit_code": code}
    logs = await admin.get(f"/session/{created['sessionId']}/logs")
    assert logs == {"result": {"logs": f"ended with {code}\n"}}
    for task_id in (created["sessionId"], view["containerId"]):
        answer = await admin.call("GET", f"/session/_/logs?taskId={task_id}")
        assert (answer.status, answer.body.decode()) == (200, f"ended with {code}\n")


async def test_a_batch_session_that_is_ended_has_not_succeeded(agent, admin, create):
    created = await create("my-work", **BATCH)
    await admin.until_status("my-work", "RUNNING")
    await admin.call("DELETE", "/session/my-work")
    assert (await admin.until_status(created["sessionId"], "TERMINATED"))["result"] == "failure"


async def test_strangers_see_no_task_log(agent, admin, make_user, create, finish):
    created = await create("my-work", **BATCH)
    await finish("my-work", 0)
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    alice = await make_user("alice")
    for task_id in (created["sessionId"], view["containerId"], "nothing"):
        assert (await alice.call("GET", f"/session/_/logs?taskId={task_id}")).status == 404


# Dependencies


@no_sweep
async def test_it_starts_once_what_it_depends_on_has_succeeded(agent, admin, create, finish, helpers):
    first = await create("first-step", **BATCH)
    await create("other-one", **BATCH)
    await create("next-step", dependencies=["first-step", "other-one"])

    async def waits():
        return (await admin.session("next-step"))["reason"]["code"] == "dependency"

    await helpers.wait_until(waits, "a session that waits for another")
    found = (await admin.session("next-step"))["statusData"]["scheduler"]
    assert [one["name"] for one in found["failed_predicates"]] == ["dependencies"]
    await finish("first-step", 0)
    await admin.until_status(first["sessionId"], "TERMINATED")
    assert (await admin.session("next-step"))["status"] == "PENDING"
    await finish("other-one", 0)
    await admin.until_status("next-step", "RUNNING")


@no_sweep
async def test_a_dependency_may_be_in_another_resource_group(manager, agent, admin, make_agent, create, finish):
    await manager.services.people.create_resource_group("other", {})
    await manager.services.people.grant_group("other", "domain:default")
    token = (await admin.post("/agents/join-tokens", {"resource_group": "other"}))["token"]
    await make_agent(manager.endpoint, token, name="lab-2").connect()
    await create("first-step", **BATCH)
    await create("next-step", dependencies=["first-step"], config={"scalingGroup": "other"})
    await finish("first-step", 0)
    assert (await admin.until_status("next-step", "RUNNING"))["agent"] == "lab-2"


@no_sweep
async def test_what_depends_on_a_failure_is_cancelled_with_all_that_depends_on_it(agent, admin, create, finish):
    await create("first-step", **BATCH)
    second = await create("next-step", dependencies=["first-step"], **BATCH)
    third = await create("last-step", dependencies=["next-step"])
    await finish("first-step", 1)
    view = await admin.until_status(second["sessionId"], "CANCELLED")
    assert view["reason"]["text"] == "first-step, which it waits for, ended without success."
    view = await admin.until_status(third["sessionId"], "CANCELLED")
    assert view["reason"]["text"] == "next-step, which it waits for, was cancelled."
    refused = await create("too-late", status=400, dependencies=[second["sessionId"]])
    assert refused["data"]["reason"]["code"] == "dependency-failed"


async def test_what_several_depend_on_shows_its_own_dependencies_once(agent, admin, create):
    ids = {}
    steps = [("base", []), ("root", ["base"]), ("left", ["root"]), ("right", ["root"]), ("top1", ["left", "right"])]
    for name, depends in steps:
        ids[name] = (await create(f"step-{name}", dependencies=[ids[one] for one in depends]))["sessionId"]
    graph = await admin.get("/session/step-top1/dependency-graph")
    assert (graph["session_name"], graph["status"].partition(".")[0]) == ("step-top1", "KernelStatus")
    left, right = sorted(graph["depends_on"], key=lambda one: one["session_name"])
    assert [one["session_name"] for one in (left, right)] == ["step-left", "step-right"]
    roots = [one["depends_on"][0] for one in (left, right)]
    assert [one["session_name"] for one in roots] == ["step-root", "step-root"]
    assert [[one["session_name"] for one in root["depends_on"]] for root in roots] in (
        [["step-base"], []],
        [[], ["step-base"]],
    )


async def test_others_sessions_are_no_dependencies(agent, admin, make_user, create, helpers):
    alice = await make_user("alice")
    hers = await alice.create("her-work")
    assert (await create("my-work", status=404, dependencies=[hers["sessionId"]]))["type"].endswith("object-not-found")


@no_sweep
async def test_the_end_of_a_session_can_take_along_what_depends_on_it(agent, admin, create):
    await create("first-step", **BATCH)
    second = await create("next-step", dependencies=["first-step"])
    third = await create("last-step", dependencies=["next-step"])
    await admin.call("DELETE", "/session/first-step?recursive=true")
    for one in (second, third):
        view = await admin.until_status(one["sessionId"], "CANCELLED")
        assert view["reason"]["text"] == "Cancelled by admin."


# The end


@no_sweep
async def test_forced_the_end_does_not_wait_for_the_agent(manager, agent, admin, helpers):
    created = await admin.create("my-work")
    view = await admin.until_status("my-work", "RUNNING")
    agent.keep_ending = True
    await admin.call("DELETE", "/session/my-work")
    await admin.until_status("my-work", "TERMINATING")
    await admin.call("DELETE", "/session/my-work?forced=true")
    ended = await admin.session(created["sessionId"])
    assert (ended["status"], ended["reason"]["code"]) == ("TERMINATED", "force-ended")
    assert (await admin.get("/agents"))["agents"][0]["used"] == view["slots"]  # the container is still there
    assert (await admin.create("my-work"))["sessionId"] != created["sessionId"]
    await agent.report(view["containerId"], KernelStatus.TERMINATED)
    await helpers.wait_until(lambda: view["containerId"] in agent.forgotten, "its end on record")
    assert await manager.store.write(admission.recount) == []


async def test_forced_an_agent_that_never_returns_holds_nothing(manager, agent, admin, helpers):
    created = await admin.create("my-work")
    view = await admin.until_status("my-work", "RUNNING")
    await agent.close()
    await helpers.wait_until(lambda: not manager.registry.links(), "the link's end")
    await admin.call("DELETE", "/session/my-work?forced=true")
    assert (await admin.session(created["sessionId"]))["status"] == "TERMINATED"
    assert (await admin.get("/agents"))["agents"][0]["used"] == {}
    assert await manager.store.write(admission.recount) == []

    # It does return, and has the container still: that counts again until it is gone.
    agent.keep_ending = True
    await agent.connect()
    assert (await admin.get("/agents"))["agents"][0]["used"] == view["slots"]
    assert agent.wants[view["containerId"]].target.value == "terminated"
    assert await manager.store.write(admission.recount) == []
    await agent.report(view["containerId"], KernelStatus.TERMINATED)

    async def nothing_used():
        return (await admin.get("/agents"))["agents"][0]["used"] == {}

    await helpers.wait_until(nothing_used, "an agent with nothing on it")


async def test_the_last_figures_are_kept(agent, admin, helpers):
    created = await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")

    async def is_measured():
        return (await admin.session("my-work"))["liveStat"]

    await helpers.wait_until(is_measured, "figures")
    answer = await admin.call("DELETE", "/session/my-work")
    cpu = {"current": "1000.000", "capacity": None, "pct": None, "unit_hint": "msec"}
    assert answer.json == {"stats": {"status": "terminated", "version": 2, "cpu_used": cpu}}
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    assert view["lastStat"] == answer.json["stats"]


async def test_a_session_that_is_ending_is_not_used_again(agent, admin, helpers):
    """The name is free as soon as it is over; of room see ``official_client/test_recorded_shapes.py``."""
    created = await admin.create("my-work")
    kernel_id = (await admin.until_status("my-work", "RUNNING"))["containerId"]
    agent.keep_ending = True
    await admin.call("DELETE", "/session/my-work")
    creating = asyncio.create_task(admin.create("my-work"))
    await helpers.wait_until(lambda: agent.wants[kernel_id].target.value == "terminated", "an end that is wanted")
    assert (await admin.session("my-work"))["id"] == created["sessionId"]
    await agent.report(kernel_id, KernelStatus.TERMINATED)
    again = await creating
    assert (again["created"], again["sessionId"] != created["sessionId"]) == (True, True)


async def test_a_name_that_does_not_come_free_is_said(agent, admin, monkeypatch):
    monkeypatch.setattr("bai_jupyter.manager.sessions.creation.ENDING_PATIENCE_S", 0.05)
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    agent.keep_ending = True
    await admin.call("DELETE", "/session/my-work")
    refused = await admin.create("my-work", status=400)
    assert (refused["type"].rpartition("/")[2], refused["data"]["reason"]["code"]) == (
        "session-already-exists",
        "name-ending",
    )


# In between


@no_sweep
async def test_restart(agent, admin, helpers):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    await admin.post("/session/my-work/jupyter-kernels", {"kernelspec": "python3", "key": "k"})

    async def runs():
        return [one["status"] for one in (await admin.session("my-work"))["jupyterKernels"]] == ["running"]

    await helpers.wait_until(runs, "a Jupyter kernel")
    agent.hold_at = None  # it does not get to it yet
    assert (await admin.call("PATCH", "/session/my-work")).status == 204
    view = await admin.session("my-work")
    assert (view["status"], view["statusInfo"]) == ("RESTARTING", "restarting")
    kernel_id = view["containerId"]
    await agent.report(kernel_id, KernelStatus.RUNNING)  # it still runs as it did before
    await admin.get("/session/my-work")
    assert (await admin.session("my-work"))["status"] == "RESTARTING"
    agent.hold_at = KernelStatus.RUNNING
    await agent.proceed()
    view = await admin.until_status("my-work", "RUNNING")
    assert [(one["generation"], one["status"]) for one in view["jupyterKernels"]] == [(2, "running")]
    assert agent.wants[kernel_id].restarts == 1


async def test_what_does_not_run_is_not_restarted(manager, admin, agent):
    agent.hold_at = None
    await admin.create("my-work")
    answer = await admin.call("PATCH", "/session/my-work")
    assert (answer.status, answer.json["data"]["reason"]["code"]) == (400, "not-running")


async def test_match(agent, admin, make_user):
    alice = await make_user("alice")
    await alice.create("my-work-hers")
    ids = [(await admin.create(f"my-work-{number}"))["sessionId"] for number in range(2)]
    await admin.create("other-work")
    found = (await admin.get("/session/_/match?id=my-work"))["matches"]
    assert sorted(one["name"] for one in found) == ["my-work-0", "my-work-1"]
    assert found[0].keys() == {"id", "name", "status"}
    assert [one["id"] for one in (await admin.get(f"/session/_/match?id={ids[0][:13]}"))["matches"]] == [ids[0]]
    assert (await admin.get("/session/_/match?id=%25"))["matches"] == []
    assert (await admin.call("GET", "/session/_/match")).status == 400


async def test_status_history(agent, admin):
    created = await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    await admin.call("DELETE", "/session/my-work")
    await admin.until_status(created["sessionId"], "TERMINATED")
    answer = await admin.get(f"/kernel/{created['sessionId']}/status-history")
    history, changes = answer["result"], answer["changes"]
    steps = ["pending", "scheduled", "preparing", "creating", "running", "terminating", "terminated"]
    assert list(history) == steps
    assert sorted(history.values()) == list(history.values())
    assert [(one["status"].lower(), one["at"]) for one in changes] == list(history.items())
    assert [one["reason"]["code"] for one in changes if one["status"] == "TERMINATED"] == ["user-requested"]


async def test_an_older_session_of_the_same_name_is_not_in_the_way(agent, admin):
    """Defect of Backend.AI 23.09.10: logs were a 404 then, "too many sessions matched"."""
    created = await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    await admin.call("DELETE", "/session/my-work")
    await admin.until_status(created["sessionId"], "TERMINATED")
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    assert await admin.get("/session/my-work/logs") == {"result": {"logs": "hello\n"}}


async def test_waiting_sessions_and_their_ends_leave_no_counter_behind(manager, agent, admin, create):
    await asyncio.gather(*(create(f"work-{number}", **BATCH) for number in range(12)))
    await asyncio.gather(*(admin.call("DELETE", f"/session/work-{n}?forced={n % 2 == 0}") for n in range(12)))
    for session in (await admin.get("/sessions?status=TERMINATING"))["sessions"]:
        await admin.until_status(session["id"], "TERMINATED")
    assert await manager.store.write(admission.recount) == []
