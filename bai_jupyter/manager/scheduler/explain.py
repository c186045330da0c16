"""Why each session waits, as a ``Reason`` with every figure filled in.

Figures are those at the end of the pass, so that all sentences of one plan agree. They are made when they are read,
and reasons are kept per distinct cause: a pass has thousands of sessions and few different causes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import describe_amount, describe_hours
from bai_jupyter.manager.scheduler.causes import (
    AllExcluded,
    Cause,
    NoAgent,
    NoVolume,
    TooBig,
    UnknownSlot,
    WrongArchitecture,
)
from bai_jupyter.manager.scheduler.estimates import HORIZON, estimate_starts, estimate_words
from bai_jupyter.manager.scheduler.quanta import Amounts, fits
from bai_jupyter.manager.scheduler.selectors import NoRoom, Rank, Room, View
from bai_jupyter.manager.scheduler.snapshot import Budget, Limit, Snapshot, Waiting
from bai_jupyter.manager.scheduler.validators import BudgetUsed, Ledger, OverQuota, TooEarly, TooManySessions, Unmet


@dataclass(frozen=True)
class Outcome:
    """What a pass leaves behind: final room, who waits for what in sequence order, and the agent kept for the head."""

    snapshot: Snapshot
    room: Room
    waiting: Sequence[tuple[SessionId, Cause]]
    kept: Rank | None


class Explanations(Mapping[SessionId, Waiting]):
    """``{session id: why it waits}`` in sequence order."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._sentences = Sentences(outcome.snapshot, outcome.room)
        self._reasons: dict[object, Reason] = {}

    def __len__(self) -> int:
        return len(self._outcome.waiting)

    def __iter__(self) -> Iterator[SessionId]:
        return iter(self._places)

    def __getitem__(self, session_id: SessionId) -> Waiting:
        index = self._places[session_id]
        cause = self._causes[index]
        estimate_s = self._estimate_s(index, cause)
        return Waiting(self._reason(index, cause, estimate_s), index + 1, len(self), estimate_s)

    def _estimate_s(self, index: int, cause: Cause) -> float | None:
        starts_at = self._starts_at(index, cause)
        return None if starts_at is None else max(0.0, (starts_at - self._outcome.snapshot.now).total_seconds())

    def _starts_at(self, index: int, cause: Cause) -> datetime | None:
        match cause:
            case TooEarly(starts_at):
                return starts_at
            case BudgetUsed(_, budget):
                return budget.resets_at
            case _:
                return self._starts.get(index)

    def _reason(self, index: int, cause: Cause, estimate_s: float | None) -> Reason:
        if not isinstance(cause, NoRoom):
            return self._remembered(cause, lambda: self._sentences.reason(cause))
        ahead = self._ahead[index]
        estimate = _estimate_sentence(estimate_s, ahead)
        if self._could_use_kept(cause):
            key: object = (ahead, estimate)
            return self._remembered(key, lambda: self._sentences.behind_others(ahead, estimate))
        return self._remembered((cause, estimate), lambda: self._sentences.no_room(cause, estimate))

    def _remembered(self, key: object, make: Callable[[], Reason]) -> Reason:
        if key not in self._reasons:
            self._reasons[key] = make()
        return self._reasons[key]

    def _could_use_kept(self, cause: NoRoom) -> bool:
        rank = self._outcome.kept
        return rank is not None and cause.view.admits(rank) and fits(cause.need, self._outcome.room.free[rank])

    @cached_property
    def _places(self) -> dict[SessionId, int]:
        return {session_id: index for index, (session_id, _) in enumerate(self._outcome.waiting)}

    @cached_property
    def _causes(self) -> list[Cause]:
        """The causes in order, with those told apart for which there never is room."""
        never = {
            cause: TooBig(cause.view, cause.need)
            for cause in {cause for _, cause in self._outcome.waiting if isinstance(cause, NoRoom)}
            if not cause.view.ever_fits(cause.need)
        }
        return [never.get(cause, cause) if isinstance(cause, NoRoom) else cause for _, cause in self._outcome.waiting]

    @cached_property
    def _ahead(self) -> dict[int, int]:
        """How many wait for room before each that does, by place among all that wait."""
        for_room = (index for index, cause in enumerate(self._causes) if isinstance(cause, NoRoom))
        return {index: ahead for ahead, index in enumerate(for_room)}

    @cached_property
    def _starts(self) -> dict[int, datetime]:
        """When room comes free for each that waits for it and where that is known, by place among all that wait."""
        outcome = self._outcome
        first = [index for index in self._ahead if self._ahead[index] < HORIZON]
        waiting = [cause for index in first if isinstance(cause := self._causes[index], NoRoom)]
        starts = estimate_starts(outcome.room, outcome.snapshot.endings, waiting, outcome.kept)
        return {first[place]: moment for place, moment in starts.items()}


