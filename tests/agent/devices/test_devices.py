"""Device plugins that need no hardware, and the inventory over them."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
from bai_agent.devices.base import ContainerOptions, OptionConflict
from bai_agent.devices.cpu import CpuPlugin
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mem import MemPlugin
from bai_agent.devices.mock import MockPlugin

from bai_jupyter.common.slots import ResourceSlots

EIGHT = {"id": "gpu", "count": 8, "slots": {"cuda.device": 1}, "mem": "80g", "numa_node": 1, "model": "Mock H200"}


def test_eight_mock_gpus() -> None:
    found = MockPlugin([EIGHT]).discover()
    assert [item.device_id for item in found] == [f"gpu-{index}" for index in range(8)]
    assert found[0].slots == ResourceSlots.parse({"cuda.device": 1})
    assert (found[0].mem_bytes, found[0].numa_node, found[0].model) == (80 * 1024**3, 1, "Mock H200")


def test_mock_devices_are_told_in_the_environment() -> None:
    held = {"cuda.device": {"gpu-3": Decimal(1), "gpu-1": Decimal(1)}}
    env = MockPlugin([EIGHT]).options(held).env
    assert env["MOCK_VISIBLE_DEVICES"] == "gpu-1,gpu-3"
    assert json.loads(env["BAI_DEVICES"]) == {"cuda.device": {"gpu-1": "1", "gpu-3": "1"}}


@pytest.mark.parametrize("entry", [{}, {"id": "x"}, {"slots": {"a.device": 1}, "colour": "red"}, "gpu"])
def test_a_mock_that_is_not_understood_is_refused(entry: object) -> None:
    with pytest.raises(ValueError, match="mock device"):
        MockPlugin([entry])  # type: ignore[list-item]


def test_two_mocks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different ids"):
        MockPlugin([{"id": "a", "slots": {"x.device": 1}}, {"id": "a", "slots": {"x.device": 1}}])


def test_cpu_is_one_pool_less_what_the_host_keeps() -> None:
    (pool,) = CpuPlugin(Decimal("0.5"), pin=False).discover()
    assert pool.slots["cpu"] == len(os.sched_getaffinity(0)) - Decimal("0.5")
    assert CpuPlugin(Decimal(0), pin=False).options({"cpu": {"cpu": Decimal(1)}}).cpus == ()


def test_pinned_cores_are_devices_with_their_numa_node(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    (tmp_path / f"devices/system/cpu/cpu{core}/node1").mkdir(parents=True)
    plugin = CpuPlugin(Decimal(0), pin=True, sysfs=tmp_path)
    found = {item.device_id: item for item in plugin.discover()}
    assert found[f"cpu{core}"].numa_node == 1
    assert plugin.options({"cpu": {f"cpu{core}": Decimal("0.5")}}).cpus == (core,)


def test_mem_is_what_the_host_has_less_what_it_keeps() -> None:
    whole, less = MemPlugin(0).discover()[0], MemPlugin(1024).discover()[0]
    assert whole.slots["mem"] - less.slots["mem"] == 1024
    assert whole.slots["mem"] > 64 * 1024**2


def test_the_inventory_asks_each_plugin_for_its_own_devices() -> None:
    broken = {"id": "bad", "slots": {"mock.device": 1}, "health": "fell off the bus"}
    inventory = Inventory([CpuPlugin(Decimal(0), pin=False), MockPlugin([EIGHT, broken])])
    assert inventory.slots["cuda.device"] == 8
    assert inventory.slots["mock.device"] == 0
    options = inventory.options({"cpu": {"cpu": Decimal(1)}, "cuda.device": {"gpu-0": Decimal(1)}})
    assert options.env["MOCK_VISIBLE_DEVICES"] == "gpu-0"
    assert "MOCK_VISIBLE_DEVICES" not in inventory.options({"cpu": {"cpu": Decimal(1)}}).env


def test_options_merge_and_conflict() -> None:
    one = ContainerOptions(env={"A": "1"}, nodes=(("/dev/a", "/dev/a", "rw"),), groups=(5,), cpus=(1,))
    two = ContainerOptions(env={"B": "2"}, nodes=(("/dev/a", "/dev/a", "rw"),), groups=(4,), gpu_ids=("G",))
    both = one.merge(two)
    assert both.env == {"A": "1", "B": "2"}
    assert (both.nodes, both.groups, both.cpus, both.gpu_ids) == ((("/dev/a", "/dev/a", "rw"),), (4, 5), (1,), ("G",))
    with pytest.raises(OptionConflict, match="A is set to"):
        one.merge(ContainerOptions(env={"A": "9"}))
