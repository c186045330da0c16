"""Reports of who used how much, as Backend.AI shapes them. Pure. What was not measured is null, never zero."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db.usage import Use
from bai_jupyter.manager.people.inputs import refuse

LONGEST = timedelta(days=100)
LONGEST_BY_DAY = timedelta(days=400)
STEP = timedelta(minutes=15)
STATS_SPAN = timedelta(days=30)
_A_DAY = timedelta(days=1)
_MEASURED = ("shared_memory", "cpu_used", "mem_used", "disk_size", "io_read", "io_write")


CONTAINER = {
    **dict.fromkeys(("id", "name", "image_name", "status", "created_at", "terminated_at", "used_time"), str),
    **dict.fromkeys(("access_key", "agent"), str | None),
    **dict.fromkeys(("used_days", "mem_allocated"), int),
    **dict.fromkeys(_MEASURED),
    "smp": float,
    "nfs": list,
    "device_type": [str],
}
PROJECT = {
    **dict.fromkeys(("g_id", "g_name", "domain_name"), str),
    **dict.fromkeys(f"g_{name}" for name in _MEASURED),
    "g_smp": float,
    "g_mem_allocated": int,
    "g_device_type": [str],
    "c_infos": [CONTAINER],
}
DAY = {"date": str, "sessions": int, **dict.fromkeys(("core_hours", "gib_hours", "gpu_hours"), float)}
SESSION = {
    **dict.fromkeys(("session_id", "name", "image"), str),
    "access_key": str | None,
    **dict.fromkeys(("core_hours", "gib_hours", "gpu_hours"), float),
}
_AMOUNT = {"value": float, "unit_hint": str}
QUARTER = {
    "date": float,
    **dict.fromkeys(("num_sessions", "cpu_allocated", "mem_allocated", "gpu_allocated"), _AMOUNT),
}


def read_month(value: object) -> tuple[datetime, datetime]:
    """``202611`` as its first moment and the next month's. Raises ``BadRequest``."""
    since = _moment("month", value, "%Y%m", "a month such as 202611")
    return since, (since + timedelta(days=32)).replace(day=1)


def read_period(start: object, end: object, longest: timedelta = LONGEST) -> tuple[datetime, datetime]:
    """Two days such as ``20261101``, both included. Raises ``BadRequest``."""
    since = _moment("start_date", start, "%Y%m%d", "a day such as 20261101")
    until = _moment("end_date", end, "%Y%m%d", "a day such as 20261101") + timedelta(days=1)
    if not timedelta(0) < until - since <= longest:
        refuse("end_date", end, f"a day at most {longest.days - 1} days after the first")
    return since, until


def project_usage(project: Any, uses: Sequence[Use], now: datetime) -> dict[str, Any]:
    """One project's row with its containers. ``project`` has id, name and domain."""
    total = sum((use.slots for use in uses), ResourceSlots())
    return {
        "g_id": project.id,
        "g_name": project.name,
        "domain_name": project.domain,
        "g_smp": _number(total["cpu"]),
        "g_mem_allocated": int(total["mem"]),
        **{f"g_{name}": None for name in _MEASURED},
        "g_device_type": _devices(total),
        "c_infos": [_container(use, now) for use in uses],
    }


