"""The idle checks on a manager: what agents tell decides, owners are warned, and a restart forgets nothing."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.db import people, policies
from bai_jupyter.manager.db.records import PolicyRecord
from bai_jupyter.manager.people import inputs
from bai_jupyter.manager.sessions import idle_watch

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDLE, BUSY = {"executing": 0.0}, {"executing": 1.0, "executed_ago_s": 0.0}


@pytest.fixture
def manager_options():
    return {"idle_check_s": 3600.0}  # tests look themselves


class Clock:
    """The watch's, which stands still but for ``pass_``; everything else has the real one."""

    def __init__(self, manager):
        self.watch, self.begin, self.ahead = manager.idle_watch, datetime.now(UTC), timedelta()
        self.watch._now = self

    def __call__(self):
        return self.begin + self.ahead

    async def pass_(self, **span):
        """Time passes in steps of a minute, each with a look."""
        end = self.ahead + timedelta(**span)
        while self.ahead < end:
            self.ahead = min(end, self.ahead + timedelta(minutes=1))
            await self.watch.look()


@pytest.fixture
def clock(manager):
    return Clock(manager)


async def limit(manager, signed, **limits):
    """Bind the user by a policy."""
    user_id = (await signed.get("/auth"))["user"]["id"]
    await manager.store.write(policies.add, PolicyRecord("tight", created_at=NOW, **limits))
    await manager.store.write(people.change_user, user_id, {"resource_policy": "tight"}, NOW)


async def started(signed, agent, manager, helpers, figures, name="work"):
    """A running session whose agent tells these figures of it."""
    agent.figures = {"cpu_used_s": 1.0, **figures}
    view = await signed.create(name)
    await signed.until_status(name, "RUNNING")
    await helpers.wait_until(lambda: told(manager, agent), "the agent's figures")
    return view["sessionId"]


def told(manager, agent):
    found = [manager.registry.stats(agent.agent_id, kernel_id) for kernel_id in agent.kernels]
    return bool(found) and all(one == agent.figures for one in found)


async def tell(manager, agent, helpers, figures):
    agent.figures = {"cpu_used_s": 1.0, **figures}
    await helpers.wait_until(lambda: told(manager, agent), "the agent's figures")


async def test_idle_is_warned_of_and_stopped_and_busy_is_not(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=3600)
    await started(alice, agent, manager, helpers, BUSY)
    await clock.pass_(hours=3)
    view = await alice.session("work")
    assert (view["status"], view["reason"]["code"]) == ("RUNNING", "running")
    assert view["idleChecks"]["network_timeout"]["remaining"] == 3600

    await tell(manager, agent, helpers, IDLE)
    await clock.pass_(minutes=49)
    view = await alice.session("work")
    check = view["idleChecks"]["network_timeout"]
    assert 600 < check["remaining"] <= 720
    assert check["extra"]["policy"] == "user alice"
    assert (check["extra"]["last"], check["extra"]["extensions_left"]) == ("a cell, or a job in a terminal", 3)
    await clock.pass_(minutes=3)
    view = await alice.session("work")
    assert view["reason"]["code"] == "idle-soon"
    assert "1 h is the longest that your user alice may leave a session idle" in view["reason"]["text"]
    await clock.pass_(minutes=10)
    ended = await alice.until_status("work", "TERMINATED")
    assert (ended["statusInfo"], ended["reason"]["code"]) == ("idle-timeout", "idle-timeout")
    assert "a cell, or a job in a terminal" in ended["reason"]["text"]
    history = (await alice.get(f"/session/{ended['id']}/status-history"))["result"]
    assert list(history) == ["pending", "scheduled", "preparing", "creating", "running", "terminating", "terminated"]


async def test_warnings_are_events(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=3600)
    session_id = await started(alice, agent, manager, helpers, IDLE)
    await clock.pass_(minutes=61)
    await alice.until_status("work", "TERMINATED")
    request = alice.request("GET", f"/events/session?sessionId={session_id}", content_type=None)
    request.headers["Last-Event-ID"] = "0"
    events = [
        line.removeprefix("event: ")
        for line in (await alice.http.fetch(request)).body.decode().splitlines()
        if line.startswith("event: session_")
    ]
    assert events.count("session_idle_warning") == 2
    assert events.index("session_started") < events.index("session_idle_warning") < events.index("session_terminated")


