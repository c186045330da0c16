"""Budgets of accelerators: counted by the week, waited for, and stopped for; with a clock of the test's own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import budgets, people, placements, policies
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.people import DEFAULT
from bai_jupyter.manager.db.records import PolicyRecord
from bai_jupyter.manager.sessions.budgets import Spending, week_of

THURSDAY = datetime(2026, 1, 15, 12, tzinfo=UTC)
MONDAY = datetime(2026, 1, 19, tzinfo=UTC)
HOUR = timedelta(hours=1)
GPU, CPU = {"cpu": "1", "mem": "1g", "cuda.device": "1"}, {"cpu": "1", "mem": "1g"}
LEVELS = ["keypair", "user", "project", "domain"]


@pytest.mark.parametrize("now", [MONDAY, MONDAY + timedelta(days=6, hours=23, minutes=59), MONDAY + timedelta(days=3)])
def test_a_week_begins_on_monday(now):
    assert week_of(now) == MONDAY
    assert Spending(now).resets_at == MONDAY + timedelta(days=7)
    assert week_of(now.astimezone()) == MONDAY


def test_what_is_held_in_this_week_counts():
    spending = Spending(THURSDAY)
    spending = spending.with_use(Decimal(2), THURSDAY - 3 * HOUR, THURSDAY - 2 * HOUR)
    assert (spending.used, spending.held) == (2 * HOUR, 0)
    spending = spending.with_use(Decimal("0.5"), THURSDAY - HOUR, None)
    assert (spending.used, spending.held) == (2.5 * HOUR, Decimal("0.5"))
    since_last_week = Spending(THURSDAY).with_use(Decimal(1), THURSDAY - timedelta(days=9), None)
    assert since_last_week.used == THURSDAY - week_of(THURSDAY)


@pytest.mark.parametrize(
    ("held", "budget", "at"),
    [
        (0, 4, None),
        (1, 4, THURSDAY + HOUR),
        (2, 4, THURSDAY + HOUR / 2),
        (1, 3, THURSDAY),
        (0, 3, THURSDAY),
        (1, 2, THURSDAY),
        (1, 3 + 84, None),  # the week is over by then
        (1, 3 + 83, THURSDAY + 83 * HOUR),
        (Decimal("0.01"), 1_000_000, None),
    ],
)
def test_when_a_budget_runs_out(held, budget, at):
    assert Spending(THURSDAY, 3 * HOUR, Decimal(held)).runs_out_at(budget * HOUR) == at


# On a manager


@pytest.fixture
def manager_options():
    return {"idle_check_s": 3600.0}  # tests look themselves


class Clock:
    """Of all that places sessions, counts what they hold and stops them."""

    def __init__(self, manager):
        self.manager, self.now = manager, THURSDAY
        services = manager.services
        for part in (manager.reconciler, manager.reconciler._intake, manager.idle_watch, services.creation):
            part._now = self

    def __call__(self):
        return self.now

    async def pass_(self, **span):
        """Time passes in steps of half a minute, each with a look."""
        end = self.now + timedelta(**span)
        while self.now < end:
            self.now = min(end, self.now + timedelta(seconds=30))
            await self.manager.idle_watch.look()


@pytest.fixture
def clock(manager):
    return Clock(manager)


@pytest_asyncio.fixture
async def gpus(manager, admin, make_agent, helpers):
    one = make_agent(manager.endpoint, slots=ResourceSlots.parse({"cpu": 64, "mem": "64g", "cuda.device": 8}))
    one.figures = {"cpu_used_s": 1.0, "executing": 1.0, "executed_ago_s": 0.0}
    await one.connect()
    await admin.post("/images", {"name": helpers.image.name})
    return one


async def bind(manager, signed, level, hours):
    """Put a budget on one level above a user's sessions."""
    await manager.store.write(policies.add, PolicyRecord("tight", gpu_hours_per_week=hours, created_at=THURSDAY))
    user_id, policy = (await signed.get("/auth"))["user"]["id"], {"resource_policy": "tight"}
    match level:
        case "keypair":
            await manager.store.write(people.change_keypair, signed.access_key, policy, THURSDAY)
        case "user":
            await manager.store.write(people.change_user, user_id, policy, THURSDAY)
        case "project":
            project_id = (await manager.store.read(people.usable_projects, user_id))[DEFAULT]
            await manager.store.write(people.change_project, project_id, policy)
        case "domain":
            await manager.store.write(people.change_domain, DEFAULT, policy)


