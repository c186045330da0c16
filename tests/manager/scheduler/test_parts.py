"""Parts of devices: the scheduler promises what agents can give, and agents give what it promised.

A thousand random clusters, each with a stream of sessions that come and go: manager's pass, its view of each agent's
devices, and the agents' own allocator, together.
"""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from bai_agent.allocation import NoRoom, allocate

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.parts import EVENLY, STRATEGY, cut
from bai_jupyter.common.slots import ResourceSlots, rounded_up
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.db.admission import from_quanta, to_quanta
from bai_jupyter.manager.db.placements import Holding
from bai_jupyter.manager.db.records import AgentRecord
from bai_jupyter.manager.scheduler import AgentView, GroupPolicy, PendingSession, Snapshot, schedule
from bai_jupyter.manager.sessions.scheduling import parts_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
Given = dict[str, dict[str, Decimal]]


@dataclass
class Host:
    """An agent: its devices, and what it gave to whom."""

    record: AgentRecord
    evenly: bool = False
    given: dict[SessionId, Given] = field(default_factory=dict)
    promised: dict[SessionId, ResourceSlots] = field(default_factory=dict)  # placed by the manager
    told: set[SessionId] = field(default_factory=set)  # of which the manager has heard the devices

    def view(self) -> AgentView:
        """As the manager makes it: counters in thousandths, and the devices that kernels reported."""
        used = ResourceSlots()
        for slots in self.promised.values():
            used += from_quanta(to_quanta(slots))
        holdings = [
            Holding(slots, _as_reported(self.given[session]) if session in self.told else {})
            for session, slots in self.promised.items()
        ]
        parts = parts_of(self.record, holdings)
        return AgentView(self.record.id, self.record.name, self.record.slots, used, "x86_64", devices=parts)

    def take(self, session: SessionId, slots: ResourceSlots) -> None:
        """Raises ``NoRoom`` if the scheduler promised what is not there."""
        self.promised[session] = slots
        self.given[session] = allocate(slots, self.record.devices, list(self.given.values()), evenly=self.evenly)

    def end(self, session: SessionId) -> None:
        self.given.pop(session, None)
        self.promised.pop(session, None)
        self.told.discard(session)

    def check(self) -> None:
        for device in self.record.devices:
            for slot, size in device.slots.items():
                used = sum(held.get(slot, {}).get(device.device_id, Decimal(0)) for held in self.given.values())
                assert used <= size, (device, self.given)
            under = {slot for held in self.given.values() for slot in held if device.device_id in held[slot]}
            assert len(under) <= 1, (device, self.given)
        for session, slots in self.promised.items():
            for slot, amount in slots.items():
                assert sum(self.given[session][slot].values()) == amount  # exactly, in Decimal


def _as_reported(given: Given) -> dict[str, dict[str, str]]:
    return {slot: {name: format(amount, "f") for name, amount in of.items()} for slot, of in given.items()}


def host(number: int, devices: list[DeviceFacts], *, evenly: bool = False) -> Host:
    return Host(
        AgentRecord(
            id=AgentId(f"agent-{number}"),
            name=f"agent {number}",
            resource_group="lab",
            status=AgentStatus.ALIVE,
            is_schedulable=True,
            runtime="docker",
            isolated=True,
            architecture="x86_64",
            slots=sum((device.slots for device in devices), ResourceSlots()),
            used=ResourceSlots(),
            devices=tuple(devices),
            volumes=frozenset(),
            images=frozenset(),
            heard_at=None,
            version="",
            created_at=NOW,
        ),
        evenly,
    )


def _random_host(rng: random.Random, number: int) -> Host:
    evenly = rng.random() < 0.5
    size = Decimal(rng.choice([100, 100, 250, 73])) / 100
    parts, whole = {"cuda.shares": size}, {"cuda.device": Decimal(1)}
    slots = rng.choice([parts, parts, whole, {**parts, **whole}])  # the last: one card, whole or in parts
    gpu = DeviceFacts("", "cuda", "m", ResourceSlots(slots), attributes={STRATEGY: EVENLY if evenly else "fill"})
    devices = [
        DeviceFacts("cpu", "cpu", "m", ResourceSlots({"cpu": rng.randint(2, 16)})),
        DeviceFacts("mem", "mem", "m", ResourceSlots({"mem": rng.randint(8, 64)})),
        *(replace(gpu, device_id=f"gpu-{index}") for index in range(rng.randint(0, 4))),
    ]
    return host(number, devices, evenly=evenly)


def _random_request(rng: random.Random) -> ResourceSlots:
    """As a person asks; the manager rounds it up to what agents give."""
    asked = {"cpu": Decimal(rng.randint(1, 300)) / 100, "mem": Decimal(rng.randint(1, 8))}
    kind = rng.random()
    if kind < 0.7:
        asked["cuda.shares"] = Decimal(rng.randint(1, 1600)) / 1000  # a third digit, which no agent gives
    if 0.6 < kind < 0.85:  # some ask for both
        asked["cuda.device"] = Decimal(rng.choice(["1", "2", "0.5"]))
    return ResourceSlots({name: rounded_up(name, amount) for name, amount in asked.items()})