def _estimate_sentence(estimate_s: float | None, ahead: int) -> str:
    if estimate_s is not None:
        words = estimate_words(estimate_s)
        return f"{words[0].upper()}{words[1:]}."
    if ahead >= HORIZON:
        return f"No estimate: more than {HORIZON - 1} sessions wait for room before it."
    return "No estimate: running sessions have no end time."


class Sentences:
    """Turns causes into reasons, with the figures of one snapshot and its final room."""

    def __init__(self, snapshot: Snapshot, room: Room) -> None:
        self._snapshot = snapshot
        self._room = room
        self._quanta = room.quanta
        self._figures: dict[View, _Figures] = {}
        self._words: dict[tuple[int, int], str] = {}  # by slot index and value: most are said many times

    def reason(self, cause: Cause) -> Reason:
        """The reason of a session that does not simply wait for room."""
        group = self._snapshot.group
        match cause:
            case NoAgent():
                count = len(self._snapshot.agents)
                return Reason.of("draining", n=count, group=group) if count else Reason.of("no-agent", group=group)
            case WrongArchitecture(image, architecture):
                found = ", ".join(sorted({agent.architecture for agent in self._snapshot.agents}))
                return Reason.of("image-arch", image=image, arch=architecture, group=group, archs=found)
            case AllExcluded(view):
                return Reason.of("tried-all", group=group, agents=", ".join(view.names_excluded))
            case NoVolume(folder, volume):
                return Reason.of("volume-missing", folder=folder, volume=volume, group=group)
            case UnknownSlot(name):
                return Reason.of("slot-unknown", slot=name, group=group, slots=", ".join(self._quanta.names))
            case TooBig(view, need):
                return self._too_big(view, need)
            case TooEarly(starts_at):
                return Reason.of("starts-at", time=_moment(starts_at, self._snapshot.now))
            case Unmet(name, status):
                return Reason.of("dependency", session=name, status=status)
            case TooManySessions(ledger):
                limit = ledger.limit
                return Reason.of(
                    "sessions-wait", level=limit.level, name=limit.name, limit=limit.max_sessions, used=ledger.sessions
                )
            case BudgetUsed(limit, budget):
                return self._budget_wait(limit, budget)
            case OverQuota(ledger, index, asked):
                return self._over_quota(ledger, index, asked)
            case NoRoom():
                raise AssertionError("no_room() and behind_others() have its words")

    def behind_others(self, ahead: int, estimate: str) -> Reason:
        return Reason.of("behind-others", n=ahead, group=self._snapshot.group, estimate=estimate)

    def no_room(self, cause: NoRoom, estimate: str) -> Reason:
        """What is lacking: in the group as a whole, else on each single agent, else only all of it on one agent."""
        view, need = cause
        figures = self._figures_of(view)
        prefix, lacking = "", _larger(need, figures.free)
        if not lacking and (lacking := _larger(need, figures.most)):
            prefix = f"at most {self._describe(figures.most, lacking)} on one agent, in all "
        elif not lacking and (lacking := _larger(need, figures.part)):
            prefix = f"at most {self._describe(figures.part, lacking)} on one device, in all "
        elif not lacking:
            prefix, lacking = (
                "not together on one agent, in all ",
                [index for index, amount in enumerate(need) if amount],
            )
        return Reason.of(
            "no-room",
            asked=self._describe(need, lacking, with_unit=True),
            group=self._snapshot.group,
            free=prefix + self._describe(figures.free, lacking),
            total=self._describe(figures.total, lacking),
            estimate=estimate,
        )

    def _figures_of(self, view: View) -> "_Figures":
        if view not in self._figures:
            self._figures[view] = _Figures(self._room, view)
        return self._figures[view]

    def _too_big(self, view: View, need: Amounts) -> Reason:
        lacking = _larger(need, view.largest)
        largest = view.largest
        if not lacking:  # each amount is on some agent, but no agent has them all
            lacking = [index for index, amount in enumerate(need) if amount]
            largest = view.kinds[0]
        return Reason.of(
            "too-big",
            asked=self._describe(need, lacking, with_unit=True),
            group=self._snapshot.group,
            max=self._describe(largest, lacking, with_unit=True),
        )

    def _budget_wait(self, limit: Limit, budget: Budget) -> Reason:
        return Reason.of(
            "budget-wait",
            level=limit.level,
            name=limit.name,
            limit=describe_hours(budget.allowed),
            used=describe_hours(budget.used),
            reset=_moment(budget.resets_at, self._snapshot.now),
        )

    def _over_quota(self, ledger: Ledger, index: int, asked: int) -> Reason:
        slot = self._quanta.names[index]
        limit = ledger.limit.slots[slot]
        amount = self._quanta.amount(index, asked)
        used = limit - self._quanta.amount(index, ledger.left[index])
        figures = {"level": ledger.limit.level, "name": ledger.limit.name}
        for name, value in (("limit", limit), ("used", used), ("asked", amount), ("excess", used + amount - limit)):
            figures[name], figures["slot"] = _bare(describe_amount(slot, value))
        return Reason.of("over-quota" if amount > limit else "quota-wait", **figures)

    def _describe(self, amounts: Amounts, indexes: Sequence[int], *, with_unit: bool = False) -> str:
        """The chosen amounts in words; a single one that is a plain count goes without its unit unless asked for."""
        words = [self._word(index, amounts[index]) for index in self._in_words_order if index in indexes]
        if len(words) == 1 and not with_unit:
            return _bare(words[0])[0]
        return ", ".join(words) or "nothing"

    @cached_property
    def _in_words_order(self) -> list[int]:
        names = self._quanta.names
        return sorted(range(len(names)), key=lambda index: (names[index] != "cpu", names[index] != "mem", names[index]))

    def _word(self, index: int, value: int) -> str:
        key = (index, value)
        if key not in self._words:
            self._words[key] = describe_amount(self._quanta.names[index], self._quanta.amount(index, value))
        return self._words[key]


