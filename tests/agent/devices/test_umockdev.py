"""The agent's own discovery, unchanged, in a process that sees another host's /sys and /dev, made by hand.

Vendors' programs are scripts that print what those print, and what they install elsewhere lies in a folder of ours.
"""

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
from bai_agent.devices.vendors import hyperaccel
from bai_jupyter.common.messages import to_json
groq, folder = map(pathlib.Path, sys.argv[1:])
hyperaccel._SOFTWARE = str(folder)
options = {"ipu": {"ipuof_config": str(folder / "ipuof.conf")}}
inventory = Inventory(plugins.load([groq], [*plugins.OURS, "groq"], [], options))
nodes = {}
for device in inventory.devices:
    held = {slot: {device.device_id: amount} for slot, amount in device.slots.items()}
    nodes[device.device_id] = {inside: host for host, inside, _ in inventory.options(held).nodes}
print(json.dumps([to_json(inventory.devices), nodes, inventory.measure()]))
"""


_MEMORY = {"used": "1024", "total": "16000000000"}
_NPU = {"npu": 0, "name": "RBLN-CA22", "uuid": "u-22", "device": "rbln0", "util": "12.5", "memory": _MEMORY}
_NPU |= {"pci": {"bus_id": "0000:91:00.0"}, "group_id": "0"}
_IPU = {"ID": "0", "PCIe ID": "3", "Serial": "0001.0002.8203f1"}
_USE = {f"{kind} {what} size (bytes)": "100" for kind in ("hexoatt", "hexopt") for what in ("active", "total")}
_PRINTED: dict[str, Any] = {
    "rbln-smi": {"devices": [_NPU]},
    "gc-monitor": {"cards": [{"Type": "M2000", "IPU-M": "10.1.0.1", "ipus": [_IPU]}]},
    "gc-inventory": {"devices": [{"id": "0", "ipu utilisation": "2.50%", **_USE}]},
}


@pytest.fixture(scope="module")
def found(missing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``[devices, {id: {node inside: node of the host}}, figures]`` of all plugins on one host."""
    folder = tmp_path_factory.mktemp("vendors")
    for program, printed in _PRINTED.items():
        (folder / program).write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(printed)}\nEND\n")
        (folder / program).chmod(0o755)
    (folder / "ipuof.conf").write_text(json.dumps({"devices": [{"ip": "10.1.0.1", "device_id": 3}]}))
    run = shutil.which("umockdev-run")
    if run is None:
        missing("umockdev", "umockdev-run is not on PATH")
    table = HERE.parents[2] / "examples/accelerators/groq.toml"
    command = [run, "--device", HERE / "devices.umockdev", "--", sys.executable, "-c", _DISCOVER, table, folder]
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=100)
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
        "gaudi3-0000:81:00.0": ({"gaudi3.device": "1"}, 0),
        "lpu-0000:3b:00.0": ({"hyperaccel-lpu.device": "1"}, 1),
        "u-22": ({"atom-plus.device": "1"}, 1),
        "ipu-10.1.0.1-3": ({"ipu.device": "1"}, None),
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
        "gaudi3-0000:81:00.0": {
            "/dev/accel/accel11": "/dev/accel/accel11",
            "/dev/accel/accel_controlD11": "/dev/accel/accel_controlD11",
            "/dev/infiniband/uverbs7": "/dev/infiniband/uverbs7",
        },
        "lpu-0000:3b:00.0": {
            "/dev/dri/renderD133": "/dev/dri/renderD133",
            "/dev/xfpga/xvc_pri.m15104.0": "/dev/xfpga/xvc_pri.m15104.0",
        },
        "u-22": {"/dev/rbln0": "/dev/rbln0"},
        "ipu-10.1.0.1-3": {"/dev/infiniband/uverbs7": "/dev/infiniband/uverbs7"},
        "groq-0000:71:00.0": {},
    }


def test_what_they_do_is_read(found: Any) -> None:
    _, _, figures = found
    amd = {"util_pct": 42, "mem_used_bytes": 1 << 30, "mem_total_bytes": 192 << 30}
    npu = {"util_pct": 12.5, "mem_used_bytes": 1024, "mem_total_bytes": 16 * 10**9}
    ipu = {"util_pct": 2.5, "mem_used_bytes": 200, "mem_total_bytes": 200}
    assert figures == {"00000000000000aa": amd, "u-22": npu, "ipu-10.1.0.1-3": ipu}
