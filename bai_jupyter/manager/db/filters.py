"""The filter and order language of Backend.AI's lists, read into conditions of a query.

::

    filter  status == "ACTIVE" & (role in ["admin", "user"] | !(email ilike "%@example.com"))
    order   +domain_name,-created_at

Fields are those that a list offers, and values are bound, never written into the statement.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.slots import read_number

_MAX_LENGTH, _MAX_DEPTH = 4096, 40
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_]\w*)|(?P<sign>[=!<>]=|[<>&|!()\[\],]))"""
)
_WORDS = {"true": True, "false": False, "null": None}
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Field:
    """A column that can be named. ``read`` turns a value as it is written in a filter into one of the column."""

    column: sa.ColumnElement[Any]
    read: Callable[[Any], Any] = lambda value: value


_OPERATORS: Mapping[str, Callable[[sa.ColumnElement[Any], Any], Condition]] = {
    "==": lambda column, value: column.is_(None) if value is None else column == value,
    "!=": lambda column, value: column.is_not(None) if value is None else column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "is": lambda column, value: column.is_(value),
    "isnot": lambda column, value: column.is_not(value),
    "in": lambda column, value: column.in_(value),
    "like": lambda column, value: column.like(value),
    "ilike": lambda column, value: column.ilike(value),
    "contains": lambda column, value: column.contains(value, autoescape=True),
}


def read_filter(text: str, fields: Mapping[str, Field]) -> Condition:
    """Raises ``BadRequest`` saying what was expected and where."""
    if len(text) > _MAX_LENGTH:
        raise BadRequest(f"The filter has {len(text)} characters; {_MAX_LENGTH} are allowed.")
    return _Reader(text, fields).read()


def read_order(text: str, fields: Mapping[str, Field]) -> list[sa.UnaryExpression[Any]]:
    """Raises ``BadRequest`` naming a field that cannot be ordered by."""
    order = []
    for part in text.split(","):
        name = part.strip()
        column = _field(name.lstrip("+-"), fields).column
        order.append(column.desc() if name.startswith("-") else column.asc())
    return order


def moment(value: Any) -> datetime:
    """A date, with or without a time; UTC unless it says otherwise."""
    found = datetime.fromisoformat(value)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def upper(value: Any) -> str:
    return str(value).upper()


def lower(value: Any) -> str:
    return str(value).lower().replace("_", "-")


def _field(name: str, fields: Mapping[str, Field]) -> Field:
    if name not in fields:
        raise BadRequest(f"There is no field {name!r} to filter or order by. Fields: {', '.join(fields)}.")
    return fields[name]


def _check_kind(column: sa.ColumnElement[Any], value: Any) -> None:
    """Raises ``TypeError`` for what the column cannot hold: some databases would, others find nothing."""
    kinds = {sa.Boolean: (bool,), sa.Integer: (int, float), sa.String: (str,)}
    for one in value if isinstance(value, list) else [value]:
        for kind, allowed in kinds.items():
            if isinstance(column.type, kind) and one is not None and type(one) not in allowed:
                raise TypeError(f"{one!r} is none of {allowed}")


class _Reader:
    """One pass over the tokens: ``|`` binds least, then ``&``, then ``!``."""

    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._fields, self._text = fields, text
        self._tokens = list(self._split())
        self._place, self._depth = 0, 0

    def read(self) -> Condition:
        found = self._either()
        if self._place < len(self._tokens):
            raise self._wrong("& or |")
        return found

    def _split(self) -> "list[tuple[str, str, int]]":
        tokens, place = [], 0
        while self._text[place:].strip():
            match = _TOKEN.match(self._text, place)
            if match is None or match.lastgroup is None:
                raise BadRequest(f"The filter cannot be read from character {place + 1} on: {self._text[place:]!r}.")
            tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()
        return tokens

    def _either(self) -> Condition:
        found = self._both()
        while self._take("|"):
            found = sa.or_(found, self._both())
        return found

    def _both(self) -> Condition:
        found = self._one()
        while self._take("&"):
            found = sa.and_(found, self._one())
        return found

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadRequest(f"The filter is nested more than {_MAX_DEPTH} deep.")
        if self._take("!"):
            found = sa.not_(self._one())
        elif self._take("("):
            found = self._either()
            self._expect(")")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> Condition:
        name, place = self._word("a field")
        field = _field(name, self._fields)
        operator, _ = self._word("an operator", _OPERATORS)
        value = self._value()
        if (operator == "in") != isinstance(value, list):
            raise BadRequest(f"{name} {operator}: a list in [] goes with in, and with nothing else.")
        try:
            read = [field.read(one) for one in value] if operator == "in" else self._read(field, operator, value)
            _check_kind(field.column, read)
            return _OPERATORS[operator](field.column, read)
        except (ValueError, TypeError, sa.exc.ArgumentError) as error:
            raise BadRequest(f"{name} cannot be compared with {value!r} (character {place + 1}).") from error

    def _read(self, field: Field, operator: str, value: Any) -> Any:
        return value if value is None or operator in ("like", "ilike", "contains") else field.read(value)

    def _value(self) -> Any:
        kind, text, _ = self._next("a value")
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "number":
            return float(text) if read_number(text.lstrip("-")) is None else int(text)  # no database has longer ones
        if kind == "word" and text in _WORDS:
            return _WORDS[text]
        if text == "[":
            return self._list()
        self._place -= 1
        raise self._wrong('a value such as "text", 1, true or null')

    def _list(self) -> list[Any]:
        values = [] if self._peek() == "]" else [self._value()]
        while self._take(","):
            values.append(self._value())
        self._expect("]")
        return values

    def _word(self, what: str, among: Mapping[str, Any] | None = None) -> tuple[str, int]:
        kind, text, place = self._next(what)
        if (among is None and kind != "word") or (among is not None and text not in among):
            self._place -= 1
            raise self._wrong(what if among is None else f"one of {', '.join(among)}")
        return text, place

    def _next(self, what: str) -> tuple[str, str, int]:
        if self._place == len(self._tokens):
            raise self._wrong(what)
        self._place += 1
        return self._tokens[self._place - 1]

    def _peek(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def _take(self, sign: str) -> bool:
        is_there = self._peek() == sign
        self._place += is_there
        return is_there

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._wrong(sign)

    def _wrong(self, expected: str) -> BadRequest:
        found = repr(self._peek()) if self._peek() else "its end"
        return BadRequest(f"In the filter {self._text!r}, {expected} was expected before {found}.")