class _Figures:
    """What the agents of a view have in all, what of it is free, and the most that is free on one of them, and on one
    device of theirs where a session can only use that."""

    def __init__(self, room: Room, view: View) -> None:
        free = [room.free[rank] for rank in view.members]
        self.free = _by_slot(sum, free)
        self.most = _by_slot(max, free)
        self.total = _by_slot(sum, (room.totals[rank] for rank in view.members))
        self.part = _by_slot(max, (self._largest_parts(room, rank) for rank in view.members))

    @staticmethod
    def _largest_parts(room: Room, rank: int) -> Amounts:
        parts = (room.largest_part(rank, index) for index in range(len(room.free[rank])))
        return tuple(
            free if part is None else min(part, free) for part, free in zip(parts, room.free[rank], strict=True)
        )


def _by_slot(combine: Callable[[Iterable[int]], int], amounts: Iterable[Amounts]) -> Amounts:
    return tuple(map(combine, zip(*amounts, strict=True)))


def _larger(need: Amounts, room: Amounts) -> list[int]:
    return [index for index, (asked, there) in enumerate(zip(need, room, strict=True)) if asked > there]


def _bare(words: str) -> tuple[str, str]:
    """``4 GPU`` as ``4`` and ``GPU``; a size keeps its unit: ``8 GiB`` as ``8 GiB`` and ``memory``."""
    amount, _, unit = words.partition(" ")
    return (words, "memory") if unit.endswith("B") else (amount, unit)


def _moment(moment: datetime, now: datetime) -> str:
    """``14:32 UTC``, with the date if that is another day, and with how long that is when it is near."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    text = moment.strftime("%H:%M UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M UTC")
    seconds = (moment - now).total_seconds()
    return f"{text} ({estimate_words(seconds)} from now)" if seconds <= 8 * 3600 else text