def series(uses: Iterable[Use], since: datetime, until: datetime, now: datetime) -> list[dict[str, Any]]:
    """What was held in each quarter of an hour."""
    count = (until - since) // STEP
    changes: dict[str, list[Decimal]] = {name: [Decimal(0)] * (count + 1) for name in ("sessions", "cpu", "mem", "gpu")}
    for use in uses:
        first = max(0, (use.began_at - since) // STEP)
        last = min(count, (min(use.ended_at or now, until) - since) // STEP + 1)
        if first < last:
            for name, amount in _held(use.slots).items():
                changes[name][first] += amount
                changes[name][last] -= amount
    levels = zip(*(accumulate(changes[name]) for name in changes), strict=True)
    start = since.timestamp()
    return [
        _point(start + step * STEP.total_seconds(), *level) for step, level in zip(range(count), levels, strict=False)
    ]


def by_day(uses: Iterable[Use], since: datetime, until: datetime, now: datetime) -> list[dict[str, Any]]:
    """What was held on each day, in UTC."""
    count = (until - since) // _A_DAY
    hours = [dict.fromkeys(("cpu", "mem", "gpu"), Decimal(0)) for _ in range(count)]
    sessions: list[set[str]] = [set() for _ in range(count)]
    for use in uses:
        began_at, ended_at = max(use.began_at, since), min(use.ended_at or now, until, now)
        held = _held(use.slots)
        for day in range((began_at - since) // _A_DAY, count):
            begins = since + day * _A_DAY
            held_for = min(ended_at, begins + _A_DAY) - max(began_at, begins)
            if held_for < timedelta(0):
                break
            sessions[day].add(use.session_id)
            for slot in hours[day]:
                hours[day][slot] += held[slot] * Decimal(held_for / timedelta(hours=1))
    return [
        {
            "date": f"{since + day * _A_DAY:%Y-%m-%d}",
            "sessions": len(sessions[day]),
            "core_hours": round(float(one["cpu"]), 3),
            "gib_hours": round(float(one["mem"] / 2**30), 3),
            "gpu_hours": round(float(one["gpu"]), 3),
        }
        for day, one in enumerate(hours)
    ]


def by_session(uses: Iterable[Use], since: datetime, until: datetime, now: datetime) -> list[dict[str, Any]]:
    """What each session held in that time, all containers of it together; who held most is first: of GPUs, else of
    CPUs, else of memory."""
    found: dict[str, tuple[Use, dict[str, Decimal]]] = {}
    for use in uses:
        held_for = min(use.ended_at or now, until, now) - max(use.began_at, since)
        _, hours = found.setdefault(use.session_id, (use, dict.fromkeys(("gpu", "cpu", "mem"), Decimal(0))))
        held = _held(use.slots)
        for slot in hours:
            hours[slot] += held[slot] * Decimal(max(held_for, timedelta(0)) / timedelta(hours=1))
    largest = sorted(found.values(), key=lambda one: tuple(one[1].values()), reverse=True)
    return [
        {
            "session_id": use.session_id,
            "name": use.session_name,
            "image": use.image,
            "access_key": use.access_key,
            "core_hours": round(float(hours["cpu"]), 3),
            "gib_hours": round(float(hours["mem"] / 2**30), 3),
            "gpu_hours": round(float(hours["gpu"]), 3),
        }
        for use, hours in largest
    ]


def _container(use: Use, now: datetime) -> dict[str, Any]:
    used = (use.ended_at or now) - use.began_at
    return {
        "id": use.kernel_id,
        "name": use.session_name,
        "access_key": use.access_key,
        "image_name": use.image,
        "status": use.status,
        "agent": use.agent,
        "created_at": use.began_at.isoformat(),
        "terminated_at": use.ended_at.isoformat() if use.ended_at else "",
        "used_time": str(used),
        "used_days": used.days + 1,
        "smp": _number(use.slots["cpu"]),
        "mem_allocated": int(use.slots["mem"]),
        **dict.fromkeys(_MEASURED),
        "nfs": [],
        "device_type": _devices(use.slots),
    }


def _held(slots: ResourceSlots) -> dict[str, Decimal]:
    return {"sessions": Decimal(1), "cpu": slots["cpu"], "mem": slots["mem"], "gpu": slots.accelerators}


def _point(moment: float, sessions: Decimal, cpu: Decimal, mem: Decimal, gpu: Decimal) -> dict[str, Any]:
    return {
        "date": moment,
        "num_sessions": {"value": int(sessions), "unit_hint": "count"},
        "cpu_allocated": {"value": _number(cpu), "unit_hint": "count"},
        "mem_allocated": {"value": int(mem), "unit_hint": "bytes"},
        "gpu_allocated": {"value": _number(gpu), "unit_hint": "count"},
    }


def _devices(slots: ResourceSlots) -> list[str]:
    return sorted({slot.split(".")[0] for slot in slots if slot not in ("cpu", "mem")})


def _number(amount: Decimal) -> int | float:
    return int(amount) if amount == int(amount) else float(amount)


def _moment(field: str, value: object, form: str, expected: str) -> datetime:
    try:
        return datetime.strptime(str(value), form).replace(tzinfo=UTC)
    except ValueError:
        refuse(field, value, expected)
