"""The CUDA plugin with the real nvidia-ml-py, on a stub of the driver's library (no GPU was near these tests)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bai_agent.app import AgentApp
from bai_agent.shares.ladder import Enforcement

_ASK = """
import json, pathlib, sys
from decimal import Decimal
from bai_agent.devices.cuda import CudaOptions, CudaPlugin
from bai_jupyter.common.messages import to_json
root, options = pathlib.Path(sys.argv[2]), CudaOptions(**json.loads(sys.argv[3]))
plugin = CudaPlugin(by_request=sys.argv[1] == "request", dev=root, options=options, proc=root, sysfs=root / "sys")
found = plugin.discover()
held = {slot: {item.device_id: amount} for item in found[:1] for slot, amount in item.slots.items()}
print(json.dumps([to_json(found), to_json(plugin.options(held)), to_json(plugin.options({}))]))
"""


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """Ask a fresh process (nvidia-ml-py loads its library once): devices, options of the first, options of none."""
    for node in ("nvidia7", "nvidiactl", "nvidia-uvm"):
        (tmp_path / node).touch()
    os.chown(tmp_path / "nvidia7", -1, 44) if os.geteuid() == 0 else None

    def ask(library_path: Path, how: str = "nodes", options: Any = None, **environ: str) -> list[Any]:
        env = {**os.environ, "LD_LIBRARY_PATH": str(library_path), **environ}
        command = [sys.executable, "-c", _ASK, how, str(tmp_path), json.dumps(options or {})]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
        answer: list[Any] = json.loads(done.stdout)
        return answer

    return ask


def test_gpus_are_listed_by_uuid(ask: Any, nvml_folder: Path) -> None:
    found, _, _ = ask(nvml_folder, NVML_STUB_COUNT="3")
    assert [item["device_id"] for item in found] == ["GPU-stub-0", "GPU-stub-1", "GPU-stub-2"]
    assert found[0]["slots"] == {"cuda.device": "1"}
    assert (found[0]["model"], found[0]["mem_bytes"], found[0]["health"]) == ("Stub H200", 141 << 30, "ok")


def test_no_library_is_no_device_and_no_error(ask: Any, tmp_path: Path) -> None:
    assert ask(tmp_path)[0] == []


def test_no_driver_is_no_device_and_no_error(ask: Any, nvml_folder: Path) -> None:
    assert ask(nvml_folder, NVML_STUB_INIT="9")[0] == []


def test_a_lost_gpu_is_listed_with_nothing_to_give(ask: Any, nvml_folder: Path) -> None:
    found, _, _ = ask(nvml_folder, NVML_STUB_BROKEN="1")
    assert [item["slots"] for item in found] == [{"cuda.device": "1"}, {}]
    assert "lost" in found[1]["health"].lower()


def test_a_gpu_in_mig_mode_is_not_given_whole(ask: Any, nvml_folder: Path) -> None:
    found, _, _ = ask(nvml_folder, NVML_STUB_MIG="0")
    assert [item["slots"] for item in found] == [{}, {"cuda.device": "1"}]
    assert "MIG" in found[0]["health"]


def test_device_nodes_are_those_of_the_minor_number(ask: Any, nvml_folder: Path) -> None:
    _, options, _ = ask(nvml_folder)
    assert [node[0] for node in options["nodes"]] == ["/dev/nvidia7", "/dev/nvidiactl", "/dev/nvidia-uvm"]
    assert options["gpu_ids"] == []
    assert options["env"]["CUDA_VISIBLE_DEVICES"] == options["env"]["NVIDIA_VISIBLE_DEVICES"] == "GPU-stub-0"
    if os.geteuid() == 0:
        assert options["groups"] == [44]


def test_an_engine_with_the_toolkit_is_asked_for_uuids(ask: Any, nvml_folder: Path) -> None:
    _, options, _ = ask(nvml_folder, "request")
    assert (options["gpu_ids"], options["nodes"]) == (["GPU-stub-0"], [])


def test_an_engine_that_knows_cdi_is_asked_for_the_name_that_an_admin_gives(ask: Any, nvml_folder: Path) -> None:
    _, options, none = ask(nvml_folder, options={"cdi_device": "nvidia.com/gpu={id}"})
    assert (options["cdi"], options["nodes"], options["gpu_ids"]) == (["nvidia.com/gpu=GPU-stub-0"], [], [])
    assert (options["env"]["CUDA_VISIBLE_DEVICES"], options["env"]["NVIDIA_VISIBLE_DEVICES"]) == ("GPU-stub-0", "void")
    assert none["cdi"] == []


@pytest.mark.parametrize("mode", ["discrete", "fractional"])
def test_an_agent_passes_on_what_its_admin_wrote(mode: str) -> None:
    written = {"cuda": {"rdma": True, "gds": True, "cdi_device": "nvidia.com/gpu={id}"}}
    options = AgentApp(accelerator_options=written, allocation_mode=mode)._cuda_options(Enforcement.SHIM)
    assert (options.mode, options.rdma, options.gds, options.cdi_device) == (mode, True, True, "nvidia.com/gpu={id}")
    assert options.attributes == ((("enforcement", "shim"),) if mode == "fractional" else ())


def test_who_holds_no_gpu_sees_none(ask: Any, nvml_folder: Path, tmp_path: Path) -> None:
    assert ask(nvml_folder)[2]["env"] == {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    assert ask(tmp_path)[2]["env"] == {"NVIDIA_VISIBLE_DEVICES": "void"}


def test_a_driver_tells_its_newest_cuda(ask: Any, nvml_folder: Path) -> None:
    attributes = ask(nvml_folder)[0][0]["attributes"]
    assert attributes == {
        "cuda_version": "12.8",
        "driver_version": "570.86.15",
        "compute_capability": "9.0",
        "cores": "16896",
    }


def test_a_gpu_that_is_too_old_is_not_given(ask: Any, nvml_folder: Path) -> None:
    found, _, _ = ask(nvml_folder, NVML_STUB_CAPABILITY="70")
    assert [item["slots"] for item in found] == [{"cuda.device": "1"}, {}]
    assert found[1]["health"] == "compute capability 7.0, at least 7.5 is needed"
    assert ask(nvml_folder, NVML_STUB_CAPABILITY="75")[0][1]["health"] == "ok"


def test_parts_of_gpus(ask: Any, nvml_folder: Path) -> None:
    found, options, _ = ask(nvml_folder, options={"mode": "fractional", "attributes": [["enforcement", "shim"]]})
    assert [item["slots"] for item in found] == [{"cuda.shares": "1"}] * 2
    assert found[0]["attributes"]["enforcement"] == "shim"
    assert options["env"]["NVIDIA_VISIBLE_DEVICES"] == "GPU-stub-0"
    found, _, _ = ask(nvml_folder, options={"mode": "fractional", "unit_bytes": 40 << 30})
    assert found[0]["slots"] == {"cuda.shares": "3.52"}  # 3.525, never more than there is
    found, _, _ = ask(nvml_folder, options={"mode": "fractional", "withheld": "shares are only watched"})
    assert (found[0]["slots"], found[0]["health"]) == ({}, "shares are only watched")


def test_a_gpu_in_mig_mode_is_given_in_no_parts_but_its_instances(ask: Any, nvml_folder: Path) -> None:
    assert ask(nvml_folder, options={"mode": "fractional"}, NVML_STUB_MIG="0")[0][0]["slots"] == {}


def test_mig_instances_are_given_whole_and_by_their_own_id(ask: Any, nvml_folder: Path, tmp_path: Path) -> None:
    for place, node in (("gi7", 66), ("gi7/ci0", 67)):
        access = tmp_path / "driver/nvidia/capabilities/gpu7/mig" / place / "access"
        access.parent.mkdir(parents=True, exist_ok=True)
        access.write_text(f"DeviceFileMinor: {node}\nDeviceFileMode: 438\n")
        (tmp_path / "nvidia-caps").mkdir(exist_ok=True)
        (tmp_path / "nvidia-caps" / f"nvidia-cap{node}").touch()
    found, options, _ = ask(nvml_folder, options={"mode": "mig"}, NVML_STUB_MIG="0")
    assert [item["device_id"] for item in found] == ["MIG-stub-0", "MIG-stub-3", "GPU-stub-1"]
    assert [item["slots"] for item in found] == [{"cuda.mig-1g.18gb": "1"}] * 2 + [{}]
    assert found[0]["attributes"]["gpu"] == "GPU-stub-0"
    assert "MIG" in found[2]["health"]
    assert options["env"]["CUDA_VISIBLE_DEVICES"] == "MIG-stub-0"
    assert [node[0] for node in options["nodes"]] == [
        "/dev/nvidia7",
        "/dev/nvidia-caps/nvidia-cap66",
        "/dev/nvidia-caps/nvidia-cap67",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
    ]


_MEASURE = """
import json
from bai_agent.devices.cuda import CudaOptions, CudaPlugin
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.meter import Meter
inventory = Inventory([CudaPlugin(by_request=True, options=CudaOptions(mode="mig"))])
meter = Meter(inventory, lambda kernel_id, device_id, now_j: now_j)
meter.latest = inventory.measure()
held = {"cuda.mig-1g.18gb": {"MIG-stub-0": "1", "MIG-stub-3": "1"}}
print(json.dumps([meter.latest, meter.of_session("kernel", held)]))
"""


def test_of_mig_instances_memory_is_told_and_nothing_that_is_the_whole_gpu_s(nvml_folder: Path) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(nvml_folder), "NVML_STUB_MIG": "0"}
    command = [sys.executable, "-c", _MEASURE]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
    devices, of_session = json.loads(done.stdout)
    memory = {"mem_used_bytes": 3 << 30, "mem_total_bytes": 16 << 30}
    assert {name: devices[name] for name in ("MIG-stub-0", "MIG-stub-3")} == {
        "MIG-stub-0": memory,
        "MIG-stub-3": memory,
    }
    assert devices["GPU-stub-1"]["power_w"] == 250.5  # listed, for an admin
    assert of_session == {"cuda_mem_used_bytes": 6 << 30, "cuda_mem_total_bytes": 32 << 30}


def test_a_container_gets_the_adapters_nearest_to_its_gpu_and_the_nodes_of_direct_storage(
    ask: Any, nvml_folder: Path, tmp_path: Path
) -> None:
    """Two switches: one has the first GPU and an adapter with two ports, the other an adapter alone."""
    sysfs, switches = tmp_path / "sys", ("0000:10:00.0", "0000:20:00.0")
    devices = {"ffff:00:00.0": 0, "ffff:a0:00.0": 0, "ffff:a0:00.1": 0, "ffff:b0:00.0": 1}
    (sysfs / "bus/pci/devices").mkdir(parents=True)
    for address, at in devices.items():
        folder = sysfs / "devices/pci0000:00/0000:00:01.0" / switches[at] / address
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text("1\n")
        (sysfs / "bus/pci/devices" / address).symlink_to(folder)
    for number, address in enumerate(list(devices)[1:]):
        (sysfs / "bus/pci/devices" / address / "infiniband_verbs" / f"uverbs{number}").mkdir(parents=True)
        (sysfs / f"class/infiniband/mlx5_{number}").mkdir(parents=True)
        (sysfs / f"class/infiniband/mlx5_{number}/device").symlink_to(sysfs / "bus/pci/devices" / address)
    (tmp_path / "infiniband").mkdir()
    for node in ("infiniband/uverbs0", "infiniband/uverbs1", "infiniband/uverbs2", "infiniband/rdma_cm", "nvidia-fs0"):
        (tmp_path / node).touch()
    found, options, none = ask(nvml_folder, "request", {"rdma": True, "gds": True})
    assert (found[0]["numa_node"], found[1]["numa_node"]) == (1, None)
    assert found[0]["attributes"]["pci_path"] == "pci0000:00/0000:00:01.0/0000:10:00.0"
    assert options["env"]["NCCL_IB_HCA"] == "=mlx5_0,mlx5_1"
    assert [node[0] for node in options["nodes"]] == [
        "/dev/infiniband/uverbs0",
        "/dev/infiniband/uverbs1",
        "/dev/infiniband/rdma_cm",
        "/dev/nvidia-fs0",
    ]
    assert (options["memlock"], options["binds"]) == (True, [["/run/udev", "/run/udev", True]])
    assert (none["nodes"], none["memlock"]) == ([], False)  # of a session without GPUs
    _, plain, _ = ask(nvml_folder, "request")
    assert (plain["nodes"], "NCCL_IB_HCA" in plain["env"]) == ([], False)
