"""Parts of GPUs through the API: what is placed, what waits and why, and images that the drivers are too old for."""

from dataclasses import replace

import pytest
import pytest_asyncio
from fakes_agent import IMAGE

from bai_jupyter.common.messages import ENVIRON_LABEL, DeviceFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus

ATTRIBUTES = {"cuda_version": "12.8", "driver_version": "570.86.15", "enforcement": "shim"}
CARDS = [
    DeviceFacts(f"GPU-{index}", "cuda", "H200", ResourceSlots({"cuda.shares": 1}), attributes=ATTRIBUTES)
    for index in range(2)
]
NEWER = replace(
    IMAGE, name="cuda:13", labels={f"{ENVIRON_LABEL}NVIDIA_REQUIRE_CUDA": "cuda>=13.1 brand=tesla,driver>=590"}
)


@pytest_asyncio.fixture
async def gpus(manager, admin, make_agent):
    """An agent with two GPUs in parts."""
    slots = ResourceSlots.parse({"cpu": 8, "mem": "32g", "cuda.shares": 2})
    one = make_agent(manager.endpoint, slots=slots, devices=CARDS, images=[IMAGE, NEWER])
    await one.connect()
    for image in (IMAGE, NEWER):
        await admin.post("/images", {"name": image.name})
    return one


def share(amount: str) -> dict[str, str]:
    return {"cpu": "1", "mem": "1g", "cuda.shares": amount}


@pytest.mark.asyncio
async def test_a_share_waits_for_one_gpu_that_has_it(gpus, admin, helpers):
    for name in ("first", "second"):
        await admin.create(name, resources=share("0.6"))
        await admin.until_status(name, "RUNNING")
    await admin.create("third", resources=share("0.6"))

    async def says_why():
        reason = (await admin.get("/session/third"))["reason"]["text"]
        return "Waits for 0.6 GPU in group default: at most 0.4 on one device, in all 0.8 of 2 free." in reason

    await helpers.wait_until(says_why, "the reason of the third")
    await admin.create("small", resources=share("0.333"))
    view = await admin.until_status("small", "RUNNING")
    assert view["slots"]["cuda.shares"] == "0.34"  # what an agent gives, and so what counts
    await admin.call("DELETE", "/session/first")
    await admin.until_status("third", "RUNNING")


@pytest.mark.asyncio
async def test_who_finds_the_devices_taken_waits_again_for_the_same_agent(gpus, admin):
    figures = {"slot": "cuda.shares", "asked": "0.6", "free": "0.8", "total": "2"}
    gpus.hold_at = KernelStatus.PREPARING
    await admin.create("early", resources=share("0.6"))
    await admin.until_status("early", "PREPARING")
    (kernel_id,) = gpus.wants
    gpus.hold_at = KernelStatus.RUNNING
    await gpus.report(kernel_id, KernelStatus.ERROR, reason=Reason.of("devices-taken", agent="lab-1", **figures))
    view = await admin.until_status("early", "RUNNING")
    assert view["agent"] == "lab-1"


@pytest.mark.asyncio
async def test_an_image_that_needs_a_newer_driver_is_refused_if_it_is_to_use_it(gpus, admin):
    body = {"name": "newer", "image": NEWER.name, "enqueueOnly": True, "config": {"resources": share("0.5")}}
    refused = await admin.call("POST", "/session", body)
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (400, "image-cuda")
    assert (
        "cuda:13 needs CUDA 13.1; the newest driver in group default has 12.8."
        in refused.json["data"]["reason"]["text"]
    )
    body["config"] = {"resources": {"cpu": "1", "mem": "1g"}}
    assert (await admin.call("POST", "/session", body)).status == 201
    await admin.until_status("newer", "RUNNING")


@pytest.mark.asyncio
async def test_how_slots_are_shown(gpus, admin):
    told = await admin.get("/config/resource-slots/details")
    assert set(told) == {"cpu", "mem", "cuda.shares"}
    assert told["cuda.shares"] == {
        "slot_name": "cuda.shares",
        "description": "Parts of NVIDIA GPUs",
        "human_readable_name": "GPU",
        "display_unit": "fGPU",
        "number_format": {"binary": False, "round_length": 2},
        "display_icon": "gpu1",
    }
    assert told["mem"]["number_format"] == {"binary": True, "round_length": 0}


@pytest.mark.asyncio
async def test_how_strictly_shares_are_held_is_listed(gpus, admin):
    (listed,) = (await admin.get("/agents"))["agents"]
    assert {device["attributes"]["enforcement"] for device in listed["devices"]} == {"shim"}
