"""Reading what was asked of folders. Pure; refusals name the field, what was given and what is expected."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import parse_size, read_number
from bai_jupyter.manager.vfolders.access import PERMISSIONS

LARGEST = 2**53  # JSON has no whole numbers beyond
USAGE_MODES = ("general", "model", "data")
_NAME = re.compile(r"(?=.{1,64}\Z)\.?\w[\w.-]*")
_RESERVED = frozenset({"_", "invitations", "purge", "restore-from-trash-bin", "delete-from-trash-bin"})
_TRUE, _FALSE = (True, "true", "True", "1", 1), (False, None, "false", "False", "0", 0, "")

Params = Mapping[str, Any]


def refuse(field: str, given: object, expected: str) -> NoReturn:
    raise BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=expected))


def folder_name(params: Params, field: str = "name") -> str:
    name = word(params, field)
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise BadRequest(Reason.of("folder-name", name=name))
    return name


def folder_ref(given: str) -> str:
    """Ids are told without dashes and understood with them; anything else is a name."""
    try:
        return str(UUID(given))
    except ValueError:
        return given


def text(params: Params, field: str) -> str:
    value = params.get(field)
    if not isinstance(value, str) or not value:
        refuse(field, value, "a text")
    return value


def optional_text(params: Params, field: str) -> str | None:
    return None if params.get(field) in (None, "") else text(params, field)


def word(params: Params, field: str) -> str:
    """A name or an id: unlike paths they consist of real characters."""
    value = text(params, field)
    if not value.isprintable():
        refuse(field, value, "a text that can be printed")
    return value


def optional_word(params: Params, field: str) -> str | None:
    return None if params.get(field) in (None, "") else word(params, field)


def words(params: Params, *fields: str) -> list[str]:
    return [word({fields[0]: one}, fields[0]) for one in texts(params, *fields)]


def texts(params: Params, *fields: str) -> list[str]:
    """A list of texts, or one text."""
    field = next((one for one in fields if params.get(one)), fields[0])
    value = params.get(field)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
        refuse(field, value, "a list of texts")
    return values


def flag(params: Params, field: str) -> bool:
    value = params.get(field)
    if value not in _TRUE + _FALSE:
        refuse(field, value, "true or false")
    return value in _TRUE


def optional_flag(params: Params, field: str) -> bool | None:
    return None if params.get(field) is None else flag(params, field)


def choice(params: Params, field: str, choices: tuple[str, ...], default: str | None) -> str:
    value = params.get(field, default)
    if value not in choices:
        refuse(field, value, " or ".join(choices))
    return str(value)


def permission(params: Params, *fields: str, default: str | None = None) -> str:
    field = next((one for one in fields if params.get(one) is not None), fields[0])
    return choice({field: params.get(field) or default}, field, PERMISSIONS, default)


def number(params: Params, field: str, default: int | None, largest: int) -> int:
    value = params.get(field, default)
    found = read_number(value) if isinstance(value, str) else value
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= largest:
        refuse(field, value, f"a number from 0 to {largest}")
    return found


def quota(params: Params, field: str) -> int | None:
    """Bytes, also as ``10g``; 0 is no limit."""
    value = params.get(field) or 0
    try:
        size = parse_size(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        size = -1
    if not 0 <= size <= LARGEST:
        refuse(field, value, "a size such as 10g")
    return size or None
