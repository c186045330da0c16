"""Vendors' plugins on trees of files made by hand: no accelerator was near these tests.

The trees follow drivers' documentation and sources. Each fault known of other implementations has a test.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bai_agent.devices import plugins
from bai_agent.devices.accelerator import AcceleratorPlugin, Card
from bai_agent.devices.base import ContainerOptions
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.vendors import furiosa, gaudi
from bai_agent.devices.vendors.amd import RocmPlugin
from bai_agent.devices.vendors.furiosa import IO_URING, RngdPlugin, WarboyPlugin
from bai_agent.devices.vendors.gaudi import Gaudi2Plugin, Gaudi3Plugin
from bai_agent.devices.vendors.graphcore import IpuPlugin
from bai_agent.devices.vendors.hyperaccel import HyperAccelPlugin
from bai_agent.devices.vendors.rebellions import AtomPlusPlugin
from bai_agent.devices.vendors.tenstorrent import TenstorrentPlugin
from bai_agent.runtimes.base import CreateRequest

from bai_jupyter.common.slots import ResourceSlots

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give nodes a group")


def options_of(plugin: AcceleratorPlugin, ids: Iterable[str]) -> ContainerOptions:
    """What a container is given that holds these devices."""
    slots = {card.device_id: card.slot for card in plugin.cards.values()}
    held: dict[str, dict[str, Decimal]] = {}
    for device_id in ids:
        held.setdefault(str(slots[device_id]), {})[device_id] = Decimal(1)
    return plugin.options(held)


def inside(options: ContainerOptions) -> dict[str, str]:
    """``{path inside: host path}``, host paths as the host names them."""
    return {path: re.sub(r"^.*/host/", "/", node) for node, path, _ in options.nodes}


# All of them


@pytest.mark.parametrize("key", plugins.OURS)
def test_a_host_without_the_hardware_has_no_devices_and_no_complaint(key: str, host: Any, caplog: Any) -> None:
    (plugin,) = plugins.load([], [key], [], {})
    assert isinstance(plugin, AcceleratorPlugin)
    plugin.sysroot = host.root
    assert (plugin.discover(), plugin.measure(), caplog.records) == ([], {}, [])
    assert plugin.options({}) == ContainerOptions()


@pytest.mark.parametrize("key", plugins.OURS)
def test_no_container_shares_the_host_s_ipc_or_runs_unconfined_unless_an_admin_says_so(key: str) -> None:
    kind = type(plugins.load([], [key], [], {})[0])
    for config, shared in (({}, False), ({"host_ipc": True}, True)):
        plugin: Any = kind(config)
        common = plugin._common_options()
        assert common.host_ipc is shared
        assert set(common.syscalls) <= set(IO_URING)


def test_every_slot_of_a_plugin_has_a_name_for_its_figures_that_metrics_may_have() -> None:
    """Names with a dash were lost in matching: there is one table, and nothing is derived."""
    loaded = plugins.load([], list(plugins.OURS), [], {})
    metrics = Inventory(loaded).metrics
    assert metrics["tt-n300.device"] == "tt_n300"
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in metrics.values())
    names = [name for plugin in loaded for name in set(plugin.metrics.values())]
    assert len(set(names)) == len(names)


# AMD


def add_gpu(host: Any, node: int, minor: int, bus: int, *, xcp: str | None = None, unique: int = 0) -> str:
    address = f"0000:{bus:02x}:00.0"
    topology = f"/sys/class/kfd/kfd/topology/nodes/{node}"
    facts = {"simd_count": 304, "drm_render_minor": minor, "domain": 0, "location_id": bus << 8, "vendor_id": 4098}
    facts |= {"device_id": 0x74A1, "unique_id": unique}
    host.write({f"{topology}/properties": "\n".join(f"{name} {value}" for name, value in facts.items())})
    host.write({f"{topology}/mem_banks/0/properties": "heap_type 1\nsize_in_bytes 206141652992"})
    folder = host.pci(address, "1002", "74a1", numa_node=1)
    drm = f"/sys/devices/platform/{xcp}/drm" if xcp else f"{folder}/drm"
    host.write({f"{drm}/renderD{minor}/dev": f"226:{minor}"})
    busy = {"gpu_busy_percent": 42, "mem_info_vram_used": 1 << 30, "mem_info_vram_total": 192 << 30}
    host.write({f"{folder}/{name}": value for name, value in busy.items()})
    host.write(
        {f"{folder}/hwmon/hwmon3/power1_average": 550_000_000, f"{folder}/hwmon/hwmon3/energy1_input": 7_000_000}
    )
    host.nodes(f"/dev/dri/renderD{minor}", gid=109)
    return address


@pytest.fixture
def amd(host: Any) -> Any:
    """Two GPUs behind a display controller that took the first render node."""
    host.write({"/sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 64\nsimd_count 0"})
    host.nodes("/dev/kfd", gid=44)
    add_gpu(host, 1, minor=130, bus=0x0C, unique=0xAA)
    add_gpu(host, 2, minor=129, bus=0x2B, unique=0xBB)
    return host


def test_amd_render_nodes_are_those_of_the_topology_not_of_a_place_in_a_list(amd: Any) -> None:
    plugin = RocmPlugin(sysroot=amd.root)
    found = plugin.discover()
    assert [item.device_id for item in found] == ["00000000000000aa", "00000000000000bb"]
    assert (found[0].model, found[0].slots, found[0].numa_node) == (
        "AMD MI300X",
        ResourceSlots({"rocm.device": 1}),
        1,
    )
    assert (found[0].mem_bytes, found[0].attributes["pci"]) == (206141652992, "0000:0c:00.0")
    options = options_of(plugin, ["00000000000000aa"])
    assert inside(options) == {"/dev/kfd": "/dev/kfd", "/dev/dri/renderD130": "/dev/dri/renderD130"}
    assert options.env == {"ROCR_VISIBLE_DEVICES": "0"}


@AS_ROOT
def test_groups_are_those_that_own_the_nodes_here(amd: Any) -> None:
    plugin = RocmPlugin(sysroot=amd.root)
    plugin.discover()
    assert options_of(plugin, ["00000000000000aa"]).groups == (44, 109)
    os.chown(amd.root / "dev/dri/renderD130", 0, 991)
    assert options_of(plugin, ["00000000000000aa"]).groups == (44, 991)


def test_a_render_node_that_is_not_the_gpu_s_is_never_given(amd: Any) -> None:
    (amd.root / "sys/bus/pci/devices/0000:2b:00.0/drm/renderD129").rename(amd.root / "sys/elsewhere")
    found = RocmPlugin(sysroot=amd.root).discover()
    assert [(item.health, bool(item.slots)) for item in found] == [
        ("ok", True),
        ("renderD129 is not a node of 0000:2b:00.0", False),
    ]


def test_partitions_of_one_gpu_are_devices_of_their_own(host: Any) -> None:
    for index in range(2):
        xcp = f"amdgpu_xcp_{index}" if index else None
        add_gpu(host, 1 + index, minor=128 + index, bus=0x0C, xcp=xcp, unique=0xAA)
    plugin = RocmPlugin(sysroot=host.root)
    assert [item.device_id for item in plugin.discover()] == ["00000000000000aa-0", "00000000000000aa-1"]
    assert "/dev/dri/renderD129" in inside(options_of(plugin, ["00000000000000aa-1"]))
    assert plugin.measure() == {}  # the GPU's counters do not say which partition it was


def test_amd_figures_are_of_every_gpu(amd: Any) -> None:
    plugin = RocmPlugin(sysroot=amd.root)
    plugin.discover()
    figures = {"util_pct": 42, "mem_used_bytes": 1 << 30, "mem_total_bytes": 192 << 30, "power_w": 550.0}
    figures["energy_j"] = 7.0
    assert plugin.measure() == {"00000000000000aa": figures, "00000000000000bb": figures}
    (amd.root / "sys/bus/pci/devices/0000:0c:00.0/gpu_busy_percent").unlink()
    assert plugin.measure() == {"00000000000000bb": figures}


def test_a_gpu_that_cannot_be_read_is_listed_as_broken_beside_the_others(amd: Any) -> None:
    (amd.root / "sys/class/kfd/kfd/topology/nodes/2/properties").write_text("simd_count 304\ndomain 0\n")
    found = RocmPlugin(sysroot=amd.root).discover()
    assert [bool(item.slots) for item in found] == [True, False]
    assert found[1].health.startswith("cannot be read")


def give_dmem(host: Any, *addresses: str) -> None:
    host.write({"/sys/fs/cgroup/cgroup.controllers": "cpu memory dmem"})
    host.write({"/sys/fs/cgroup/dmem.capacity": "\n".join(f"drm/{pci}/vram 206141652992" for pci in addresses)})


def test_amd_gpus_are_given_in_parts_where_the_kernel_can_hold_sessions_to_them(amd: Any) -> None:
    def found(*, isolated: bool = True) -> list[tuple[dict[str, str], str]]:
        inventory = Inventory([RocmPlugin({"shares": True}, amd.root)], strategy="evenly", isolated=isolated)
        return [(device.slots.to_json(), device.health) for device in inventory.devices]

    assert {slots == {} and health.endswith("is not cgroup version 2") for slots, health in found()} == {True}
    give_dmem(amd, "0000:0c:00.0")
    first, second = found()
    assert first == ({"rocm.shares": "1"}, "ok")
    assert second == ({}, "shares cannot be held: the GPU's driver does not tell the kernel of drm/0000:2b:00.0/vram")
    assert {health for _, health in found(isolated=False)} == {
        "shares need a cgroup for each session, which this runtime does not give"
    }
    told = Inventory([RocmPlugin({"shares": True}, amd.root)], strategy="evenly").devices[0].attributes
    assert told == {"pci": "0000:0c:00.0", "enforcement": "cgroup", "allocation_strategy": "evenly"}


def test_partitions_are_never_given_in_parts(host: Any) -> None:
    for index in range(2):
        add_gpu(host, 1 + index, minor=128 + index, bus=0x0C, xcp=f"amdgpu_xcp_{index}" if index else None, unique=0xAA)
    give_dmem(host, "0000:0c:00.0")
    found = RocmPlugin({"shares": True}, host.root).discover()
    assert [(bool(item.slots), item.health) for item in found] == [
        (False, "in partitions, which are handed out whole")
    ] * 2


# Furiosa


def add_rngd(host: Any, number: int, platform: str = "FuriosaAI") -> None:
    folder = f"/sys/class/rngd_mgmt/rngd!npu{number}mgmt"
    address = f"0000:{number + 16:02x}:00.0"
    host.pci(address, "1ed2", "0001")
    facts = {"platform_type": platform, "device_type": "rngd", "device_uuid": f"uuid-{number}", "busname": address}
    host.write({f"{folder}/{name}": value for name, value in {**facts, "device_sn": f"RNGD{number:04x}"}.items()})
    memory = "dram_capacity: 0xc00000000\ndram_usage: 0x100000000\nshared_capacity: 0x10\nshared_usage: 0x0"
    for element in range(2):
        host.write({f"/sys/class/rngd_mgmt/rngd!npu{number}pe{element}/alloc_status": memory})
    for name in ("mgmt", "pe0", "pe1", "ch0", "ch0r", "dmar", "bar0"):
        host.nodes(f"/dev/rngd/npu{number}{name}", gid=1101)


def spin(host: Any, number: int, cycles: int, with_work: int) -> None:
    for element in range(2):
        file = f"/sys/class/rngd_mgmt/rngd!npu{number}pe{element}/metrics"
        host.write({file: f"CycleCount: {cycles:#x}\nTaskCycleCount: {with_work:#x}"})


def test_rngd_1_gets_nothing_of_rngd_10_and_counts_from_0(host: Any) -> None:
    add_rngd(host, 1)
    add_rngd(host, 10)
    plugin = RngdPlugin(sysroot=host.root)
    assert [item.device_id for item in plugin.discover()] == ["uuid-1", "uuid-10"]
    alone = inside(options_of(plugin, ["uuid-1"]))
    assert alone["/dev/rngd/npu0mgmt"] == "/dev/rngd/npu1mgmt"
    assert len(alone) == 7
    assert not any("npu10" in node for node in alone.values())
    both = inside(options_of(plugin, ["uuid-10", "uuid-1"]))
    assert (both["/dev/rngd/npu0ch0r"], both["/dev/rngd/npu1ch0r"]) == ("/dev/rngd/npu1ch0r", "/dev/rngd/npu10ch0r")
    assert len(both) == 14


def test_rngd_may_use_io_uring_and_nothing_else_that_is_refused(host: Any) -> None:
    add_rngd(host, 0)
    plugin = RngdPlugin(sysroot=host.root)
    plugin.discover()
    assert options_of(plugin, ["uuid-0"]).syscalls == ("io_uring_enter", "io_uring_register", "io_uring_setup")


def test_another_product_behind_the_driver_is_not_ours(host: Any) -> None:
    add_rngd(host, 0, platform="VITIS")
    assert RngdPlugin(sysroot=host.root).discover() == []


def test_rngd_load_is_since_the_last_time(host: Any) -> None:
    add_rngd(host, 0)
    plugin = RngdPlugin(sysroot=host.root)
    plugin.discover()
    loads = []
    for cycles, with_work in ((1000, 900), (2000, 1150), (2000, 1150), (50, 10), (150, 60)):
        spin(host, 0, cycles, with_work)
        figures = plugin.measure()["uuid-0"]
        assert (figures["mem_used_bytes"], figures["mem_total_bytes"]) == (0x100000000, 0xC00000010)
        loads.append(figures.get("util_pct"))
    assert loads == [None, 25.0, None, None, 50.0]  # nothing went by; then counters began anew


def test_rngd_power_comes_from_furiosa_s_library_when_it_is_there(host: Any, monkeypatch: Any) -> None:
    """The stub has the methods of furiosa-smi-py 2026.1; it was never asked of a card."""

    def fails() -> float:
        raise RuntimeError

    def told(uuid: str, power: Any) -> Any:
        return SimpleNamespace(device_info=lambda: SimpleNamespace(uuid=lambda: uuid), power_consumption=power)

    add_rngd(host, 1)
    add_rngd(host, 2)
    plugin = RngdPlugin(sysroot=host.root)
    plugin.discover()
    for number in (1, 2):
        spin(host, number, 1000, 900)
    assert {name: "power_w" in figures for name, figures in plugin.measure().items()} == {
        "uuid-1": False,
        "uuid-2": False,
    }
    devices = [told("uuid-1", fails), told("uuid-2", lambda: 53.0), told("uuid-other", lambda: 1.0)]
    stub = SimpleNamespace(init=lambda: None, list_devices=lambda: devices)
    monkeypatch.setattr(furiosa, "_library", lambda: stub)
    figures = plugin.measure()
    assert figures.keys() == {"uuid-1", "uuid-2"}
    assert ("power_w" in figures["uuid-1"], figures["uuid-2"]["power_w"]) == (False, 53.0)
    assert figures["uuid-2"]["mem_used_bytes"] == 0x100000000


def add_warboy(host: Any, number: int) -> None:
    folder = f"/sys/class/npu_mgmt/npu{number}_mgmt"
    facts = {"platform_type": "FuriosaAI", "device_type": "warboy", "device_uuid": f"w-{number}"}
    facts |= {"device_sn": "WB00ff", "busname": f"0000:{number + 16:02x}:00.0"}
    host.write({f"{folder}/{name}": value for name, value in facts.items()})
    host.nodes(f"/dev/npu{number}", f"/dev/npu{number}_mgmt", f"/dev/npu{number}pe0-1")


def test_warboy_gets_its_nodes_renumbered(host: Any) -> None:
    add_warboy(host, 1)
    add_warboy(host, 12)
    plugin = WarboyPlugin(sysroot=host.root)
    (first, _) = plugin.discover()
    assert (first.device_id, first.slots) == ("w-1", ResourceSlots({"warboy.device": 1}))
    assert inside(options_of(plugin, ["w-1"])) == {
        "/dev/npu0": "/dev/npu1",
        "/dev/npu0_mgmt": "/dev/npu1_mgmt",
        "/dev/npu0pe0-1": "/dev/npu1pe0-1",
    }


# Gaudi


def add_gaudi(host: Any, number: int, module: int, device: str = "1020", verbs: int | None = None) -> str:
    address = f"0000:{number + 32:02x}:00.0"
    folder = host.pci(address, "1da3", device)
    host.write({f"/sys/class/accel/accel{number}/device/pci_addr": address})
    host.write({f"/sys/class/accel/accel{number}/device/module_id": module})
    host.nodes(f"/dev/accel/accel{number}", f"/dev/accel/accel_controlD{number}")
    if verbs is not None:
        host.write({f"{folder}/infiniband_verbs/uverbs{verbs}/dev": "231:192"})
        host.nodes(f"/dev/infiniband/uverbs{verbs}")
    return address


def test_gaudi_numbers_are_the_driver_s_and_modules_are_what_is_named(host: Any) -> None:
    add_gaudi(host, 2, module=7, verbs=5)
    add_gaudi(host, 10, module=3)
    add_gaudi(host, 4, module=1, device="1060")
    host.write({"/sys/class/accel/accel0/device/other": "another vendor's"})
    two, three = Gaudi2Plugin(sysroot=host.root), Gaudi3Plugin(sysroot=host.root)
    assert [item.device_id for item in two.discover()] == ["gaudi2-0000:22:00.0", "gaudi2-0000:2a:00.0"]
    assert [item.model for item in three.discover()] == ["Intel Gaudi 3"]
    options = options_of(two, ["gaudi2-0000:22:00.0"])
    assert set(inside(options)) == {"/dev/accel/accel2", "/dev/accel/accel_controlD2", "/dev/infiniband/uverbs5"}
    assert (options.env, options.memlock) == ({"HABANA_VISIBLE_MODULES": "7"}, True)
    both = options_of(two, ["gaudi2-0000:22:00.0", "gaudi2-0000:2a:00.0"])
    assert both.env == {"HABANA_VISIBLE_MODULES": "7,3"}
    assert "/dev/accel/accel10" in inside(both)


def test_gaudi_figures_come_from_intel_s_library_when_it_is_there(host: Any, monkeypatch: Any) -> None:
    """The stub has the functions of pyhlml 1.24; it was never asked of a card."""

    class HLMLError(Exception): ...

    def by_address(address: str) -> str:
        if address == "0000:2a:00.0":
            raise HLMLError(address)
        return address

    stub = SimpleNamespace(
        HLMLError=HLMLError,
        hlmlInit=lambda: None,
        hlmlShutdown=lambda: None,
        hlmlDeviceGetHandleByPCIBusID=by_address,
        hlmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=7 << 30, total=96 << 30),
        hlmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(aip=1),
        hlmlDeviceGetPowerUsage=lambda _: 350_500,
    )
    add_gaudi(host, 2, module=7)
    add_gaudi(host, 10, module=3)
    plugin = Gaudi2Plugin(sysroot=host.root)
    plugin.discover()
    assert plugin.measure() == {}  # it is not installed
    monkeypatch.setattr(gaudi, "_library", lambda: stub)
    figures = {"util_pct": 1.0, "mem_used_bytes": 7 << 30, "mem_total_bytes": 96 << 30, "power_w": 350.5}
    assert plugin.measure() == {"gaudi2-0000:22:00.0": figures}  # an older one, which does not count energy
    stub.hlmlDeviceGetTotalEnergyConsumption = lambda _: 9_500
    assert plugin.measure() == {"gaudi2-0000:22:00.0": {**figures, "energy_j": 9.5}}


# Tenstorrent


def add_wormhole(host: Any, number: int, kind: str, serial: str) -> None:
    address = f"0000:{number + 48:02x}:00.0"
    host.pci(address, "1e52", "401e", numa_node=-1)
    folder = f"/sys/class/tenstorrent/tenstorrent!{number}"
    host.write({f"{folder}/tt_card_type": kind, f"{folder}/tt_serial": serial})
    host.link(f"{folder}/device", f"/sys/bus/pci/devices/{address}")
    host.write({f"/sys/bus/pci/devices/{address}/hwmon/hwmon1/power1_input": 81_500_000})
    host.nodes(f"/dev/tenstorrent/{number}")


def test_tenstorrent_serials_are_no_numbers_and_a_card_gets_its_own_node_only(host: Any) -> None:
    add_wormhole(host, 1, "n300", "0100014511731ff0")
    add_wormhole(host, 10, "n150", "010001851173c0de")
    plugin = TenstorrentPlugin(sysroot=host.root)
    found = plugin.discover()
    assert [(item.device_id, item.slots.to_json(), item.numa_node) for item in found] == [
        ("tt-0100014511731ff0", {"tt-n300.device": "1"}, None),
        ("tt-010001851173c0de", {"tt-n150.device": "1"}, None),
    ]
    assert found[0].attributes["pci"] == "0000:31:00.0"
    options = options_of(plugin, ["tt-0100014511731ff0"])
    assert inside(options) == {"/dev/tenstorrent/1": "/dev/tenstorrent/1"}
    assert (options.env, options.binds) == ({"TT_VISIBLE_DEVICES": "1"}, ())
    assert plugin.measure()["tt-0100014511731ff0"] == {"power_w": 81.5}


def test_large_pages_are_an_admin_s_choice(host: Any) -> None:
    add_wormhole(host, 0, "n300", "a")
    plugin = TenstorrentPlugin({"hugepages": True}, host.root)
    plugin.discover()
    assert options_of(plugin, ["tt-a"]).binds == ((f"{host.root}/dev/hugepages-1G", "/dev/hugepages-1G", False),)
    assert plugin.options({}).binds == ()


def test_a_card_of_a_type_that_is_not_known_is_listed_and_not_given(host: Any) -> None:
    add_wormhole(host, 0, "p150", "a")
    (card,) = TenstorrentPlugin(sysroot=host.root).discover()
    assert (card.slots, card.health) == (ResourceSlots(), "cards of type p150 are not known")


def test_two_cards_of_one_serial_are_not_given(host: Any) -> None:
    add_wormhole(host, 0, "n300", "a")
    add_wormhole(host, 1, "n300", "a")
    found = TenstorrentPlugin(sysroot=host.root).discover()
    assert [item.device_id for item in found] == ["tt-a@0", "tt-a@1"]
    assert {item.health for item in found} == {"has the same id as another device"}


# HyperAccel


def add_lpu(host: Any, bus: int, minor: int) -> None:
    address = f"0000:{bus:02x}:00"
    host.pci(f"{address}.0", "10ee", "505c")
    host.link(f"/sys/bus/pci/drivers/xclmgmt/{address}.0", f"/sys/bus/pci/devices/{address}.0")
    host.write({"/sys/bus/pci/drivers/xclmgmt/bind": ""})
    user = host.pci(f"{address}.1", "10ee", "505d")
    host.write({f"{user}/drm/renderD{minor}/dev": f"226:{minor}"})
    host.nodes(f"/dev/dri/renderD{minor}", f"/dev/xfpga/xvc_pri.m{bus << 8}.0", gid=4133)


def test_an_lpu_is_found_by_both_its_functions(host: Any) -> None:
    add_lpu(host, 0x3B, 133)
    plugin = HyperAccelPlugin(sysroot=host.root)
    assert plugin.discover() == []  # without HyperAccel's software it is any Alveo board
    (host.root / "opt/hyperdex").mkdir(parents=True)
    (card,) = plugin.discover()
    assert (card.device_id, card.slots) == ("lpu-0000:3b:00.0", ResourceSlots({"hyperaccel-lpu.device": 1}))
    options = options_of(plugin, [card.device_id])
    assert set(inside(options)) == {"/dev/dri/renderD133", f"/dev/xfpga/xvc_pri.m{0x3B00}.0"}
    assert options.binds == ((f"{host.root}/opt/hyperdex", "/opt/hyperdex", True),)


# The base


def test_the_total_is_that_of_all_devices(amd: Any) -> None:
    inventory = Inventory([RocmPlugin(sysroot=amd.root)])
    assert inventory.slots == ResourceSlots({"rocm.device": 2})
    assert len(inventory.measure()) == 2


@pytest.mark.parametrize("serials", [("0009", "000a"), ("zz", "ff"), ("10", "9")])
def test_ids_are_never_read_as_numbers(host: Any, serials: tuple[str, str]) -> None:
    """Hexadecimal, or no number at all; the order is that of the driver's numbers."""
    for number, serial in enumerate(serials):
        add_wormhole(host, number, "n300", serial)
    plugin = TenstorrentPlugin(sysroot=host.root)
    ids = [item.device_id for item in plugin.discover()]
    assert ids == [f"tt-{serial}" for serial in serials]
    assert options_of(plugin, reversed(ids)).env == {"TT_VISIBLE_DEVICES": "0,1"}


