"""Answers of the manager, held against what it says of them in ``/openapi.json``."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from bai_jupyter.manager.api.base import Raw
from bai_jupyter.manager.api.openapi import json_schema


def faults_of(method: Callable[..., Any], status: int, body: object) -> Iterator[str]:
    """What in an answer of a handler's method is not as described. Nothing is of one that says nothing of it."""
    shapes = getattr(method, "gives", ())
    if not shapes:
        return
    if body is None:
        if None not in shapes:
            yield "has no body"
    elif isinstance(body, Raw):
        if body.content_type.split(";")[0] not in shapes:
            yield f"is {body.content_type}"
    elif (validator := _validator(method)) is None:
        yield "has a body"
    else:
        for error in validator.iter_errors(json.loads(json.dumps(body))):
            yield f"{error.json_path}: {error.message}"


@cache
def _validator(method: Callable[..., Any]) -> Draft202012Validator | None:
    named: dict[str, Any] = {}
    schema = json_schema(method.gives, named)  # type: ignore[attr-defined]
    if schema is None:
        return None
    schemas = {name: _closed(one) for name, one in named.items()}
    return Draft202012Validator({**_closed(schema), "components": {"schemas": schemas}})


def _closed(schema: Any) -> Any:
    """Nothing but what is described: here it would have been forgotten."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed
