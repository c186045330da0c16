"""The API's description of itself: of every route, and true."""

import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from described import faults_of
from tornado.websocket import WebSocketHandler

from bai_jupyter.common.errors import PublicError
from bai_jupyter.manager.agents.streams import CallerSocket
from bai_jupyter.manager.api.agents import ImageHandler
from bai_jupyter.manager.api.openapi import operations, path_of
from bai_jupyter.manager.api.resources import PresetsHandler
from bai_jupyter.manager.api.reverse_proxy import ReverseProxyHandler
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
        ("owner_access_key", "query", False),
        ("forced", "query", False),
        ("recursive", "query", False),
    ]


async def test_an_answer_is_described_by_its_handler(manager, admin):
    found = await document(manager, admin)
    made = found["paths"]["/agents"]["get"]["responses"]["2XX"]["content"]["application/json"]["schema"]
    assert made["properties"]["agents"] == {"type": "array", "items": {"$ref": "#/components/schemas/AgentView"}}
    agent = found["components"]["schemas"]["AgentView"]
    assert agent["required"] == list(agent["properties"])
    assert agent["properties"]["status"] == {"type": "string", "enum": ["ALIVE", "LOST", "TERMINATED"]}
    assert agent["properties"]["heard_at"] == {"type": ["string", "null"]}
    template = found["paths"]["/template/session/{template_id}"]["get"]["responses"]["2XX"]["content"]
    assert template.keys() == {"application/yaml", "application/json"}
    assert "content" not in found["paths"]["/session/{ref}"]["patch"]["responses"]["2XX"]


async def test_every_answer_is_described(manager):
    """Of WebSockets there is none, and what a session's app answers is not the manager's to say."""
    without = {
        f"{one.method} {one.path}"
        for one in operations(manager.web.wildcard_router.rules)
        if not one.gives and not issubclass(one.handler, (WebSocketHandler, CallerSocket, ReverseProxyHandler))
    }
    assert without == set()


async def test_an_answer_that_is_not_as_described_is_a_fault():
    """What ``conftest`` looks for in all answers."""
    whole = {"name": "small", "resource_slots": {"cpu": "1"}, "shared_memory": None}
    answer = {"presets": [whole]}
    assert list(faults_of(PresetsHandler.get, 200, answer)) == []
    for wrong in ({**whole, "more": 1}, {**whole, "resource_slots": {"cpu": 1}}, {"name": "small"}):
        assert list(faults_of(PresetsHandler.get, 200, {"presets": [wrong]}))
    assert list(faults_of(PresetsHandler.get, 204, None)) == ["has no body"]
    assert list(faults_of(ImageHandler.delete, 200, {})) == ["has a body"]
    assert list(faults_of(ImageHandler.delete, 204, None)) == []


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


TYPE = re.compile(r"^\| `([a-z-]+)` \| (\d{3}(?:, \d{3})*) \|", re.MULTILINE)


async def test_the_document_for_people_tells_of_every_type_of_error_and_of_no_other(manager):
    told = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    known = {(one.slug, one.status) for one in with_kinds(PublicError) if one.__module__.startswith(OF_THE_MANAGER)}
    assert {(slug, int(status)) for slug, many in TYPE.findall(told) for status in many.split(", ")} == known


OF_THE_MANAGER = ("bai_jupyter.common.", "bai_jupyter.manager.")


def with_kinds(error):
    return {error}.union(*map(with_kinds, error.__subclasses__()))


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
    named = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found["paths"]))
    assert set(named) - found["components"]["schemas"].keys() == set()


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
