"""Sessions of several containers, over real HTTP with an agent that speaks real messages."""

import asyncio

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.db import admission, policies
from bai_jupyter.manager.db import tables as t

pytestmark = pytest.mark.asyncio

no_sweep = pytest.mark.parametrize("manager_options", [{"sweep_s": 1000.0}], ids=["no-sweep"])  # what happens, tells

OOM = Reason.of("other", text="Out of memory.")


@pytest.fixture
def create(admin, helpers):
    """``await create("my-work", size=3)``: each container with one core."""

    async def create(name, status=201, size=3, **body):
        config = {"resources": {"cpu": "1", "mem": "1g"}}
        body = {"name": name, "image": helpers.image.name, "enqueueOnly": True, "config": config, **body}
        return await admin.post("/session", {**body, "clusterSize": size}, status)

    return create


async def used(admin):
    return (await admin.get("/agents"))["agents"][0]["used"]


async def nothing_is_held(manager):
    """By anybody, and no counter says otherwise."""
    assert await manager.store.write(admission.recount) == []
    assert (
        await manager.store.read(lambda conn: list(conn.execute(sa.select(t.counters).where(t.counters.c.used != 0))))
        == []
    )


@no_sweep
async def test_all_or_none_of_its_containers(manager, agent, admin, create, helpers):
    agent.hold_at = KernelStatus.CREATING
    await create("my-work")
    await admin.until_status("my-work", "CREATING")
    wants = sorted(agent.wants.values(), key=lambda want: want.cluster_host)
    assert [want.cluster_host for want in wants] == ["main1", "sub1", "sub2"]
    assert [want.environ["BACKENDAI_CLUSTER_HOST"] for want in wants] == ["main1", "sub1", "sub2"]
    assert {want.slots for want in wants} == {ResourceSlots.parse({"cpu": 1, "mem": "1g"})}
    assert (await used(admin))["cpu"] == "3"
    for want in wants[:2]:
        await agent.report(want.kernel_id, KernelStatus.RUNNING)
    assert (await admin.session("my-work"))["status"] == "CREATING"  # all run, or it does not
    await agent.report(wants[2].kernel_id, KernelStatus.RUNNING)

    view = await admin.until_status("my-work", "RUNNING")
    assert (view["clusterSize"], view["clusterMode"], view["containerId"]) == (3, "single-node", wants[0].kernel_id)
    assert [(one["host"], one["role"], one["status"]) for one in view["kernels"]] == [
        ("main1", "main", "RUNNING"),
        ("sub1", "sub", "RUNNING"),
        ("sub2", "sub", "RUNNING"),
    ]
    assert [one["id"] for one in view["kernels"]] == [want.kernel_id for want in wants]
    assert (view["slots"]["cpu"], '"cpu": "3"' in view["occupiedSlots"]) == ("1", True)
    await admin.get(f"/session/my-work/logs?kernel_id={wants[1].kernel_id}")
    await admin.get("/session/my-work/logs")
    assert (await admin.call("GET", "/session/my-work/logs?kernel_id=another")).status == 404
    assert [call.params["kernel_id"] for call in agent.calls[-2:]] == [wants[1].kernel_id, wants[0].kernel_id]

    await admin.call("DELETE", "/session/my-work")
    await admin.until_status(view["id"], "TERMINATED")
    await nothing_is_held(manager)
    await helpers.wait_until(lambda: len(agent.forgotten) == 3, "all ends on record")


def public_key(want):
    """Of the private key that a container gets."""
    (file,) = [one for one in want.files if one.path == ".ssh/id_cluster"]
    key = serialization.load_ssh_private_key(file.content.encode(), None)
    return key.public_key().public_bytes_raw()


@no_sweep
async def test_its_containers_share_a_key_that_no_other_session_has(agent, admin, create):
    agent.hold_at, keys = KernelStatus.CREATING, {}
    for name in ("my-work", "my-next"):
        await create(name, size=2)
        await admin.until_status(name, "CREATING")
    for want in agent.wants.values():
        keys.setdefault(want.session_name, set()).add(public_key(want))
    assert {name: len(same) for name, same in keys.items()} == {"my-work": 1, "my-next": 1}
    assert keys["my-work"] != keys["my-next"]

    agent.hold_at = KernelStatus.RUNNING
    await agent.proceed()
    await admin.until_status("my-work", "RUNNING")
    await admin.call("PATCH", "/session/my-work")
    await admin.until_status("my-work", "RUNNING")
    wants = [want for want in agent.wants.values() if want.restarts == 1]
    assert [len(wants), *(want.files for want in wants)] == [2, [], []]


