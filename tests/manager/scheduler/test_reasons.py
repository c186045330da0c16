"""Every reason a session can wait for, with its whole sentence."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bai_jupyter.manager.scheduler import HOPELESS, Budget, GroupPolicy, schedule

EIGHT_CPUS = {"cpu": 8, "mem": "32g"}
GPU_HOST = {"cpu": 8, "mem": "32g", "cuda.device": 4}


def waits(make, policy=None, *, agents=(), request, before=(), quotas=None, endings=(), **more):
    """Why a session waits that comes after ``before``."""
    pending = [make.session(f"before-{n}", asked, age_s=100 - n) for n, asked in enumerate(before)]
    session = make.session("mine", request, **more)
    plan = schedule(make.snapshot(agents, [*pending, session], quotas, endings), policy or make.fill)
    return plan.waiting[session.id]


def test_no_agent(make):
    waiting = waits(make, request={"cpu": 1})
    assert waiting.reason.code == "no-agent"
    assert waiting.reason.text.startswith("No agent of group lab is connected.")
    assert (waiting.position, waiting.of, waiting.estimate_s) == (1, 1, None)


def test_all_agents_draining(make):
    agents = [make.agent("a", EIGHT_CPUS, schedulable=False)]
    waiting = waits(make, agents=agents, request={"cpu": 1})
    assert waiting.reason.code == "draining"
    assert "No agent of group lab takes new sessions now: it has 1 agent, " in waiting.reason.text


def test_image_of_another_architecture(make):
    agents = [make.agent("a", EIGHT_CPUS), make.agent("b", EIGHT_CPUS, architecture="riscv64")]
    waiting = waits(make, agents=agents, request={"cpu": 1}, architecture="aarch64", image="python:3.12")
    assert waiting.reason.text == "python:3.12 is built for aarch64; agents in group lab are riscv64, x86_64."


def test_all_agents_have_failed_to_start_it(make):
    agents = [make.agent("a", EIGHT_CPUS), make.agent("b", EIGHT_CPUS)]
    waiting = waits(make, agents=agents, request={"cpu": 1}, excluded_agents=frozenset({"a", "b", "gone"}))
    assert waiting.reason.code == "tried-all"
    assert waiting.reason.text.startswith("No agent of group lab can take it: a, b failed to start it, lack ")


def test_a_folder_on_a_volume_that_no_agent_has(make):
    folder = {"excluded_agents": frozenset({"a"}), "out_of_reach": ("data", "nas:data")}
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 1}, **folder)
    assert waiting.reason.code == "volume-missing"
    assert waiting.reason.text.startswith("Folder data lies on volume nas:data, which no agent of group lab has.")


def test_slot_that_no_agent_has(make):
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 1, "tpu.device": 1})
    assert waiting.reason.text == "No agent offers tpu.device. Agents of group lab offer: CPU, memory."


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"cpu": 9}, "Asked for 9 CPU; the largest agent in group lab has 8 CPU. Ask for at most 8 CPU."),
        (
            {"cpu": 9, "mem": "33g", "cuda.device": 1},
            "Asked for 9 CPU, 33 GiB; the largest agent in group lab has 8 CPU, 32 GiB. Ask for at most 8 CPU, 32 GiB.",
        ),
        (  # each amount is somewhere, but not both on one agent
            {"cpu": 8, "cuda.device": 4},
            "Asked for 8 CPU, 4 GPU; the largest agent in group lab has 2 CPU, 4 GPU. Ask for at most 2 CPU, 4 GPU.",
        ),
    ],
)
def test_larger_than_any_agent(make, request_, sentence):
    agents = [make.agent("a", EIGHT_CPUS), make.agent("g", {"cpu": 2, "mem": "4g", "cuda.device": 4})]
    waiting = waits(make, agents=agents, request=request_)
    assert waiting.reason.text == sentence
    assert waiting.reason.code in HOPELESS


@pytest.mark.parametrize(
    ("used", "request_", "sentence"),
    [
        (
            [{"cuda.device": 4}, {"cuda.device": 4}],
            {"cpu": 1, "cuda.device": 1},
            "Waits for 1 GPU in group lab: 0 of 8 free. No estimate: running sessions have no end time.",
        ),
        (
            [{"mem": "31g"}, {"mem": "32g"}],
            {"cpu": 1, "mem": "2g"},
            "Waits for 2 GiB in group lab: 1 GiB of 64 GiB free. No estimate: running sessions have no end time.",
        ),
        (
            [{"cpu": 8, "mem": "31g"}, {"cpu": 8, "mem": "32g"}],
            {"cpu": "0.5", "mem": "2g"},
            "Waits for 0.5 CPU, 2 GiB in group lab: 0 CPU, 1 GiB of 16 CPU, 64 GiB free. "
            "No estimate: running sessions have no end time.",
        ),
        (  # enough in the group, not enough on any one
            [{"cuda.device": 2}, {"cuda.device": 3}],
            {"cuda.device": 3},
            "Waits for 3 GPU in group lab: at most 2 on one agent, in all 3 of 8 free. "
            "No estimate: running sessions have no end time.",
        ),
        (  # enough of each on one, but not of both on the same
            [{"cuda.device": 4}, {"cpu": 8}],
            {"cpu": 2, "cuda.device": 1},
            "Waits for 2 CPU, 1 GPU in group lab: not together on one agent, in all 8 CPU, 4 GPU of 16 CPU, 8 GPU "
            "free. No estimate: running sessions have no end time.",
        ),
    ],
)
def test_no_room(make, used, request_, sentence):
    agents = [make.agent(name, GPU_HOST, taken) for name, taken in zip("ab", used, strict=True)]
    waiting = waits(make, agents=agents, request=request_)
    assert waiting.reason.text == sentence
    assert waiting.reason.code not in HOPELESS


def test_no_room_counts_what_this_pass_placed(make):
    agents = [make.agent("a", GPU_HOST)]
    waiting = waits(make, agents=agents, before=[{"cuda.device": 3}], request={"cuda.device": 2})
    assert waiting.reason.text.startswith("Waits for 2 GPU in group lab: 1 of 4 free.")
    assert (waiting.position, waiting.of) == (1, 1)


def test_estimate_from_known_endings(make):
    agents = [make.agent("a", GPU_HOST, {"cuda.device": 4})]
    endings = [make.ending("a", {"cuda.device": 2}, in_s=700), make.ending("a", {"cuda.device": 1}, in_s=30)]
    first = make.session("first", {"cuda.device": 1}, age_s=9)
    second = make.session("second", {"cuda.device": 2}, age_s=5)
    third = make.session("third", {"cuda.device": 1}, age_s=1)
    waiting = schedule(make.snapshot(agents, [first, second, third], endings=endings), make.fill).waiting
    assert [waiting[name].estimate_s for name in ("first", "second", "third")] == [30, 700, None]
    assert waiting["first"].reason.text.endswith("0 of 4 free. Under a minute.")
    assert waiting["second"].reason.text.endswith("0 of 4 free. About 15 min.")
    assert waiting["third"].reason.text.endswith("No estimate: running sessions have no end time.")


def test_ending_that_is_overdue_counts_from_now(make):
    agents = [make.agent("a", EIGHT_CPUS, {"cpu": 8})]
    waiting = waits(make, agents=agents, request={"cpu": 1}, endings=[make.ending("a", {"cpu": 8}, in_s=-50)])
    assert waiting.estimate_s == 0


def test_behind_others(make):
    """The agent is kept for the large session, so a small one waits though there is room."""
    agents = [make.agent("a", EIGHT_CPUS, {"cpu": 6})]
    endings = [make.ending("a", {"cpu": 6}, in_s=300)]
    policy = GroupPolicy("concentrated", head_of_line_skips=0)
    waiting = waits(make, policy, agents=agents, before=[{"cpu": 8}], request={"cpu": 1}, endings=endings)
    assert waiting.reason.code == "behind-others"
    assert waiting.reason.text.startswith("There is room, but it waits behind 1 earlier session in ")
    assert (waiting.position, waiting.of, waiting.estimate_s) == (2, 2, None)


def test_quota_wait(make):
    quotas = {"alice": (make.quota({"cpu": 4}, {"cpu": 3}),)}
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 2}, quotas=quotas)
    assert waiting.reason.text == (
        "Your user alice allows 4 CPU; 3 in use, this asks for 2. Starts when other sessions end, or end one yourself."
    )


def test_quota_wait_in_bytes(make):
    quotas = {"alice": (make.quota({"mem": "4g"}, {"mem": "3g"}, level="project", name="vision"),)}
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"mem": "2g"}, quotas=quotas)
    assert waiting.reason.text.startswith("Your project vision allows 4 GiB memory; 3 GiB in use, this asks for 2 GiB.")


def test_request_above_the_whole_limit_is_hopeless(make):
    quotas = {"alice": (make.quota({"cpu": 4}, {"cpu": 1}),)}
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 5}, quotas=quotas)
    assert waiting.reason.text.startswith("Your user alice allows 4 CPU; 1 in use, asked for 5: 2 too much.")
    assert waiting.reason.code in HOPELESS


def test_sessions_wait(make):
    quotas = {"alice": (make.quota(sessions=2, max_sessions=2),)}
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 1}, quotas=quotas)
    assert waiting.reason.text == "Your user alice allows 2 sessions at once; you have 2. End one to start this."


@pytest.mark.parametrize(("used_h", "waits_for"), [(9.99, None), (10, "10"), (12.346, "12.35")])
def test_budget_wait(make, used_h, waits_for):
    budget = Budget(timedelta(hours=10), timedelta(hours=used_h), make.now + timedelta(hours=12))
    quotas = {"alice": (make.quota(level="project", name="vision", budget=budget),)}
    agents = [make.agent("a", {**EIGHT_CPUS, "cuda.shares": 2})]
    pending = [
        make.session("small", {"cpu": 1, "cuda.shares": "0.25"}),
        make.session("plain", {"cpu": 1}),
        make.session("other", {"cuda.shares": 1}, owner="bob"),
    ]
    plan = schedule(make.snapshot(agents, pending, quotas), make.fill)
    assert list(plan.waiting) == (["small"] if waits_for else [])
    if waits_for:
        waiting = plan.waiting["small"]
        assert waiting.reason.text == (
            f"Your project vision allows 10 GPU-hours a week; {waits_for} used. "
            "Starts after 2026-03-02 00:00 UTC; CPU-only sessions still start."
        )
        assert waiting.estimate_s == 12 * 3600
        assert waiting.reason.code not in HOPELESS


@pytest.mark.parametrize(
    ("in_s", "time"),
    [(600, "12:10 UTC (about 10 min from now)"), (9 * 3600, "21:00 UTC"), (86400, "2026-03-02 12:00 UTC")],
)
def test_starts_at(make, in_s, time):
    starts_at = make.now + timedelta(seconds=in_s)
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 1}, starts_at=starts_at)
    assert waiting.reason.text == f"Starts not before {time}, as you asked."
    assert waiting.estimate_s == in_s


def test_dependency(make):
    waiting = waits(make, agents=[make.agent("a", EIGHT_CPUS)], request={"cpu": 1}, waits_for=("step-1", "running"))
    assert waiting.reason.text == "Starts after step-1 succeeds; it is running."
    assert waiting.estimate_s is None


def test_what_waits_for_another_session_holds_nobody_back(make):
    policy = replace(make.fill, head_of_line_skips=0)
    first = replace(make.session("first", {"cpu": 8}, age_s=100), waits_for=("step-1", "pending"))
    plan = schedule(make.snapshot([make.agent("a", EIGHT_CPUS)], [first, make.session("next", {"cpu": 8})]), policy)
    assert [placement.session_id for placement in plan.placements] == ["next"]
    assert plan.head is None


def test_reasons_of_all_waiting_agree_with_the_order(make):
    agents = [make.agent("a", GPU_HOST, {"cuda.device": 4})]
    sessions = [make.session(f"s{n}", {"cuda.device": 1}, age_s=100 - n) for n in range(4)]
    late = replace(sessions[1], id="late", starts_at=make.now + timedelta(hours=1))
    plan = schedule(make.snapshot(agents, [*sessions, late]), make.fill)
    assert list(plan.waiting) == ["s0", "late", "s1", "s2", "s3"]
    assert [waiting.position for waiting in plan.waiting.values()] == [1, 2, 3, 4, 5]
    assert {waiting.of for waiting in plan.waiting.values()} == {5}
    with pytest.raises(KeyError):
        plan.waiting["stranger"]
