"""How far a budget of accelerators goes. Pure: the clock and what was held are passed in.

A resource policy may allow so many GPU-hours a week. One accelerator held for an hour is one GPU-hour, of whatever kind
it is and whatever runs on it; a part of one counts in parts. A week begins on Monday, 00:00 UTC, for everybody: reports
of usage have days in UTC, too. When the hours are used up, sessions with accelerators wait for the next week, and those
that run are warned and stopped (``idle``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

WEEK = timedelta(days=7)


def week_of(now: datetime) -> datetime:
    """The first moment of the week."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=today.weekday())


@dataclass(frozen=True)
class Spending:
    """Of one week, as of ``at``: ``used``, as time of one accelerator, and how many are ``held`` at that moment."""

    at: datetime
    used: timedelta = timedelta()
    held: Decimal = Decimal(0)

    @property
    def resets_at(self) -> datetime:
        return week_of(self.at) + WEEK

    def with_use(self, accelerators: Decimal, began_at: datetime, ended_at: datetime | None) -> "Spending":
        """With what one container held; ``ended_at`` None: it holds it still."""
        held_for = (ended_at or self.at) - max(began_at, week_of(self.at))
        used = self.used + max(held_for, timedelta()) * float(accelerators)
        return Spending(self.at, used, self.held if ended_at else self.held + accelerators)

    def runs_out_at(self, budget: timedelta) -> datetime | None:
        """When ``budget`` is used up if all goes on as it is; None if it lasts until the next week."""
        left, rest_of_week = budget - self.used, self.resets_at - self.at
        if left <= timedelta():
            return self.at
        if left >= rest_of_week * float(self.held):
            return None
        return self.at + left / float(self.held)
