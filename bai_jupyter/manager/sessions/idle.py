"""What stops a session by itself, and when. Pure: the clock and what was seen are passed in.

Each check has a moment from which it counts and a limit; where they meet, the session stops. A check is bound by a
resource policy of the session's keypair, user, project or domain, the last one by an admin who empties its agent:

``network_timeout``   counts from the last activity: a running cell, command or terminal job, what somebody typed in a
                      terminal, an app's traffic. While one of these runs it does not count at all.
``utilization``       counts from the last time that its use was not low. Spares what runs, unless told not to.
``session_lifetime``  counts from the session's start, whatever it does.
``gpu_hours``         of a session with accelerators: counts what all that share its budget hold of them, and stops it
                      when that is used up, unless the next week begins before (``budgets``).
``drain``             ends it when its agent shall be empty, whatever it does.

The names but ``drain`` are those that Backend.AI's clients show. A warning goes ahead of each stop (``LEADS``); nothing
is stopped that was not warned ``NOTICE`` before, unless a policy's limit is shorter than the shortest lead.

A policy may also have idle sessions suspended (``suspension``), some time before they would be stopped. That counts
from the last activity, the last measured work (``WORKING_CORES``) and the last waking, and needs no warning: using the
session wakes it. All checks go on counting meanwhile.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import describe_hours

ACTIVITY, UTILIZATION, LIFETIME = "network_timeout", "utilization", "session_lifetime"
GPU_HOURS, DRAIN = "gpu_hours", "drain"
FIXED = (LIFETIME, GPU_HOURS, DRAIN)  # nothing that is done in the session, or asked for, puts these off
SUSPENSION = "suspension"
LEADS = (timedelta(minutes=10), timedelta(minutes=2))
NOTICE = timedelta(minutes=1)
WORKING_CORES, WORKING_PCT = 0.1, 5.0
"""What uses as many cores, or as much of a device's time, is at work, whoever started it: a process left behind in the
background. A kernel that waits uses less than a hundredth of a core."""

METRICS: Mapping[str, str] = {
    "cpu_util": "cpu",
    "mem": "mem",
    "cuda_util": "cuda.",
    "cuda_mem": "cuda.",
    "rocm_util": "rocm.",
    "rocm_mem": "rocm.",
    # Gaudi's frameworks hold a device with next to no measured use, so only its memory says whether it is needed.
    "gaudi2_mem": "gaudi2.",
    "gaudi3_mem": "gaudi3.",
}
"""Which slot a metric (per cent of what the session has) is about; with a dot at its end, which family of slots."""

WORDS: Mapping[str, str] = {
    "cpu_util": "CPU use",
    "mem": "memory use",
    "cuda_util": "GPU use",
    "cuda_mem": "GPU memory use",
    "rocm_util": "GPU use",
    "rocm_mem": "GPU memory use",
    "gaudi2_mem": "Gaudi memory use",
    "gaudi3_mem": "Gaudi memory use",
}


def use_of_devices(figures: Mapping[str, float]) -> dict[str, float]:
    """Per cent by metric, of what an agent measured of the accelerators that a session holds, as in ``Heartbeat``."""
    use = {}
    for metric in METRICS:
        kind, _, what = metric.rpartition("_")
        used, total = figures.get(f"{kind}_mem_used_bytes"), figures.get(f"{kind}_mem_total_bytes")
        if what == "util" and f"{kind}_util_pct" in figures:
            use[metric] = figures[f"{kind}_util_pct"]
        elif what == "mem" and used is not None and total:
            use[metric] = 100 * used / total
    return use


# What binds


@dataclass(frozen=True)
class Bound:
    """A limit, and the policy of which level it comes from: ``user``, ``alice``; or ``agent``, ``lab-1``."""

    limit: timedelta
    level: str
    name: str


@dataclass(frozen=True)
class Utilization:
    """A session whose use stays below ``thresholds`` (per cent, by metric) for the bound's limit is idle.

    Metrics of slots that the session has not do not count. ``needs_all``: all of them must be low, else one will do.
    """

    bound: Bound
    thresholds: Mapping[str, float]
    grace: timedelta = timedelta()
    needs_all: bool = True
    spares_running: bool = True

    @property
    def key(self) -> str:
        """What its time is kept under."""
        return f"{self.bound.level}:{self.bound.name}"

    def is_low(self, use: Mapping[str, float], slots: Collection[str]) -> bool:
        """What is not measured is not low, and a session with none of the slots in question never is."""
        low = [
            metric in use and use[metric] < threshold
            for metric, threshold in self.thresholds.items()
            if _has_slot(slots, METRICS[metric])
        ]
        return bool(low) and (all(low) if self.needs_all else any(low))


@dataclass(frozen=True)
class Budget:
    """Accelerators for the bound's limit a week, each counted for itself. ``runs_out_at`` None: not this week."""

    bound: Bound
    runs_out_at: datetime | None
    resets_at: datetime