def test_devices_in_the_mask_stay_with_the_host(amd: Any) -> None:
    for mask in ("00000000000000aa", "0000:0c:00.0"):
        inventory = Inventory([RocmPlugin(sysroot=amd.root)], [mask])
        assert [item.device_id for item in inventory.devices] == ["00000000000000bb"]
        assert inventory.slots == ResourceSlots({"rocm.device": 1})
        assert list(inventory.measure()) == ["00000000000000bb"]


def test_cdi_names_take_the_place_of_nodes_where_an_admin_names_them(amd: Any) -> None:
    plugin = RocmPlugin({"cdi_device": "amd.com/gpu={pci}", "cdi": ["site.example/tools=all"]}, amd.root)
    plugin.discover()
    options = options_of(plugin, ["00000000000000aa"])
    assert (options.cdi, options.nodes) == (("site.example/tools=all", "amd.com/gpu=0000:0c:00.0"), ())


def test_options_of_the_admin_reach_the_container(amd: Any) -> None:
    config = {"shm": "8g", "networks": ["rdma"], "env": {"NCCL_DEBUG": "WARN"}}
    plugin = RocmPlugin(config, amd.root)
    plugin.discover()
    options = options_of(plugin, ["00000000000000aa"])
    assert (options.shm_bytes, options.networks) == (8 << 30, ("rdma",))
    assert options.env == {"NCCL_DEBUG": "WARN", "ROCR_VISIBLE_DEVICES": "0"}
    with pytest.raises(ValueError, match=r"rocm: no option colour\. It has: cdi,"):
        RocmPlugin({"colour": "red"})