async def started(signed, helpers, manager, agent, name, resources=GPU):
    await signed.create(name, resources=resources)
    view = await signed.until_status(name, "RUNNING")

    def are_told():
        return all(manager.registry.stats(agent.agent_id, kernel) == agent.figures for kernel in agent.kernels)

    await helpers.wait_until(are_told, "the agent's figures")
    return view


async def fitting(signed):
    presets = (await signed.post("/resource/check-presets", status=200))["presets"]
    return {one["name"]: one["allocatable"] for one in presets}


@pytest.mark.asyncio
@pytest.mark.parametrize("level", LEVELS)
async def test_a_session_waits_for_the_next_week(manager, gpus, make_user, clock, helpers, level):
    alice = await make_user("alice")
    await bind(manager, alice, level, 5)
    await started(alice, helpers, manager, gpus, "train", {**GPU, "cuda.device": "2"})
    assert await fitting(alice) == {"small": True, "medium": True, "gpu": True}
    clock.now += 2.5 * HOUR
    await alice.create("more", resources=GPU)

    async def waits():
        view = await alice.session("more")
        return view if view["reason"]["code"] == "budget-wait" else None

    view = await helpers.wait_until(waits, "the reason")
    assert (view["status"], view["statusInfo"]) == ("PENDING", "predicate-checks-failed")
    assert view["reason"]["text"].startswith(f"Your {level} ")
    assert view["reason"]["text"].endswith(
        "allows 5 GPU-hours a week; 5 used. Starts after 2026-01-19 00:00 UTC; CPU-only sessions still start."
    )
    await alice.create("notes", resources=CPU)
    await alice.until_status("notes", "RUNNING")

    asked = {"image": helpers.image.name, "config": {"resources": GPU}}
    tried = await alice.post("/resource/dry-run", asked, 200)
    assert (tried["verdict"], tried["reason"]["code"]) == ("wait", "budget-wait")
    assert tried["estimate_s"] == (MONDAY - clock.now).total_seconds()
    assert (await alice.post("/resource/dry-run", {**asked, "config": {"resources": CPU}}, 200))["verdict"] == "now"

    (budget,) = (await alice.post("/resource/check-presets", status=200))["budgets"]
    assert budget == {
        "level": "group" if level == "project" else level,
        "name": alice.access_key if level == "keypair" else "alice" if level == "user" else DEFAULT,
        "gpu_hours_limit": 5,
        "gpu_hours_used": 5,
        "resets_at": "2026-01-19T00:00:00+00:00",
    }
    assert await fitting(alice) == {"small": True, "medium": True, "gpu": False}

    clock.now = MONDAY + HOUR
    await alice.until_status("more", "RUNNING")


@pytest.mark.asyncio
@pytest.mark.parametrize("manager_options", [{"idle_check_s": 3600.0, "sweep_s": 3600.0}])
async def test_it_starts_when_the_week_begins_whatever_else_happens(manager, gpus, make_user, clock, helpers):
    alice = await make_user("alice")
    await bind(manager, alice, "user", 2)
    clock.now = MONDAY - 3 * HOUR
    await started(alice, helpers, manager, gpus, "train")
    clock.now = MONDAY - timedelta(seconds=1)
    await alice.create("more", resources=GPU)

    async def waits():
        return (await alice.session("more"))["reason"]["code"] == "budget-wait"

    await helpers.wait_until(waits, "the reason")
    clock.now = MONDAY
    await alice.until_status("more", "RUNNING")


