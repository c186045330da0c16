"""Versions and signatures as the official client has them."""

import pytest

from bai_jupyter import __version__
from bai_jupyter.common.slots import ResourceSlots

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]


async def test_the_client_agrees_on_a_version(client):
    assert await client.sdk("result = api.api_version") == [7, "20230615"]
    assert await client.sdk("result = api.System.get_manager_version()") == __version__


async def test_a_wrong_secret_is_refused(make_client, admin):
    admin.secret_key = "wrong"
    refused = await make_client(admin).cli("session", "destroy", "official")
    assert refused.code != 0
    assert "401" in refused.out + refused.err


async def test_status_counts_sessions_that_hold_slots(client, agent, admin):
    await admin.create("running", resources={"cpu": "8", "mem": "1g"})  # all that the agent has
    await admin.until_status("running", "RUNNING")
    await admin.create("waiting", resources={"cpu": "1", "mem": "1g"})
    shown = await client.cli("admin", "manager", "status")
    assert shown.code == 0, shown
    assert shown.out.split()[-2:] == ["running", "1"]


async def test_slots_are_those_of_agents(client, manager, make_agent):
    assert await client.sdk("result = api.Resource.get_resource_slots()") == {}
    slots = ResourceSlots.parse({"cpu": 2, "mem": "4g", "cuda.device": 1})
    await make_agent(manager.endpoint, slots=slots).connect()
    shown = await client.cli("admin", "resource", "query-slots")
    assert shown.code == 0, shown
    assert shown.out.splitlines() == ["cpu (count)", "cuda.device (count)", "mem (bytes)"]


async def test_maintenance(client, agent):
    told = await client.sdk("""
        from ai.backend.client.output.fields import agent_fields
        fields = [agent_fields["schedulable"]]
        api.Manager.freeze()
        frozen = api.Manager.status()["status"]
        api.Manager.unfreeze()
        api.Manager.update_announcement(message="Back at nine.")
        announced = api.Manager.get_announcement()
        api.Manager.update_announcement(enabled=False)
        api.Manager.scheduler_op("exclude-agents", ["lab-1"])
        takes = [[one["schedulable"] for one in api.Agent.paginated_list(fields=fields).items]]
        api.Manager.scheduler_op("include-agents", ["lab-1"])
        takes.append([one["schedulable"] for one in api.Agent.paginated_list(fields=fields).items])
        assert api.ServerLog.list() == {"logs": [], "count": 0}
        result = [frozen, api.Manager.status()["status"], announced, api.Manager.get_announcement()["enabled"], takes]
    """)
    announced = {"enabled": True, "message": "Back at nine."}
    assert told == ["frozen", "running", announced, False, [[False], [True]]]


async def test_announcement_is_printed_beside_lists(client, admin):
    await admin.call("POST", "/manager/announcement", {"enabled": True, "message": "Back at nine."})
    shown = await client.cli("admin", "domain", "list")
    assert shown.code == 0, shown
    assert shown.err.count("Back at nine.") == 1


async def test_presets(client):
    names = await client.sdk('result = [one["name"] for one in api.Resource.list()["presets"]]')
    assert "small" in names
