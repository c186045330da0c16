"""The CUDA plugin with the real nvidia-ml-py, on a stub of the driver's library (no GPU was near these tests)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ASK = """
import json, pathlib, sys
from decimal import Decimal
from bai_agent.devices.cuda import CudaOptions, CudaPlugin
from bai_jupyter.common.messages import to_json
root, options = pathlib.Path(sys.argv[2]), CudaOptions(**json.loads(sys.argv[3]))
plugin = CudaPlugin(by_request=sys.argv[1] == "request", dev=root, options=options, proc=root)
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
