"""What is free, which presets fit, and what was used."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.manager.db import catalog, groups, policies
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.people import DEFAULT
from bai_jupyter.manager.db.records import PresetRecord
from bai_jupyter.manager.db.usage import Use
from bai_jupyter.manager.people import usage

NOW = datetime(2026, 3, 10, 12, 5, tzinfo=UTC)
GIB = 2**30


def fitting(answer):
    return {one["name"]: one["allocatable"] for one in answer["presets"]}


@pytest.mark.asyncio
async def test_presets_fit_what_is_free_and_allowed(manager, agent, make_user):
    """Defect of Backend.AI 23.09.10: presets with a GPU were allocatable where there is none."""
    alice = await make_user("alice")
    answer = await alice.post("/resource/check-presets", status=200)
    # The agent has no GPU: a slot that nobody has is not there, rather than ignored.
    assert fitting(answer) == {"small": True, "medium": True, "gpu": False}
    assert answer["keypair_limits"] == {"cpu": "Infinity", "mem": "Infinity"}
    assert answer["scaling_groups"]["default"]["remaining"] == {"cpu": "8", "mem": str(32 * GIB)}

    await manager.store.write(policies.change, DEFAULT, {"total_slots": SlotLimits.parse({"cpu": 3})})
    await alice.create("two-cores", resources={"cpu": "2", "mem": "1g"})
    await alice.until_status("two-cores", "RUNNING")
    answer = await alice.post("/resource/check-presets", {"group": "default", "scaling_group": "default"}, 200)
    assert fitting(answer) == {"small": True, "medium": False, "gpu": False}
    assert (answer["keypair_limits"]["cpu"], answer["keypair_using"]["cpu"]) == ("3", "2")
    assert answer["keypair_remaining"] == {"cpu": "1", "mem": "Infinity"}
    assert answer["group_using"]["cpu"] == answer["domain_using"]["cpu"] == "2"
    assert answer["scaling_group_remaining"]["cpu"] == "6"

    await manager.store.write(policies.change, DEFAULT, {"max_sessions": 1})
    assert not any(fitting(await alice.post("/resource/check-presets", status=200)).values())


@pytest.mark.asyncio
async def test_presets_of_where_one_may_not_be(manager, agent, make_user):
    alice = await make_user("alice")
    for body, code in (({"group": "nosuch"}, "project-unknown"), ({"scaling_group": "nosuch"}, "group-unknown")):
        answer = await alice.call("POST", "/resource/check-presets", body)
        assert (answer.status, answer.json["data"]["reason"]["code"]) == (404, code)
    assert (await alice.call("POST", "/resource/check-presets", {"group": 3})).status == 400
    await manager.store.write(groups.revoke, DEFAULT, f"domain:{DEFAULT}")
    assert not any(fitting(await alice.post("/resource/check-presets", status=200)).values())
    assert await alice.get("/scaling-groups?group=default") == {"scaling_groups": []}


@pytest.mark.asyncio
async def test_an_agent_that_is_away_offers_nothing(manager, agent, make_user, helpers):
    alice = await make_user("alice")
    agent.drop_link()

    async def nothing_fits():
        return not any(fitting(await alice.post("/resource/check-presets", status=200)).values())

    await helpers.wait_until(nothing_fits, "no preset fits")


@pytest.mark.asyncio
async def test_usage_by_project(manager, agent, admin, make_user):
    alice = await make_user("alice")
    await alice.create("my-work", resources={"cpu": "2", "mem": "1g"})
    await alice.until_status("my-work", "RUNNING")
    today = datetime.now(UTC)
    month = await admin.get(f"/resource/usage/month?month={today:%Y%m}")
    assert [(one["g_name"], one["g_smp"], one["g_mem_allocated"]) for one in month] == [("default", 2, GIB)]
    (container,) = month[0]["c_infos"]
    assert (container["name"], container["access_key"], container["smp"]) == ("my-work", alice.access_key, 2)
    days = f"start_date={today:%Y%m%d}&end_date={today:%Y%m%d}"
    assert (await admin.get(f"/resource/usage/period?group_id={month[0]['g_id']}&{days}"))["g_smp"] == 2
    assert await admin.get(f"/resource/usage/period?group_id=nosuch&{days}") == {}
    before = await admin.get("/resource/usage/month?month=200001")
    assert [(one["g_smp"], one["c_infos"]) for one in before] == [(0, [])]
    assert (await alice.call("GET", f"/resource/usage/month?month={today:%Y%m}")).status == 403

    async def by_day(who, query=""):
        found = await who.get(f"/resource/usage/days?{days}{query}")
        return [(one["date"], one["sessions"]) for one in found["days"]]

    project, date = month[0]["g_id"], f"{today:%Y-%m-%d}"
    assert await by_day(alice) == [(date, 1)]
    assert await by_day(admin) == [(date, 0)]
    assert await by_day(admin, "&scope=all") == await by_day(admin, f"&group_id={project}") == [(date, 1)]
    for query, status in (("&scope=all", 403), (f"&group_id={project}", 403), ("&scope=some", 400)):
        assert (await alice.call("GET", f"/resource/usage/days?{days}{query}")).status == status
    assert (await admin.call("GET", f"/resource/usage/days?{days}&group_id=nosuch")).status == 404
    assert (await alice.call("GET", "/resource/usage/days?start_date=20240101&end_date=20260101")).status == 400

    stats = await alice.get("/resource/stats/user/month")
    assert len(stats) == 30 * 96
    assert (stats[-1]["num_sessions"]["value"], stats[-1]["cpu_allocated"]["value"]) == (1, 2)
    assert (await admin.get("/resource/stats/user/month"))[-1]["num_sessions"]["value"] == 0
    assert (await admin.get("/resource/stats/admin/month"))[-1]["num_sessions"]["value"] == 1
    assert (await alice.call("GET", "/resource/stats/admin/month")).status == 403


@pytest.mark.asyncio
async def test_usage_by_session(manager, agent, admin, make_user):
    alice = await make_user("alice")
    days = f"start_date={datetime.now(UTC):%Y%m%d}&end_date={datetime.now(UTC):%Y%m%d}"
    await alice.create("my-work", resources={"cpu": "2", "mem": "1g"})
    await alice.until_status("my-work", "RUNNING")

    async def by_session(who, query=""):
        found = await who.get(f"/resource/usage/sessions?{days}{query}")
        return found["total_count"], [(one["name"], one["access_key"]) for one in found["sessions"]]

    await alice.create("next", resources={"cpu": "1", "mem": "1g"})
    await alice.until_status("next", "RUNNING")
    mine = [("my-work", alice.access_key), ("next", alice.access_key)]
    assert sorted((await by_session(alice))[1]) == mine
    assert await by_session(admin) == (0, [])
    total, page = await by_session(admin, "&scope=all&limit=1&offset=1")
    assert (total, len(page)) == (2, 1)
    assert (await alice.call("GET", f"/resource/usage/sessions?{days}&scope=all")).status == 403


@pytest.mark.asyncio
async def test_recalculating_corrects_counters(manager, admin):
    wrong = t.counters.insert().values(scope="domain:default", slot="cpu", used=5000)
    await manager.store.write(lambda conn: conn.execute(wrong))
    assert await admin.post("/resource/recalculate-usage", status=200) == {}
    assert (await admin.post("/resource/check-presets", status=200))["domain_using"] == {}
    used = t.counters.select().where(t.counters.c.scope == "domain:default")
    assert [row.used for row in await manager.store.read(lambda conn: conn.execute(used).all())] == [0]


@pytest.mark.asyncio
async def test_presets_keep_their_order(manager):
    await manager.store.write(catalog.add_preset, PresetRecord("last", ResourceSlots.parse({"cpu": 1}), None))
    found = [one.name for one in await manager.store.read(catalog.list_presets)]
    assert found == ["small", "medium", "gpu", "last"]
    with pytest.raises(BadRequest, match="preset last already"):
        await manager.store.write(catalog.add_preset, PresetRecord("last", ResourceSlots(), None))


def use(began_at, ended_at, **slots):
    fields = ("kernel", "session", "my-work", "project", "AKIA", "python", "RUNNING", "lab-1")
    return Use(*fields, ResourceSlots.parse(slots), began_at, ended_at)


def test_series_counts_each_quarter_that_a_container_touches():
    since = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    uses = [
        use(since - timedelta(days=2), since + timedelta(minutes=20), cpu=2, mem="1g"),
        use(since + timedelta(minutes=16), None, cpu=1, **{"cuda.shares": "0.5"}),
        use(since - timedelta(days=3), since - timedelta(days=1), cpu=64),
    ]
    points = usage.series(uses, since, since + timedelta(hours=1), since + timedelta(minutes=44))
    assert [one["num_sessions"]["value"] for one in points] == [1, 2, 1, 0]
    assert [one["cpu_allocated"]["value"] for one in points] == [2, 3, 1, 0]
    assert [one["gpu_allocated"]["value"] for one in points] == [0, 0.5, 0.5, 0]
    assert points[1]["date"] - points[0]["date"] == 900


def test_what_is_held_is_counted_on_each_of_its_days_to_the_second():
    since = datetime(2026, 3, 10, tzinfo=UTC)
    uses = [
        use(since - timedelta(days=9), since + timedelta(hours=30), cpu=2, mem="1g"),
        use(since + timedelta(hours=25), None, cpu=1, **{"cuda.shares": "0.5"}),
        use(since - timedelta(days=9), since - timedelta(days=1), cpu=64),
    ]
    days = usage.by_day(uses, since, since + timedelta(days=3), since + timedelta(hours=26, minutes=1))
    names = ("date", "sessions", "core_hours", "gib_hours", "gpu_hours")
    assert [tuple(one[name] for name in names) for one in days] == [
        ("2026-03-10", 1, 48, 24, 0),
        ("2026-03-11", 1, 5.05, 2.017, 0.508),
        ("2026-03-12", 0, 0, 0, 0),
    ]


@pytest.mark.parametrize(
    ("start", "end"), [("x", "20260101"), ("20260102", "20260101"), ("20260101", "20270101"), (None, None)]
)
def test_periods_that_cannot_be(start, end):
    with pytest.raises(BadRequest):
        usage.read_period(start, end)


def test_month_ends_where_the_next_begins():
    assert usage.read_month("202612") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_what_each_session_held_in_a_time_its_containers_together_the_largest_first():
    since = datetime(2026, 3, 10, tzinfo=UTC)
    small = use(since - timedelta(days=9), since + timedelta(hours=1), cpu=2, mem="1g")
    main = replace(use(since + timedelta(hours=1), None, cpu=1, mem="1g"), session_id="large", session_name="train")
    sub = replace(main, kernel_id="sub", ended_at=since + timedelta(hours=2))
    gpu = replace(use(since, since + timedelta(hours=1), **{"cuda.device": 1}), session_id="gpu", session_name="gpu")
    late = replace(use(since + timedelta(days=2), None, cpu=9), session_id="late")
    held = usage.by_session([small, main, sub, gpu, late], since, since + timedelta(days=1), since + timedelta(hours=4))
    names = ("session_id", "name", "core_hours", "gib_hours", "gpu_hours")
    assert [tuple(one[name] for name in names) for one in held] == [
        ("gpu", "gpu", 0, 0, 1),
        ("large", "train", 4, 4, 0),
        ("session", "my-work", 2, 1, 0),
        ("late", "my-work", 0, 0, 0),
    ]
