"""Plugins that ask a vendor's program, on scripts of that name: no accelerator was near these tests."""

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bai_agent.devices.base import DeviceFault
from bai_agent.devices.vendors.graphcore import IpuPlugin
from bai_agent.devices.vendors.rebellions import AtomMaxPlugin, AtomPlugin, AtomPlusPlugin

_RBLN_SMI = '''#!{python}
"""Keeps its NPUs and groups in a file. Numbers change with groups, as those of the real one do."""
import json, pathlib, sys
state = pathlib.Path(__file__).with_name("npus.json")
npus, arguments = json.loads(state.read_text()), sys.argv[1:]
with open(pathlib.Path(__file__).with_name("asked"), "a") as asked:
    asked.write(" ".join(arguments) + "\\n")
def save():
    npus.sort(key=lambda npu: (int(npu["group_id"]), npu["pci"]["bus_id"]))
    for number, npu in enumerate(npus):
        npu["npu"], npu["device"] = number, f"rbln{{number}}"
    state.write_text(json.dumps(npus))
if arguments == ["-g", "-j"]:
    print(json.dumps({{"KMD_version": "1.2", "devices": npus}}))
elif arguments[:2] == ["group", "-d"]:
    for npu in npus:
        if npu["group_id"] == arguments[2]:
            npu["group_id"] = "0"
    save()
elif arguments[:2] == ["group", "-c"] and arguments[3] == "-a":
    for number in arguments[4].split(","):
        npu = next(one for one in npus if one["npu"] == int(number))
        assert npu["group_id"] == "0", "in a group already"
        npu["group_id"] = arguments[2]
    save()
else:
    sys.exit(f"no such command: {{arguments}}")
'''


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: Any) -> Callable[[str, str], Path]:
    """``tool("gc-monitor", script)``: a program of that name, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
        return folder

    return make


def npu(number: int, name: str, bus: int, uuid: str, sid: str | None = None) -> dict[str, Any]:
    pci = {"bus_id": f"0000:{bus:02X}:00.0", "numa_node": 0, "link_speed": "16GT/s", "link_width": "16"}
    memory = {"used": "1024", "total": "16000000000"}
    told = {"npu": number, "name": name, "sid": sid, "uuid": uuid, "device": f"rbln{number}", "pci": pci}
    return {**told, "temperature": "40C", "memory": memory, "util": f"{10.0 * number}", "group_id": "0"}


@pytest.fixture
def rebellions(tool: Any, host: Any) -> Callable[[list[dict[str, Any]]], Path]:
    import sys

    folder = tool("rbln-smi", _RBLN_SMI.format(python=sys.executable))

    def have(npus: list[dict[str, Any]]) -> Path:
        (folder / "npus.json").write_text(json.dumps(npus))
        for number in range(8):
            host.nodes(f"/dev/rbln{number}", f"/dev/rsd{number}", gid=77)
        return Path(folder)

    return have


def groups_of(folder: Path) -> dict[str, str]:
    """``{bus id: group}`` of those in one."""
    npus = json.loads((folder / "npus.json").read_text())
    return {one["pci"]["bus_id"]: one["group_id"] for one in npus if one["group_id"] != "0"}


def held(slot: str, *ids: str) -> dict[str, dict[str, Decimal]]:
    return {slot: {device_id: Decimal(1) for device_id in ids}}


def placed(options: Any) -> dict[str, str]:
    return {path: Path(node).name for node, path, _ in options.nodes}


def test_each_product_lists_its_own_and_zero_uuids_do_not_make_two_one(rebellions: Any, host: Any) -> None:
    zero = "00000000-0000-0000-0000-000000000000"
    rebellions([npu(0, "RBLN-CA02", 1, zero), npu(1, "RBLN-CA02", 2, zero), npu(2, "RBLN-CA22", 3, "u-22")])
    atom, plus = AtomPlugin(sysroot=host.root), AtomPlusPlugin(sysroot=host.root)
    assert [item.device_id for item in atom.discover()] == ["rbln-0000:01:00.0", "rbln-0000:02:00.0"]
    assert [(item.device_id, item.slots.to_json()) for item in plus.discover()] == [("u-22", {"atom-plus.device": "1"})]
    assert plus.metrics == {"atom-plus.device": "atom_plus"}


def test_npus_are_used_through_a_group_of_their_own_whose_numbers_are_read_after_it_was_made(
    rebellions: Any, host: Any, tmp_path: Path
) -> None:
    folder = rebellions([npu(n, "RBLN-CA12", n + 1, f"u-{n}") for n in range(4)])
    plugin = AtomPlusPlugin(sysroot=host.root)
    plugin.discover()
    options = plugin.prepare(held("atom-plus.device", "u-0", "u-1"), tmp_path / "kernel")
    assert groups_of(folder) == {"0000:01:00.0": "1", "0000:02:00.0": "1"}
    # Making the group moved them behind the others.
    assert placed(options) == {"/dev/rbln0": "rbln2", "/dev/rbln1": "rbln3", "/dev/rsd0": "rsd1"}
    assert (options.memlock, options.host_ipc) == (True, False)
    other = plugin.prepare(held("atom-plus.device", "u-3"), tmp_path / "other")
    assert placed(other)["/dev/rsd0"] == "rsd2"
    # Again, as after a crash: nothing is made twice.
    asked = (folder / "asked").read_text().count("group -c")
    again = plugin.prepare(held("atom-plus.device", "u-0", "u-1"), tmp_path / "kernel")
    assert placed(again)["/dev/rsd0"] == "rsd1"
    assert (folder / "asked").read_text().count("group -c") == asked
    plugin.release(held("atom-plus.device", "u-0", "u-1"))
    plugin.release(held("atom-plus.device", "u-0", "u-1"))
    assert groups_of(folder) == {"0000:04:00.0": "2"}


def test_a_group_left_over_from_a_lost_container_is_taken_apart(rebellions: Any, host: Any, tmp_path: Path) -> None:
    folder = rebellions([npu(n, "RBLN-CA12", n + 1, f"u-{n}") for n in range(3)])
    plugin = AtomPlusPlugin(sysroot=host.root)
    plugin.discover()
    plugin.prepare(held("atom-plus.device", "u-0", "u-1"), tmp_path / "lost")
    plugin.prepare(held("atom-plus.device", "u-1", "u-2"), tmp_path / "next")
    assert groups_of(folder) == {"0000:02:00.0": "1", "0000:03:00.0": "1"}


def test_an_atom_max_is_all_npus_of_its_card(rebellions: Any, host: Any, tmp_path: Path) -> None:
    npus = [npu(n, "RBLN-CA25", n + 1, f"u-{n}", sid=f"card-{n // 2}") for n in range(4)]
    rebellions(npus)
    plugin = AtomMaxPlugin(sysroot=host.root)
    found = plugin.discover()
    assert [(item.device_id, item.mem_bytes) for item in found] == [("card-0", 32 * 10**9), ("card-1", 32 * 10**9)]
    assert plugin.measure()["card-1"] == {
        "util_pct": 25.0,
        "mem_used_bytes": 2048.0,
        "mem_total_bytes": 32e9,
    }
    options = plugin.prepare(held("atom-max.device", "card-0"), tmp_path / "kernel")
    assert placed(options) == {"/dev/rbln0": "rbln2", "/dev/rbln1": "rbln3", "/dev/rsd0": "rsd1"}


def test_npus_of_which_nobody_knows_the_card_are_not_taken_for_one(rebellions: Any, host: Any) -> None:
    rebellions([npu(n, "RBLN-CA25", n + 1, f"u-{n}") for n in range(2)])
    found = AtomMaxPlugin(sysroot=host.root).discover()
    assert [(item.device_id, bool(item.slots)) for item in found] == [("u-0", False), ("u-1", False)]
    assert found[0].health == "its tool does not tell which card it is on"


def test_an_npu_that_is_told_badly_is_broken_beside_the_others(rebellions: Any, host: Any) -> None:
    rebellions([npu(0, "RBLN-CA02", 1, "u-0"), {**npu(1, "RBLN-CA02", 2, "u-1"), "memory": {"total": "N/A"}}])
    found = AtomPlugin(sysroot=host.root).discover()
    assert [(item.device_id, bool(item.slots)) for item in found] == [("u-0", True), ("atom-broken-1", False)]


def test_a_tool_that_refuses_is_told(rebellions: Any, host: Any, tmp_path: Path, tool: Any) -> None:
    rebellions([npu(0, "RBLN-CA12", 1, "u-0")])
    plugin = AtomPlusPlugin(sysroot=host.root)
    plugin.discover()
    tool("rbln-smi", "#!/bin/sh\nexit 3\n")
    with pytest.raises(DeviceFault, match=r"u-0: no group could be made of them .*exit status 3"):
        plugin.prepare(held("atom-plus.device", "u-0"), tmp_path)
    assert plugin.measure() == {}


# Graphcore


@pytest.fixture
def ipus(tool: Any, host: Any) -> Path:
    """Two machines of two IPUs each, one of which the host's list lacks."""
    cards = [
        {
            "Type": "M2000",
            "IPU-M": f"10.1.{machine}.1",
            "ipus": [
                {"ID": str(2 * machine + n), "PCIe ID": str(n), "Serial": f"0001.000{machine}.82{n}f1"}
                for n in range(2)
            ],
        }
        for machine in range(2)
    ]
    sizes = {"hexoatt active size (bytes)": "10", "hexopt active size (bytes)": "20"}
    sizes |= {"hexoatt total size (bytes)": "100", "hexopt total size (bytes)": "200"}
    inventory = [{"id": str(n), "ipu utilisation": f"{n}.50%", **sizes} for n in range(4)]
    tool("gc-monitor", f"#!/bin/sh\ncat <<'END'\n{json.dumps({'cards': cards})}\nEND\n")
    tool("gc-inventory", f"#!/bin/sh\ncat <<'END'\n{json.dumps({'devices': inventory})}\nEND\n")
    listed = [{"ip": f"10.1.{m}.1", "device_id": n, "rnic": "x"} for m, n in ((0, 0), (0, 1), (1, 0))]
    text = json.dumps({"devices": listed, "attributes": {"partition": "p"}})
    host.write({"/etc/ipuof.conf.d/ipuof.conf": text})
    host.nodes("/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm")
    return Path(host.root)


