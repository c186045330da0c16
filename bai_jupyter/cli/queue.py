"""``bai queue``: which of one's sessions wait, at which place, for what, and how long about."""

import argparse

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import NOTHING, Exit, Terminal, resources, span
from bai_jupyter.client import Json
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.words import ordinal, sentence_of


def show(_options: argparse.Namespace, terminal: Terminal) -> int:
    views = with_manager(lambda client: client.list_sessions([SessionStatus.PENDING]))
    views.sort(key=_place)
    if terminal.as_json:
        terminal.document({"sessions": views})
    elif terminal.quiet:
        for view in views:
            terminal.line(view["name"])
    elif views:
        terminal.table(
            ["NAME", "GROUP", "PLACE", "WAITS", "RESOURCES", "STARTS", "WHY"], [_row(view) for view in views]
        )
        terminal.line(f"{plural(len(views), 'session')} in the queue. To take one out: bai session rm NAME")
    else:
        terminal.line("None of your sessions waits. What runs: bai session list")
    return Exit.DONE


def _place(view: Json) -> tuple[str, float, float]:
    queue = view.get("queue")
    return view["resourceGroup"], queue["position"] if queue else float("inf"), -view["age"]


def _row(view: Json) -> list[str]:
    queue = view.get("queue") or {}
    place = f"{ordinal(queue['position'])} of {queue['of']}" if queue else NOTHING
    estimate = queue.get("estimate_s")
    starts = NOTHING if estimate is None else f"in about {span(estimate)}"
    waits, slots = span(view["age"] / 1000), resources(view.get("slots"))
    return [view["name"], view["resourceGroup"], place, waits, slots, starts, sentence_of(view)]
