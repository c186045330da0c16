"""Answers in a real run, held against the shapes of those that a real manager of Backend.AI 23.09.10 gave.

``recorded_shapes.json`` has one for each call. A word is a kind of value, or the value itself; ``?`` behind it: or
null, behind a key: or absent; ``*`` is any other key. What goes beyond the record is not looked at here: it is in
``/openapi.json``, and held against that (``tests/described.py``).

What differs on purpose, beside the defects of that release which are mended here:

* who has not the role is answered 403, not 401, which would say that nobody knows them;
* what fits on no agent at all is refused with figures, and does not wait for ever;
* what is not limited, as calls without a signature, has no ``X-RateLimit-`` headers, not the same ones each time.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from manager.api.test_events import listening
from tornado.httputil import HTTPHeaders

pytestmark = pytest.mark.timeout(600)

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix("").with_name("recorded_shapes.json").read_text()
)
PROBLEM = {"type": "text", "title": "text", "msg?": "text"}


def _is_json(value: object) -> bool:
    try:
        json.loads(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


KINDS = {
    "text": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
    "any": lambda value: True,
    "json": _is_json,
}


def faults(shape: Any, value: Any, where: str = "") -> list[str]:
    """What in a value is not as recorded."""
    if isinstance(shape, str):
        kind, is_optional = shape.removesuffix("?"), shape.endswith("?")
        fits = KINDS.get(kind, lambda found: found == kind or json.dumps(found) == kind)
        return [] if fits(value) or (is_optional and value is None) else [f"{where}: {value!r} is not {shape}"]
    if type(value) is not type(shape):
        return [f"{where}: {value!r} is not {shape}"]
    if isinstance(shape, list):
        if shape and len(shape) > 1:
            pairs = zip(shape, value, strict=False)
            wrong_length = [] if len(shape) == len(value) else [f"{where}: {value!r} has not {len(shape)} parts"]
            return wrong_length + [
                found for n, (part, one) in enumerate(pairs) for found in faults(part, one, f"{where}[{n}]")
            ]
        return [found for n, one in enumerate(value) if shape for found in faults(shape[0], one, f"{where}[{n}]")]
    named = {key.removesuffix("?"): (part, key.endswith("?")) for key, part in shape.items() if key != "*"}
    missing = [f"{where}.{key} is missing" for key, (_, may_lack) in named.items() if key not in value and not may_lack]
    others = {key: (shape["*"], True) for key in value.keys() - named.keys() if "*" in shape}
    inside = {**named, **others}
    return missing + [
        found
        for key, (part, _) in inside.items()
        if key in value
        for found in faults(part, value[key], f"{where}.{key}")
    ]


def test_a_value_of_another_shape_is_told():
    shape = {"a": "text", "b?": "int?", "list": [["text", "int"]], "*": {"x": "bool"}}
    assert faults(shape, {"a": "", "b": None, "list": [["x", 1]], "other": {"x": True}}) == []
    told = faults(shape, {"b": True, "list": [["x"]], "other": {"x": 1}})
    assert [one.split(":")[0] for one in told] == [".a is missing", ".b", ".list[0]", ".other.x"]
    assert faults("PENDING", "RUNNING")
    assert faults("0", 0) == []


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPHeaders
    body: bytes


class Answers:
    """What was answered to each call of the record; ``call`` and ``keep`` return it, too."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen: set[str] = set()

    async def call(self, name: str, client: Any, method: str, path: str, body: Any = None, **options: Any) -> Any:
        return self.keep(name, await client.call(method, path, body, **options))

    def keep(self, name: str, answer: Any) -> Any:
        recorded = RECORDED[name]
        body = json.loads(answer.body) if answer.body and "json" in answer.headers.get("Content-Type", "") else None
        found = [] if answer.status == recorded["status"] else [f": {answer.status} {answer.body[:300]!r}"]
        found += [f": no header {one}" for one in recorded.get("headers", ()) if one not in answer.headers]
        if "problem" in recorded:
            found += faults({**PROBLEM, "type": f"https://api.backend.ai/probs/{recorded['problem']}"}, body)
            found += [] if answer.headers["Content-Type"].startswith("application/problem+json") else [": no problem"]
        if "body" in recorded:
            found += faults(recorded["body"], body)
        self._tell(name, found)
        return body

    def items(self, name: str, items: list[Any]) -> None:
        self._tell(name, faults(RECORDED[name]["items"], items) if items else [": nothing came"])

    def _tell(self, name: str, found: list[str]) -> None:
        self.seen.add(name)
        self.faults += [f"{name}{one}" for one in found]


