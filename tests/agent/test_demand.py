"""How many containers stand ready: examples, and what holds for any history."""

import random
from collections import Counter

from bai_agent.demand import BURST_S, WINDOW_S, is_short_of_memory, wanted

NOW = 100_000.0


def test_one_is_kept_for_what_was_needed_once() -> None:
    assert wanted([(NOW - 60, "a")], NOW, 4) == {"a": 1}


def test_as_many_as_came_at_once_and_not_as_came_in_all() -> None:
    apart = [(NOW - 2 * BURST_S * step, "a") for step in (5, 4, 3, 2, 1)]
    assert wanted(apart, NOW, 4) == {"a": 1}
    together = [(NOW - 100, "a"), (NOW - 99, "a"), (NOW - 98, "a")]
    assert wanted([*apart[:2], *together], NOW, 9) == {"a": 3}


def test_what_was_needed_last_goes_first_and_no_kind_takes_all() -> None:
    asked = [(NOW - 20, "a"), (NOW - 19, "a"), (NOW - 18, "a"), (NOW - 10, "b"), (NOW - 5, "c")]
    assert wanted(asked, NOW, 1) == {"c": 1}
    assert wanted(asked, NOW, 3) == {"c": 1, "b": 1, "a": 1}
    assert wanted(asked, NOW, 4) == {"c": 1, "b": 1, "a": 2}


def test_what_is_long_ago_is_forgotten() -> None:
    assert wanted([(NOW - WINDOW_S, "a"), (NOW - WINDOW_S + 1, "b")], NOW, 4) == {"b": 1}


def test_for_any_history() -> None:
    chance = random.Random(7)  # noqa: S311
    for _ in range(300):
        ages = sorted((chance.uniform(0, 1.5 * WINDOW_S) for _ in range(chance.randrange(60))), reverse=True)
        kinds = "abcde"[: chance.randint(1, 5)]
        check(asked=[(NOW - age, chance.choice(kinds)) for age in ages], limit=chance.randrange(12))


def check(asked: list[tuple[float, str]], limit: int) -> None:
    last = [kind for at, kind in asked if at > NOW - WINDOW_S]
    recent = Counter(last)
    given = wanted(asked, NOW, limit)
    assert sum(given.values()) <= limit
    assert all(0 < count <= recent[kind] for kind, count in given.items())
    assert not limit or not last or last[-1] in given
    more = wanted(asked, NOW, limit + 1)
    assert all(more[kind] >= count for kind, count in given.items())
    if limit >= recent.total():  # there is room for all
        assert given.keys() == recent.keys()
        assert more == given


def test_memory_is_short_when_little_is_available() -> None:
    assert is_short_of_memory("MemTotal: 1000 kB\nMemFree: 900 kB\nMemAvailable: 49 kB\n")
    assert not is_short_of_memory("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n")
