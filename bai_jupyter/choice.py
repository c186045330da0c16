"""What somebody wants a kernel to run on, as notebooks, ``/bai/api`` and kernelspecs hold it. Pure.

A *choice* is ``{"image", "kernelspec", "preset", "resources", "mounts", "session", "resource_group", "project"}``,
each of them optional. It has no environment variables: a notebook is passed on, and no secret should travel in it.
Of ``mounts``, ``"data"`` is a folder that can be written where its owner allows that, ``"data:ro"`` one that cannot.
Which of several choices counts is decided in ``provisioner.options``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bai_jupyter.client import SessionRequest
from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots

METADATA_KEY = "bai"  # in a notebook's metadata
_READ_ONLY = ":ro"  # behind a folder's name, in which there is no colon
CHOICE_KEYS = ("image", "kernelspec", "preset", "resources", "mounts", "session", "resource_group", "project")


def read_choice(raw: object, where: str = METADATA_KEY) -> dict[str, Any]:
    """The choice in a JSON value, without what it leaves open (missing, ``null`` or empty).

    Raises ``BadRequest`` with a sentence that names the value, below ``where``, which cannot be read.
    """
    if not isinstance(raw, Mapping):
        raise _bad(where, raw, "an object")
    for key in raw:
        if key not in CHOICE_KEYS:
            raise _bad(where, key, f"one of {', '.join(CHOICE_KEYS)}")
    return {
        key: _read(key, raw[key], f"{where}.{key}") for key in CHOICE_KEYS if raw.get(key) not in (None, "", [], {})
    }


def request_of(choice: Mapping[str, Any], name: str) -> SessionRequest:
    """The session, called ``name``, that a choice with an image asks for; one that is to be joined is not in it."""
    mounts = choice.get("mounts") or ()
    return SessionRequest(
        name=name,
        image=choice["image"],
        resources=choice.get("resources") or None,
        preset=choice.get("preset"),
        mounts=folders_of(mounts),
        read_only=folders_of(mount for mount in mounts if mount.endswith(_READ_ONLY)),
        resource_group=choice.get("resource_group"),
        project=choice.get("project"),
    )


def folders_of(mounts: Iterable[str]) -> tuple[str, ...]:
    """Their names, or ids, without what is said of them."""
    return tuple(mount.removesuffix(_READ_ONLY) for mount in mounts)


def _read(key: str, value: object, where: str) -> Any:
    if key == "resources":
        return _read_resources(value, where)
    if key == "mounts":
        if not isinstance(value, list) or not all(isinstance(mount, str) for mount in value):
            raise _bad(where, value, "a list of folder names")
        if not all(name and ":" not in name for name in folders_of(value)):
            raise _bad(where, value, "a list of folder names, each alone or with :ro behind it")
        return list(value)
    if not isinstance(value, str):
        raise _bad(where, value, "a text")
    return value


def _read_resources(value: object, where: str) -> dict[str, str]:
    expected = 'an object of amounts, such as {"cpu": "2", "mem": "4g"}'
    if not isinstance(value, Mapping):
        raise _bad(where, value, expected)
    for amount in value.values():
        if isinstance(amount, bool) or not isinstance(amount, str | int | float):
            raise _bad(where, value, expected)
    amounts = {str(name): str(amount) for name, amount in value.items()}
    try:
        ResourceSlots.parse(amounts)
    except ValueError as error:
        raise _bad(where, value, expected) from error
    return amounts


def _bad(where: str, given: object, expected: str) -> BadRequest:
    return BadRequest(
        Reason.of("bad-value", field=where, given=json.dumps(given, ensure_ascii=False), expected=expected)
    )
