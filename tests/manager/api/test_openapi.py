"""The API's description of itself: of every route, and true."""

import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bai_jupyter.manager.api.openapi import operations, path_of
from bai_jupyter.manager.auth import policy

pytestmark = pytest.mark.asyncio


async def document(manager, admin):
    answer = await admin.http.fetch(f"{manager.endpoint}/openapi.json")  # unsigned
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("pattern", "names", "path"),
    [
        (r"/session", [], "/session"),
        (r"/(?:session|kernel)/([^/]+)/logs", ["{ref}"], "/session/{ref}/logs"),
        (r"/(?:v\d+/?)?$", [], "/"),
        (r"/openapi\.json", [], "/openapi.json"),
        (r"/images/(.+)", ["{name}"], "/images/{name}"),
    ],
)
async def test_paths_of_patterns(pattern, names, path):
    assert path_of(pattern, names) == path


async def test_a_pattern_of_another_shape_is_said():
    with pytest.raises(ValueError, match="not described"):
        path_of(r"/a/[0-9]{3}", [])
    with pytest.raises(ValueError, match="more than 0 parts"):
        path_of(r"/a/([^/]+)", [])


async def test_every_route_is_there(manager, admin):
    paths = (await document(manager, admin))["paths"]
    for rule in manager.web.wildcard_router.rules:
        if not rule.matcher.regex.pattern.startswith("/agent/"):
            assert any(rule.matcher.regex.fullmatch(path) for path in paths), rule.matcher.regex.pattern


async def test_a_call_is_described_by_its_handler(manager, admin):
    calls = (await document(manager, admin))["paths"]["/session/{ref}"]
    assert calls.keys() == {"get", "post", "delete", "patch"}
    end = calls["delete"]
    assert (end["summary"], end["x-permission"]) == ("End a session. Its last figures.", "session:end")
    assert [(one["name"], one["in"], one["required"]) for one in end["parameters"]] == [
        ("ref", "path", True),
        ("forced", "query", False),
        ("recursive", "query", False),
    ]


READ = re.compile(r"self\.(?:params\.get|params|text|optional_text|number|flag)[(\[]\"(\w+)\"")
OLD_NAMES = {"session_name", "sessionName", "name", "taskId", "service"}  # of older clients; taken, and not told


async def test_every_parameter_that_a_handler_reads_is_described(manager):
    missing = {}
    for operation in operations(manager.web.wildcard_router.rules):
        read = set(READ.findall(inspect.getsource(operation.function)))
        if unsaid := read - operation.takes.keys() - OLD_NAMES:
            missing[f"{operation.method} {operation.path}"] = unsaid
    assert missing == {}


CALL = re.compile(r"`([A-Z]+(?:, [A-Z]+)*) (/[^`\s]*)`")


def told_calls(text):
    """The rows of ``docs/api.md`` by method and path; parts of a path that are not fixed have no name there."""
    rows = [line.split(" | ", 1) for line in text.splitlines() if line.startswith("| `")]
    found = [
        (("GET" if method == "WS" else method, without_names(path)), f"{calls} {what}")
        for calls, what in rows
        for methods, path in CALL.findall(calls)
        for method in methods.split(", ")
    ]
    assert len(dict(found)) == len(found), "a call is there twice"
    return dict(found)


def without_names(path):
    return re.sub(r"\{\w+\}", "{}", path)


async def test_the_document_for_people_tells_of_every_call_and_parameter_and_of_no_other(manager):
    told = told_calls((Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8"))
    known = {
        ("ANY" if ("ANY", without_names(one.path)) in told else one.method, without_names(one.path)): one.takes
        for one in operations(manager.web.wildcard_router.rules)
    }
    assert told.keys() ^ known.keys() == set()
    unsaid = {
        call: [name for name in takes if not re.search(rf"\b{name}\b", told[call])] for call, takes in known.items()
    }
    assert {call: names for call, names in unsaid.items() if names} == {}


async def test_it_holds_together(manager, admin):
    found = await document(manager, admin)
    assert found["openapi"] == "3.1.0"
    operations = [(path, one) for path, methods in found["paths"].items() for one in methods.values()]
    assert len({one["operationId"] for _, one in operations}) == len(operations)
    schemes = found["components"]["securitySchemes"].keys()
    for path, one in operations:
        in_path = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        assert {name for choice in one["security"] for name in choice} <= schemes
        assert one.get("x-permission", "session:read") in policy.PERMISSIONS


class Page(HTMLParser):
    """Gathers the text, and what the page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.text, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.outside += [value for name, value in attrs if name in ("src", "href") and "//" in value]
        assert tag not in ("script", "iframe", "link")

    def handle_data(self, data):
        self.text.append(data)


async def test_the_page_is_readable_and_needs_nothing_from_outside(manager, admin):
    answer = await admin.http.fetch(f"{manager.endpoint}/api")
    page = Page()
    page.feed(answer.body.decode())
    assert page.outside == []
    assert "/session/{ref}/status-history" in page.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
