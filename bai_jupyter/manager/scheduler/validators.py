"""May a session run now, were there room? What holds a session here never holds another one back.

Quotas are counters for the length of a pass: a placement counts at once for the owner's next session, and for
everybody who shares the scope.
"""

from collections.abc import Mapping
from datetime import datetime
from math import inf
from typing import NamedTuple

from bai_jupyter.manager.scheduler.quanta import Amounts, Quanta
from bai_jupyter.manager.scheduler.snapshot import Budget, Limit, PendingSession, Quota


class TooEarly(NamedTuple):
    starts_at: datetime


class Unmet(NamedTuple):
    """A session that has to succeed first, and its status."""

    name: str
    status: str


class Ledger:
    """What is left under one quota during a pass."""

    def __init__(self, quota: Quota, quanta: Quanta) -> None:
        limit, usage = quota.limit, quota.usage
        self.limit: Limit = limit
        self.left = quanta.limits(limit.slots, usage.slots)
        self.sessions = usage.sessions
        self.max_sessions = inf if limit.max_sessions is None else limit.max_sessions

    def charge(self, need: Amounts) -> None:
        self.sessions += 1
        for index in self.left:
            self.left[index] -= need[index]


class OverQuota(NamedTuple):
    """``slot_index`` is the slot whose limit is in the way."""

    ledger: Ledger
    slot_index: int
    asked: int


class TooManySessions(NamedTuple):
    ledger: Ledger


class BudgetUsed(NamedTuple):
    limit: Limit  # says whose it is
    budget: Budget


Hold = TooEarly | Unmet | OverQuota | TooManySessions | BudgetUsed


class Validators:
    """Everything about a session itself that can hold it."""

    def __init__(self, quotas: Mapping[str, tuple[Quota, ...]], now: datetime, quanta: Quanta) -> None:
        self._now = now
        self._quotas = quotas
        self._quanta = quanta
        self._scopes: dict[str, Ledger] = {}
        self._ledgers: dict[str, list[Ledger]] = {}

    def hold(self, session: PendingSession, need: Amounts) -> Hold | None:
        """What holds the session now, or None."""
        if session.starts_at is not None and session.starts_at > self._now:
            return TooEarly(session.starts_at)
        if session.waits_for is not None:
            return Unmet(*session.waits_for)
        if session.requested.accelerators:
            for quota in self._quotas.get(session.owner, ()):
                if quota.budget is not None and quota.budget.is_used_up:
                    return BudgetUsed(quota.limit, quota.budget)
        for ledger in self._ledgers_of(session.owner):
            if ledger.sessions >= ledger.max_sessions:
                return TooManySessions(ledger)
            for index, left in ledger.left.items():
                if need[index] > left and need[index]:  # a limit already passed holds back only who adds to it
                    return OverQuota(ledger, index, need[index])
        return None

    def charge(self, session: PendingSession, need: Amounts) -> None:
        for ledger in self._ledgers_of(session.owner):
            ledger.charge(need)

    def _ledgers_of(self, owner: str) -> list[Ledger]:
        if owner not in self._ledgers:
            self._ledgers[owner] = [self._open(quota) for quota in self._quotas.get(owner, ())]
        return self._ledgers[owner]

    def _open(self, quota: Quota) -> Ledger:
        if not quota.scope:
            return Ledger(quota, self._quanta)
        if quota.scope not in self._scopes:
            self._scopes[quota.scope] = Ledger(quota, self._quanta)
        return self._scopes[quota.scope]
