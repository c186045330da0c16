"""The API described by itself: OpenAPI 3.1 made from the handlers, and the same as a page for people.

A call's summary is the docstring of its method, or of its handler. Who may call comes from ``needs``, what it takes
from ``takes``, what it answers from ``gives``. So a route that is added is described by being there.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from tornado.routing import PathMatches, Rule

from bai_jupyter import __version__
from bai_jupyter.manager.api.base import API_VERSION, ApiHandler, OwnedHandler, Raw, gives, methods_of
from bai_jupyter.manager.api.schemas import Json, schema_of
from bai_jupyter.manager.auth import policy

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
_IN_BODY = frozenset({"POST", "PUT", "PATCH"})
_OPTIONAL = re.compile(r"\(\?:[^()]*\)\?")
_ALTERNATIVES = re.compile(r"\(\?:([^()|]*)[^()]*\)")
_PART = re.compile(r"\([^()?][^()]*\)")


class Operation(NamedTuple):
    path: str
    method: str
    handler: type[ApiHandler]

    @property
    def function(self) -> Any:
        return getattr(self.handler, self.method.lower())

    @property
    def summary(self) -> str:
        text = inspect.getdoc(self.function) or self.handler.__dict__.get("__doc__") or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def permission(self) -> str | None:
        return getattr(self.function, "permission", None)

    @property
    def takes(self) -> Mapping[str, type]:
        return getattr(self.function, "takes", {})

    @property
    def gives(self) -> Sequence[Any]:
        return getattr(self.function, "gives", ())


def path_of(pattern: str, names: Sequence[str]) -> str:
    """A route's pattern with ``names`` for what is not fixed: ``/session/{ref}/logs``.

    Of alternatives the first, of optional parts nothing. Raises ``ValueError`` for a pattern of another shape.
    """
    text = _ALTERNATIVES.sub(r"\1", _OPTIONAL.sub("", pattern.rstrip("$")))
    given = iter(names)
    try:
        path = _PART.sub(lambda _: next(given), text).replace("\\", "")
    except StopIteration:
        raise ValueError(f"{pattern} has more than {len(names)} parts") from None
    if not re.fullmatch(pattern, path):
        raise ValueError(f"{pattern} is not described by {path}")
    return path


def operations(rules: Iterable[Rule]) -> Iterator[Operation]:
    """Every method of every route of the API, in the order of the routes."""
    for rule in rules:
        if not issubclass(rule.target, ApiHandler) or not isinstance(rule.matcher, PathMatches):
            continue  # agents' own
        pattern = rule.matcher.regex.pattern
        for method in methods_of(rule.target):
            names = _part_names(getattr(rule.target, method.lower()), re.compile(pattern).groups)
            yield Operation(path_of(pattern, [f"{{{name}}}" for name in names]), method, rule.target)


def describe(rules: Iterable[Rule]) -> Json:
    """The OpenAPI document."""
    paths: Json = {}
    schemas: Json = {"Problem": _PROBLEM}
    for operation in operations(rules):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backend.AI manager", "version": __version__, "x-api-version": API_VERSION},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "BackendAI signMethod=HMAC-SHA256, credential=ACCESS_KEY:SIGNATURE; and Date",
                },
                "session": {"type": "http", "scheme": "bearer", "description": "The token that a session was granted."},
            },
            "schemas": schemas,
        },
    }


def page(rules: Iterable[Rule]) -> str:
    """The same for people, in one file without scripts."""
    rows = "\n".join(
        f"<tr><td><code>{one.method}</code></td><td><code>{escape(one.path)}</code></td><td>{escape(one.summary)}</td>"
        f"<td>{escape(', '.join(one.takes))}</td><td>{escape(_who(one))}</td></tr>"
        for one in operations(rules)
    )
    return _PAGE.format(version=escape(__version__), api_version=API_VERSION, rows=rows)


def _part_names(function: Any, count: int) -> list[str]:
    """What the method calls the parts of the path; those of a stream are given to its ``open``."""
    parameters = inspect.signature(function).parameters.values()
    names = [
        one.name.lstrip("_") for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"
    ][:count]
    return names + [f"part{number}" for number in range(len(names) + 1, count + 1)]


def _describe(operation: Operation, schemas: Json) -> Json:
    parts = [_parameter(name, "path", {"type": "string"}) for name in re.findall(r"\{(\w+)\}", operation.path)]
    if issubclass(operation.handler, OwnedHandler):
        parts.append(_parameter("owner_access_key", "query", {"type": "string"}))
    fields = {name: {"type": _TYPES[kind]} for name, kind in operation.takes.items()}
    found: Json = {
        "operationId": "-".join([operation.method.lower(), *re.findall(r"[\w.-]+", operation.path)]),
        "summary": operation.summary,
        "parameters": parts,
        "responses": {"2XX": _done(operation.gives, schemas), "default": _REFUSED},
        "security": [] if operation.handler.is_public else [{"signature": []}, {"session": []}],
    }
    if operation.method in _IN_BODY:
        schema = {"type": "object", "properties": fields}
        found["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    else:
        found["parameters"] = parts + [_parameter(name, "query", schema) for name, schema in fields.items()]
    if operation.permission:
        found["x-permission"] = operation.permission
        found["x-roles"] = sorted(policy.PERMISSIONS[operation.permission].roles)
    return found


def _done(shapes: Sequence[Any], schemas: Json) -> Json:
    content: Json = {one: {} for one in shapes if isinstance(one, str)}
    if (schema := json_schema(shapes, schemas)) is not None:
        content["application/json"] = {"schema": schema}
    return {"description": "Done.", **({"content": content} if content else {})}


def json_schema(shapes: Sequence[Any], schemas: Json) -> Json | None:
    """Of what a call gives that is JSON; one of several. None if none is. ``schemas`` gets those that have a name."""
    found = [schema_of(one, schemas) for one in shapes if one is not None and not isinstance(one, str)]
    return {"anyOf": found} if len(found) > 1 else found[0] if found else None


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _who(operation: Operation) -> str:
    if operation.handler.is_public:
        return "anybody"
    roles = policy.PERMISSIONS[operation.permission].roles if operation.permission else frozenset()
    return "superadmins" if roles == {policy.SUPERADMIN} else "users"


_PROBLEM: Json = {
    "type": "object",
    "required": ["type", "title"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "msg": {"type": "string", "description": "What was asked, what was found, what to do."},
        "data": {"type": ["object", "string"]},  # text: the path, where there is nothing
    },
}
_REFUSED: Json = {
    "description": "Refused, or it failed.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Backend.AI manager: API</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top; }}
</style>
<h1>Backend.AI manager {version}</h1>
<p>API {api_version}. For programs: <a href="openapi.json">openapi.json</a>. Requests are signed with a keypair;
parameters go into the query or into a JSON body. Errors are <code>application/problem+json</code>.</p>
<table>
<thead><tr><th>Method</th><th>Path</th><th>What it does</th><th>Takes</th><th>For</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</html>
"""


class OpenApiHandler(ApiHandler):
    """This API as an OpenAPI document."""

    is_public = True

    @gives(dict)
    def get(self) -> None:
        self.answer(200, describe(self.application.wildcard_router.rules))


class PageHandler(ApiHandler):
    """This API as a page."""

    is_public = True

    @gives("text/html")
    def get(self) -> None:
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.answer(200, Raw("text/html; charset=UTF-8", page(self.application.wildcard_router.rules)))


ROUTES = [(r"/openapi\.json", OpenApiHandler), (r"/api", PageHandler)]
