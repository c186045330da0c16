"""JSON schemas of answers, made from the types that say what is in them.

A shape is a plain type, a union, ``list[…]``, ``dict[str, …]``, ``Literal``, an enum, a dataclass or ``TypedDict`` (an
object with that name among the components), a dict of names and shapes (an object without a name), or a list of one
shape. Pure.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

Json = dict[str, Any]

PREFIX = "#/components/schemas/"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null", None: "null"}


def schema_of(shape: Any, named: Json) -> Json:
    """The schema of a shape. Those with a name are referred to, and put into ``named`` by their names."""
    shape = getattr(shape, "__supertype__", shape)  # NewType
    if shape in (Any, object):
        return {}
    if isinstance(shape, Mapping):
        return _object({name: schema_of(one, named) for name, one in shape.items()}, list(shape))
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0], named)}
    if is_typeddict(shape) or is_dataclass(shape):
        return _named(shape, named)
    if isinstance(shape, type) and issubclass(shape, StrEnum):
        return {"type": "string", "enum": [str(one) for one in shape]}
    return {"type": _PLAIN[shape]} if shape in _PLAIN else _composed(shape, named)


def _composed(shape: Any, named: Json) -> Json:
    origin, inner = get_origin(shape) or shape, get_args(shape)
    if origin in (Union, UnionType):
        return _union([schema_of(one, named) for one in inner])
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin is list:
        return {"type": "array", **({"items": schema_of(inner[0], named)} if inner else {})}
    if origin in (dict, Mapping):
        return {"type": "object", **({"additionalProperties": schema_of(inner[1], named)} if inner else {})}
    raise TypeError(f"{shape} is no shape of an answer")


def _named(shape: Any, named: Json) -> Json:
    if shape.__name__ not in named:
        named[shape.__name__] = {}  # one that holds itself refers to it
        properties = {name: schema_of(one, named) for name, one in get_type_hints(shape).items()}
        named[shape.__name__] = _object(properties, _required(shape))
    return {"$ref": PREFIX + shape.__name__}


def _required(shape: Any) -> list[str]:
    if is_typeddict(shape):
        return [name for name in get_type_hints(shape) if name in shape.__required_keys__]
    return [one.name for one in fields(shape)]


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _union(schemas: list[Json]) -> Json:
    """Of plain types a list of them, which is easier to read."""
    if all(one.keys() == {"type"} for one in schemas):
        return {"type": [one["type"] for one in schemas]}
    return {"anyOf": schemas}