@dataclass(frozen=True)
class Drain:
    """By when an agent shall be empty."""

    agent: str
    by: datetime


@dataclass(frozen=True)
class Limits:
    """What binds one session. None and empty: nothing does."""

    activity: Bound | None = None
    lifetime: Bound | None = None
    utilization: tuple[Utilization, ...] = ()
    suspension: Bound | None = None
    budgets: tuple[Budget, ...] = ()
    drain: Drain | None = None

    def __bool__(self) -> bool:
        policy = self.activity or self.lifetime or self.utilization or self.suspension or self.budgets
        return bool(policy or self.drain)

    @property
    def fixed(self) -> "Limits":
        """Those that hold whatever a session does."""
        return Limits(lifetime=self.lifetime, budgets=self.budgets, drain=self.drain)


# What was seen, and what is remembered of it


@dataclass(frozen=True)
class Seen:
    """One look at a session. ``running``: what runs now. ``use``: per cent by metric since the last look; None if there
    was none before, and the average where it has several ``containers``. ``cores``: CPU seconds that all of it used per
    second since then."""

    running: str | None = None
    active_at: datetime | None = None
    what: str = ""
    use: Mapping[str, float] | None = None
    slots: Collection[str] = ()
    cores: float = 0.0
    is_suspended: bool = False
    containers: int = 1

    @property
    def is_working(self) -> bool:
        devices = (pct for metric, pct in (self.use or {}).items() if metric.endswith("_util") and metric != "cpu_util")
        return self.cores >= WORKING_CORES or any(pct * self.containers >= WORKING_PCT for pct in devices)


@dataclass(frozen=True)
class Warned:
    """That its owner was told: of which check, with which lead, and when for the first time."""

    check: str
    lead: timedelta
    since: datetime


@dataclass(frozen=True)
class History:
    """What is remembered of a session between two looks. ``used_at``: when use was last not low, by policy.
    ``quiet_since``: since when it has been awake without doing anything; None while it is suspended."""

    started_at: datetime
    active_at: datetime
    what: str = "start of the session"
    used_at: Mapping[str, datetime] = field(default_factory=dict)
    extensions: int = 0
    extended_until: datetime | None = None
    warned: Warned | None = None
    quiet_since: datetime | None = None


@dataclass(frozen=True)
class Check:
    """One check as it stands. ``stops_at`` is when the session stops, or is suspended, if nothing changes; from
    ``lapses_at`` on it does not."""

    name: str
    bound: Bound
    since: datetime
    stops_at: datetime
    utilization: Utilization | None = None
    lapses_at: datetime | None = None

    @property
    def can_be_extended(self) -> bool:
        return self.name not in FIXED

    @property
    def leads(self) -> list[timedelta]:
        """How long before a stop its owner is told. Who set a policy may want it shorter than any warning."""
        return [lead for lead in LEADS if self.name == DRAIN or lead < self.bound.limit]


@dataclass(frozen=True)
class Decision:
    """What follows from a look. ``pressing`` is what to warn of; ``is_news``: its owner was not told yet.
    ``stop`` is what to end the session for, ``suspend`` what to suspend it for, and ``suspension`` how near that is."""

    history: History
    checks: tuple[Check, ...]
    pressing: Check | None = None
    is_news: bool = False
    stop: Check | None = None
    suspend: Check | None = None
    suspension: Check | None = None


