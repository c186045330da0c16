"""What a session, and the answer to a dry run, are in words: for the command line, the Hub and widgets. Pure."""

from collections.abc import Mapping
from typing import Any

from bai_jupyter.common.statuses import STATUS_WORDS, SessionStatus


def state_of(view: Mapping[str, Any]) -> str:
    """Where a session is, in a word or two: ``Running``, ``Queued, 3rd``, ``Pulling 43 %``."""
    word = STATUS_WORDS.get(view["status"], str(view["status"]))
    if view["status"] == SessionStatus.RUNNING and view.get("unreachable"):
        return "Unreachable"
    if view.get("suspended"):
        return "Suspended"
    queue = view.get("queue")
    if view["status"] == SessionStatus.PENDING and queue:
        return f"{word}, {ordinal(queue['position'])}"
    if view["status"] == SessionStatus.PULLING and view.get("progress") is not None:
        return f"{word} {view['progress']:.0f} %"
    return word


def sentence_of(view: Mapping[str, Any]) -> str:
    """Why a session is as it is."""
    return (view.get("reason") or {}).get("text") or STATUS_WORDS.get(view["status"], "")


def verdict_of(answer: Mapping[str, Any]) -> str:
    """When it would start, or why not: ``{"verdict", "reason", "estimate_s"}`` as a sentence."""
    if answer["verdict"] == "now":
        return "Starts now."
    sentence, estimate_s = str(answer["reason"]["text"]), answer["estimate_s"]
    if answer["verdict"] == "wait" and estimate_s is not None:
        return f"Starts in about {max(1, round(estimate_s / 60))} min. {sentence}"
    return sentence


def ordinal(number: int) -> str:
    """``3`` as ``3rd``."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
