"""Images made from sessions: how they are made, who may use and delete them, and how many there may be."""

from datetime import datetime

import pytest
from fakes_agent import IMAGE

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus

pytestmark = pytest.mark.asyncio


@pytest.fixture
def commit(manager, helpers):
    """``image, task = await commit(client)``: make an image of ``my-work`` and wait for the end of the task."""

    async def commit(client):
        answer = await client.post("/session/my-work/commit")
        user_id = (await client.get("/auth"))["user"]["id"]

        async def ended():
            task = await manager.tasks.find(user_id, answer["bgtask_id"])
            return task if task.status != "running" else None

        return answer["image"], await helpers.wait_until(ended, "the task's end")

    return commit


async def test_an_image_is_its_owners_alone(agent, admin, make_user, commit):
    alice, bob = await make_user("alice"), await make_user("bob")
    await alice.create("my-work")
    await alice.until_status("my-work", "RUNNING")
    image, task = await commit(alice)
    assert (task.status, task.message) == ("done", f"Image {image} is ready.")
    assert image.startswith("bai-user/alice-")
    assert "/my-work:" in image
    (call,) = [call for call in agent.calls if call.method == "commit"]
    assert call.params["name"] == image

    names = {one["name"]: one["is_private"] for one in (await alice.get("/images"))["images"]}
    assert names[image] is True
    for caller, is_own in ((alice, True), (admin, False)):
        (told,) = [one for one in (await caller.get("/images"))["images"] if one["name"] == image]
        assert (told["is_own"], told["base"]) == (is_own, IMAGE.name)
        assert datetime.fromisoformat(told["created_at"]).tzinfo is not None
    await alice.create("again", image=image)
    await alice.until_status("again", "RUNNING")
    assert image not in {one["name"] for one in (await bob.get("/images"))["images"]}
    refused = await bob.create("not-mine", image=image, status=404)
    assert refused["data"]["reason"]["code"] == "image-unknown"

    quoted = image.replace("/", "%2F")
    theirs, missing = [await bob.call("DELETE", f"/images/{one}") for one in (quoted, "nothing")]
    assert (theirs.status, theirs.json) == (missing.status, missing.json) == (403, missing.json)
    in_use = await alice.call("DELETE", f"/images/{quoted}")
    assert (in_use.status, in_use.json["data"]["reason"]["code"]) == (400, "image-in-use")
    assert in_use.json["msg"].startswith(f"{image} is in use by again.")
    await alice.call("DELETE", "/session/again")
    await alice.until_status("again", "TERMINATED")
    assert (await alice.call("DELETE", f"/images/{quoted}")).status == 204
    assert [call.params["name"] for call in agent.calls if call.method == "remove_image"] == [image]
    assert image not in {one["name"] for one in (await admin.get("/images"))["images"]}


async def test_it_is_called_as_its_owner_says(agent, admin):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    answer = await admin.post("/session/my-work/commit", {"name": "With torch 2.3"})
    assert "/with-torch-2-3:" in answer["image"]
    refused = await admin.post("/session/my-work/commit", {"name": 7}, status=400)
    assert refused["data"]["reason"]["code"] == "bad-value"


async def test_an_admin_can_offer_one_to_everybody(agent, admin, make_user, commit):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    image, _ = await commit(admin)
    await admin.post("/images", {"name": image})
    alice = await make_user("alice")
    assert image in {one["name"] for one in (await alice.get("/images"))["images"]}


async def test_what_goes_wrong_is_said(agent, admin, commit):
    agent.hold_at = None
    await admin.create("my-work")
    assert (await admin.post("/session/my-work/commit", status=400))["data"]["reason"]["code"] == "not-running"
    agent.hold_at = KernelStatus.RUNNING
    await agent.proceed()
    await admin.until_status("my-work", "RUNNING")
    agent.call_errors["commit"] = Reason.of("commit-failed", agent="lab-1", cause="no space left on device")
    _, task = await commit(admin)
    assert (task.status, task.message) == ("failed", "lab-1 could not make the image: no space left on device.")


@pytest.mark.parametrize("manager_options", [{"max_user_images": 1}])
async def test_there_may_be_so_many(agent, admin, commit):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    agent.call_errors["commit"] = Reason.of("commit-failed", agent="lab-1", cause="a cause")
    await commit(admin)  # what failed does not count
    agent.call_errors.clear()
    await commit(admin)
    refused = await admin.post("/session/my-work/commit", status=412)
    assert refused["data"]["reason"]["code"] == "too-many-images"


async def test_without_containers_there_is_no_image(manager, admin, make_agent, helpers):
    one = make_agent(manager.endpoint, runtime="process", isolated=False)
    await one.connect()
    await admin.post("/images", {"name": helpers.image.name})
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    assert (await admin.post("/session/my-work/commit", status=400))["data"]["reason"]["code"] == "not-committable"