def note(history: History, seen: Seen, limits: Limits, now: datetime) -> History:
    """The history with one more look in it. Activity makes extensions count anew, if it keeps the session alive."""
    active_at, what = history.active_at, history.what
    if seen.running is not None:
        active_at, what = now, seen.running
    elif seen.active_at is not None and seen.active_at > active_at:
        active_at, what = min(seen.active_at, now), seen.what
    counts_anew = active_at > history.active_at and all(one.spares_running for one in limits.utilization)
    return replace(
        history,
        active_at=active_at,
        what=what,
        used_at={one.key: _used_at(history, seen, one, now) for one in limits.utilization},
        extensions=0 if counts_anew else history.extensions,
        quiet_since=_quiet_since(history, seen, active_at, now) if limits.suspension else None,
    )


def _quiet_since(history: History, seen: Seen, active_at: datetime, now: datetime) -> datetime | None:
    if seen.is_suspended:
        return None
    if history.quiet_since is None or seen.is_working:  # awake since the last look, or at work
        return now
    return max(history.quiet_since, active_at)


def _used_at(history: History, seen: Seen, one: Utilization, now: datetime) -> datetime:
    before = history.used_at.get(one.key)
    if before is None or (one.spares_running and seen.running is not None):
        return now
    if seen.use is None or one.is_low(seen.use, seen.slots):
        return before
    return now


def checks(history: History, limits: Limits) -> tuple[Check, ...]:
    """All checks as they stand, the one that stops the session first before the others."""
    found = []
    kept_until = history.extended_until or history.started_at
    if limits.activity is not None:
        since, bound = history.active_at, limits.activity
        found.append(Check(ACTIVITY, bound, since, max(since + bound.limit, kept_until)))
    for one in limits.utilization:
        since = max(history.used_at.get(one.key, history.started_at), history.started_at + one.grace)
        found.append(Check(UTILIZATION, one.bound, since, max(since + one.bound.limit, kept_until), one))
    if limits.lifetime is not None:
        since, bound = history.started_at, limits.lifetime
        found.append(Check(LIFETIME, bound, since, since + bound.limit))
    found += [
        Check(GPU_HOURS, one.bound, history.started_at, one.runs_out_at, lapses_at=one.resets_at)
        for one in limits.budgets
        if one.runs_out_at is not None
    ]
    if limits.drain is not None:
        since, by = history.started_at, limits.drain.by
        found.append(Check(DRAIN, Bound(by - since, "agent", limits.drain.agent), since, by))
    return tuple(sorted(found, key=lambda check: check.stops_at))


def decide(history: History, limits: Limits, now: datetime) -> Decision:
    """Let it be, warn, suspend, or stop."""
    decision = _decide_stop(history, limits, now)
    bound, since = limits.suspension, history.quiet_since
    if bound is None or since is None:
        return decision
    check = Check(SUSPENSION, bound, since, since + bound.limit)
    is_due = now >= check.stops_at and decision.stop is None
    return replace(decision, suspension=check, suspend=check if is_due else None)


def _decide_stop(history: History, limits: Limits, now: datetime) -> Decision:
    found = tuple(one for one in checks(history, limits) if one.lapses_at is None or now < one.lapses_at)
    if not found:
        return Decision(replace(history, warned=None), found)
    first = found[0]
    leads = first.leads
    passed = [lead for lead in leads if first.stops_at - now <= lead]
    warned = history.warned if history.warned and history.warned.check == first.name else None
    if now >= first.stops_at and (not leads or (warned is not None and now - warned.since >= NOTICE)):
        return Decision(history, found, pressing=first, stop=first)
    if not passed:
        return Decision(replace(history, warned=None), found)
    lead = min(passed)
    is_news = warned is None or lead < warned.lead
    told = Warned(first.name, lead, warned.since if warned else now)
    return Decision(replace(history, warned=told), found, pressing=first, is_news=is_news)


def extend(history: History, limits: Limits, now: datetime, by: timedelta, allowed: int) -> History | Reason:
    """Keep an idle session for ``by`` from now. A reason if nothing would stop it, or it was kept too often."""
    if not any(check.can_be_extended for check in checks(history, limits)):
        return Reason.of("nothing-to-extend")
    if history.extensions >= allowed:
        return Reason.of("extensions-used", limit=allowed)
    until = max(now + by, history.extended_until or now)
    return replace(history, extensions=history.extensions + 1, extended_until=until, warned=None)


