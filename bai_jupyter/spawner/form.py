"""The page on which a user chooses what the server runs on, as HTML that needs no script. Pure.

Its fields are read by ``options.options_of_form``. The Hub puts form and button around it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.spawner.options import AGAIN_FIELD, FOLDER_FIELD, Options
from bai_jupyter.words import verdict_of

_PERMISSIONS = {"": "no", "ro": "read only", "rw": "read and write"}


@dataclass(frozen=True)
class Offer:
    """What there is to choose from. ``verdicts`` are the manager's dry runs by preset; "" is what the policy says.

    ``amounts`` says what is in them, ``{preset: "1 CPU, 2 GiB"}``, as far as that is known.
    """

    images: Sequence[str]
    verdicts: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, str]  # {name: "ro" or "rw"}: the most that its user may
    amounts: Mapping[str, str] = field(default_factory=dict)
    projects: Sequence[str] = ()  # that the server may count for
    groups: Sequence[str] = ()  # of agents
    room: str = ""  # how much more the user may have: "3 CPU, 12 GiB"
    last: "Last | None" = None


@dataclass(frozen=True)
class Last:
    """What was chosen last, as ``user_options``, and the manager's dry run of it."""

    user_options: Mapping[str, Any]
    answer: Mapping[str, Any]


def room_of(capacity: Mapping[str, Any]) -> str:
    """What limits leave of each slot that has one (the manager's ``check-presets``), in words; empty if none has."""
    left: dict[str, Decimal] = {}
    for level in ("keypair", "user", "group", "domain"):
        for slot, amount in capacity[f"{level}_remaining"].items():
            if (remaining := Decimal(amount)).is_finite():
                left[slot] = min(left.get(slot, remaining), max(remaining, Decimal(0)))
    return ResourceSlots(left).describe() if left else ""


def form_of(offer: Offer, chosen: Options) -> str:
    """``chosen`` is what was chosen last, or what the Hub's admin has."""
    parts = [_again(offer.last)] if offer.last and offer.last.answer["verdict"] != "refused" else []
    parts.append(_presets(offer, chosen.preset))
    if offer.folders:
        parts.append(_folders(offer.folders, chosen.folders))
    more = {"environment": _images(offer.images, chosen.image)}
    if len(offer.groups) > 1:
        more["group"] = _groups(offer.groups, chosen.group)
    if len(offer.projects) > 1:
        more["project"] = _projects(offer.projects, chosen.project)
    parts.append(_more(more, is_open=chosen.image not in offer.images))
    return "\n".join(parts)


def _more(parts: Mapping[str, str], *, is_open: bool) -> str:
    """What is seldom chosen, by its name; folded, and sent all the same. Open where it has to be looked at."""
    summary = f"<summary>More: {', '.join(parts)}</summary>"
    return "\n".join([f'<details class="mb-4"{" open" if is_open else ""}>{summary}', *parts.values(), "</details>"])


def _again(last: Last) -> str:
    options = last.user_options
    folders = [name if permission == "rw" else f"{name} (read only)" for name, permission in options["folders"].items()]
    chosen = [options[name] for name in ("image", "preset", "group", "project") if options[name]]
    slots = last.answer.get("slots")
    amounts = [ResourceSlots.parse(slots).describe()] if slots else []
    about = " · ".join([*chosen, *amounts, *folders, verdict_of(last.answer)])
    return (
        # The Enter key presses a form's first button, and means what is chosen in it.
        '<button class="visually-hidden" tabindex="-1" aria-hidden="true">Start</button>'
        f'<p><button class="btn btn-jupyter" name="{AGAIN_FIELD}" value="{escape(json.dumps(options))}" '
        'aria-describedby="bai-again">Start again as last time</button> '
        f'<span class="text-body-secondary ms-3" id="bai-again">{escape(about)}</span></p>'
    )


def _images(names: Sequence[str], chosen: str) -> str:
    return _fieldset("Environment", _select("image", "Image", {name: name for name in names}, chosen))


def _presets(offer: Offer, chosen: str) -> str:
    wanted = chosen if chosen in offer.verdicts else next(iter(offer.verdicts), "")
    rows = [
        _preset(number, name, offer.amounts.get(name, ""), verdict_of(answer), name == wanted)
        for number, (name, answer) in enumerate(offer.verdicts.items())
    ]
    if offer.room:
        rows.append(f'<p class="text-body-secondary">You may have {escape(offer.room)} more.</p>')
    return _fieldset("Resources", *rows)


def _preset(number: int, name: str, amounts: str, verdict: str, is_chosen: bool) -> str:
    identity, checked = f"bai-preset-{number}", " checked" if is_chosen else ""
    about = " · ".join(filter(None, [amounts, verdict]))
    return (
        f'<div class="form-check"><input class="form-check-input" type="radio" name="preset" id="{identity}" '
        f'value="{escape(name)}" aria-describedby="{identity}-verdict"{checked}> '
        f'<label class="form-check-label" for="{identity}">{escape(name or "As your policy says")}</label> '
        f'<span class="text-body-secondary ms-3" id="{identity}-verdict">{escape(about)}</span></div>'
    )


def _groups(names: Sequence[str], chosen: str) -> str:
    return _fieldset("Where it runs", _select("group", "Resource group", {name: name for name in names}, chosen))


def _projects(names: Sequence[str], chosen: str) -> str:
    options = {"": "as usual", **{name: name for name in names}}
    return _fieldset("Project", _select("project", "Whose limits count", options, chosen))


def _folders(folders: Mapping[str, str], chosen: Mapping[str, str]) -> str:
    rows = []
    for name, most in folders.items():
        allowed = {value: text for value, text in _PERMISSIONS.items() if most == "rw" or value != "rw"}
        rows.append(_select(FOLDER_FIELD + name, name, allowed, chosen.get(name, "")))
    return _fieldset("Folders, beside your home", *rows)


def _select(name: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    items = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options.items()
    )
    return f'<label>{escape(label)} <select class="form-select" name="{escape(name)}">{items}</select></label>'


def _fieldset(legend: str, *rows: str) -> str:
    return "\n".join([f'<fieldset class="mb-4"><legend>{escape(legend)}</legend>', *rows, "</fieldset>"])