async def test_a_cell_that_began_at_the_last_moment_is_spared(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=60)
    await started(alice, agent, manager, helpers, IDLE)
    await clock.watch.look()
    answer = agent._answer

    async def busy_by_now(call):
        if call.method == "figures":
            agent.figures = {"cpu_used_s": 1.0, **BUSY}
        await answer(call)

    agent._answer = busy_by_now
    clock.ahead = timedelta(minutes=2)
    await clock.watch.look()
    assert (await alice.session("work"))["status"] == "RUNNING"
    assert agent.calls[-1].method == "figures"


async def test_idle_sessions_are_suspended_by_policy(manager, admin, agent, make_user, clock, helpers):
    """Its owner is told why, and when it will be stopped; what the agent refuses is tried again later."""
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=3600, suspend_after_s=1200)
    await started(alice, agent, manager, helpers, BUSY)

    def asked():
        return len([call for call in agent.calls if call.method == "suspend"])

    await clock.pass_(minutes=30)
    assert asked() == 0
    await tell(manager, agent, helpers, IDLE)
    agent.call_errors["suspend"] = Reason.of("suspend-busy")
    await clock.pass_(minutes=22)
    assert (asked(), (await alice.session("work"))["suspended"]) == (1, False)
    del agent.call_errors["suspend"]
    await clock.pass_(minutes=16)
    assert asked() == 1
    await clock.pass_(minutes=6)
    view = await alice.session("work")
    assert (view["status"], view["suspended"], view["reason"]["code"]) == ("RUNNING", True, "idle-suspended")
    assert view["reason"]["text"].startswith("Suspended after 20 min idle, as your user alice has it; the next cell")
    assert "suspension" not in view["idleChecks"]
    await clock.pass_(minutes=10)
    view = await alice.session("work")
    assert (view["suspended"], view["reason"]["code"], asked()) == (True, "idle-soon", 2)
    resumed = await alice.post("/session/work/resume", status=200)
    assert resumed["suspended"] is False
    await alice.post("/session/work/suspend", status=200)
    await alice.post("/session/work/extend", status=200)
    assert (await alice.session("work"))["reason"]["code"] == "suspended"  # this time it was by hand

    async def is_suspended_by_policy():
        await clock.pass_(minutes=1)
        return (await alice.session("work"))["reason"]["code"] == "idle-suspended"

    await alice.post("/session/work/resume", status=200)
    await helpers.wait_until(is_suspended_by_policy)
    await alice.post("/session/work/resume", status=200)
    await clock.pass_(minutes=15)
    assert (await alice.session("work"))["suspended"] is False  # it counts anew


async def test_who_keeps_a_session_that_is_being_suspended_has_kept_it(
    manager, admin, agent, make_user, clock, helpers
):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=3600, suspend_after_s=1200)
    await started(alice, agent, manager, helpers, IDLE)
    answer = agent._answer

    async def kept_meanwhile(call):
        if call.method == "suspend":
            await alice.post("/session/work/extend", status=200)
        await answer(call)

    agent._answer = kept_meanwhile
    await clock.pass_(minutes=22)
    view = await alice.session("work")
    assert (view["suspended"], view["idleChecks"]["network_timeout"]["extra"]["extensions_left"]) == (True, 2)


async def test_a_policy_suspends_before_it_stops(manager, admin, gql):
    mutation = (
        "mutation($props: CreateKeyPairResourcePolicyInput!)"
        '{create_keypair_resource_policy(name: "lab", props: $props) {ok msg}}'
    )
    refused = await gql(admin, mutation, props={"idle_timeout": 600, "suspend_after": 600})
    assert "Suspend them sooner" in refused["create_keypair_resource_policy"]["msg"]
    assert (await gql(admin, mutation, props={"suspend_after": 600}))["create_keypair_resource_policy"]["ok"]
    change = (
        "mutation($props: ModifyKeyPairResourcePolicyInput!)"
        '{modify_keypair_resource_policy(name: "lab", props: $props) {ok msg}}'
    )
    refused = (await gql(admin, change, props={"idle_timeout": 300}))["modify_keypair_resource_policy"]
    assert "stop them after 300 s" in refused["msg"]
    shown = await gql(admin, '{keypair_resource_policy(name: "lab") {idle_timeout suspend_after}}')
    assert shown["keypair_resource_policy"] == {"idle_timeout": 0, "suspend_after": 600}