def test_a_container_is_told_of_its_own_ipus_only(ipus: Path, tmp_path: Path) -> None:
    plugin = IpuPlugin({"subnets": {"10.1.0.0/24": "ipu-a", "10.1.1.0/24": "ipu-b"}}, ipus)
    found = plugin.discover()
    assert [item.device_id for item in found] == [
        "ipu-10.1.0.1-0",
        "ipu-10.1.0.1-1",
        "ipu-10.1.1.1-0",
        "ipu-10.1.1.1-1",
    ]
    assert [item.slots.to_json() for item in found] == [{"ipu.device": "1"}] * 3 + [{}]
    assert found[3].health == "is not in the host's list of IPUs (ipuof_config)"
    options = plugin.prepare(held("ipu.device", "ipu-10.1.0.1-1"), tmp_path / "kernel/devices/ipu")
    ((source, target, read_only),) = options.binds
    assert (target, read_only) == ("/etc/ipuof.conf.d/ipuof.conf", True)
    assert json.loads(Path(source).read_text()) == {
        "devices": [{"ip": "10.1.0.1", "device_id": 1, "rnic": "x"}],
        "attributes": {"partition": "p"},
    }
    assert Path(source).stat().st_mode & 0o777 == 0o644
    assert options.env == {"IPUOF_CONFIG_PATH": "/etc/ipuof.conf.d/ipuof.conf"}
    assert options.networks == ("ipu-a",)
    assert set(placed(options)) == {"/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm"}
    assert (options.memlock, options.caps, options.host_ipc) == (True, ("IPC_LOCK",), False)
    both = plugin.prepare(held("ipu.device", "ipu-10.1.0.1-1", "ipu-10.1.1.1-0"), tmp_path / "both")
    assert both.networks == ("ipu-a", "ipu-b")


def test_an_ipu_that_no_network_leads_to_is_not_given(ipus: Path) -> None:
    found = IpuPlugin({"subnets": {"10.1.0.0/24": "ipu-a"}}, ipus).discover()
    assert found[2].health == "no network is named for 10.1.1.1 (subnets)"
    assert not found[2].slots


def test_ipu_figures(ipus: Path) -> None:
    plugin = IpuPlugin(sysroot=ipus)
    plugin.discover()
    assert plugin.measure()["ipu-10.1.1.1-0"] == {
        "util_pct": 2.5,
        "mem_used_bytes": 30.0,
        "mem_total_bytes": 300.0,
    }