def test_programs_that_hang_or_fail_are_no_devices(tmp_path: Path, caplog: Any) -> None:
    class Broken(AcceleratorPlugin):
        key = "broken"

        def candidates(self) -> list[str]:
            return [self.run(["false"])]

    assert Broken(sysroot=tmp_path).discover() == []
    assert "broken: devices cannot be listed" in caplog.text


def test_the_plugin_of_the_documentation_works(host: Any) -> None:
    page = (Path(__file__).parents[3] / "docs/accelerators.md").read_text()
    (source,) = re.findall(r"```python\n(class AcmePlugin.*?)```", page, re.S)
    names: dict[str, Any] = {"AcceleratorPlugin": AcceleratorPlugin, "Card": Card}
    exec(source, names)  # noqa: S102 - our own page
    for number in (2, 20):
        host.write({f"/sys/class/acme/acme{number}/serial": f"00ff{number}"})
        host.nodes(f"/dev/acme{number}")
    host.nodes("/dev/acme_ctl")
    plugin = names["AcmePlugin"](sysroot=host.root)
    assert [item.device_id for item in plugin.discover()] == ["00ff2", "00ff20"]
    options = options_of(plugin, ["00ff20"])
    assert inside(options) == {"/dev/acme_ctl": "/dev/acme_ctl", "/dev/acme0": "/dev/acme20"}
    assert options.env == {"ACME_VISIBLE_DEVICES": "0"}


