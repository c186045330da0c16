"""The agent's own discovery, unchanged, in a process that sees another host's /sys and /dev, made by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
_DISCOVER = """
import json, pathlib, sys
from bai_agent.devices import plugins
from bai_agent.devices.inventory import Inventory
from bai_jupyter.common.messages import to_json
groq = pathlib.Path(sys.argv[1])
inventory = Inventory(plugins.load([groq], [*plugins.OURS, "groq"], [], {}))
nodes = {}
for device in inventory.devices:
    held = {slot: {device.device_id: amount} for slot, amount in device.slots.items()}
    nodes[device.device_id] = {inside: host for host, inside, _ in inventory.options(held).nodes}
print(json.dumps([to_json(inventory.devices), nodes, inventory.measure()]))
"""


@pytest.fixture(scope="module")
def found(missing: Any) -> Any:
    """``[devices, {id: {node inside: node of the host}}, figures]`` of all plugins on one host."""
    run = shutil.which("umockdev-run")
    if run is None:
        missing("umockdev", "umockdev-run is not on PATH")
    table = HERE.parents[2] / "examples/accelerators/groq.toml"
    command = [run, "--device", HERE / "devices.umockdev", "--", sys.executable, "-c", _DISCOVER, table]
    done = subprocess.run(command, env=os.environ, check=True, capture_output=True, text=True, timeout=100)
    return json.loads(done.stdout)


def test_every_vendor_with_files_in_sys_is_found(found: Any) -> None:
    devices, _, _ = found
    assert {device["device_id"]: (device["slots"], device["numa_node"]) for device in devices} == {
        "00000000000000aa": ({"rocm.device": "1"}, 0),
        "gaudi2-0000:22:00.0": ({"gaudi2.device": "1"}, 1),
        "tt-0100145a": ({"tt-n300.device": "1"}, 0),
        "uuid-1": ({"rngd.device": "1"}, None),
        "uuid-10": ({"rngd.device": "1"}, None),
        "w-0": ({"warboy.device": "1"}, None),
        "groq-0000:71:00.0": ({}, None),  # listed; which nodes it has only its site knows
    }
    places = {device["device_id"]: device["attributes"].get("pci_path") for device in devices}
    assert places["00000000000000aa"] == "pci0000:20/0000:20:02.0"
    assert places["tt-0100145a"] == "pci0000:20/0000:20:01.0"


def test_each_gets_its_own_nodes(found: Any) -> None:
    _, nodes, _ = found
    assert nodes == {
        "00000000000000aa": {"/dev/kfd": "/dev/kfd", "/dev/dri/renderD130": "/dev/dri/renderD130"},
        "gaudi2-0000:22:00.0": {
            "/dev/accel/accel2": "/dev/accel/accel2",
            "/dev/accel/accel_controlD2": "/dev/accel/accel_controlD2",
        },
        "tt-0100145a": {"/dev/tenstorrent/3": "/dev/tenstorrent/3"},
        "uuid-1": {"/dev/rngd/npu0mgmt": "/dev/rngd/npu1mgmt", "/dev/rngd/npu0pe0": "/dev/rngd/npu1pe0"},
        "uuid-10": {"/dev/rngd/npu0mgmt": "/dev/rngd/npu10mgmt"},
        "w-0": {"/dev/npu0_mgmt": "/dev/npu0_mgmt"},
        "groq-0000:71:00.0": {},
    }


def test_what_they_do_is_read(found: Any) -> None:
    _, _, figures = found
    amd = {"util_pct": 42, "mem_used_bytes": 1 << 30, "mem_total_bytes": 192 << 30}
    assert figures == {"00000000000000aa": amd}
