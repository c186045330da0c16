"""Idle checks with a clock of the test's own: what runs is never stopped, what is idle always is, and why is said."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.sessions import idle
from bai_jupyter.manager.sessions.idle import (
    ACTIVITY,
    DRAIN,
    LIFETIME,
    UTILIZATION,
    Bound,
    Budget,
    Drain,
    History,
    Limits,
    Seen,
    Utilization,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)
SLOTS = ("cpu", "mem", "cuda.shares")
CODES = {
    ACTIVITY: "idle-timeout",
    UTILIZATION: "idle-utilization",
    LIFETIME: "idle-session-lifetime",
    DRAIN: "drained",
}


def bound(limit):
    return Bound(limit, "user", "alice")


class Life:
    """A session that is looked at every ``TICK``: what it does at each moment is ``does(now)``. Any of it wakes it."""

    def __init__(self, limits, does):
        self.limits, self.does = limits, does
        self.now, self.history = START, History(START, START)
        self.warnings, self.stopped_at, self.stop = [], None, None
        self.suspended_at, self.suspensions, self.wakings = None, [], []

    def look(self, now):
        seen = self.does(now)
        if self.suspended_at is None:
            return seen
        if seen.running or (seen.active_at or START) > self.suspended_at:
            self.suspended_at = None
            self.wakings.append(now)
        return replace(seen, is_suspended=self.suspended_at is not None)

    def run(self, until):
        while self.now < until and self.stop is None:
            now = self.now = self.now + TICK
            self.history = idle.note(self.history, self.look(now), self.limits, now)
            decision = idle.decide(self.history, self.limits, now)
            self.history = decision.history
            if decision.is_news:
                self.warnings.append((now, decision.pressing))
            if decision.suspend is not None:
                self.suspended_at = now
                self.suspensions.append(now)
            if decision.stop is not None:
                self.stopped_at, self.stop = now, decision.stop
        return self


def random_limits(rng):
    low_use = Utilization(
        bound(rng.randint(5, 60) * MINUTE),
        {"cpu_util": 5.0, "cuda_util": 5.0},
        grace=rng.choice([0, 5]) * MINUTE,
        needs_all=rng.random() < 0.5,
        spares_running=True,
    )
    return Limits(
        activity=bound(rng.randint(3, 120) * MINUTE) if rng.random() < 0.8 else None,
        lifetime=bound(timedelta(hours=rng.randint(5, 9))) if rng.random() < 0.3 else None,
        utilization=(low_use,) if rng.random() < 0.5 else (),
        suspension=bound(rng.randint(1, 30) * MINUTE) if rng.random() < 0.7 else None,
        drain=Drain("lab-1", START + timedelta(hours=rng.randint(4, 9))) if rng.random() < 0.3 else None,
    )


@pytest.mark.parametrize("seed", range(20))
def test_random_lives(seed):
    rng = random.Random(seed)  # noqa: S311 - the same lives each time
    limits = random_limits(rng)
    ends = START + timedelta(hours=4)
    # Some stretches of work, each of which may be a cell, or an app's traffic now and then; then nothing any more.
    stretches, now = [], START
    while now < START + timedelta(hours=3):
        pause = timedelta(seconds=rng.randint(0, 150))
        stretches.append((now + pause, now + pause + timedelta(seconds=rng.randint(30, 3600)), rng.random() < 0.5))
        now = stretches[-1][1]
    last = stretches[-1][1]

    def does(now):
        current = next((one for one in stretches if one[0] <= now <= one[1]), None)
        if current is None:
            past = [end for _, end, _ in stretches if end <= now]
            return Seen(None, max(past, default=None), "app traffic", {"cpu_util": 0.0, "cuda_util": 0.0}, SLOTS)
        if current[2]:
            return Seen("a cell", use={"cpu_util": 0.0, "cuda_util": 0.0}, slots=SLOTS)  # as in time.sleep
        return Seen(None, now, "app traffic", {"cpu_util": 50.0, "cuda_util": 50.0}, SLOTS)

    life = Life(limits, does).run(ends + timedelta(hours=24))
    if limits.suspension:
        check_suspensions(life, stretches)
    if not replace(limits, suspension=None):
        assert life.stop is None
        return
    assert life.stop is not None, "what is idle stops"
    assert idle.end_reason(life.stop, life.history).code == CODES[life.stop.name]
    since = {ACTIVITY: last, UTILIZATION: last}.get(life.stop.name, START)
    if life.stop.name not in idle.FIXED:
        assert life.stopped_at > last, "what is used is not stopped"
    # Use is known as of the last look, which may be one interval before its end.
    earliest = since + life.stop.bound.limit - (TICK if life.stop.name == UTILIZATION else timedelta(0))
    assert earliest <= life.stopped_at <= since + life.stop.bound.limit + TICK
    told = [at for at, check in life.warnings if check.name == life.stop.name and check.stops_at == life.stop.stops_at]
    leads = [lead for lead in idle.LEADS if lead < life.stop.bound.limit]
    assert len(told) == len(leads)
    for at, lead in zip(told, leads, strict=True):
        assert timedelta(0) <= life.stop.stops_at - at <= lead


def check_suspensions(life, stretches):
    """What is idle for so long is suspended, nothing else is, and what is used next wakes it."""
    limit = life.limits.suspension.limit
    ends = [(end, next((begin for begin, *_ in stretches if begin >= end), None)) for _, end, _ in stretches]
    until = life.stopped_at or life.now
    due = [(end + limit, again) for end, again in ends if again is None or again > end + limit + TICK]
    due = [(at, again) for at, again in due if at + TICK < until]
    if stretches[0][0] > START + limit + 2 * TICK:
        due.insert(0, (START + TICK + limit, stretches[0][0]))
    at_last_moment = [at for at in life.suspensions if not any(soon <= at <= soon + TICK for soon, _ in due)]
    for at in at_last_moment:
        assert any(end + limit <= at <= end + limit + 2 * TICK for end, _ in ends), "only what is idle"
    for soon, again in due:
        assert any(soon <= at <= soon + TICK for at in life.suspensions), "what is idle is suspended"
        if again is not None and again + TICK < until:
            assert any(again <= at <= again + TICK for at in life.wakings)


def quiet(_now):
    return Seen(use={"cpu_util": 0.0}, slots=SLOTS)


def test_activity_takes_a_warning_back():
    def does(now):
        return Seen("a cell") if now == START + 59 * MINUTE else Seen()

    life = Life(Limits(activity=bound(60 * MINUTE)), does).run(START + 61 * MINUTE)
    assert [at - START for at, _ in life.warnings] == [50 * MINUTE, 58 * MINUTE]
    assert life.history.warned is None
    life.run(START + 100 * MINUTE)
    assert life.stop is None


def test_a_limit_shorter_than_any_warning_stops_without_one():
    life = Life(Limits(activity=bound(MINUTE)), quiet).run(START + 5 * MINUTE)
    assert (life.warnings, life.stopped_at) == ([], START + MINUTE)


def test_what_was_due_while_nobody_looked_is_warned_first():
    limits = Limits(activity=bound(60 * MINUTE))
    late = START + timedelta(hours=5)
    decision = idle.decide(History(START, START), limits, late)
    assert decision.is_news
    assert decision.stop is None
    assert idle.decide(decision.history, limits, late + idle.NOTICE - TICK).stop is None
    assert idle.decide(decision.history, limits, late + idle.NOTICE).stop is not None


SUSPENDS = Limits(activity=bound(60 * MINUTE), suspension=bound(20 * MINUTE))


def test_an_idle_session_is_suspended_once_and_stopped_as_ever():
    life = Life(SUSPENDS, quiet).run(START + 90 * MINUTE)
    assert life.suspensions == [START + TICK + 20 * MINUTE]
    assert life.stopped_at == START + 60 * MINUTE
    assert len(life.warnings) == 2


def test_what_works_in_the_background_is_not_suspended():
    def does(now):
        return Seen(use={"cuda_util": 80.0}) if now.minute % 20 == 0 else Seen(cores=0.5 if now.minute % 9 == 0 else 0)

    assert Life(SUSPENDS, does).run(START + 50 * MINUTE).suspensions == []


def test_it_counts_anew_from_a_waking_that_is_no_use():
    """Somebody resumed it by hand, or opened its notebook."""
    life = Life(SUSPENDS, quiet).run(START + 25 * MINUTE)
    assert life.suspended_at is not None
    life.suspended_at = None
    life.run(START + 55 * MINUTE)
    assert life.suspensions[1:] == [START + 25 * MINUTE + TICK + 20 * MINUTE]


def test_how_near_suspension_is_can_be_seen():
    life = Life(SUSPENDS, quiet).run(START + 5 * MINUTE)
    shown = idle.view(idle.decide(life.history, SUSPENDS, life.now), Seen(), life.now)["suspension"]
    assert shown["remaining"] == 15 * 60 + TICK.seconds
    assert shown["extra"]["policy"] == "user alice"
    assert not shown["extra"]["running"]


def test_extensions_are_bounded_and_count_anew_after_activity():
    limits, hour = Limits(activity=bound(60 * MINUTE)), timedelta(hours=1)
    history, now = History(START, START), START + 55 * MINUTE
    for _ in range(3):
        history = idle.extend(history, limits, now, hour, allowed=3)
        assert idle.checks(history, limits)[0].stops_at == now + hour
        now += 55 * MINUTE
    assert idle.extend(history, limits, now, hour, allowed=3).code == "extensions-used"
    history = idle.note(history, Seen("a cell"), limits, now)
    assert not isinstance(idle.extend(history, limits, now, hour, allowed=3), Reason)


def test_a_lifetime_is_not_extended():
    limits = Limits(lifetime=bound(60 * MINUTE))
    assert idle.extend(History(START, START), limits, START, timedelta(hours=1), 3).code == "nothing-to-extend"
    life = Life(limits, lambda _now: Seen("a cell")).run(START + 5 * 60 * MINUTE)
    assert life.stopped_at == START + 60 * MINUTE
    assert idle.end_reason(life.stop, life.history).params["limit"] == "1 h"


def budget(runs_out_at, resets_at=START + timedelta(days=3)):
    return Limits(budgets=(Budget(bound(timedelta(hours=10)), runs_out_at, resets_at),))


def test_a_used_up_budget_is_warned_of_and_not_extended():
    limits = budget(START + 60 * MINUTE)
    assert idle.extend(History(START, START), limits, START, timedelta(hours=1), 3).code == "nothing-to-extend"
    life = Life(limits, lambda _now: Seen("a cell")).run(START + 5 * 60 * MINUTE)
    assert [at - START for at, _ in life.warnings] == [50 * MINUTE, 58 * MINUTE]
    assert idle.warning(life.warnings[0][1]).params == {
        "stop": "2026-01-01 01:00 UTC",
        "limit": "10",
        "level": "user",
        "name": "alice",
        "reset": "2026-01-04 00:00 UTC",
    }
    assert life.stopped_at == START + 60 * MINUTE
    reason = idle.end_reason(life.stop, life.history)
    assert reason.text == (
        "Ended: your user alice allows 10 GPU-hours a week, all used. Start again as it was after 2026-01-04 00:00 UTC."
    )
    assert idle.end_reason(life.stop, life.history, "work").text.startswith(reason.text)


def test_a_budget_stops_nothing_in_the_next_week():
    limits = budget(START + 60 * MINUTE, resets_at=START + 55 * MINUTE)
    life = Life(limits, quiet).run(START + 5 * 60 * MINUTE)
    assert len(life.warnings) == 1
    assert (life.history.warned, life.stop) == (None, None)


def test_a_budget_that_lasts_stops_nothing():
    life = Life(budget(None), quiet).run(START + 5 * 60 * MINUTE)
    assert (life.warnings, life.stop) == ([], None)


def test_what_comes_first_stops():
    limits = replace(budget(START + 60 * MINUTE), lifetime=bound(30 * MINUTE))
    assert Life(limits, quiet).run(START + 60 * MINUTE).stop.name == LIFETIME


DRAINS = Limits(drain=Drain("lab-1", START + 60 * MINUTE))


def test_a_drain_ends_what_runs_at_its_time_and_warns_before():
    life = Life(DRAINS, lambda _now: Seen("a cell")).run(START + 5 * 60 * MINUTE)
    assert [at - START for at, _ in life.warnings] == [50 * MINUTE, 58 * MINUTE]
    assert idle.warning(life.warnings[0][1]).text.startswith("Ends at 2026-01-01 01:00 UTC: lab-1 is emptied for")
    assert life.stopped_at == START + 60 * MINUTE
    assert idle.end_reason(life.stop, life.history).text.startswith("Ended: lab-1 is emptied for maintenance, by 2026")
    assert idle.extend(life.history, DRAINS, START, timedelta(hours=1), 3).code == "nothing-to-extend"


@pytest.mark.parametrize("by", [-30, -1, 0, 1])
def test_a_drain_whose_time_has_come_warns_all_the_same(by):
    """The manager was away, or the session began when it was over: on its way to the agent before that was drained."""
    late = History(START, START)
    limits = Limits(drain=Drain("lab-1", START + by * MINUTE))
    decision = idle.decide(late, limits, START + MINUTE)
    assert (decision.is_news, decision.stop) == (True, None)
    assert idle.decide(decision.history, limits, START + MINUTE + idle.NOTICE - TICK).stop is None
    assert idle.decide(decision.history, limits, START + MINUTE + idle.NOTICE).stop is not None


def test_a_drain_that_is_put_off_is_warned_of_anew():
    life = Life(DRAINS, lambda _now: Seen("a cell")).run(START + 55 * MINUTE)
    life.limits = Limits(drain=Drain("lab-1", START + 120 * MINUTE))
    life.run(START + 180 * MINUTE)
    assert [at - START for at, _ in life.warnings] == [50 * MINUTE, 110 * MINUTE, 118 * MINUTE]
    assert life.stopped_at == START + 120 * MINUTE


def test_when_a_drain_ends_it_is_shown():
    history = History(START, START)
    shown = idle.view(idle.decide(history, DRAINS, START), Seen(), START)
    stops_at = (START + 60 * MINUTE).isoformat()
    extra = {"since": START.isoformat(), "stops_at": stops_at, "agent": "lab-1"}
    assert shown == {DRAIN: {"remaining": 3600, "remaining_time_type": "expire_after", "extra": extra}}


def low_use(**options):
    return Utilization(bound(60 * MINUTE), {"cpu_util": 5.0, "cuda_util": 10.0, "gaudi2_mem": 5.0}, **options)


@pytest.mark.parametrize(
    ("options", "use", "slots", "low"),
    [
        ({}, {"cpu_util": 4.0, "cuda_util": 9.0}, SLOTS, True),
        ({}, {"cpu_util": 4.0, "cuda_util": 10.0}, SLOTS, False),
        ({"needs_all": False}, {"cpu_util": 4.0, "cuda_util": 90.0}, SLOTS, True),
        ({"needs_all": False}, {"cpu_util": 5.0, "cuda_util": 90.0}, SLOTS, False),
        ({}, {"cpu_util": 4.0, "cuda_util": 0.0}, ("cpu", "mem"), True),  # it has no GPU: that does not count
        ({}, {"cpu_util": 4.0}, SLOTS, False),  # it has one, and nobody measures it
        ({}, {"cpu_util": 90.0, "gaudi2_mem": 1.0}, ("gaudi2.device",), True),  # by its memory only
        ({}, {"cpu_util": 0.0}, ("rocm.device",), False),  # nothing that it has is limited
    ],
)
def test_low_use(options, use, slots, low):
    assert low_use(**options).is_low(use, slots) is low


def test_use_of_devices_is_read_from_what_agents_measure():
    measured = {"cuda_util_pct": 12.0, "cuda_mem_used_bytes": 1.0, "cuda_mem_total_bytes": 4.0, "cpu_used_s": 9.0}
    assert idle.use_of_devices(measured) == {"cuda_util": 12.0, "cuda_mem": 25.0}
    gaudi = {"gaudi2_util_pct": 0.0, "gaudi2_mem_used_bytes": 3.0, "gaudi2_mem_total_bytes": 4.0}
    assert idle.use_of_devices(gaudi) == {"gaudi2_mem": 75.0}


def test_low_use_ends_what_runs_only_if_that_is_not_spared():
    def does(_now):
        return Seen("a cell", use={"cpu_util": 0.0, "cuda_util": 0.0}, slots=SLOTS)

    assert Life(Limits(utilization=(low_use(),)), does).run(START + 300 * MINUTE).stop is None
    life = Life(Limits(utilization=(low_use(spares_running=False),)), does).run(START + 300 * MINUTE)
    assert life.stopped_at == START + TICK + 60 * MINUTE
    text = idle.end_reason(life.stop, life.history).text
    assert "GPU use below 10 %" in text
    assert "for 1 h" in text
    assert "user alice" in text


def test_grace_counts_from_the_start_and_is_shown():
    limits = Limits(utilization=(low_use(grace=10 * MINUTE),))
    life = Life(limits, lambda _now: Seen(use={"cpu_util": 0.0}, slots=("cpu",)))
    life.run(START + 5 * MINUTE)
    decision = idle.decide(life.history, limits, START + 5 * MINUTE)
    shown = idle.view(decision, Seen(use={"cpu_util": 1.0}), START + 5 * MINUTE)["utilization"]
    assert (shown["remaining"], shown["remaining_time_type"]) == (65 * 60, "grace_period")
    assert shown["extra"]["resources"]["cpu_util"] == [1.0, 5.0]
    assert life.run(START + 300 * MINUTE).stopped_at == START + 70 * MINUTE


def test_the_first_look_after_a_restart_judges_no_use():
    limits = Limits(utilization=(low_use(),))
    before = History(START, START, used_at={limits.utilization[0].key: START})
    seen = Seen(use=None, slots=SLOTS)
    assert idle.note(before, seen, limits, START + 30 * MINUTE).used_at == before.used_at
