"""A session's life as the official client leads it."""

import pytest

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
    made = api.ComputeSession.get_or_create(
        "{image}", name="{name}", enqueue_only=True, resources={{"cpu": "1", "mem": "1g"}}, architecture="x86_64"
    )
    result = [str(made.id), made.name, made.status, made.created]
"""


async def test_sdk_leads_a_session_through_its_life(client, agent, admin, helpers):
    session_id, name, status, is_new = await client.sdk(CREATE.format(image=helpers.image.name, name="official"))
    assert (name, status, is_new) == ("official", "PENDING", True)
    assert (await admin.session("official"))["id"] == session_id
    await admin.until_status("official", "RUNNING")

    again_id, _, _, is_new = await client.sdk(CREATE.format(image=helpers.image.name, name="official"))
    assert (again_id, is_new) == (session_id, False)

    info = await client.sdk('result = api.ComputeSession("official").get_info()')
    assert info["status"] == "RUNNING"
    assert info["image"] == helpers.image.name

    await client.sdk('result = api.ComputeSession("official").rename("renamed")')
    assert (await admin.session("renamed"))["id"] == session_id

    ended = await client.sdk('result = api.ComputeSession("renamed").destroy()')
    assert ended["stats"]["status"] == "terminated"
    await admin.until_status(session_id, "TERMINATED")


async def test_cli_leads_a_session_through_its_life(client, agent, admin, helpers):
    words = ["--name", "official", "--enqueue-only", "-r", "cpu=1", "-r", "mem=1g", "--arch", "x86_64"]
    created = await client.cli("session", "create", *words, helpers.image.name)
    assert created.code == 0, created
    session_id = (await admin.until_status("official", "RUNNING"))["id"]
    assert session_id in created.out + created.err

    renamed = await client.cli("session", "rename", "official", "renamed")
    assert renamed.code == 0, renamed
    assert (await admin.session("renamed"))["id"] == session_id

    destroyed = await client.cli("session", "destroy", "renamed")
    assert destroyed.code == 0, destroyed
    await admin.until_status(session_id, "TERMINATED")


async def test_refusals_reach_the_reader(client, agent):
    refused = await client.cli("session", "create", "--name", "official", "--enqueue-only", "no/such:image")
    assert refused.code != 0
    assert "404" in refused.out + refused.err
    assert "no/such:image" in refused.out + refused.err


async def test_strangers_see_no_session(client, make_client, make_user, agent, admin, helpers):
    await admin.create("official")
    stranger = make_client(await make_user("stranger"))
    theirs = await stranger.cli("session", "destroy", "official")
    unknown = await stranger.cli("session", "destroy", "no-such1")
    assert theirs.code == unknown.code != 0
    assert "404" in theirs.out + theirs.err
    assert theirs.err.replace("official", "no-such1") == unknown.err
    assert (await admin.session("official"))["status"] != "TERMINATED"