@pytest.mark.asyncio
async def test_answers_are_of_the_recorded_shapes(cluster, helpers):
    signed = helpers.client(**helpers.of_cluster(cluster))
    answers = Answers()
    stranger = await system(answers, signed, helpers)
    for part in (sessions, execution, files_of_a_session, folders):
        await part(answers, signed, stranger, cluster, helpers)
    stranger.close()
    signed.close()
    assert answers.faults == []
    assert answers.seen == RECORDED.keys()


@pytest.mark.asyncio
async def test_what_is_made_right_after_the_end_of_what_filled_the_agent_runs(cluster, helpers):
    """Defect of Backend.AI 23.09.10: its manager took the slots as free before its agent did, and it was cancelled."""
    signed = helpers.client(**helpers.of_cluster(cluster))
    presets = await signed.post("/resource/check-presets", {"group": "default"}, 200)
    whole = {"cpu": presets["scaling_group_remaining"]["cpu"], "mem": "256m"}
    await signed.create("turn-0", image=cluster.image, resources=whole)
    for n in range(3):
        await signed.until_status(f"turn-{n}", "RUNNING")
        await signed.call("DELETE", f"/session/turn-{n}")
        await signed.create(f"turn-{n + 1}", image=cluster.image, resources=whole)
    await signed.until_status("turn-3", "RUNNING")
    signed.close()


async def system(answers, signed, helpers):
    """Also makes somebody else, whose client it returns."""
    answers.keep("version", await unsigned(signed, "/"))
    answers.keep("no date", await unsigned(signed, "/folders", {"Authorization": "BackendAI signMethod=HMAC-SHA256"}))
    await answers.call("wrong key", signed, "GET", "/folders", secret_key="another")
    await answers.call("unknown path", signed, "GET", "/no-such-path")
    person = {"username": "kim", "password": "a long enough password"}
    make = 'mutation {create_user(email: "kim@example.org", props: {username: "kim", password: "%s"}) {ok msg}}'
    made = await signed.post("/admin/gql", {"query": make % person["password"]}, 200)
    assert made["data"]["create_user"]["ok"], made
    person = {"type": "keypair", "domain": "default", **person, "username": "kim@example.org"}
    keys = (await answers.call("authorize", signed, "POST", "/auth/authorize", person))["data"]
    limit = 'mutation {modify_keypair_resource_policy(name: "default", props: {max_session_lifetime: 3600}) {ok}}'
    await signed.post("/admin/gql", {"query": limit}, 200)
    await answers.call("presets", signed, "GET", "/resource/presets")
    await answers.call("check presets", signed, "POST", "/resource/check-presets", {"group": "default"})
    await answers.call("resource slots", signed, "GET", "/config/resource-slots")
    await answers.call("resource slot details", signed, "GET", "/config/resource-slots/details")
    await answers.call("scaling groups", signed, "GET", "/scaling-groups?group=default")
    await answers.call("manager status", signed, "GET", "/manager/status")
    await answers.call("announcement", signed, "GET", "/manager/announcement")
    await answers.call("graphql that is wrong", signed, "POST", "/admin/gql", {"query": "{no_such_root}"})
    stranger = helpers.client(signed.endpoint, keys["access_key"], keys["secret_key"])
    await answers.call("role", stranger, "GET", "/auth/role")
    return stranger