async def test_variables_are_saved_before_a_stop(manager, admin, agent, make_user, clock, helpers, monkeypatch):
    """It is stopped once they are; whoever comes back meanwhile keeps the session, and they are saved anew."""
    monkeypatch.setattr(idle_watch, "SAVED_SOON_S", 0)
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=60)
    await started(alice, agent, manager, helpers, IDLE)
    process = await alice.post("/session/work/jupyter-kernels", {"kernelspec": "python3", "key": "k"})
    saved = {"refused": None, "variables": 3, "bytes": 10, "left_out": [], "doubtful": []}
    agent.call_results["save"] = {"kernels": [{"jupyter_kernel_id": process["id"], **saved}]}
    answer, may_save = agent._answer, asyncio.Event()

    async def slowly(call):
        if call.method == "save":
            await may_save.wait()
        await answer(call)

    def saves():
        return [call for call in agent.calls if call.method == "save"]

    async def saved_at():
        (kernel,) = (await alice.session("work"))["jupyterKernels"]
        return kernel["saved"] and kernel["saved"]["at"]

    agent._answer = slowly
    await clock.watch.look()
    clock.ahead = timedelta(minutes=2)
    for _ in range(3):
        await clock.watch.look()
        assert (await alice.session("work"))["status"] == "RUNNING"
    await tell(manager, agent, helpers, BUSY)
    may_save.set()
    first = await helpers.wait_until(saved_at)
    assert len(saves()) == 1
    await clock.watch.look()
    assert (await alice.session("work"))["status"] == "RUNNING"

    await tell(manager, agent, helpers, IDLE)
    await clock.watch.look()
    clock.ahead = timedelta(minutes=5)

    async def is_stopped():
        await clock.watch.look()
        return (await alice.session("work"))["status"] == "TERMINATED"

    await helpers.wait_until(is_stopped)
    ended = await alice.session("work")
    assert (ended["statusInfo"], ended["reason"]["code"]) == ("idle-timeout", "idle-timeout-saved")
    assert f"bai session wake NEW --from {ended['id']}" in ended["reason"]["text"]
    assert len(saves()) == 2
    assert await saved_at() > first


async def test_a_session_whose_variables_cannot_be_saved_is_stopped(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=60)
    await started(alice, agent, manager, helpers, IDLE)
    agent.call_errors["save"] = Reason.of("save-failed", cause="no room")
    await clock.pass_(minutes=4)
    await alice.until_status("work", "TERMINATED")


async def test_app_traffic_keeps_a_session_and_an_open_terminal_does_not(
    manager, admin, agent, make_user, clock, helpers
):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=3600)
    await started(alice, agent, manager, helpers, IDLE)
    traffic = manager.streams.traffic
    traffic._now = clock
    (kernel_id,) = agent.kernels
    terminal, app = traffic.stream(kernel_id, "terminal"), traffic.stream(kernel_id, "port")
    for _ in range(4):
        await clock.pass_(minutes=30)
        app.came()
        await clock.watch.look()
    check = (await alice.session("work"))["idleChecks"]["network_timeout"]
    assert check["extra"]["last"] == "app traffic"
    await clock.pass_(minutes=1)
    traffic.stream(kernel_id, "page").went(b"typed")
    await clock.watch.look()
    check = (await alice.session("work"))["idleChecks"]["network_timeout"]
    assert check["extra"]["last"] == "input in the terminal"
    command = traffic.stream(kernel_id, "command")
    await clock.pass_(hours=2)
    assert (await alice.session("work"))["idleChecks"]["network_timeout"]["extra"]["running"] is True
    command.ended()
    page = traffic.stream(kernel_id, "page")  # of the terminal: what is shown there is no use of it
    for one in (terminal, page):
        one.went(b"")
        one.came()
    await clock.pass_(minutes=62)
    assert (await alice.until_status("work", "TERMINATED"))["reason"]["params"]["what"] == "a command"