@no_sweep
async def test_when_one_ends_all_end_and_the_session_says_which(manager, agent, admin, create):
    created = await create("my-work")
    view = await admin.until_status("my-work", "RUNNING")
    agent.keep_ending = True
    await agent.report(view["kernels"][2]["id"], KernelStatus.TERMINATED, reason=OOM, log="sub2 printed\n")
    view = await admin.until_status(created["sessionId"], "TERMINATING")
    assert view["reason"]["text"] == "sub2 ended: Out of memory."
    agent.keep_ending = False
    await agent.proceed()
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    assert (view["reason"]["text"], view["result"]) == ("sub2 ended: Out of memory.", "failure")
    logs = await admin.get(f"/session/{view['id']}/logs?kernel_id={view['kernels'][2]['id']}")
    assert logs["result"]["logs"] == "sub2 printed\n"
    await nothing_is_held(manager)


@no_sweep
async def test_one_that_cannot_start_takes_the_others_along(manager, agent, admin, create, helpers):
    agent.hold_at = KernelStatus.CREATING
    created = await create("my-work")
    view = await admin.until_status("my-work", "CREATING")
    await helpers.wait_until(lambda: len(agent.kernels) == 3, "all taken up")
    await agent.report(view["kernels"][1]["id"], KernelStatus.ERROR, reason=OOM)
    view = await admin.until_status(created["sessionId"], "ERROR")
    assert view["reason"]["text"] == "sub1 ended: Out of memory."
    await nothing_is_held(manager)


@no_sweep
async def test_it_is_tried_elsewhere_as_a_whole(manager, agent, admin, create, make_agent, helpers):
    agent.hold_at = KernelStatus.CREATING
    await create("my-work")
    view = await admin.until_status("my-work", "CREATING")
    await helpers.wait_until(lambda: len(agent.kernels) == 3, "all taken up")
    token = (await admin.post("/agents/join-tokens", {}))["token"]
    await make_agent(manager.endpoint, token, name="lab-2").connect()
    pull = Reason.of("pull-failed", image="i", agent="lab-1", cause="no answer")
    await agent.report(view["kernels"][2]["id"], KernelStatus.ERROR, reason=pull)
    view = await admin.until_status("my-work", "RUNNING")
    assert [one["agent"] for one in view["kernels"]] == ["lab-2"] * 3
    assert [one["used"].get("cpu") for one in (await admin.get("/agents"))["agents"]] == [None, "3"]
    assert await manager.store.write(admission.recount) == []


@no_sweep
async def test_a_restart_is_one_of_all(agent, admin, create):
    await create("my-work")
    await admin.until_status("my-work", "RUNNING")
    agent.hold_at = None
    await admin.call("PATCH", "/session/my-work")
    kernels = (await admin.session("my-work"))["kernels"]
    for one in kernels[:2]:
        await agent.report(one["id"], KernelStatus.RUNNING, restarts=1)
    assert (await admin.session("my-work"))["status"] == "RESTARTING"
    await agent.report(kernels[2]["id"], KernelStatus.RUNNING, restarts=1)
    await admin.until_status("my-work", "RUNNING")


async def test_its_batch_command_runs_in_the_main_one_and_ends_all(agent, admin, create):
    created = await create("my-work", type="batch", startupCommand="mpirun")
    view = await admin.until_status("my-work", "RUNNING")
    ids = [one["id"] for one in view["kernels"]]
    assert [agent.wants[kernel_id].command for kernel_id in ids] == ["mpirun", None, None]
    await agent.report(ids[0], KernelStatus.TERMINATED, exit_code=0, reason=Reason.of("task-finished"))
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    assert (view["result"], view["exitCode"], view["reason"]["text"]) == ("success", 0, "Finished.")


async def test_limits_count_all_of_it(manager, agent, admin, create):
    await manager.store.write(policies.change, "default", {"max_containers_per_session": 3})
    refused = await create("my-work", 412, size=4)
    assert refused["data"]["reason"]["text"] == (
        f"Your keypair {admin.access_key} allows 3 containers per session; asked for 4. Ask for fewer."
    )
    limits = {"total_slots": ResourceSlots.parse({"cpu": 4}), "max_containers_per_session": None}
    await manager.store.write(policies.change, "default", limits)
    assert (await create("my-work", 412, size=5))["data"]["reason"]["code"] == "over-quota"
    await create("my-work", size=3)
    await admin.until_status("my-work", "RUNNING")
    await create("my-next", size=2)
    waiting = await admin.session("my-next")
    assert (waiting["status"], (await used(admin))["cpu"]) == ("PENDING", "3")


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"clusterMode": "multi-node"}, "cluster-mode", "ask for single-node"),
        ({"size": 65}, "bad-value", "from 1 to 64"),
        ({"size": 9}, "too-big", "9 times 1 CPU, 1 GiB on one agent"),
    ],
)
async def test_what_there_is_not(agent, admin, create, body, code, text):
    reason = (await create("my-work", 400, **body))["data"]["reason"]
    assert (reason["code"], text in reason["text"]) == (code, True)


