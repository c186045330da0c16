"""Whatever is asked, right or wrong, the manager answers as it says in its own description, and never with a fault.

Every operation of ``/openapi.json`` is called with values of the kinds that it names, of other kinds, and with texts
that break programs. The same numbers give the same requests: a failure names its round.

In long runs schemathesis does so, in an environment of its own and with a fixed seed: thousands of requests that go
through each parameter's edges one by one, and through methods that there are not; answers are compared with the
description. It has found what our rounds cannot see (405 without Allow, a body that was read before its method). Ours
stay because they take seconds, send half of a pair (no UTF-8) and bodies with every method, and name in bodies what
there is.
"""

import asyncio
import json
import os
import random
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from environments import environment
from fakes_agent import IMAGE
from tornado.websocket import WebSocketClosedError

from bai_jupyter.common import stdio

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

ROUNDS = 4
SCHEMATHESIS = "schemathesis==4.32.5"
HERE = Path(__file__).parent
UNCHECKED = {
    "positive_data_acceptance": "what a value must be like is more than its kind",
    "negative_data_rejection": "what a call does not need of what it got, it does not look at",
    "ignored_auth": "a header Authorization that cannot be read is a 400, as Backend.AI has it",
}
TEXTS = (
    *("", "x", "mine", "data", "home", "default", "lab-1", "local:data", IMAGE.name, "rw", "10g", "query"),
    *("-1", "0", "NaN", "true", "{}", "[]", "-", "_", "a\0b", "a\nb", "\ud800", "é" * 300, "x" * 5000, "🐍"),
    *("../../etc", "%2e%2e", "' OR 1=1 --"),
    *("00000000-0000-0000-0000-000000000000", "2026-01-01", "202611", "2026-01-01T00:00:00Z", "99999-01-01"),
)
NUMBERS = (0, 1, -1, 80, 8080, 2**31, 2**63, 2**70, 0.5, -0.0, 1e308)
WAITS = {
    "/events/": "a stream of events does not end",
    "/stream/": "these are WebSockets, which clients open with an upgrade",
}


class Requests:
    """A source of requests; equal numbers, equal requests."""

    def __init__(self, number: int) -> None:
        self._chance = random.Random(number)  # noqa: S311 - nothing is secret

    def value(self, kind: str, depth: int = 0) -> object:
        """Most often of that kind."""
        if self._chance.random() < 0.3:
            kind = self._chance.choice(("string", "integer", "boolean", "null", "array", "object"))
        match kind:
            case "string":
                return self._chance.choice(TEXTS)
            case "integer" | "number":
                return self._chance.choice(NUMBERS)
            case "boolean":
                return self._chance.choice((True, False))
            case "array" if depth < 2:
                return [self.value("string", depth + 1) for _ in range(self._chance.randrange(4))]
            case "object" if depth < 2:
                names = ("cpu", "mem", "resources", "mounts", "environ", "A", "")
                return {name: self.value("string", depth + 1) for name in names if self._chance.random() < 0.4}
        return None

    def path(self, template: str) -> str:
        def part(_: "re.Match[str]") -> str:
            text = self._chance.choice(("mine", "data", *TEXTS)) or "x"
            return quote(text, safe="", errors="surrogatepass")

        return re.sub(r"\{\w+\}", part, template)

    def fields(self, operation: dict) -> dict:
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        known = {name: one["type"] for name, one in schema.get("properties", {}).items()}
        known |= {one["name"]: one["schema"]["type"] for one in operation["parameters"] if one["in"] == "query"}
        return {name: self.value(kind) for name, kind in known.items() if self._chance.random() < 0.75}

    def of(self, method: str, template: str, operation: dict) -> tuple[str, dict | None]:
        """The target with its query, and the body."""
        path, fields = self.path(template), self.fields(operation)
        if method in ("POST", "PUT", "PATCH") or self._chance.random() < 0.3:
            if template.startswith(("/session", "/kernel")):
                fields["enqueueOnly"] = True  # else it waits for the session to run
            return path, fields
        pairs = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        return path + (f"?{urlencode(pairs, errors='surrogatepass')}" if pairs else ""), None


async def restore(admin):
    """What requests are about: one of them may have removed it."""
    await admin.call("PUT", "/manager/status", {"status": "running"})
    await admin.call("POST", "/manager/scheduler/operation", {"op": "include-agents", "args": ["lab-1"]})
    await admin.call("POST", "/images", {"name": IMAGE.name})
    await admin.call("POST", "/folders", {"name": "data", "host": "local:data"})
    config = {"resources": {"cpu": "1", "mem": "64m"}}
    await admin.call("POST", "/session", {"name": "mine", "image": IMAGE.name, "enqueueOnly": True, "config": config})


def fault_of(answer):
    """What is wrong with an answer; nothing is with most refusals."""
    if answer.status in (500, 599):  # 599: none in time
        return f"{answer.status} {answer.body[:200]!r}"
    if answer.status < 400 or not answer.body:
        return None
    if answer.headers["Content-Type"] != "application/problem+json":
        return f"{answer.status} is no problem document but {answer.headers['Content-Type']}: {answer.body[:200]!r}"
    problem = answer.json
    is_whole = problem["type"].startswith("https://api.backend.ai/probs/") and problem["title"]
    return None if is_whole else f"{answer.status} {problem}"


async def end_at_once(socket, _endpoint):
    """What the agent does with commands and terminals."""
    with suppress(WebSocketClosedError):
        await socket.write_message(stdio.pack_ended(1), binary=True)
        await socket.read_message()


async def test_no_request_finds_a_fault(manager, admin, holder):
    holder.on_stream = end_at_once
    described, faults = await admin.get("/openapi.json"), []
    for template, methods in described["paths"].items():
        if any(template.startswith(path) for path in WAITS):
            continue
        for method, operation in methods.items():
            await restore(admin)
            for number in range(ROUNDS):
                target, body = Requests(number).of(method.upper(), template, operation)
                answer = await admin.call(method.upper(), target, body)
                if fault := fault_of(answer):
                    faults.append(f"round {number}: {method.upper()} {target} {body!r}: {fault}")
    logged = [entry["traceback"] or entry["message"] for entry in manager.errors.page(100, 1)[0]]
    assert not faults, "\n".join([*faults, *logged])
    assert not logged, "\n".join(logged)


@pytest.mark.soak
@pytest.mark.timeout(3000)
async def test_schemathesis_finds_no_fault(manager, admin, holder, missing, tmp_path):
    holder.on_stream = end_at_once
    installed = await asyncio.to_thread(environment, "schemathesis", [SCHEMATHESIS], missing)
    command = ["run", f"{manager.endpoint}/openapi.json", "--checks", "all", "--exclude-checks", ",".join(UNCHECKED)]
    command += ["--exclude-path-regex", f"^({'|'.join(WAITS)})", "--phases", "coverage,fuzzing", "--max-examples", "20"]
    command += ["--seed", "1", "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"]
    asking = await asyncio.create_subprocess_exec(
        installed / "bin" / "schemathesis",
        *command,
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": f"{HERE}:{HERE.parents[2]}",
            "BACKEND_ENDPOINT": manager.endpoint,
            "BACKEND_ACCESS_KEY": admin.access_key,
            "BACKEND_SECRET_KEY": admin.secret_key,
            "IMAGE": IMAGE.name,
            "KNOWN": f"mine data home default lab-1 {IMAGE.name}",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asking.communicate()
    assert asking.returncode == 0, told.decode()
    assert manager.errors.page(100, 1)[0] == []
