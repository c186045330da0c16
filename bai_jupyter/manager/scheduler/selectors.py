"""On which agent a session goes, and what free room there is in the group.

The choice, which a plain loop over all agents would make as well:

* A session with accelerators goes to an agent that has them: the one with least room (``concentrated``) or most
  (``dispersed``), where room is compared accelerators first.
* A session without goes to an agent without, chosen the same way. Only if none has room does it go to one with
  accelerators, and then to the one with fewest of them free, whatever the selection.
* Among equals the smaller id.

Agents are kept sorted by free room, so a search begins where room is large enough and mostly ends at once. Free room
only shrinks during a pass: a need that failed fails again, as does every need at least as large. That memory is kept
per ``View``, which is everything besides the need that limits the choice.

A part of a device must fit one device, so an agent whose free parts are too small is passed over (``_Parts``), as is
one whose devices are in use under another slot.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import cached_property
from operator import le
from typing import NamedTuple

from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.parts import Shelf, Shelves
from bai_jupyter.common.slots import is_fractional
from bai_jupyter.manager.scheduler.quanta import Amounts, Quanta, fits, lacking, minus
from bai_jupyter.manager.scheduler.snapshot import AgentView, Devices

Rank = int
"""An agent's place among the group's agents sorted by id."""

Rooms = list[tuple[Amounts, Rank]]
"""Agents sorted by free room."""


class Room:
    """The agents of a group and their free room during one pass.

    ``free[rank]`` is what is really free; the sorted lists may hold less of an agent that is kept for somebody.
    Agents with less than ``smallest`` are not in the lists, since no session of the pass fits there.
    """

    def __init__(self, agents: Iterable[AgentView], quanta: Quanta, *, is_dispersed: bool, smallest: Amounts) -> None:
        self.agents = sorted(agents, key=lambda agent: agent.id)
        self.quanta = quanta
        self.totals = [quanta.total(agent.total) for agent in self.agents]
        self.ranks: dict[AgentId, Rank] = {agent.id: rank for rank, agent in enumerate(self.agents)}
        self._parts = {rank: _Parts(quanta, agent) for rank, agent in enumerate(self.agents) if agent.devices}
        self.free = [
            self._in_parts(rank, lacking(total, quanta.used(agent.used))) if agent.schedulable else (0,) * len(total)
            for rank, (agent, total) in enumerate(zip(self.agents, self.totals, strict=True))
        ]
        self._search = _roomiest if is_dispersed else _tightest
        self._smallest = smallest
        self._rooms: dict[tuple[str, bool], Rooms] = {}
        self._views: dict[tuple[str, frozenset[AgentId], int], View] = {}
        for rank, agent in enumerate(self.agents):
            if agent.schedulable and fits(smallest, self.free[rank]):
                self._rooms_of(rank).append((self.free[rank], rank))
        for rooms in self._rooms.values():
            rooms.sort()

    def view(self, architecture: str, excluded: frozenset[AgentId], containers: int = 1) -> "View":
        """The agents that sessions of this architecture and as many containers may use."""
        key = (architecture, excluded, containers)
        if key not in self._views:
            self._views[key] = View(self, architecture, excluded, containers)
        return self._views[key]

    def rooms(self, architecture: str, *, has_scarce: bool) -> Rooms:
        return self._rooms.setdefault((architecture, has_scarce), [])

    def _rooms_of(self, rank: Rank) -> Rooms:
        return self.rooms(self.agents[rank].architecture, has_scarce=self.has_scarce(self.totals[rank]))

    def has_scarce(self, amounts: Amounts) -> bool:
        """True if there is an accelerator among the amounts."""
        return any(amounts[: self.quanta.scarce])

    def take(self, need: Amounts, view: "View") -> "Rank | NoRoom":
        """Take ``need`` from the agent chosen for it."""
        no_room = view.failed(need)
        if no_room is not None:
            return no_room
        found = self._find(need, view)
        if found is None:
            return view.remember_failed(need)
        rooms, at = found
        free, rank = rooms.pop(at)
        if rank in self._parts:
            self._parts[rank].take(need, view.containers)
        self.free[rank] = self._in_parts(rank, minus(self.free[rank], need))
        self._put(rooms, self._in_parts(rank, minus(free, need)), rank)
        return rank

    def _in_parts(self, rank: Rank, free: Amounts) -> Amounts:
        """No more than the agent's devices have left: what is used under another slot is not free."""
        parts = self._parts.get(rank)
        return free if parts is None else parts.cap(free)

    def _find(self, need: Amounts, view: "View") -> tuple[Rooms, int] | None:
        accelerated = self.rooms(view.architecture, has_scarce=True)
        if self.has_scarce(need):
            choices = [(accelerated, self._search)]
        else:
            choices = [(self.rooms(view.architecture, has_scarce=False), self._search), (accelerated, _tightest)]

        def takes(rank: Rank) -> bool:
            return rank not in view.excluded and (
                rank not in self._parts or self._parts[rank].has(need, view.containers)
            )

        for rooms, search in choices:
            at = search(rooms, need, takes)
            if at is not None:
                return rooms, at
        return None

    def largest_part(self, rank: Rank, index: int) -> int | None:
        """The most of one slot that is free on one device of an agent; None if its parts do not matter."""
        return self._parts[rank].largest(index) if rank in self._parts else None

    def _put(self, rooms: Rooms, free: Amounts, rank: Rank) -> None:
        if fits(self._smallest, free):
            insort(rooms, (free, rank))

    def keep(self, rank: Rank, available: Amounts) -> None:
        """From now on offer only ``available`` of an agent's free room (no more than what is free)."""
        rooms = self._rooms_of(rank)
        at = bisect_left(rooms, (self.free[rank], rank))
        if at < len(rooms) and rooms[at][1] == rank:
            del rooms[at]
            self._put(rooms, available, rank)


