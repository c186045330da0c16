"""Sessions and Jupyter kernels: what is asked for, their events, and waiting for them."""

import asyncio

import pytest
from client.signed_server import Events, Session

from bai_jupyter.client import (
    ManagerClient,
    SessionEnded,
    SessionRequest,
)


@pytest.mark.asyncio
async def test_a_session_request_sends_what_was_given_only(client: ManagerClient) -> None:
    request = SessionRequest("demo", "python:3.11", resources={"cpu": 2, "mem": "4g"}, mounts=["data"])
    answer = await client.create_session(request)
    assert answer["body"] == {
        "name": "demo",
        "image": "python:3.11",
        "type": "interactive",
        "enqueueOnly": True,
        "maxWaitSeconds": 0,
        "reuseIfExists": True,
        "config": {"resources": {"cpu": "2", "mem": "4g"}, "mounts": ["data"]},
    }
    assert (await client.dry_run(request))["uri"] == "/resource/dry-run"


@pytest.mark.asyncio
async def test_a_jupyter_kernel_is_asked_for_without_empty_fields(client: ManagerClient) -> None:
    answer = await client.create_jupyter_kernel("demo", "python3", "key", folder="home", path="a/b")
    assert answer["body"] == {"kernelspec": "python3", "key": "key", "env": {}, "folder": "home", "path": "a/b"}


@pytest.mark.asyncio
async def test_events_come_in_order_and_leaving_hangs_up(client: ManagerClient) -> None:
    Session.statuses = ["PENDING", "CREATING", "RUNNING"]
    events = client.events("s-1")
    seen = [(await anext(events))[1]["status"] for _ in range(3)]
    assert seen == ["PENDING", "CREATING", "RUNNING"]
    await events.aclose()
    await asyncio.wait_for(Events.hung_up.wait(), 10)
    assert Events.seen_queries == ["sessionId=s-1"]


@pytest.mark.asyncio
async def test_events_end_with_the_connection(client: ManagerClient) -> None:
    Session.statuses, Events.per_connection = ["PENDING", "CREATING", "RUNNING"], 2
    assert [data["status"] async for _, data in client.events()] == ["PENDING", "CREATING"]
    assert Events.seen_queries == ["sessionName=%2A"]


@pytest.mark.asyncio
async def test_silence_ends_events(client: ManagerClient) -> None:
    assert [name async for name, _ in client.events(silence_s=0.3)] == ["session_changed"]


@pytest.mark.asyncio
async def test_wait_for_redials_until_it_runs(client: ManagerClient) -> None:
    Session.statuses, Events.per_connection = ["PENDING", "SCHEDULED", "CREATING", "RUNNING"], 1
    assert (await client.wait_for("demo", timeout_s=20))["status"] == "RUNNING"
    assert len(Events.seen_queries) == 3


@pytest.mark.asyncio
async def test_wait_for_says_why_it_ended(client: ManagerClient) -> None:
    Session.statuses = ["PENDING", "CANCELLED"]
    with pytest.raises(SessionEnded, match="Ended by you") as caught:
        await client.wait_for("demo", timeout_s=20)
    assert caught.value.view["status"] == "CANCELLED"
    assert (await client.wait_for("demo", ["CANCELLED"]))["status"] == "CANCELLED"


@pytest.mark.asyncio
async def test_wait_for_stops_when_time_is_up(client: ManagerClient) -> None:
    Session.statuses = ["PENDING"]
    with pytest.raises(TimeoutError):
        await client.wait_for("demo", timeout_s=0.3)
