"""How fast a scheduling pass is, beside a plain integer loop as the floor. Run: ``python benchmarks/scheduler.py``.

Four slots, three kinds of agents, one core. Needs are *presets* (24 different ones, slots objects shared), *decoded*
(the same, but a slots object for each session, as read from a database) or *random* (nearly all different).

* ``fill``: the group starts empty and takes what it can; the figure is placements per second.
* ``full``: nothing fits, although each slot is free somewhere; the figure is the time of a pass. ``+ read`` also makes
  every waiting session's reason, ``+ ends`` does so with known endings, hence with estimates.

The floor walks over all agents for each session, with integer tuples made beforehand, and knows neither quotas,
reasons nor positions; ``full`` takes it so long that it is measured on a part of the queue and scaled.
"""

import argparse
import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.scheduler import (
    AgentView,
    Ending,
    GroupPolicy,
    Limit,
    PendingSession,
    Quota,
    Snapshot,
    Usage,
    schedule,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 2**30
KINDS = (
    {"cuda.shares": 8, "cpu": 64, "mem": 512 * GIB},
    {"rocm.device": 4, "cpu": 48, "mem": 256 * GIB},
    {"cpu": 96, "mem": 384 * GIB},
)
NOTHING = ResourceSlots()


def make_need(rng: random.Random) -> dict[str, Decimal]:
    need = {"cpu": Decimal(rng.randint(1, 16)) / 2, "mem": Decimal(rng.randint(1, 64) * GIB)}
    accelerator = rng.choice([None, "cuda.shares", "cuda.shares", "rocm.device"])
    if accelerator == "cuda.shares":
        need[accelerator] = Decimal(rng.choice([10, 25, 50, 100, 200])) / 100
    elif accelerator:
        need[accelerator] = Decimal(rng.choice([1, 2]))
    return need


def make_needs(style: str, count: int, rng: random.Random) -> list[ResourceSlots]:
    if style == "random":
        return [ResourceSlots(dict(make_need(rng), mem=Decimal(rng.randint(1, 64 * GIB)))) for _ in range(count)]
    presets = [make_need(rng) for _ in range(24)]
    if style == "decoded":
        return [ResourceSlots(rng.choice(presets)) for _ in range(count)]
    shared = [ResourceSlots(preset) for preset in presets]
    return [rng.choice(shared) for _ in range(count)]


def make_agents(count: int, *, is_full: bool, rng: random.Random) -> tuple[AgentView, ...]:
    """Agents of three kinds; full ones lack memory, or everything but memory, so that every slot is free somewhere."""
    agents = []
    for number in range(count):
        total = ResourceSlots(KINDS[number % len(KINDS)])
        used = NOTHING
        if is_full:
            free = {"mem"} if rng.random() < 0.5 else set(total) - {"mem"}
            used = ResourceSlots({name: amount for name, amount in total.items() if name not in free})
        agents.append(AgentView(AgentId(f"agent-{number:05}"), f"agent {number}", total, used, "x86_64"))
    return tuple(agents)


def make_snapshot(arguments: argparse.Namespace, style: str, *, is_full: bool, has_endings: bool = False) -> Snapshot:
    rng = random.Random(arguments.seed)  # noqa: S311  the same every time
    agents = make_agents(arguments.agents, is_full=is_full, rng=rng)
    owners = [f"user {number}" for number in range(arguments.owners)]
    pending = tuple(
        PendingSession(
            SessionId(f"session-{number:07}"), rng.choice(owners), need, "x86_64", NOW + timedelta(0, number)
        )
        for number, need in enumerate(make_needs(style, arguments.pending, rng))
    )
    limit = ResourceSlots({"cpu": 10**6, "cuda.shares": 10**6})
    project = Quota(Limit("project", "vision", limit, 10**6), Usage(NOTHING, 0), scope="vision")
    quotas = {
        owner: (Quota(Limit("user", owner, limit, 10**6), Usage(ResourceSlots({"cpu": 1}), 1)), project)
        for owner in owners
    }
    endings = tuple(
        Ending(agent.id, ResourceSlots({"cpu": 8, "mem": 32 * GIB}), NOW + timedelta(0, rng.randint(60, 10**4)))
        for agent in (agents * 3 if has_endings else ())
    )
    return Snapshot(NOW + timedelta(1), "default", agents, pending, quotas, endings)


def plain_loop(snapshot: Snapshot, *, is_dispersed: bool) -> Callable[[], int]:
    """The floor: the same choice by walking over all agents, from tuples made beforehand."""
    names = sorted(
        {name for agent in snapshot.agents for name in agent.total}, key=lambda name: (name in KINDS[2], name)
    )

    def amounts(slots: ResourceSlots) -> tuple[int, ...]:
        return tuple(int(slots[name] * (1 if name == "mem" else 1000)) for name in names)

    needs = [amounts(session.requested) for session in snapshot.pending]
    room = [amounts(agent.total - agent.used) for agent in snapshot.agents]

    def run() -> int:
        free, placed = list(room), 0
        for need in needs:
            best = -1
            for rank, here in enumerate(free):
                if all(asked <= there for asked, there in zip(need, here, strict=True)) and (
                    best < 0 or (here > free[best] if is_dispersed else here < free[best])
                ):
                    best = rank
            if best >= 0:
                placed += 1
                free[best] = tuple(there - asked for asked, there in zip(need, free[best], strict=True))
        return placed

    return run


def best_of(rounds: int, run: Callable[[], int]) -> tuple[float, int]:
    """Shortest of some runs in seconds, and what the run returned."""
    times, result = [], 0
    for _ in range(rounds):
        gc.collect()
        start = perf_counter()
        result = run()
        times.append(perf_counter() - start)
    return min(times), result


def measure_fill(arguments: argparse.Namespace, style: str, selection: str) -> tuple[str, ...]:
    snapshot = make_snapshot(arguments, style, is_full=False)
    policy = GroupPolicy(selection)  # type: ignore[arg-type]
    seconds, placed = best_of(arguments.rounds, lambda: len(schedule(snapshot, policy).placements))
    part = replace(snapshot, pending=snapshot.pending[: arguments.floor_pending])
    floor_s, floor_placed = best_of(1, plain_loop(part, is_dispersed=selection == "dispersed"))
    floor = floor_placed / floor_s
    return (f"fill {selection}", style, f"{placed:,}", f"{placed / seconds:,.0f} /s", f"{floor:,.0f} /s")


def measure_full(arguments: argparse.Namespace, style: str, extra: str) -> tuple[str, ...]:
    snapshot = make_snapshot(arguments, style, is_full=True, has_endings=extra == "+ ends")
    policy = GroupPolicy("concentrated")

    def run() -> int:
        plan = schedule(snapshot, policy)
        return len(list(plan.waiting.values())) if extra else len(plan.waiting)

    seconds, waiting = best_of(arguments.rounds, run)
    floor = ""
    if not extra:
        part = replace(snapshot, pending=snapshot.pending[: arguments.floor_pending])
        floor_s, _ = best_of(1, plain_loop(part, is_dispersed=False))
        floor = f"{floor_s * len(snapshot.pending) / len(part.pending) * 1000:,.0f} ms"
    return (f"full {extra}", style, f"{waiting:,}", f"{seconds * 1000:.1f} ms", floor)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("--owners", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="best of so many")
    parser.add_argument("--floor-pending", type=int, default=300, help="how many sessions the plain loop is timed on")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = [("case", "needs", "sessions", "scheduler", "plain loop")]
    for style in ("presets", "decoded", "random"):
        rows += [measure_fill(arguments, style, selection) for selection in ("concentrated", "dispersed")]
        rows += [measure_full(arguments, style, extra) for extra in ("", "+ read", "+ ends")]
    print(f"{arguments.agents:,} agents, {arguments.pending:,} pending, {arguments.owners} owners with two quotas each")
    print_table(rows)


if __name__ == "__main__":
    main()