async def sessions(answers, signed, stranger, cluster, helpers):
    body = {"name": "recorded", "image": cluster.image, "maxWaitSeconds": 60}
    body["config"] = {"resources": {"cpu": "1", "mem": "256m"}, "environ": {"A": "b"}, "preopen_ports": [8001]}
    async with listening(signed, "/events/session?sessionName=*") as received:
        await answers.call("create", signed, "POST", "/session", body)
        answers.items("events", [(await received.get())[1] for _ in range(3)])
    await answers.call("create again", signed, "POST", "/session", body)
    await answers.call("create not again", signed, "POST", "/session", {**body, "reuseIfExists": False})
    more = {"resources": {"cpu": await all_cpus(signed), "mem": "256m"}}
    waits = {**body, "name": "waiting", "enqueueOnly": True, "config": more}
    await answers.call("create of more than is free", signed, "POST", "/session", waits)
    await signed.until_status("waiting", "PENDING")
    await helpers.wait_until(partial(says_why, signed))
    await answers.call("waiting", signed, "GET", "/session/waiting")
    await answers.call("destroy what waits", signed, "DELETE", "/session/waiting")
    later = {"name": "not-waited", "enqueueOnly": True}
    await answers.call("create and not wait", signed, "POST", "/session", {**body, **later})
    unknown = {"name": "another", "image": "no/such:image"}
    await answers.call("create of an unknown image", signed, "POST", "/session", {**body, **unknown})
    await answers.call("create with a short name", signed, "POST", "/session", {**body, "name": "abc"})
    await answers.call("malformed", signed, "POST", "/session", {**body, "name": "odd-one", "config": 7})
    await helpers.wait_until(partial(has_been_looked_at, signed))
    await answers.call("info", signed, "GET", "/session/recorded")
    await answers.call("info of none", signed, "GET", "/session/no-such-one")
    await answers.call("info of a stranger's", stranger, "GET", "/session/recorded")
    await answers.call("apps", signed, "GET", "/stream/session/recorded/apps")
    await answers.call("status history", signed, "GET", "/session/recorded/status-history")
    await answers.call("dependency graph", signed, "GET", "/session/recorded/dependency-graph")
    query = "{compute_session_list(limit: 5, offset: 0) {total_count items {%s}}}"
    fields = "id name status status_info status_data occupied_slots created_at"
    await answers.call("graphql", signed, "POST", "/admin/gql", {"query": query % fields})


async def all_cpus(signed):
    """Of the one agent, of which one is taken."""
    told = await signed.post("/resource/check-presets", {"group": "default"}, 200)
    return str(float(told["scaling_group_remaining"]["cpu"]) + 1)


async def says_why(signed):
    return (await signed.session("waiting"))["statusInfo"]


async def has_been_looked_at(signed):
    """By what ends sessions whose time is over."""
    return (await signed.session("recorded"))["idleChecks"]


async def execution(answers, signed, _stranger, _cluster, _helpers):
    async def run(name, **body):
        return (await answers.call(name, signed, "POST", "/session/recorded", body))["result"]

    await run("execute", mode="query", code="print(1)", runId=None)
    await run("execute until it asks", mode="query", code="input('? ')", runId="asks")
    await signed.call("POST", "/session/recorded", {"mode": "input", "code": "x", "runId": "asks"})
    while (await run("execute", mode="continue", code="", runId="asks"))["status"] != "finished":
        pass
    await run("execute what fails", mode="query", code="1 / 0", runId="fails")
    steps = {"clean": "echo a", "build": "echo b", "exec": "echo c"}
    await run("batch clean", mode="batch", code="", runId="steps", options=steps)
    await run("batch build", mode="continue", code="", runId="steps")
    await run("batch exec", mode="continue", code="", runId="steps")
    await answers.call("execute in no mode", signed, "POST", "/session/recorded", {"mode": "guess", "code": "1"})
    at = {"code": "x = 1; x.bit_le", "options": {"row": 0, "col": 15, "line": "x = 1; x.bit_le", "post": ""}}
    await answers.call("complete", signed, "POST", "/session/recorded/complete", at)
    await answers.call("interrupt", signed, "POST", "/session/recorded/interrupt")


