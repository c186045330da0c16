"""Sessions are suspended and go on by their owners' word; what an agent refuses, and strangers, change nothing."""

import pytest

from bai_jupyter.common.reasons import Reason

pytestmark = pytest.mark.asyncio


async def test_suspended_and_resumed(manager, admin, agent, make_user):
    alice, bob = await make_user("alice"), await make_user("bob")
    await alice.create("work")
    view = await alice.until_status("work", "RUNNING")
    for name in ("work", "none-such", view["id"]):
        for what in ("suspend", "resume"):
            assert (await bob.call("POST", f"/session/{name}/{what}", {})).status == 404
    suspended = await alice.post("/session/work/suspend", status=200)
    assert (suspended["status"], suspended["suspended"]) == ("RUNNING", True)
    assert suspended["reason"]["code"] == "suspended"
    assert suspended["slots"] == view["slots"]  # it keeps what it holds
    resumed = await alice.post("/session/work/resume", status=200)
    assert (resumed["suspended"], resumed["reason"]["code"]) == (False, "running")


async def test_what_runs_is_not_suspended(manager, admin, agent):
    await admin.create("work")
    view = await admin.until_status("work", "RUNNING")
    agent.call_errors["suspend"] = Reason.of("suspend-busy")
    refused = await admin.post("/session/work/suspend", status=400)
    assert refused["data"]["reason"]["code"] == "suspend-busy"
    del agent.call_errors["suspend"]
    command = manager.streams.traffic.stream(view["containerId"], "command")
    assert (await admin.post("/session/work/suspend", status=400))["data"]["reason"]["code"] == "suspend-busy"
    command.ended()
    await admin.post("/session/work/suspend", status=200)


async def test_only_a_running_session_can_be(manager, admin, agent):
    agent.hold_at = None
    await admin.create("work")
    assert (await admin.post("/session/work/suspend", status=400))["data"]["reason"]["code"] == "not-running"