# In words


def warning(check: Check) -> Reason:
    """What is coming, and when."""
    common = {"stop": _clock(check.stops_at), **_whose(check)}
    match check.name:
        case "session_lifetime":
            return Reason.of("lifetime-soon", **common)
        case "gpu_hours":
            return Reason.of("budget-soon", **(common | _of_budget(check)))
        case "drain":
            return Reason.of("drain-soon", stop=_clock(check.stops_at), agent=check.bound.name)
        case "utilization":
            assert check.utilization is not None
            return Reason.of("low-use-soon", use=_low(check.utilization), since=_clock(check.since), **common)
        case _:
            return Reason.of("idle-soon", since=_clock(check.since), **common)


def suspension_reason(check: Check) -> Reason:
    """Why it was suspended."""
    return Reason.of("idle-suspended", **_whose(check))


def end_reason(check: Check, history: History, saved: str | None = None) -> Reason:
    """Why it was stopped. ``saved``: the session to name for its variables, if they are saved."""
    reason = _end_reason(check, history)
    return Reason.of(f"{reason.code}-saved", session=saved, **reason.params) if saved else reason


def _end_reason(check: Check, history: History) -> Reason:
    match check.name:
        case "session_lifetime":
            return Reason.of("idle-session-lifetime", **_whose(check))
        case "gpu_hours":
            return Reason.of("budget-used", **(_whose(check) | _of_budget(check)))
        case "drain":
            return Reason.of("drained", agent=check.bound.name, time=_clock(check.stops_at))
        case "utilization":
            assert check.utilization is not None
            return Reason.of("idle-utilization", use=_low(check.utilization), **_whose(check))
        case _:
            return Reason.of("idle-timeout", what=history.what, time=_clock(history.active_at), **_whose(check))


def view(decision: Decision, seen: Seen, now: datetime) -> dict[str, Any]:
    """``idle_checks`` as Backend.AI's clients read it, with our own facts in ``extra``."""
    shown: dict[str, Any] = {}
    suspension = (decision.suspension,) if decision.suspension else ()
    for check in (*reversed(decision.checks), *suspension):  # of several of one name the first to stop it is shown
        extra: dict[str, Any] = {
            "since": check.since.isoformat(),
            "suspends_at" if check.name == SUSPENSION else "stops_at": check.stops_at.isoformat(),
            **({"agent": check.bound.name} if check.name == DRAIN else _policy(check)),
        }
        if check.name == ACTIVITY:
            extra["last"] = decision.history.what
        if check.name in (ACTIVITY, SUSPENSION):
            extra["running"] = seen.running is not None
        if check.utilization is not None:
            use, thresholds = seen.use or {}, check.utilization.thresholds
            extra["resources"] = {metric: [round(use.get(metric, 0.0), 2), thresholds[metric]] for metric in thresholds}
        grace = check.utilization is not None and now < decision.history.started_at + check.utilization.grace
        shown[check.name] = {
            "remaining": max(0, round((check.stops_at - now).total_seconds())),
            "remaining_time_type": "grace_period" if grace else "expire_after",
            "extra": extra,
        }
    return shown


def _has_slot(slots: Collection[str], wanted: str) -> bool:
    return any(slot.startswith(wanted) if wanted.endswith(".") else slot == wanted for slot in slots)


def _policy(check: Check) -> dict[str, Any]:
    return {"limit": int(check.bound.limit.total_seconds()), "policy": f"{check.bound.level} {check.bound.name}"}


def _whose(check: Check) -> dict[str, str]:
    return {"limit": span(check.bound.limit), "level": check.bound.level, "name": check.bound.name}


def _of_budget(check: Check) -> dict[str, str]:
    assert check.lapses_at is not None
    return {"limit": describe_hours(check.bound.limit), "reset": _clock(check.lapses_at)}


def _low(one: Utilization) -> str:
    return (" and " if one.needs_all else " or ").join(
        f"{WORDS[metric]} below {threshold:g} %" for metric, threshold in one.thresholds.items()
    )


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def span(duration: timedelta) -> str:
    """``90 s``, ``45 min``, ``1.5 h``, ``7 days``."""
    seconds = duration.total_seconds()
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit != "days"):
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:g} s"
