"""``/bai/api`` for a session's tab: its statuses, what was done to it, its project; those that ended; no stranger's."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes_agent import IMAGE
from real_manager import RealManager, environ_of

from bai_jupyter.client import ClientConfig

KERNEL = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def mia(cluster: RealManager) -> ClientConfig:
    return cluster.add_user("mia")


@pytest.fixture
def account(mia: ClientConfig) -> dict[str, str]:
    """No superadmin's: those see the sessions of all."""
    return environ_of(mia)


@pytest.fixture
def start(cluster: RealManager, mia: ClientConfig) -> Iterator[Callable[[str], str]]:
    """A running session of hers, until the test ends."""
    started = []

    def start(name: str) -> str:
        config = {"resources": {"cpu": "1", "mem": "1g"}}
        body = {"name": name, "image": IMAGE.name, "enqueueOnly": False, "maxWaitSeconds": 20, "config": config}
        made = cluster.ask("POST", "/session", body, mia)
        assert made["status"] == "RUNNING"
        started.append(made["sessionId"])
        return str(made["sessionId"])

    yield start
    for one in started:
        cluster.ask("DELETE", f"/session/{one}", None, mia)


async def test_each_change_of_its_status_and_why(bai: Callable[..., Any], start: Any) -> None:
    session = start("lived")
    await bai("DELETE", f"sessions/{session}")
    status, answer = await bai("GET", f"sessions/{session}/history")
    told = [one["status"] for one in answer["changes"]]
    assert (status, told[0], "RUNNING" in told) == (200, "PENDING", True)
    times = [one["at"] for one in answer["changes"]]
    assert times == sorted(times)
    [ending] = [one for one in answer["changes"] if one["status"] == "TERMINATING"]
    assert ending["reason"]["code"] == "user-requested"


async def test_it_is_called_otherwise_and_no_name_is_had_twice(
    bai: Callable[..., Any], cluster: RealManager, start: Any
) -> None:
    session, _ = start("draft"), start("other")
    assert await bai("PATCH", f"sessions/{session}", {"name": "final"}) == (204, None)
    assert (await bai("GET", f"sessions/{session}"))[1]["name"] == "final"
    for name, code, sentence in (
        ("other", 400, "You already have a session other."),
        ("a b", 400, "name: 'a b' is not 4 to 64 letters"),
        (None, 400, "name"),
    ):
        status, answer = await bai("PATCH", f"sessions/{session}", {"name": name})
        assert (status, answer["message"].startswith(sentence)) == (code, True), answer
    stranger = cluster.add_user("sten")
    theirs = cluster.ask("POST", "/session", {"name": "hers", "image": IMAGE.name}, stranger)["sessionId"]
    assert (await bai("PATCH", f"sessions/{theirs}", {"name": "mine"}))[0] == 404
    assert (await bai("GET", f"sessions/{session}"))[1]["name"] == "final"


async def test_what_was_done_to_it_by_its_id_and_by_its_name_while_it_had_that(
    bai: Callable[..., Any], cluster: RealManager, mia: ClientConfig, start: Any, wait_until: Callable[..., Any]
) -> None:
    before, other = start("a_name"), start("a-name")
    cluster.ask("DELETE", "/session/a_name", None, mia)
    wait_until(lambda: cluster.ask("GET", f"/session/{before}", None, mia)["terminationTime"], "its end")
    session = start("a_name")
    cluster.ask("PATCH", "/session/a_name", None, mia)
    cluster.ask("POST", "/session/a-name/jupyter-kernels", {"kernelspec": "python3", "key": "k", "id": KERNEL}, mia)
    cluster.ask("DELETE", f"/session/a-name/jupyter-kernels/{KERNEL}", None, mia)

    async def record_of(one: str) -> list[tuple[str, int]]:
        status, answer = await bai("GET", f"sessions/{one}/audit")
        assert (status, {entry["access_key"] for entry in answer["entries"]}) == (200, {mia.access_key})
        return [(entry["action"], entry["result"]) for entry in answer["entries"]]

    assert await record_of(session) == [("PATCH session:control", 204), ("POST session:create", 201)]
    assert [action for action, _ in await record_of(before)] == ["DELETE session:end", "POST session:create"]
    assert (await record_of(other))[0][0].startswith("DELETE session:")  # its kernel's end


async def test_its_project_is_named(bai: Callable[..., Any], start: Any) -> None:
    assert await bai("GET", f"sessions/{start('of-project')}/project") == (
        200,
        {"name": "default", "owner": "mia@localhost"},
    )


async def test_those_that_ended_lately_newest_first_and_none_of_somebody_else(
    bai: Callable[..., Any], cluster: RealManager, mia: ClientConfig, start: Any, wait_until: Callable[..., Any]
) -> None:
    since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    running, first, second = start("lives-on"), start("ended-first"), start("ended-second")
    theirs = cluster.start_session("ended-too", resources={"cpu": "1", "mem": "1g"})
    for one, owner in ((first, mia), (second, mia), (theirs, None)):
        cluster.ask("DELETE", f"/session/{one}", None, *([owner] if owner else []))
        wait_until(lambda: cluster.ask("GET", f"/session/{one}")["terminationTime"], "its end")  # noqa: B023
    status, answer = await bai("GET", f"ended-sessions?since={since}")
    assert (status, answer["total"]) == (200, 2)
    newest, oldest = answer["sessions"]
    assert (newest["id"], oldest["id"]) == (second, first)
    view = cluster.ask("GET", f"/session/{second}")
    for name in ("name", "type", "image", "status", "slots", "clusterSize"):
        assert newest[name] == view[name], name
    assert newest["reason"]["code"] == "user-requested"
    assert datetime.fromisoformat(newest["terminationTime"]) == datetime.fromisoformat(view["terminationTime"])
    later = newest["terminationTime"]
    assert [one["id"] for one in (await bai("GET", f"ended-sessions?since={later}"))[1]["sessions"]] == [second]
    assert running not in [one["id"] for one in answer["sessions"]]


@pytest.mark.parametrize("since", ["", "today", "2026-11-30T00:00:00", '2026-11-30T00:00:00Z" | id != "'])
async def test_what_is_no_time_is_refused(bai: Callable[..., Any], since: str) -> None:
    status, answer = await bai("GET", f"ended-sessions?since={since}")
    assert (status, answer["message"].startswith("since: ")) == (400, True), answer


async def test_a_strangers_session_is_not_there(bai: Callable[..., Any], cluster: RealManager) -> None:
    session = cluster.start_session("hidden", resources={"cpu": "1", "mem": "1g"})
    missing = session[:-4] + "0000"
    for what in ("history", "audit", "project"):
        (status, hidden), (_, none) = [await bai("GET", f"sessions/{one}/{what}") for one in (session, missing)]
        assert (status, hidden["code"]) == (404, "not-found")
        assert hidden["message"].replace(session, "") == none["message"].replace(missing, "")
