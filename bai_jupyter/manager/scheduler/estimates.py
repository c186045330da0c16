"""When room will come free, from the endings that are known; and how to say it.

An estimate plays the known endings forward and gives each agent's room to the waiting sessions in their order. It
assumes that nothing placed from now on ends, and that a quota free now stays free; a session that ends earlier or one
of higher priority that comes later makes it wrong. Only the first ``HORIZON`` sessions that wait for room get one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import ceil

from bai_jupyter.manager.scheduler.quanta import Amounts, fits, lacking, minus, plus
from bai_jupyter.manager.scheduler.selectors import Rank, Room, View
from bai_jupyter.manager.scheduler.snapshot import Ending

HORIZON = 100

_MINUTE, _HOUR = 60, 3600


def estimate_words(seconds: float) -> str:
    """``under a minute``, ``about 5 min``, ``about 1 h 15 min``, ``more than 8 h``; rounded up, coarser when later."""
    if seconds < _MINUTE:
        return "under a minute"
    if seconds > 8 * _HOUR:
        return "more than 8 h"
    minutes = ceil(seconds / _MINUTE)
    step = 1 if minutes < 10 else 5 if minutes < 60 else 15
    hours, minutes = divmod(ceil(minutes / step) * step, 60)
    return "about " + " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))


def choose_kept(room: Room, endings: Sequence[Ending], view: View, need: Amounts) -> tuple[Rank, Amounts] | None:
    """The agent to keep for the head, and what of its free room others may use; None if no agent is able.

    It is the agent where the head will fit first by the known endings, and others may use what will be left beside it
    then. If no ending helps it is the agent that lacks least. What that one lacks never grows while it is kept, and
    shrinks with each session that ends there, so the head starts if sessions end at all.
    """
    able = view.able(need)
    if not able:
        return None
    free = dict(zip(able, (room.free[rank] for rank in able), strict=True))
    for ending in _in_order(endings):
        rank = room.ranks.get(ending.agent_id)
        if rank not in free:
            continue
        free[rank] = plus(free[rank], room.quanta.used(ending.slots))
        if fits(need, free[rank]):
            return rank, tuple(map(min, room.free[rank], minus(free[rank], need)))
    rank = min(able, key=lambda rank: (lacking(need, room.free[rank]), rank))
    return rank, lacking(room.free[rank], need)


def estimate_starts(
    room: Room, endings: Sequence[Ending], waiting: Sequence[tuple[View, Amounts]], kept: Rank | None
) -> dict[int, datetime]:
    """When the sessions that wait for room, in their order, will find it: ``{index in waiting: moment}``.

    ``kept`` is the agent kept for the first of them; nobody else gets what comes free there before that one started.
    """
    free = list(room.free)
    still = dict(enumerate(waiting[:HORIZON]))
    starts: dict[int, datetime] = {}
    for ending in _in_order(endings):
        rank = room.ranks.get(ending.agent_id)
        if rank is None or not room.agents[rank].schedulable:
            continue
        free[rank] = plus(free[rank], room.quanta.used(ending.slots))
        for index, (view, need) in list(still.items()):
            if view.admits(rank) and fits(need, free[rank]):
                free[rank] = minus(free[rank], need)
                starts[index] = ending.ends_at
                del still[index]
            elif index == 0 and rank == kept:
                break
        if not still:
            break
    return starts


def _in_order(endings: Iterable[Ending]) -> list[Ending]:
    return sorted(endings, key=lambda ending: (ending.ends_at, ending.agent_id))
