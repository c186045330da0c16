"""One pass over one resource group: each session in its turn is held, placed, or waits for room.

What is held by its own quota or start time holds nobody else back. When a session finds no room, later ones that need
less may pass it. The first that finds none is the *head*: once ``policy.head_of_line_skips`` later sessions have been
placed where it could have run, counted over this pass and its ``passed_by``, one agent is kept for it
(``estimates.choose_kept``), so it does not starve. Only the head gets an agent; when it has started, the next one is
the head.
"""

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.manager.scheduler.causes import (
    AllExcluded,
    Cause,
    NoAgent,
    NoVolume,
    UnknownSlot,
    WrongArchitecture,
)
from bai_jupyter.manager.scheduler.estimates import choose_kept
from bai_jupyter.manager.scheduler.explain import Explanations, Outcome
from bai_jupyter.manager.scheduler.quanta import Amounts, Quanta, times
from bai_jupyter.manager.scheduler.selectors import NoRoom, Rank, Room, View
from bai_jupyter.manager.scheduler.sequencers import SEQUENCERS
from bai_jupyter.manager.scheduler.snapshot import GroupPolicy, PendingSession, Placement, Plan, Snapshot, Waiting
from bai_jupyter.manager.scheduler.validators import Validators


def schedule(snapshot: Snapshot, policy: GroupPolicy) -> Plan:
    """Decide for every pending session of the group: where it goes, or why it waits.

    Pure: no clock, no randomness, nothing kept. Raises ``KeyError`` for a sequencer that does not exist.
    """
    queue = SEQUENCERS[policy.sequencer](snapshot.pending)
    return _Pass(snapshot, policy, queue).run()


def verdict(snapshot: Snapshot, policy: GroupPolicy, candidate: PendingSession) -> AgentId | Waiting:
    """What would happen to ``candidate`` if it were sent now: its agent, or why it would wait.

    The real decision with one session more. A ``Waiting`` whose code is in ``HOPELESS`` is a refusal.
    """
    others = tuple(session for session in snapshot.pending if session.id != candidate.id)
    asked = Snapshot(
        snapshot.now, snapshot.group, snapshot.agents, (*others, candidate), snapshot.quotas, snapshot.endings
    )
    plan = schedule(asked, policy)
    waiting = plan.waiting.get(candidate.id)
    if waiting is not None:
        return waiting
    return next(placement.agent_id for placement in plan.placements if placement.session_id == candidate.id)


class _Pass:
    """The moving parts of one pass."""

    def __init__(self, snapshot: Snapshot, policy: GroupPolicy, queue: list[PendingSession]) -> None:
        self._snapshot = snapshot
        self._queue = queue
        self._skips = policy.head_of_line_skips
        self._quanta = Quanta(name for agent in snapshot.agents for name in agent.total)
        self._needs = [self._need(session) for session in queue]
        self._room = Room(
            snapshot.agents,
            self._quanta,
            is_dispersed=policy.selection == "dispersed",
            smallest=_smallest(self._needs),
        )
        self._validators = Validators(snapshot.quotas, snapshot.now, self._quanta)
        self._has_agent = any(agent.schedulable for agent in snapshot.agents)
        self._placements: list[Placement] = []
        self._waiting: list[tuple[SessionId, Cause]] = []
        self._head: PendingSession | None = None
        self._head_cause: NoRoom | None = None
        self._passable: frozenset[Rank] = frozenset()  # agents the head could use: a placement there passes it
        self._passes = 0
        self._kept: Rank | None = None

    def run(self) -> Plan:
        """Give each session its turn."""
        for session, need in zip(self._queue, self._needs, strict=True):
            cause = self._place(session, need)
            if cause is not None:
                self._waiting.append((session.id, cause))
                if self._head is None and isinstance(cause, NoRoom) and cause.view.ever_fits(cause.need):
                    self._set_head(session, cause)
        outcome = Outcome(self._snapshot, self._room, self._waiting, self._kept)
        return Plan(tuple(self._placements), Explanations(outcome), self._head.id if self._head else None, self._passes)

    def _need(self, session: PendingSession) -> Amounts | None:
        """Of all its containers."""
        each = self._quanta.need(session.requested)
        return None if each is None else times(each, session.containers)

    def _place(self, session: PendingSession, need: Amounts | None) -> Cause | None:
        if not self._has_agent:
            return NoAgent()
        view = self._room.view(session.architecture, session.excluded_agents, session.containers)
        if not view.members:
            return self._nowhere(session, view)
        if need is None:
            return UnknownSlot(next(name for name in session.requested if name not in self._quanta.names))
        return self._validators.hold(session, need) or self._take(session, need, view)

    def _nowhere(self, session: PendingSession, view: View) -> Cause:
        if not view.built_for:
            return WrongArchitecture(session.image, session.architecture)
        return AllExcluded(view) if session.out_of_reach is None else NoVolume(*session.out_of_reach)

    def _take(self, session: PendingSession, need: Amounts, view: View) -> NoRoom | None:
        rank = self._room.take(need, view)
        if isinstance(rank, NoRoom):
            return rank
        self._validators.charge(session, need)
        self._placements.append(Placement(session.id, self._room.agents[rank].id))
        if rank in self._passable:
            self._passes += 1
            self._keep_if_due()
        return None

    def _set_head(self, session: PendingSession, cause: NoRoom) -> None:
        self._head, self._head_cause = session, cause
        self._passable = frozenset(cause.view.able(cause.need))
        self._keep_if_due()

    def _keep_if_due(self) -> None:
        if self._head is None or self._head_cause is None or self._skips is None or self._kept is not None:
            return
        if self._head.passed_by + self._passes >= self._skips:
            chosen = choose_kept(self._room, self._snapshot.endings, self._head_cause.view, self._head_cause.need)
            if chosen is not None:
                self._kept, available = chosen
                self._room.keep(self._kept, available)


def _smallest(needs: list[Amounts | None]) -> Amounts:
    """Slot by slot, the least that any session asks for: an agent with less than that is of use to nobody."""
    distinct = {need for need in needs if need is not None}
    return tuple(map(min, zip(*distinct, strict=True)))