@pytest.mark.asyncio
async def test_others_do_not_wait(manager, gpus, make_user, clock, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    await bind(manager, alice, "user", 1)
    await started(alice, helpers, manager, gpus, "train")
    clock.now += HOUR
    await bob.create("train", resources=GPU)
    await bob.until_status("train", "RUNNING")


@pytest.mark.asyncio
async def test_a_plan_that_came_too_late_places_nothing(manager, gpus, make_user, clock, helpers):
    """Between the scheduler's look and the placement the budget may be used up, as a slot may be taken."""
    alice = await make_user("alice")
    await bind(manager, alice, "user", 1)
    gpus.hold_at = None
    manager.reconciler.nudge_group = lambda _: None  # this test places by itself
    manager.reconciler._groups.clear()
    made = [(await alice.create(name, resources=GPU))["sessionId"] for name in ("first", "second", "third")]

    async def place(session_id, now):
        return await manager.store.write(placements.place, session_id, gpus.agent_id, now, allow_shared=False)

    assert await place(made[0], THURSDAY) is not None
    assert await place(made[1], THURSDAY + 59 * HOUR / 60) is not None
    assert await place(made[2], THURSDAY + HOUR) is None
    assert (await alice.session("third"))["status"] == "PENDING"
    assert await place(made[2], MONDAY) is not None


@pytest.mark.asyncio
async def test_budget_says_what_reports_of_usage_say(manager, gpus, make_user, clock, helpers):
    """One record for both: what containers held, ended ones included."""
    alice = await make_user("alice")
    await started(alice, helpers, manager, gpus, "train", {**GPU, "cuda.device": "3"})
    clock.now += 1.5 * HOUR
    await alice.call("DELETE", "/session/train")
    await alice.until_status("train", "TERMINATED")
    await started(alice, helpers, manager, gpus, "again")
    await started(alice, helpers, manager, gpus, "notes", CPU)
    clock.now += 2 * HOUR
    user_id = (await alice.get("/auth"))["user"]["id"]
    scopes = {f"user:{user_id}", "user:nobody"}
    spending = await manager.store.read(budgets.load_spending, scopes, clock.now)
    assert spending[f"user:{user_id}"] == Spending(clock.now, 6.5 * HOUR, Decimal(1))
    assert spending["user:nobody"] == Spending(clock.now)
    manager.services.people._now = clock
    days = (await alice.get("/resource/usage/days?start_date=20260112&end_date=20260118"))["days"]
    assert sum(day["gpu_hours"] for day in days) == 6.5


@pytest.mark.asyncio
async def test_what_was_ended_without_its_agent_does_not_count_on(manager, gpus, make_user, clock, helpers):
    """Also not once that is back, and tells that its container has ended only then."""
    alice = await make_user("alice")
    manager.services.people._now = manager.services.sessions._now = clock
    await started(alice, helpers, manager, gpus, "train")
    scope = f"keypair:{alice.access_key}"

    async def gpu_hours():
        spending = (await manager.store.read(budgets.load_spending, {scope}, clock.now))[scope]
        days = (await alice.get("/resource/usage/days?start_date=20260112&end_date=20260118"))["days"]
        return spending.used / HOUR, sum(day["gpu_hours"] for day in days), spending.held

    clock.now += HOUR
    gpus.drop_link()
    await helpers.wait_until(lambda: manager.registry.link(gpus.agent_id) is None, "the end of the link")
    assert (await alice.call("DELETE", "/session/train?forced=true")).status == 200
    clock.now += 2 * HOUR
    assert await gpu_hours() == (1, 1, 0)
    await gpus.connect()

    async def is_over():
        rows = await manager.store.read(lambda conn: conn.execute(t.kernels.select()).all())
        return all(row.terminated_at is not None for row in rows)

    await helpers.wait_until(is_over, "the container's end")
    assert await gpu_hours() == (1, 1, 0)


@pytest.mark.asyncio
async def test_an_admin_is_told_who_has_used_up_what_a_change_would_allow(
    manager, admin, gpus, make_user, clock, helpers, gql
):
    manager.services.people._now = clock
    alice, bob = await make_user("alice"), await make_user("bob")
    await bind(manager, alice, "user", 100)
    change = {"resource_policy": "tight"}
    await manager.store.write(people.change_keypair, bob.access_key, change, THURSDAY)
    await started(alice, helpers, manager, gpus, "train")
    clock.now += 2 * HOUR
    asked = """query($props: ModifyKeyPairResourcePolicyInput!) {
        policy_effect(name: "tight", props: $props) {people above used_up}
    }"""
    for hours, used_up in ((3, []), (2, ["alice@localhost"]), (0, [])):
        found = await gql(admin, asked, props={"gpu_hours_per_week": hours})
        assert found["policy_effect"] == {"people": 2, "above": [], "used_up": used_up}


@pytest.mark.asyncio
async def test_a_session_is_warned_and_stopped(manager, gpus, make_user, clock, helpers):
    alice = await make_user("alice")
    await bind(manager, alice, "user", 1)
    await started(alice, helpers, manager, gpus, "train")
    await started(alice, helpers, manager, gpus, "notes", CPU)
    await clock.pass_(minutes=49)
    view = await alice.session("train")
    assert view["reason"]["code"] == "running"
    assert view["idleChecks"]["gpu_hours"]["remaining"] == 660
    assert "extensions_left" not in view["idleChecks"]["gpu_hours"]["extra"]
    await clock.pass_(minutes=2)
    view = await alice.session("train")
    assert view["reason"]["code"] == "budget-soon"
    assert view["reason"]["text"] == (
        "Ends at 2026-01-15 13:00 UTC: your user alice allows 1 GPU-hour a week, all used by then. The next week "
        "begins at 2026-01-19 00:00 UTC; CPU-only sessions go on."
    )
    kept = await alice.call("POST", "/session/train/extend")
    assert kept.status == 400
    await clock.pass_(minutes=10)
    ended = await alice.until_status("train", "TERMINATED")
    assert (ended["statusInfo"], ended["reason"]["code"]) == ("budget-used", "budget-used")
    assert (await alice.session("notes"))["status"] == "RUNNING"


@pytest.mark.asyncio
async def test_a_warning_is_taken_back_where_the_week_is_over_before(manager, gpus, make_user, clock, helpers):
    alice = await make_user("alice")
    await bind(manager, alice, "user", 1)
    clock.now = MONDAY - timedelta(minutes=35)
    await started(alice, helpers, manager, gpus, "train")
    await manager.idle_watch.look()
    assert "gpu_hours" not in (await alice.session("train"))["idleChecks"], "it lasts until the week is over"
    await started(alice, helpers, manager, gpus, "beside")
    await clock.pass_(minutes=25)
    assert (await alice.session("train"))["reason"]["code"] == "budget-soon"
    await alice.call("DELETE", "/session/beside")
    await alice.until_status("beside", "TERMINATED")
    await manager.idle_watch.look()
    assert (await alice.session("train"))["reason"]["code"] == "running"
    await clock.pass_(minutes=12)
    assert (await alice.session("train"))["status"] == "RUNNING"


@pytest.mark.asyncio
async def test_a_budget_that_was_lowered_is_told_of_first(manager, gpus, make_user, clock, helpers):
    alice = await make_user("alice")
    await bind(manager, alice, "user", None)
    await started(alice, helpers, manager, gpus, "train")
    await clock.pass_(hours=1)
    await manager.store.write(policies.change, "tight", {"gpu_hours_per_week": 0.5})
    await manager.idle_watch.look()
    view = await alice.session("train")
    assert (view["status"], view["reason"]["code"]) == ("RUNNING", "budget-soon")
    await clock.pass_(minutes=1)
    await alice.until_status("train", "TERMINATED")


@pytest.mark.asyncio
async def test_all_containers_count(manager, gpus, make_user, clock, helpers):
    alice = await make_user("alice")
    await alice.post(
        "/session",
        {
            "name": "pair",
            "image": helpers.image.name,
            "enqueueOnly": True,
            "clusterSize": 2,
            "config": {"resources": GPU},
        },
    )
    await alice.until_status("pair", "RUNNING")
    clock.now += HOUR
    scope = f"keypair:{alice.access_key}"
    spending = await manager.store.read(budgets.load_spending, {scope}, clock.now)
    assert spending[scope] == Spending(clock.now, 2 * HOUR, Decimal(2))
    rows = await manager.store.read(lambda conn: len(conn.execute(t.kernels.select()).all()))
    assert rows == 2