# A real engine, with the null device behind every name


@pytest.fixture
def crowded(amd: Any) -> Any:
    """A host with two or more of each vendor's, so that there are neighbours to keep away from."""
    for number in (1, 10):
        add_rngd(amd, number)
        add_warboy(amd, number)
        add_wormhole(amd, number, "n300", f"serial-{number}")
        add_gaudi(amd, number, module=number, verbs=number)
    add_gaudi(amd, 4, module=4, device="1060")
    add_lpu(amd, 0x3B, 133)
    add_lpu(amd, 0x4B, 134)
    (amd.root / "opt/hyperdex").mkdir(parents=True)
    amd.nodes("/dev/rbln0", "/dev/rbln1", "/dev/rsd0", "/dev/rsd1", gid=77)
    amd.write({"/etc/ipuof.conf.d/ipuof.conf": json.dumps({"devices": [{"ip": "10.1.0.1", "device_id": 0}]})})
    return amd


def said_by_tools(argv: Sequence[str]) -> str:
    memory, ipu = {"used": "0", "total": "1"}, {"ID": "0", "PCIe ID": "0", "Serial": "s"}
    npus = [
        {"npu": n, "name": "RBLN-CA22", "uuid": f"u-{n}", "device": f"rbln{n}", "pci": {"bus_id": f"0000:9{n}:00.0"}}
        for n in range(2)
    ]
    told = {
        "rbln-smi": {"devices": [{**npu, "memory": memory, "util": "0", "group_id": "0"} for npu in npus]},
        "gc-monitor": {"cards": [{"Type": "M2000", "IPU-M": "10.1.0.1", "ipus": [ipu]}]},
    }
    return json.dumps(told[argv[0]])


