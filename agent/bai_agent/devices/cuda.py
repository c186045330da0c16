"""NVIDIA GPUs through NVML. Without the library or a driver there are no devices, and that is no error.

Whole GPUs only (``cuda.device``). A GPU in MIG mode is reported with no slots: handing it out whole would be wrong.
"""

import logging
import os
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots

log = logging.getLogger(__name__)

_SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


class CudaPlugin(DevicePlugin):
    """``by_request``: the engine hands GPUs out itself (NVIDIA's toolkit is there); else device nodes are given."""

    key = "cuda"

    def __init__(self, by_request: bool, dev: Path = Path("/dev")) -> None:
        self._by_request, self._dev = by_request, dev
        self._minors: dict[str, str] = {}

    def discover(self) -> list[DeviceFacts]:
        try:
            import pynvml  # absent on hosts without the agent's extra
        except ImportError:
            return []
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            # No driver is the usual case on a CPU host; anything else an admin wants to read.
            if not isinstance(error, pynvml.NVMLError_LibraryNotFound | pynvml.NVMLError_DriverNotLoaded):
                log.warning("NVML is there but does not start: %s", error)
            return []
        try:
            return [self._read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            log.warning("NVML does not list devices: %s", error)
            return []
        finally:
            pynvml.nvmlShutdown()

    def measure(self) -> dict[str, dict[str, float]]:
        """``{UUID: figures}``: ``util_pct``, ``mem_used_bytes``, ``mem_total_bytes`` and ``power_w`` of whole GPUs, as
        far as each tells. Never raises."""
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # noqa: BLE001 - no library or no driver; discovery has said so
            return {}
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            return {_text(pynvml.nvmlDeviceGetUUID(handle)): _figures(pynvml, handle) for handle in handles}
        except pynvml.NVMLError as error:
            log.warning("NVML does not tell what GPUs do: %s", error)
            return {}
        finally:
            pynvml.nvmlShutdown()

    def options(self, held: Allocation) -> ContainerOptions:
        uuids = sorted({device_id for amounts in held.values() for device_id in amounts})
        if not uuids:
            # Images often carry NVIDIA_VISIBLE_DEVICES=all; with NVIDIA's runtime as default that would give every GPU.
            hidden = {"CUDA_VISIBLE_DEVICES": ""} if self._minors else {}
            return ContainerOptions(env={"NVIDIA_VISIBLE_DEVICES": "void", **hidden})
        env = {
            "CUDA_VISIBLE_DEVICES": ",".join(uuids),
            "NVIDIA_VISIBLE_DEVICES": ",".join(uuids),
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        }
        if self._by_request:
            return ContainerOptions(env=env, gpu_ids=tuple(uuids))
        nodes = [*(f"/dev/nvidia{self._minors[uuid]}" for uuid in uuids if uuid in self._minors), *_SHARED_NODES]
        present = [node for node in nodes if (self._dev / node.removeprefix("/dev/")).exists()]
        groups = {os.stat(self._dev / node.removeprefix("/dev/")).st_gid for node in present} - {0}
        return ContainerOptions(
            env=env, nodes=tuple((node, node, "rwm") for node in present), groups=tuple(sorted(groups))
        )

    def _read(self, pynvml: Any, index: int) -> DeviceFacts:
        """One GPU; a broken one has no slots and says why in ``health``."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError as error:
            return DeviceFacts(f"cuda-broken-{index}", self.key, "NVIDIA GPU", ResourceSlots(), health=str(error))
        self._minors[uuid] = str(_ask(pynvml, pynvml.nvmlDeviceGetMinorNumber, handle, default=index))
        memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
        in_mig_mode = (_ask(pynvml, pynvml.nvmlDeviceGetMigMode, handle) or (0, 0))[0] == 1
        return DeviceFacts(
            device_id=uuid,
            kind=self.key,
            model=_text(_ask(pynvml, pynvml.nvmlDeviceGetName, handle, default="NVIDIA GPU")),
            slots=ResourceSlots() if in_mig_mode else ResourceSlots({"cuda.device": 1}),
            mem_bytes=int(memory.total) if memory else None,
            numa_node=_numa_node(_ask(pynvml, pynvml.nvmlDeviceGetPciInfo, handle)),
            health="in MIG mode, not handed out" if in_mig_mode else "ok",
        )


def _figures(pynvml: Any, handle: Any) -> dict[str, float]:
    """One in MIG mode does not tell its use, so nothing is known of that."""
    figures = {}
    if (rates := _ask(pynvml, pynvml.nvmlDeviceGetUtilizationRates, handle)) is not None:
        figures["util_pct"] = float(rates.gpu)
    if (memory := _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)) is not None:
        figures |= {"mem_used_bytes": float(memory.used), "mem_total_bytes": float(memory.total)}
    if (milliwatts := _ask(pynvml, pynvml.nvmlDeviceGetPowerUsage, handle)) is not None:
        figures["power_w"] = milliwatts / 1000
    return figures


def _ask(pynvml: Any, question: Any, handle: Any, default: Any = None) -> Any:
    """What an older driver or card does not answer is left at ``default``."""
    try:
        return question(handle)
    except pynvml.NVMLError:
        return default


def _numa_node(pci: Any) -> int | None:
    if pci is None:
        return None
    domain, _, rest = _text(pci.busId).lower().partition(":")
    try:
        node = int(Path(f"/sys/bus/pci/devices/{domain[-4:]}:{rest}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