class View:
    """The agents of one architecture without those excluded, and the needs that have failed there.

    A need is that of all ``containers`` of a session, which take equal parts of it.
    """

    def __init__(self, room: Room, architecture: str, excluded: frozenset[AgentId], containers: int) -> None:
        self.architecture, self.containers = architecture, containers
        self.excluded = frozenset(room.ranks[agent_id] for agent_id in excluded if agent_id in room.ranks)
        self.built_for = [rank for rank, agent in enumerate(room.agents) if agent.architecture == architecture]
        self.members = [rank for rank in self.built_for if rank not in self.excluded]
        self._room = room
        self._failed: dict[Amounts, NoRoom] = {}
        self._smallest_failed: list[Amounts] = []  # no one of them at least as large as another

    def admits(self, rank: Rank) -> bool:
        return self._room.agents[rank].architecture == self.architecture and rank not in self.excluded

    def failed(self, need: Amounts) -> "NoRoom | None":
        """What an earlier search for this or a smaller need found out, if there was one."""
        known = self._failed.get(need)
        if known is not None:
            return known
        for smaller in self._smallest_failed:
            if all(map(le, smaller, need)):
                return self._failed.setdefault(need, NoRoom(self, need))
        return None

    def remember_failed(self, need: Amounts) -> "NoRoom":
        self._smallest_failed = [failed for failed in self._smallest_failed if not fits(need, failed)]
        self._smallest_failed.append(need)
        return self._failed.setdefault(need, NoRoom(self, need))

    @property
    def names_excluded(self) -> list[str]:
        return sorted(self._room.agents[rank].name for rank in self.built_for if rank in self.excluded)

    @cached_property
    def kinds(self) -> list[Amounts]:
        """The different agents there are, by what they have in all, most accelerators first."""
        return sorted({self._room.totals[rank] for rank in self.members}, reverse=True)

    @cached_property
    def largest(self) -> Amounts:
        """Slot by slot, the most that one agent has in all."""
        return tuple(map(max, zip(*self.kinds, strict=True)))

    def ever_fits(self, need: Amounts) -> bool:
        """True if an empty agent would do."""
        return fits(need, self.largest) and any(fits(need, kind) for kind in self.kinds)

    def able(self, need: Amounts) -> list[Rank]:
        """The agents that would do if they were empty, and that take sessions."""
        return [
            rank for rank in self.members if self._room.agents[rank].schedulable and fits(need, self._room.totals[rank])
        ]


class NoRoom(NamedTuple):
    """``need`` found no room on any of the agents of ``view``."""

    view: View
    need: Amounts


class _Parts:
    """The devices of an agent, by place of the slot among the quanta, as they fill during a pass."""

    def __init__(self, quanta: Quanta, agent: AgentView) -> None:
        self._shelves = {quanta.names.index(slot): _shelf(quanta, slot, of) for slot, of in agent.devices.items()}
        self._fractional = {at for at in self._shelves if is_fractional(quanta.names[at])}
        self._all = Shelves(self._shelves)

    def has(self, need: Amounts, containers: int) -> bool:
        if containers == 1:
            return self._all.cut(enumerate(need)) is not None
        return self._all.copy().take(_each(need, containers), containers)

    def take(self, need: Amounts, containers: int) -> None:
        self._all.take(_each(need, containers), containers)

    def cap(self, free: Amounts) -> Amounts:
        left = {at: sum(shelf.free) for at, shelf in self._shelves.items()}
        return tuple([min(amount, left.get(at, amount)) for at, amount in enumerate(free)])

    def largest(self, index: int) -> int | None:
        return max(self._shelves[index].free) if index in self._fractional else None


def _each(need: Amounts, containers: int) -> list[tuple[int, int]]:
    return [(at, amount // containers) for at, amount in enumerate(need)]


def _shelf(quanta: Quanta, slot: str, devices: Devices) -> Shelf[int]:
    index = quanta.names.index(slot)
    sizes, free = ([quanta.down(index, amount) for amount in amounts] for amounts in (devices.sizes, devices.free))
    return Shelf(devices.names, sizes, free, devices.evenly)


def _tightest(rooms: Rooms, need: Amounts, takes: Callable[[Rank], bool]) -> int | None:
    """Index of the agent with least room in which ``need`` fits. What sorts before ``need`` lacks something."""
    for at in range(bisect_left(rooms, (need, -1)), len(rooms)):
        free, rank = rooms[at]
        if fits(need, free) and takes(rank):
            return at
    return None


def _roomiest(rooms: Rooms, need: Amounts, takes: Callable[[Rank], bool]) -> int | None:
    """Index of the agent with most room in which ``need`` fits; among equals the smallest rank."""
    for at in range(len(rooms) - 1, bisect_left(rooms, (need, -1)) - 1, -1):
        free, rank = rooms[at]
        if fits(need, free) and takes(rank):
            first = bisect_left(rooms, (free, -1))
            return next(equal for equal in range(first, at + 1) if takes(rooms[equal][1]))
    return None