def _live(seed: int, told_at_once: float) -> int:
    """One cluster's life; how many sessions ran. ``told_at_once`` of the agents' reports come before the next pass."""
    rng = random.Random(seed)  # noqa: S311 - a seed that can be given again
    hosts = {one.record.id: one for one in (_random_host(rng, number) for number in range(rng.randint(1, 3)))}
    policy = GroupPolicy(rng.choice(["dispersed", "concentrated"]), "fifo", rng.choice([None, 2]))
    waiting: dict[SessionId, PendingSession] = {}
    ran = 0
    for step in range(6):
        for number in range(rng.randint(1, 5)):
            session_id = SessionId(f"session-{step}-{number}")
            containers = rng.choice([1, 1, 1, 2, 3])
            asked = PendingSession(session_id, "alice", _random_request(rng), "x86_64", NOW, containers=containers)
            waiting[session_id] = asked
        views = tuple(one.view() for one in hosts.values())
        plan = schedule(Snapshot(NOW, "lab", views, tuple(waiting.values())), policy)
        for placement in plan.placements:
            session, one = waiting[placement.session_id], hosts[placement.agent_id]
            parts = [SessionId(f"{session.id}/{place}") for place in range(session.containers)]
            try:
                for part in parts:
                    one.take(part, session.requested)
            except NoRoom:
                # Where it is not known yet who got what, an agent may refuse: the session waits again.
                assert told_at_once < 1
                for part in parts:
                    one.end(part)
                continue
            del waiting[session.id]
            ran += 1
        for one in hosts.values():
            one.check()
            one.told |= {session_id for session_id in one.given if rng.random() < told_at_once}
            for session_id in list(one.given):
                if rng.random() < 0.3:
                    one.end(session_id)
    return ran


def test_a_thousand_clusters_are_never_promised_more_than_they_have() -> None:
    assert sum(_live(seed, told_at_once=1) for seed in range(500)) > 2500
    assert sum(_live(seed, told_at_once=0.6) for seed in range(500, 1000)) > 2500


def test_a_share_that_no_single_gpu_has_waits_and_is_told_so() -> None:
    cards = [DeviceFacts(f"g{index}", "cuda", "m", ResourceSlots({"cuda.shares": 1})) for index in range(2)]
    one, share = host(0, cards), ResourceSlots({"cuda.shares": Decimal("0.6")})
    for name in ("a", "b"):
        one.take(SessionId(name), share)
    asked = PendingSession(SessionId("c"), "alice", share, "x86_64", NOW)
    plan = schedule(Snapshot(NOW, "lab", (one.view(),), (asked,)), GroupPolicy("dispersed"))
    assert plan.placements == ()
    assert plan.waiting[asked.id].reason.text.startswith(
        "Waits for 0.6 GPU in group lab: at most 0.4 on one device, in all 0.8 of 2 free."
    )


def test_each_container_of_a_session_has_its_part_on_one_device() -> None:
    cards = [DeviceFacts(f"g{index}", "cuda", "m", ResourceSlots({"cuda.shares": 1})) for index in range(2)]
    one = host(0, cards)
    asked = [
        PendingSession(SessionId(name), "alice", ResourceSlots({"cuda.shares": Decimal(each)}), "x86_64", NOW, **more)
        for name, each, more in (
            ("fits", "0.6", {"containers": 2}),
            ("same in all", "1.2", {}),
            ("too many", "0.3", {"containers": 3}),
            ("the rest", "0.4", {"containers": 2}),
        )
    ]
    plan = schedule(Snapshot(NOW, "lab", (one.view(),), tuple(asked)), GroupPolicy("dispersed"))
    assert [placement.session_id for placement in plan.placements] == ["fits", "the rest"]


def test_a_card_that_is_offered_whole_and_in_parts_is_promised_once() -> None:
    both = ResourceSlots({"cuda.device": 1, "cuda.shares": 1})
    one = host(0, [DeviceFacts(f"g{index}", "mock", "m", both) for index in range(2)])
    one.take(SessionId("a"), ResourceSlots({"cuda.shares": Decimal("0.5")}))
    asked = [
        PendingSession(SessionId(name), "alice", ResourceSlots({slot: Decimal(amount)}), "x86_64", NOW)
        for name, slot, amount in (("b", "cuda.device", "1"), ("c", "cuda.device", "1"), ("d", "cuda.shares", "0.6"))
    ]
    plan = schedule(Snapshot(NOW, "lab", (one.view(),), tuple(asked)), GroupPolicy("dispersed"))
    assert [placement.session_id for placement in plan.placements] == ["b"]
    why = {name: plan.waiting[SessionId(name)].reason.text for name in ("c", "d")}
    assert why["c"].startswith("Waits for 1 GPU in group lab: 0 of 2 free.")
    assert why["d"].startswith("Waits for 0.6 GPU in group lab: 0.5 of 2 free.")


@pytest.mark.parametrize(("evenly", "chosen"), [(False, 2), (True, 0)])
def test_the_choice_among_devices(evenly: bool, chosen: int) -> None:
    assert cut(30, [100] * 3, [90, 20, 40], evenly=evenly) == {chosen: 30}
    assert cut(30, [100] * 3, [90, 20, 40], evenly=evenly, far=[True, False, False]) == {2: 30}
    assert cut(95, [100] * 3, [90, 20, 40], evenly=evenly) is None
    assert cut(140, [100] * 3, [90, 100, 40], evenly=evenly) == {1: 100, chosen: 40}
    assert cut(200, [100] * 3, [90, 100, 100], evenly=evenly, whole_first=[2, 1, 0]) == {2: 100, 1: 100}
