"""Who may reach into a session, and when: every call of execution, apps, terminals and files."""

import pytest
from fakes_agent import FakeAgent
from real_manager import PAGE, show_page
from tornado.httpclient import HTTPClientError

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus

pytestmark = pytest.mark.asyncio

QUERY = {"mode": "query", "code": "1"}
CALLS = [
    ("POST", "/session/{s}", QUERY),
    ("POST", "/kernel/{s}", QUERY),
    ("POST", "/session/{s}/complete", {"code": "1"}),
    ("POST", "/session/{s}/interrupt", {}),
    ("GET", "/session/{s}/files", {"path": "."}),
    ("GET", "/session/{s}/download", {"files": ["x"]}),
    ("GET", "/session/{s}/download_single", {"file": "x"}),
    ("GET", "/stream/session/{s}/apps", None),
    ("POST", "/session/{s}/start-service", {"app": "8000"}),
    ("POST", "/session/{s}/shutdown-service", {"service_name": "8000"}),
    ("GET", "/stream/session/{s}/pty", None),
    ("GET", "/stream/session/{s}/execute", None),
    ("GET", "/stream/session/{s}/tcpproxy?app=8000", None),
    ("GET", "/stream/session/{s}/httpproxy?app=8000", None),
    ("GET", "/apps/{s}/8000/", None),
]
NEED_NO_RUNNING_SESSION = ("/apps", "/execute", "start-service")  # looked up, or refused with the first message


async def refusals(client, name: str) -> dict[str, int]:
    answers = {}
    for method, path, body in CALLS:
        answer = await client.call(method, path.format(s=name), body)
        answers[path] = answer.status
        assert answer.json["type"].startswith("https://api.backend.ai/probs/"), path
    return answers


async def test_what_is_anothers_is_what_does_not_exist(agent, admin, make_user):
    await admin.create("my-work", preopen_ports=[8000])
    await admin.until_status("my-work", "RUNNING")
    stranger = await make_user("stranger")
    missing = {path: 404 for _, path, _ in CALLS}
    assert await refusals(stranger, "my-work") == missing
    assert await refusals(admin, "no-such1") == missing


async def test_nobody_unsigned(agent, admin):
    await admin.create("my-work", preopen_ports=[8000])
    admin.secret_key = "wrong"
    assert await refusals(admin, "my-work") == {path: 401 for _, path, _ in CALLS}


async def test_a_session_that_does_not_run_says_so(agent, admin):
    agent.hold_at = KernelStatus.CREATING
    await admin.create("my-work", preopen_ports=[8000])
    await admin.until_status("my-work", "PREPARING")
    for method, path, body in CALLS:
        if not path.endswith(NEED_NO_RUNNING_SESSION):
            answer = await admin.call(method, path.format(s="my-work"), body)
            assert (answer.status, answer.json["data"]["reason"]["code"]) == (400, "not-running"), path


async def test_an_agents_refusal_reaches_the_caller(agent: FakeAgent, admin):
    await admin.create("my-work", preopen_ports=[8000])
    await admin.until_status("my-work", "RUNNING")
    agent.call_errors["open_stream"] = Reason.of("port-closed", port=8000, cause="connection refused")
    answer = await admin.call("GET", "/apps/my-work/8000/")
    assert (answer.status, answer.json["data"]["reason"]["code"]) == (400, "port-closed")
    with pytest.raises(HTTPClientError, match="400"):
        await admin.connect("/stream/session/my-work/tcpproxy?app=8000")
    with pytest.raises(HTTPClientError, match="400"):
        await admin.connect("/stream/session/my-work/pty")


async def test_a_session_shows_its_apps(agent, admin):
    created = await admin.create("my-work", preopen_ports=[8000, "9000"])
    terminal = {"name": "ttyd", "protocol": "http", "ports": [7681]}
    apps = [terminal] + [{"name": name, "protocol": "preopen", "ports": [int(name)]} for name in ("8000", "9000")]
    assert created["servicePorts"] == apps
    assert await admin.get("/stream/session/my-work/apps") == apps
    assert await admin.get("/stream/kernel/my-work/apps") == apps


async def test_who_uses_an_app_does_not_keep_the_database_busy(manager, agent, admin, helpers, monkeypatch):
    agent.on_stream = show_page
    await admin.create("my-work", preopen_ports=[8000])
    await admin.until_status("my-work", "RUNNING")
    reads, read = [], manager.store.read

    async def noted(unit, *args, **names):
        reads.append(unit)
        return await read(unit, *args, **names)

    monkeypatch.setattr(manager.store, "read", noted)

    async def is_answered_from_memory():  # unless something was written meanwhile
        reads.clear()
        assert (await admin.call("GET", "/apps/my-work/8000/")).body.decode() == PAGE
        return not reads

    await helpers.wait_until(is_answered_from_memory, "an answer without a look into the database")