_NODES = {
    "00000000000000aa": {"kfd", "dri/renderD130"},
    "gaudi2-0000:21:00.0": {"accel/accel1", "accel/accel_controlD1", "infiniband/uverbs1"},
    "tt-serial-1": {"tenstorrent/1"},
    "lpu-0000:3b:00.0": {"dri/renderD133", "xfpga/xvc_pri.m15104.0"},
    "gaudi3-0000:24:00.0": {"accel/accel4", "accel/accel_controlD4"},
    "uuid-10": {f"rngd/npu0{name}" for name in ("mgmt", "pe0", "pe1", "ch0", "ch0r", "dmar", "bar0")},
    "w-10": {"npu0", "npu0_mgmt", "npu0pe0-1"},
    "u-1": {"rbln0", "rsd0"},
    "ipu-10.1.0.1-0": {"infiniband/uverbs1", "infiniband/uverbs10"},
}
_THEIRS = re.compile(r"/dev/(kfd|dri|accel|infiniband|tenstorrent|xfpga|rngd|npu|rbln|rsd)")


@pytest.mark.asyncio
@pytest.mark.docker
@AS_ROOT
@pytest.mark.parametrize(
    "held", [list(_NODES)[:4], list(_NODES)[4:]], ids=["amd-gaudi2-tt-lpu", "gaudi3-furiosa-rbln-ipu"]
)
async def test_an_engine_gives_each_vendor_s_nodes_under_their_names_and_no_neighbour_s(
    docker_bench: Any, crowded: Any, tmp_path: Path, held: list[str]
) -> None:
    kinds = (RocmPlugin, Gaudi2Plugin, Gaudi3Plugin, TenstorrentPlugin, HyperAccelPlugin, RngdPlugin, WarboyPlugin)
    tools = (AtomPlusPlugin({"groups": False}, crowded.root, said_by_tools), IpuPlugin({}, crowded.root, said_by_tools))
    inventory = Inventory([*(kind(sysroot=crowded.root) for kind in kinds), *tools])
    slots = {device.device_id: next(iter(device.slots)) for device in inventory.devices if device.slots}
    options = inventory.prepare({slots[name]: {name: Decimal(1)} for name in held}, tmp_path / "kernel")
    wanted = docker_bench.want()
    ref = await docker_bench.runtime.create(CreateRequest(wanted, docker_bench.prepare(wanted), options))
    await docker_bench.runtime.start(ref)
    script = (
        "for node in $(/bin/busybox find /dev -type c); do"
        ' echo "given $node"; echo x 2>/dev/null >"$node" && echo "written $node"; done'
    )
    _, said = await docker_bench.run(wanted, ref, script)
    for what in ("given", "written"):
        nodes = {line.removeprefix(f"{what} ") for line in said.splitlines() if line.startswith(f"{what} ")}
        theirs = {node for node in nodes if _THEIRS.match(node)}
        assert theirs == {f"/dev/{node}" for name in held for node in _NODES[name]}
