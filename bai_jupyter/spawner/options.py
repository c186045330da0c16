"""What a user may choose for a server, by the page's form or as ``user_options`` by REST. Pure.

::

    {"image": "bai/hub:1", "preset": "small", "folders": {"datasets": "ro"}, "group": "gpu", "project": "vision"}

All of it may be left out. Whether it can be had is the manager's to say; what is no option at all is refused here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason

FOLDER_FIELD = "folder:"
AGAIN_FIELD = "again"
"""The form's button for what was chosen last, whatever else is chosen in it; its value is that, as JSON."""

_TEXTS = ("image", "preset", "group", "project")
_PERMISSIONS = ("ro", "rw")


@dataclass(frozen=True)
class Options:
    image: str = ""
    preset: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)  # {name: "ro" or "rw"}
    group: str = ""  # of agents
    project: str = ""


def read_options(given: Mapping[str, Any]) -> Options:
    """Raises ``BadRequest`` naming the option, what was given and what is expected."""
    unknown = ", ".join(sorted(given.keys() - {*_TEXTS, "folders"}))
    if unknown:
        raise _bad_value("user_options", unknown, "image, preset, folders, group or project")
    folders = given.get("folders") or {}
    if not isinstance(folders, Mapping):
        raise _bad_value("folders", folders, '{"name": "ro" or "rw"}')
    for permission in folders.values():
        if permission not in _PERMISSIONS:
            raise _bad_value("folders", permission, " or ".join(_PERMISSIONS))
    return Options(folders=dict(folders), **{name: _text(given, name) for name in _TEXTS})


def options_of_form(fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The form's fields as ``user_options``; what was left as it is by default is left out. Raises ``BadRequest``."""
    if again := fields.get(AGAIN_FIELD):
        return _as_it_was(again[0])
    folders = {
        name.removeprefix(FOLDER_FIELD): values[0]
        for name, values in fields.items()
        if name.startswith(FOLDER_FIELD) and values[0]
    }
    chosen: dict[str, Any] = {name: fields[name][0] for name in _TEXTS if any(fields.get(name, ()))}
    return {**chosen, "folders": folders} if folders else chosen


def _as_it_was(value: str) -> dict[str, Any]:
    """Looked at like any options when they are chosen: a page may send what it likes."""
    try:
        options = json.loads(value)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise _bad_value(AGAIN_FIELD, value, "options as JSON")
    return options


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name) or ""
    if not isinstance(value, str):
        raise _bad_value(name, value, "a text")
    return value


def _bad_value(field: str, given: object, expected: str) -> BadRequest:
    return BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=expected))