async def files_of_a_session(answers, signed, _stranger, _cluster, _helpers):
    answers.keep("upload into it", await uploaded(signed, "recorded"))
    told = await answers.call("files in it", signed, "GET", "/session/recorded/files", {"path": "."})
    answers.items("file in it", [one for one in json.loads(told["files"]) if one["filename"] == "note.txt"])
    await answers.call("download of it", signed, "GET", "/session/recorded/download", {"files": ["note.txt"]})
    await answers.call("logs", signed, "GET", "/session/recorded/logs")
    await answers.call("rename", signed, "POST", "/session/recorded/rename?name=renamed")
    await answers.call("restart", signed, "PATCH", "/session/renamed")
    await signed.until_status("renamed", "RUNNING")
    await signed.until_status("not-waited", "RUNNING")
    await answers.call("destroy", signed, "DELETE", "/session/renamed")


async def folders(answers, signed, stranger, _cluster, _helpers):
    body = {"name": "data", "host": "local:data", "quota": "0"}
    made = await answers.call("folder", signed, "POST", "/folders", body)
    await answers.call("folder again", signed, "POST", "/folders", body)
    await answers.call("folders", signed, "GET", "/folders")
    await answers.call("mkdir", signed, "POST", "/folders/data/mkdir", {"path": "a/b", "parents": True})
    asked = {"path": "a/note.txt", "size": 5}
    way = await answers.call("request upload", signed, "POST", "/folders/data/request-upload", asked)
    headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    answers.keep("upload", await transferred(signed, "PATCH", way, headers, b"hello"))
    way = await answers.call(
        "request download", signed, "POST", "/folders/data/request-download", {"path": "a/note.txt"}
    )
    answers.keep("download", await transferred(signed, "GET", way))
    await answers.call("files", signed, "GET", "/folders/data/files", {"path": "a"})
    await answers.call("hosts", signed, "GET", "/folders/_/hosts")
    await answers.call("stranger's folder", stranger, "GET", "/folders/data")
    await answers.call(
        "invite", signed, "POST", "/folders/data/invite", {"perm": "ro", "user_ids": ["kim@example.org"]}
    )
    await answers.call("invitations", stranger, "GET", "/folders/invitations/list")
    await answers.call("delete", signed, "DELETE", "/folders/data")
    await answers.call("deleted", signed, "GET", f"/folders/{made['id']}")


async def unsigned(client, path, headers=None):
    answer = await client.http.fetch(client.endpoint + path, headers=headers, raise_error=False)
    return Answer(answer.code, answer.headers, answer.body)


async def transferred(client, method, way, headers=None, body=None):
    """By the address and token that a folder's owner was given, unsigned."""
    address = f"{way['url']}?token={way['token']}"
    answer = await client.http.fetch(address, method=method, headers=headers, body=body, raise_error=False)
    return Answer(answer.code, answer.headers, answer.body)


async def uploaded(signed, session):
    """A file ``note.txt`` into a session."""
    request = signed.request("POST", f"/session/{session}/upload", content_type="multipart/form-data")
    request.headers["Content-Type"] = "multipart/form-data; boundary=XX"
    disposition = 'Content-Disposition: form-data; name="src"; filename="note.txt"'
    request.body = f"--XX\r\n{disposition}\r\n\r\nhello\r\n--XX--\r\n".encode()
    answer = await signed.http.fetch(request, raise_error=False)
    return Answer(answer.code, answer.headers, answer.body)