async def test_an_owner_may_keep_a_session_for_a_while(manager, admin, agent, make_user, clock, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    await limit(manager, alice, idle_timeout_s=3600)
    await started(alice, agent, manager, helpers, IDLE)
    await clock.pass_(minutes=55)
    assert (await alice.session("work"))["reason"]["code"] == "idle-soon"
    stranger = await bob.call("POST", "/session/work/extend", {})
    missing = await bob.call("POST", "/session/nothing-there/extend", {})
    assert (stranger.status, missing.status) == (404, 404)
    for left in (2, 1, 0):
        checks = (await alice.post("/session/work/extend", status=200))["idleChecks"]
        assert checks["network_timeout"]["extra"]["extensions_left"] == left
        assert 3590 <= checks["network_timeout"]["remaining"] <= 3600
        assert (await alice.session("work"))["reason"]["code"] == "running"
        await clock.pass_(minutes=30)
    refused = await alice.post("/session/work/extend", status=400)
    assert refused["data"]["reason"]["code"] == "extensions-used"
    await clock.pass_(minutes=31)
    await alice.until_status("work", "TERMINATED")


async def test_nothing_is_judged_without_word_from_the_agent(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await limit(manager, alice, idle_timeout_s=60)
    await started(alice, agent, manager, helpers, {})  # an agent that does not tell what runs
    await clock.pass_(hours=2)
    await tell(manager, agent, helpers, IDLE)
    await agent.close()
    await helpers.wait_until(lambda: not manager.registry.is_reachable(agent.agent_id), "the agent's silence")
    await clock.pass_(hours=2)
    assert (await alice.session("work"))["status"] == "RUNNING"


async def test_low_use_and_lifetime_by_policies_that_admins_make(manager, admin, agent, make_user, clock, helpers, gql):
    alice = await make_user("alice")
    mutation = (
        "mutation($props: CreateKeyPairResourcePolicyInput!)"
        '{create_keypair_resource_policy(name: "gpu", props: $props) {ok msg}}'
    )
    props = {"max_session_lifetime": 7200, "utilization": json.dumps({"time-window": "1h"})}
    made = await gql(admin, mutation, props=props)
    assert "resource-thresholds" in made["create_keypair_resource_policy"]["msg"]
    props["utilization"] = json.dumps({"time-window": "1h", "resource-thresholds": {"cpu_util": {"average": 5}}})
    assert (await gql(admin, mutation, props=props))["create_keypair_resource_policy"]["ok"]
    shown = await gql(admin, '{keypair_resource_policy(name: "gpu") {utilization}}')
    assert json.loads(shown["keypair_resource_policy"]["utilization"])["time-window"] == 3600
    user_id = (await alice.get("/auth"))["user"]["id"]
    await manager.store.write(people.change_user, user_id, {"resource_policy": "gpu"}, NOW)
    await started(alice, agent, manager, helpers, IDLE, "low-use")
    await clock.pass_(minutes=62)
    ended = await alice.until_status("low-use", "TERMINATED")
    assert "CPU use below 5 % for 1 h" in ended["reason"]["text"]
    clock.ahead = timedelta()
    await started(alice, agent, manager, helpers, BUSY, "long")
    await clock.pass_(minutes=58)
    session_id = (await alice.session("long"))["id"]
    query = "query($id: UUID!) {compute_session(id: $id) {idle_checks}}"
    shown = json.loads((await gql(alice, query, id=session_id))["compute_session"]["idle_checks"])
    assert 0 < shown["session_lifetime"]["remaining"] <= 7200
    await clock.pass_(minutes=64)
    assert (await alice.until_status("long", "TERMINATED"))["statusInfo"] == "idle-session-lifetime"


async def test_use_of_several_containers_is_that_of_all(manager, agent, admin, clock, helpers, monkeypatch):
    low_use = {"resource-thresholds": {"cpu_util": 5}, "time-window": "1h"}
    await limit(manager, admin, utilization=inputs.utilization("utilization", low_use))
    config = {"resources": {"cpu": "1", "mem": "1g"}}
    body = {"name": "work", "image": helpers.image.name, "enqueueOnly": True, "clusterSize": 2, "config": config}
    session_id = (await admin.post("/session", body))["sessionId"]
    main, sub = (one["id"] for one in (await admin.until_status("work", "RUNNING"))["kernels"])
    used = {main: 1.0, sub: 1.0}
    does = {main: IDLE, sub: IDLE}
    monkeypatch.setattr(manager.registry, "stats", lambda _, key: {"cpu_used_s": used[key], **does[key]})
    await clock.pass_(minutes=1)
    used[sub] += 30
    await clock.pass_(minutes=1)
    seen = clock.watch.standing[session_id].seen
    assert (seen.use, seen.cores, seen.running) == ({"cpu_util": 25}, 0.5, None)
    used[sub] += 9  # of one container alone enough to be at work
    does[sub] = BUSY
    await clock.pass_(minutes=1)
    seen = clock.watch.standing[session_id].seen
    assert (seen.is_working, seen.running) == (True, idle_watch.EXECUTION)


async def drain(signed, by=None, op="exclude-agents"):
    body = {"op": op, "args": ["lab-1"], **({"by": by} if by else {})}
    assert (await signed.call("POST", "/manager/scheduler/operation", body)).status == 204


@pytest.mark.parametrize("figures", [BUSY, {}])  # whatever runs there, and if nobody knows
async def test_a_drained_agent_is_empty_in_time(manager, admin, agent, make_user, clock, helpers, figures):
    alice = await make_user("alice")
    session_id = await started(alice, agent, manager, helpers, figures)
    await drain(admin, "2h")
    (shown,) = (await alice.get("/agents"))["agents"]
    by = datetime.fromisoformat(shown["drain_by"])
    assert (shown["schedulable"], shown["sessions"]) == (False, 1)
    assert timedelta(hours=2) <= by - clock.begin < timedelta(hours=2, minutes=1)
    await clock.pass_(minutes=109)
    view = await alice.session("work")
    assert view["reason"]["code"] == "running"
    assert view["idleChecks"]["drain"]["extra"]["agent"] == "lab-1"
    assert "extensions_left" not in view["idleChecks"]["drain"]["extra"]
    await clock.pass_(minutes=3)
    view = await alice.session("work")
    assert view["reason"]["code"] == "drain-soon"
    assert "lab-1 is emptied for maintenance" in view["reason"]["text"]
    refused = await alice.post("/session/work/extend", status=400)
    assert refused["data"]["reason"]["code"] == "nothing-to-extend"
    await clock.pass_(minutes=7)
    assert (await alice.session("work"))["status"] == "RUNNING"
    await clock.pass_(minutes=2)
    ended = await alice.until_status("work", "TERMINATED")
    assert (ended["statusInfo"], ended["reason"]["code"]) == ("agent-termination", "drained")
    assert (await alice.get("/agents"))["agents"][0]["sessions"] == 0
    request = alice.request("GET", f"/events/session?sessionId={session_id}", content_type=None)
    request.headers["Last-Event-ID"] = "0"
    assert (await alice.http.fetch(request)).body.decode().count("event: session_idle_warning") == 2


async def test_resuming_an_agent_lets_its_sessions_be(manager, admin, agent, make_user, clock, helpers):
    """And what was warned of is not coming any more: the next drain is warned of anew."""
    alice = await make_user("alice")
    session_id = await started(alice, agent, manager, helpers, BUSY)
    await drain(admin, "1h")
    await clock.pass_(minutes=59)
    assert (await alice.session("work"))["reason"]["code"] == "drain-soon"
    await drain(admin, op="include-agents")
    assert (await alice.get("/agents"))["agents"][0]["drain_by"] is None
    await clock.pass_(minutes=1)
    view = await alice.session("work")
    assert (view["reason"]["code"], view["idleChecks"]) == ("running", {})
    await clock.pass_(minutes=10)
    assert (await alice.session("work"))["status"] == "RUNNING"
    assert session_id not in clock.watch.standing
    clock.ahead = timedelta()
    await drain(admin, "1m")
    await clock.pass_(minutes=1)
    assert (await alice.session("work"))["reason"]["code"] == "drain-soon"
    await clock.pass_(minutes=1)
    await alice.until_status("work", "TERMINATED")


async def test_an_agent_that_is_resumed_at_the_last_moment_keeps_its_sessions(
    manager, admin, agent, make_user, clock, helpers
):
    alice = await make_user("alice")
    await started(alice, agent, manager, helpers, BUSY)
    await drain(admin, "10m")
    answer = agent._answer

    async def resumed_by_now(call):
        if call.method == "figures":
            await drain(admin, op="include-agents")
        await answer(call)

    agent._answer = resumed_by_now
    await clock.pass_(minutes=12)
    assert agent.calls[-1].method == "figures"
    assert (await alice.session("work"))["status"] == "RUNNING"


async def test_a_drain_without_a_time_ends_nothing_any_more(manager, admin, agent, make_user, clock, helpers):
    alice = await make_user("alice")
    await started(alice, agent, manager, helpers, BUSY)
    await drain(admin, "1h")
    await drain(admin)
    await clock.pass_(hours=2)
    (shown,) = (await alice.get("/agents"))["agents"]
    assert (shown["schedulable"], shown["drain_by"]) == (False, None)
    assert (await alice.session("work"))["status"] == "RUNNING"


async def test_a_killed_manager_goes_on_counting(manager_process, make_agent, data_dir, helpers):
    await manager_process.start()
    credentials = helpers.credentials(data_dir)
    admin = helpers.client(manager_process.endpoint, credentials["access_key"], credentials["secret_key"])
    agent = make_agent(manager_process.endpoint)
    agent.figures = {"cpu_used_s": 1.0, **IDLE}
    await agent.stay_connected()
    await admin.post("/images", {"name": helpers.image.name})
    await admin.post(
        "/admin/gql",
        {
            "query": "mutation($props: ModifyKeyPairResourcePolicyInput!)"
            '{modify_keypair_resource_policy(name: "default", props: $props) {ok}}',
            "variables": {"props": {"idle_timeout": 3600}},
        },
        200,
    )
    await admin.create("work")
    await admin.until_status("work", "RUNNING")

    async def stops_at():
        checks = (await admin.session("work"))["idleChecks"]
        return checks and checks["network_timeout"]["extra"]["stops_at"]

    before = await helpers.wait_until(stops_at, "the first look")
    await admin.post("/session/work/extend", status=200)
    extended = await helpers.wait_until(stops_at, "the extension")
    assert extended > before
    manager_process.kill()
    await manager_process.start()
    assert await helpers.wait_until(stops_at, "the first look after the restart") == extended
    checks = (await admin.session("work"))["idleChecks"]
    assert checks["network_timeout"]["extra"]["extensions_left"] == 2
    admin.close()


async def test_a_killed_manager_keeps_the_time_of_a_drain(manager_process, make_agent, data_dir, helpers):
    await manager_process.start()
    credentials = helpers.credentials(data_dir)
    admin = helpers.client(manager_process.endpoint, credentials["access_key"], credentials["secret_key"])
    agent = make_agent(manager_process.endpoint)
    agent.figures = {"cpu_used_s": 1.0, **BUSY}
    await agent.stay_connected()
    await admin.post("/images", {"name": helpers.image.name})
    await admin.create("work")
    await admin.until_status("work", "RUNNING")
    await drain(admin, "1h")

    async def stops_at():
        check = (await admin.session("work"))["idleChecks"].get("drain")
        return check and check["extra"]["stops_at"]

    before = await helpers.wait_until(stops_at, "the first look")
    manager_process.kill()
    await manager_process.start()
    assert await helpers.wait_until(stops_at, "the first look after the restart") == before
    assert (await admin.session("work"))["status"] == "RUNNING"
    admin.close()
