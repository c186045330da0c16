"""From a session's view to what it uses of what it has. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bai_jupyter.common.slots import ResourceSlots, format_size, words_of
from bai_jupyter.common.statuses import SessionStatus

WINDOW_S = 10.0
"""CPU use is the mean of the last seconds: agents count it every few."""

_MEASURED = re.compile(r"^(?P<kind>.+?)_(?:util_pct|mem_used_bytes)$")


@dataclass(frozen=True)
class Figure:
    """``part``, of 0 to 1, of what the session has is in use; ``text`` says how much, and of how much."""

    name: str
    part: float
    text: str


@dataclass(frozen=True)
class CpuSample:
    """``used_s``: seconds of CPU that a session has used until ``at_s`` of any clock that goes on."""

    at_s: float
    used_s: float


def add_sample(samples: Sequence[CpuSample], view: Mapping[str, Any], now_s: float) -> list[CpuSample]:
    """Those of the last ``WINDOW_S``. A count that went down is another container's, and begins anew."""
    used_s = (view.get("liveStat") or {}).get("cpu_used_s")
    if used_s is None:
        return []
    recent = [sample for sample in samples if now_s - sample.at_s <= WINDOW_S]
    if recent and used_s < recent[-1].used_s:
        recent = []
    return [*recent, CpuSample(now_s, used_s)]


def figures_of(view: Mapping[str, Any], samples: Sequence[CpuSample]) -> list[Figure]:
    """CPU, memory, then each kind of accelerator, as far as they are measured; nothing if it does not run."""
    measured = view.get("liveStat") or {}
    if view["status"] != SessionStatus.RUNNING:
        return []
    slots = ResourceSlots.parse(view.get("slots") or {})
    kinds = sorted({found["kind"] for name in measured if (found := _MEASURED.match(name))} - {"cpu"})
    figures = [_cpu(samples, float(slots["cpu"])), _memory(measured, float(slots["mem"]))]
    for kind in kinds:
        figures += _accelerator(kind, measured)
    return [figure for figure in figures if figure is not None]


def _cpu(samples: Sequence[CpuSample], cores: float) -> Figure | None:
    if len(samples) < 2 or not cores:
        return None
    first, last = samples[0], samples[-1]
    used = (last.used_s - first.used_s) / (last.at_s - first.at_s)
    return Figure("CPU", _part(used, cores), f"{used:.1f} of {cores:g} CPU")


def _memory(measured: Mapping[str, Any], limit: float) -> Figure | None:
    used, limit = measured.get("mem_used_bytes"), measured.get("mem_limit_bytes") or limit
    if used is None or not limit:
        return None
    return Figure("Memory", _part(used, limit), f"{format_size(int(used))} of {format_size(int(limit))}")


def _accelerator(kind: str, measured: Mapping[str, Any]) -> list[Figure | None]:
    name = words_of(f"{kind.replace('_', '-')}.device").name
    load, watts = measured.get(f"{kind}_util_pct"), measured.get(f"{kind}_power_w")
    used, total = measured.get(f"{kind}_mem_used_bytes"), measured.get(f"{kind}_mem_total_bytes")
    power = f", {watts:.0f} W" if watts is not None else ""
    return [
        Figure(name, _part(load, 100), f"{load:.0f} %{power}") if load is not None else None,
        Figure(f"{name} memory", _part(used, total), f"{format_size(int(used))} of {format_size(int(total))}")
        if used is not None and total
        else None,
    ]


def _part(used: float, limit: float) -> float:
    return min(1.0, max(0.0, used / limit))