@no_sweep
async def test_all_of_it_grows_and_shrinks_or_nothing(manager, agent, admin, create, helpers):
    async def resize(cpu, status=200):
        return await admin.post("/session/my-work/resize", {"resources": {"cpu": cpu}}, status)

    await create("my-work")
    kernels = [one["id"] for one in (await admin.until_status("my-work", "RUNNING"))["kernels"]]
    assert (await resize("2"))["slots"]["cpu"] == "2"
    assert ({agent.sizes[one]["cpu"] for one in kernels}, (await used(admin))["cpu"]) == ({2}, "6")
    refused = await resize("3", 412)
    assert refused["data"]["reason"]["text"].startswith(
        "lab-1 has 2 of its 8 CPU free; asked for 9, 3 more than the session has."
    )
    limits = {"total_slots": ResourceSlots.parse({"cpu": 7})}
    await manager.store.write(policies.change, "default", limits)
    refused = await resize("2.5", 412)
    assert refused["data"]["reason"]["text"].startswith(f"Your keypair {admin.access_key} allows 7 CPU; 6 in use")
    assert await manager.store.write(admission.recount) == []

    # What is given up is counted until each has given it up; what is refused is nobody's.
    agent.keep_size = True
    asked = asyncio.create_task(admin.call("POST", "/session/my-work/resize", {"resources": {"cpu": "1"}}))
    await helpers.wait_until(lambda: {one.resizes for one in agent.wants.values()} == {2}, "asked for")
    left = agent.wants[kernels[0]].slots
    for count, kernel in enumerate(kernels):
        assert ((await used(admin))["cpu"], asked.done()) == (str(6 - count), False)
        await agent.report(kernel, KernelStatus.RUNNING, resizes=2, slots=left)
        await admin.get("/session/my-work/logs")  # the agent's answer comes after what it told
    assert ((await asked).status, (await used(admin))["cpu"]) == (200, "3")
    agent.keep_size, agent.resize_refused = False, Reason.of("other", text="It has no room.")
    agent.sizes = dict.fromkeys(kernels, left)
    refused = await resize("2", 400)
    assert refused["data"]["reason"]["text"] == "It has no room."
    assert ((await admin.session("my-work"))["slots"]["cpu"], (await used(admin))["cpu"]) == ("1", "3")
    assert await manager.store.write(admission.recount) == []


@no_sweep
async def test_a_folder_that_one_of_them_cannot_have_is_taken_back_from_all(agent, admin, create, helpers):
    await admin.post("/folders", {"name": "data"})
    await create("my-work", size=2)
    main, sub = [one["id"] for one in (await admin.until_status("my-work", "RUNNING"))["kernels"]]
    target, agent.keep_mounts = "/home/work/data", True

    def is_wanted(of, *names):
        return lambda: [one.name for one in agent.wants[of].mounts] == ["home", *names]

    async def told(kernel, number, refused=None):
        values = {"mount_changes": number, "refused_mounts": {target: refused} if refused else {}}
        await agent.report(kernel, KernelStatus.RUNNING, **values)

    asked = asyncio.create_task(admin.call("POST", "/session/my-work/attach-folder", {"folder": "data"}))
    await helpers.wait_until(is_wanted(sub, "data"), "asked for")
    await told(main, 1)
    await told(sub, 1, Reason.of("other", text="sub1 has no room for it."))
    await helpers.wait_until(is_wanted(main), "taken back")
    await told(sub, 2)
    assert not asked.done()
    await told(main, 2)
    answer = await asked
    assert (answer.status, answer.json["data"]["reason"]["text"]) == (400, "sub1 has no room for it.")
    assert [one["name"] for one in (await admin.session("my-work"))["mounts"]] == ["home"]

    agent.keep_mounts = False
    await admin.post("/session/my-work/attach-folder", {"folder": "data"}, 200)
    assert is_wanted(main, "data")()
    assert is_wanted(sub, "data")()


@no_sweep
async def test_a_folder_that_is_shared_no_longer_goes_from_all(agent, admin, make_user, helpers):
    alice = await make_user("alice")
    made = await admin.post("/folders", {"name": "data"})
    await admin.post("/folders/data/invite", {"perm": "rw", "user_ids": ["alice@localhost"]})
    (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
    await alice.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, 200)
    config = {"resources": {"cpu": "1", "mem": "1g"}, "mounts": ["data"]}
    body = {"name": "my-work", "image": helpers.image.name, "enqueueOnly": True, "config": config, "clusterSize": 2}
    await alice.post("/session", body)
    view = await alice.until_status("my-work", "RUNNING")

    def have():
        return {host: [one.name for one in agent.wants[key].mounts] for host, key in ids.items()}

    ids = {one["host"]: one["id"] for one in view["kernels"]}
    assert have() == {"main1": ["home", "data"], "sub1": ["home", "data"]}
    unshared = {"vfolder": made["id"], "user": view["userId"], "perm": None}
    await admin.post("/folders/_/shared", unshared, 200)
    await helpers.wait_until(lambda: have() == {"main1": ["home"], "sub1": ["home"]}, "taken from both")


async def test_without_containers_there_is_no_network_of_their_own(manager, make_agent, admin, create, helpers):
    agent = make_agent(manager.endpoint, runtime="process", isolated=False)
    await agent.connect()
    await admin.post("/images", {"name": helpers.image.name})
    assert (await create("my-work", 400))["data"]["reason"]["code"] == "cluster-runtime"
