"""What the scheduler looks at and what it answers: values only, no behaviour.

A ``Snapshot`` is one resource group at one moment, ``now`` included, so that the same snapshot always gives the same
plan. Whoever takes it owns its truth; the store checks free slots and quotas again when it commits the plan.

Sharing one ``ResourceSlots`` object among sessions that ask for the same (a preset) makes a pass cheaper; it changes
no decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots


@dataclass(frozen=True)
class Devices:
    """The devices that offer one slot of an agent: what each has in all and what is free of it.

    ``evenly``: the agent takes the emptiest of those that have the room, else the fullest (``common.parts``).
    """

    names: tuple[str, ...]
    sizes: tuple[Decimal, ...]
    free: tuple[Decimal, ...]
    evenly: bool = False


@dataclass(frozen=True)
class AgentView:
    """An agent of the group. ``used`` counts every session placed on it that is not known to be gone.

    ``devices`` are those of its fractional accelerator slots, where what is free in all may lie in pieces, and of slots
    that are offered by the same device, which is in use under one of them at a time.
    """

    id: AgentId
    name: str
    total: ResourceSlots
    used: ResourceSlots
    architecture: str
    schedulable: bool = True  # False while it does not answer or is being emptied: nothing new goes there
    devices: Mapping[str, Devices] = field(default_factory=dict)


@dataclass(frozen=True)
class PendingSession:
    """A session that waits. Times are aware UTC.

    ``excluded_agents`` must not get it, whatever is free there: they failed to start it, lack what it needs, or may not
    be shared. ``passed_by`` is what ``Plan.passes`` told in earlier passes, added up by the store (see
    ``GroupPolicy.head_of_line_skips``). ``image`` only appears in sentences. It has ``containers``, each with what is
    ``requested``, all on one agent.
    """

    id: SessionId
    owner: str  # key into Snapshot.quotas
    requested: ResourceSlots
    architecture: str
    created_at: datetime
    priority: int = 0  # larger goes first
    starts_at: datetime | None = None
    waits_for: tuple[str, str] | None = None  # name and status, in words, of a session that has to succeed first
    excluded_agents: frozenset[AgentId] = frozenset()
    out_of_reach: tuple[str, str] | None = None  # a folder of its, and the volume of that, which no agent has
    passed_by: int = 0
    image: str = "The image"
    containers: int = 1


@dataclass(frozen=True)
class Limit:
    """What a policy allows at once. A slot that ``slots`` does not have is unlimited, as is ``max_sessions`` None.

    ``level`` and ``name`` go into the sentence "Your {level} {name} allows …": ``user alice``, ``project vision``.
    """

    level: str
    name: str
    slots: ResourceSlots
    max_sessions: int | None


@dataclass(frozen=True)
class Usage:
    """What is in use under a limit, in all resource groups it covers."""

    slots: ResourceSlots
    sessions: int


@dataclass(frozen=True)
class Budget:
    """How long accelerators may be held in a week, each counted for itself, and how long they were until ``now``."""

    allowed: timedelta
    used: timedelta
    resets_at: datetime

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.allowed


@dataclass(frozen=True)
class Quota:
    """A limit and its use. Quotas of the same non-empty ``scope`` are one counter, shared by their owners.

    ``budget``: a session with accelerators waits while it is used up.
    """

    limit: Limit
    usage: Usage
    scope: str = ""
    budget: Budget | None = None


@dataclass(frozen=True)
class Ending:
    """A running session's slots on an agent, and the moment they are known to come free at the latest."""

    agent_id: AgentId
    slots: ResourceSlots
    ends_at: datetime


@dataclass(frozen=True)
class Snapshot:
    """One resource group at the moment ``now`` (aware UTC)."""

    now: datetime
    group: str
    agents: tuple[AgentView, ...]
    pending: tuple[PendingSession, ...]
    quotas: Mapping[str, tuple[Quota, ...]] = field(default_factory=dict)
    endings: tuple[Ending, ...] = ()


@dataclass(frozen=True)
class GroupPolicy:
    """How a group chooses.

    ``selection``: ``concentrated`` fills agents one after the other, ``dispersed`` takes the emptiest.
    ``sequencer``: a name in ``sequencers.SEQUENCERS``.
    ``head_of_line_skips``: how many later sessions may be placed past the first one that has no room before an agent
    is kept for it (0: none; None: any number, so a large session may wait as long as small ones keep coming).
    """

    selection: Literal["dispersed", "concentrated"]
    sequencer: str = "fifo"
    head_of_line_skips: int | None = None


@dataclass(frozen=True)
class Placement:
    session_id: SessionId
    agent_id: AgentId


@dataclass(frozen=True)
class Waiting:
    """Why a session waits, its place among the ``of`` that do (from 1), and in how many seconds it may start.

    ``estimate_s`` is None where that is not known; it is never a promise.
    """

    reason: Reason
    position: int
    of: int
    estimate_s: float | None


@dataclass(frozen=True)
class Plan:
    """What to place where, in sequence order, and why every other session waits.

    ``waiting`` makes its values when they are read. ``head`` is the first session for which there is no room and
    ``passes`` how many later ones this plan places past it: add that to its ``passed_by`` when the plan is committed.
    """

    placements: tuple[Placement, ...]
    waiting: Mapping[SessionId, Waiting]
    head: SessionId | None = None
    passes: int = 0
