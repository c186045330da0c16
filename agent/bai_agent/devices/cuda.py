"""NVIDIA GPUs through NVML. Without the library or a driver there are no devices, and that is no error.

An agent hands its GPUs out in one of three ways, and all of them in the same:

- ``discrete``: whole GPUs (``cuda.device``);
- ``fractional``: parts of GPUs (``cuda.shares``, in hundredths); what holds sessions to them is in ``shares``;
- ``mig``: instances of GPUs in MIG mode (``cuda.mig-1g.10gb``), each whole. Making them is the admin's.

A GPU that is not in the mode is reported with no slots: handing it out all the same would be wrong.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices import pci
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import PCI_PATH, DeviceFacts
from bai_jupyter.common.slots import QUANTUM, ResourceSlots

log = logging.getLogger(__name__)

DEVICE, SHARES, MIG = "cuda.device", "cuda.shares", "cuda.mig-"
MODES = ("discrete", "fractional", "mig")
OLDEST_CAPABILITY = (7, 5)

_SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_VERBS, _UDEV = "infiniband_verbs", "/run/udev"
_CAPABILITIES = "driver/nvidia/capabilities"
_PROFILE = re.compile(r"MIG (\d+g\.\d+gb\S*)")


@dataclass(frozen=True)
class CudaOptions:
    """``unit_bytes`` of GPU memory are 1.00 ``cuda.shares``; 0: each GPU is 1.00 of its own. ``attributes`` are told of
    every GPU. ``withheld`` says why none is handed out, if that is so. ``rdma``: containers get the RDMA adapters
    nearest to their GPUs; ``gds``: the nodes of GPUDirect Storage. ``cdi_device``: what CDI calls a GPU, with ``{id}``
    for its UUID; then containers get GPUs, and the driver's libraries, by that name.
    """

    mode: str = "discrete"
    unit_bytes: int = 0
    attributes: tuple[tuple[str, str], ...] = ()
    withheld: str = ""
    rdma: bool = False
    gds: bool = False
    cdi_device: str = ""


class CudaPlugin(DevicePlugin):
    """``by_request``: the engine hands GPUs out itself (NVIDIA's toolkit is there); else device nodes are given."""

    key = "cuda"

    def __init__(
        self,
        by_request: bool,
        dev: Path = Path("/dev"),
        options: CudaOptions | None = None,
        proc: Path = Path("/proc"),
        sysfs: Path = Path("/sys"),
    ) -> None:
        self._by_request, self._dev, self._proc, self._sysfs = by_request, dev, proc, sysfs
        self._options = options or CudaOptions()
        self._nodes: dict[str, list[str]] = {}  # of each device, beside those that all share
        self._above: dict[str, tuple[str, ...]] = {}  # of each device, on the PCI bus
        self.metrics = {DEVICE: "cuda", SHARES: "cuda"}  # and those of the instances that are found

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
            driver = _driver_facts(pynvml)
            return [
                device for index in range(pynvml.nvmlDeviceGetCount()) for device in self._read(pynvml, index, driver)
            ]
        except pynvml.NVMLError as error:
            log.warning("NVML does not list devices: %s", error)
            return []
        finally:
            pynvml.nvmlShutdown()

    def measure(self) -> dict[str, dict[str, float]]:
        """``{UUID: figures}``: ``util_pct``, ``mem_used_bytes``, ``mem_total_bytes``, ``power_w`` and ``energy_j`` of
        whole GPUs, and load and memory of MIG instances, as far as each tells. Never raises."""
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # noqa: BLE001 - no library or no driver; discovery has said so
            return {}
        try:
            gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            instances = [instance for gpu in gpus for instance in _instances_of(pynvml, gpu)]
            return {
                **{_text(pynvml.nvmlDeviceGetUUID(handle)): _figures(pynvml, handle) for handle in gpus},
                **{uuid: _use(pynvml, handle) for uuid, handle in instances},
            }
        except pynvml.NVMLError as error:
            log.warning("NVML does not tell what GPUs do: %s", error)
            return {}
        finally:
            pynvml.nvmlShutdown()

    def options(self, held: Allocation) -> ContainerOptions:
        uuids = sorted({device_id for amounts in held.values() for device_id in amounts})
        if not uuids:
            # Images often carry NVIDIA_VISIBLE_DEVICES=all; with NVIDIA's runtime as default that would give every GPU.
            hidden = {"CUDA_VISIBLE_DEVICES": ""} if self._nodes else {}
            return ContainerOptions(env={"NVIDIA_VISIBLE_DEVICES": "void", **hidden})
        env = {
            "CUDA_VISIBLE_DEVICES": ",".join(uuids),
            "NVIDIA_VISIBLE_DEVICES": ",".join(uuids),
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        }
        near = self._adapters(uuids).merge(self._storage())
        if self._options.cdi_device:
            named = tuple(self._options.cdi_device.replace("{id}", uuid) for uuid in uuids)
            # For NVIDIA's own runtime, where that is the default: what NVIDIA's CDI files say as well.
            return ContainerOptions(env={**env, "NVIDIA_VISIBLE_DEVICES": "void"}, cdi=named).merge(near)
        if self._by_request:
            return ContainerOptions(env=env, gpu_ids=tuple(uuids)).merge(near)
        own = dict.fromkeys(node for uuid in uuids for node in self._nodes.get(uuid, ()))
        return self._placed([*own, *_SHARED_NODES]).merge(ContainerOptions(env=env)).merge(near)

    def _adapters(self, uuids: Iterable[str]) -> ContainerOptions:
        """The RDMA adapters nearest to these GPUs, and what NCCL is told of them."""
        choices = pci.adapters(self._sysfs) if self._options.rdma else {}
        names = sorted({name for uuid in uuids for name in pci.nearest(self._above.get(uuid, ()), choices)})
        if not names:
            return ContainerOptions()
        verbs = [path.name for name in names for path in self._sysfs.glob(f"class/infiniband/{name}/device/{_VERBS}/*")]
        nodes = self._placed([f"/dev/infiniband/{name}" for name in (*sorted(verbs), "rdma_cm")])
        return nodes.merge(ContainerOptions(env={"NCCL_IB_HCA": "=" + ",".join(names)}, memlock=True))

    def _storage(self) -> ContainerOptions:
        found = sorted(path.name for path in self._dev.glob("nvidia-fs*")) if self._options.gds else []
        if not found:
            return ContainerOptions()
        return self._placed([f"/dev/{name}" for name in found]).merge(
            ContainerOptions(binds=((_UDEV, _UDEV, True),), memlock=True)
        )

    def _placed(self, nodes: Iterable[str]) -> ContainerOptions:
        """Those that are there, with the groups that own them."""
        present = [node for node in nodes if (self._dev / node.removeprefix("/dev/")).exists()]
        groups = {os.stat(self._dev / node.removeprefix("/dev/")).st_gid for node in present} - {0}
        return ContainerOptions(nodes=tuple((node, node, "rwm") for node in present), groups=tuple(sorted(groups)))

    def _read(self, pynvml: Any, index: int, driver: dict[str, str]) -> Iterator[DeviceFacts]:
        """One GPU, or its MIG instances; a broken one has no slots and says why in ``health``."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError as error:
            yield DeviceFacts(f"cuda-broken-{index}", self.key, "NVIDIA GPU", ResourceSlots(), health=str(error))
            return
        minor = _ask(pynvml, pynvml.nvmlDeviceGetMinorNumber, handle, default=index)
        self._nodes[uuid] = [f"/dev/nvidia{minor}"]
        memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
        capability = _ask(pynvml, pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        in_mig_mode = (_ask(pynvml, pynvml.nvmlDeviceGetMigMode, handle) or (0, 0))[0] == 1
        cores = _ask(pynvml, pynvml.nvmlDeviceGetNumGpuCores, handle)
        attributes = {
            **driver,
            **({"compute_capability": "{}.{}".format(*capability)} if capability else {}),
            **({"cores": str(cores)} if cores else {}),
            **dict(self._options.attributes),
        }
        address = _address(_ask(pynvml, pynvml.nvmlDeviceGetPciInfo, handle))
        attributes |= pci.path_attribute(address, self._sysfs)
        self._above[uuid] = pci.upstream(address, self._sysfs)
        numa_node = self._numa_node(address)
        amiss = _too_old(capability)
        if in_mig_mode and self._options.mode == "mig" and not amiss:
            yield from self._instances(pynvml, handle, int(minor), {**attributes, "gpu": uuid}, numa_node)
            return
        total = int(memory.total) if memory else 0
        amiss = amiss or _out_of_mode(self._options.mode, in_mig_mode=in_mig_mode) or self._options.withheld
        yield DeviceFacts(
            device_id=uuid,
            kind=self.key,
            model=_text(_ask(pynvml, pynvml.nvmlDeviceGetName, handle, default="NVIDIA GPU")),
            slots=ResourceSlots() if amiss else self._slots(total),
            mem_bytes=total or None,
            numa_node=numa_node,
            health=amiss or "ok",
            attributes=attributes,
        )

    def _numa_node(self, address: str | None) -> int | None:
        try:
            node = int((self._sysfs / f"bus/pci/devices/{address}/numa_node").read_text())
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    def _slots(self, total_bytes: int) -> ResourceSlots:
        if self._options.mode == "discrete":
            return ResourceSlots({DEVICE: 1})
        return ResourceSlots({SHARES: capacity(total_bytes, self._options.unit_bytes)})

    def _instances(
        self, pynvml: Any, gpu: Any, minor: int, attributes: dict[str, str], numa_node: int | None
    ) -> Iterator[DeviceFacts]:
        for uuid, handle in _instances_of(pynvml, gpu):
            model = _text(_ask(pynvml, pynvml.nvmlDeviceGetName, handle, default="NVIDIA MIG instance"))
            profile = _PROFILE.search(model)
            memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
            gpu_instance = _ask(pynvml, pynvml.nvmlDeviceGetGpuInstanceId, handle)
            compute_instance = _ask(pynvml, pynvml.nvmlDeviceGetComputeInstanceId, handle)
            places = (f"gi{gpu_instance}", f"gi{gpu_instance}/ci{compute_instance}")
            self._above[uuid] = tuple(filter(None, attributes.get(PCI_PATH, "").split("/")))
            self._nodes[uuid] = [f"/dev/nvidia{minor}", *self._capability_nodes(minor, places)]
            slots = {MIG + profile[1].replace("+", "-"): 1} if profile else {}
            self.metrics = {**self.metrics, **dict.fromkeys(slots, "cuda")}
            yield DeviceFacts(
                device_id=uuid,
                kind=self.key,
                model=model,
                slots=ResourceSlots(slots),
                mem_bytes=int(memory.total) if memory else None,
                numa_node=numa_node,
                health="ok" if profile else f"the profile of {model!r} is not known",
                attributes=attributes,
            )

    def _capability_nodes(self, minor: int, places: Iterable[str]) -> Iterator[str]:
        """The nodes that let a process use an instance, as the driver tells them below /proc."""
        for place in places:
            access = self._proc / _CAPABILITIES / f"gpu{minor}/mig/{place}/access"
            try:
                number = re.search(r"DeviceFileMinor: (\d+)", access.read_text())
            except OSError:
                continue
            if number:
                yield f"/dev/nvidia-caps/nvidia-cap{number[1]}"


def capacity(total_bytes: int, unit_bytes: int) -> Decimal:
    """What a GPU of that memory is in ``cuda.shares``: never more than there is."""
    if not unit_bytes:
        return Decimal(1) if total_bytes else Decimal(0)
    return (Decimal(total_bytes) / unit_bytes).quantize(QUANTUM, ROUND_FLOOR)


def _too_old(capability: tuple[int, int] | None) -> str:
    """Why a GPU is too old to be handed out; empty if it is not."""
    if capability is not None and tuple(capability) >= OLDEST_CAPABILITY:
        return ""
    has = "unknown" if capability is None else "{}.{}".format(*capability)
    return "compute capability {}, at least {}.{} is needed".format(has, *OLDEST_CAPABILITY)


def _out_of_mode(mode: str, *, in_mig_mode: bool) -> str:
    if mode == "mig":
        return "" if in_mig_mode else "not in MIG mode, while this agent hands out MIG instances"
    return "in MIG mode, not handed out" if in_mig_mode else ""


def _driver_facts(pynvml: Any) -> dict[str, str]:
    """``cuda_version``, the newest that the driver runs, and ``driver_version``, as far as it tells."""
    facts = {}
    try:
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion())
        facts["cuda_version"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        facts["driver_version"] = _text(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        log.warning("NVML does not tell the driver's version: %s", error)
    return facts


def _instances_of(pynvml: Any, gpu: Any) -> Iterator[tuple[str, Any]]:
    """The UUID and the handle of each."""
    for index in range(_ask(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu, default=0)):
        with suppress(pynvml.NVMLError):  # no instance at this place
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
            yield _text(pynvml.nvmlDeviceGetUUID(handle)), handle


def _figures(pynvml: Any, gpu: Any) -> dict[str, float]:
    figures = _use(pynvml, gpu)
    if (milliwatts := _ask(pynvml, pynvml.nvmlDeviceGetPowerUsage, gpu)) is not None:
        figures["power_w"] = milliwatts / 1000
    if (millijoules := _ask(pynvml, pynvml.nvmlDeviceGetTotalEnergyConsumption, gpu)) is not None:
        figures["energy_j"] = millijoules / 1000
    return figures


def _use(pynvml: Any, handle: Any) -> dict[str, float]:
    """Load and memory of a GPU or an instance. Of power an instance is never asked: that would be the whole GPU's."""
    figures = {}
    if (rates := _ask(pynvml, pynvml.nvmlDeviceGetUtilizationRates, handle)) is not None:
        figures["util_pct"] = float(rates.gpu)
    if (memory := _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)) is not None:
        figures |= {"mem_used_bytes": float(memory.used), "mem_total_bytes": float(memory.total)}
    return figures


def _ask(pynvml: Any, question: Any, handle: Any, default: Any = None) -> Any:
    """What an older driver or card does not answer is left at ``default``."""
    try:
        return question(handle)
    except pynvml.NVMLError:
        return default


def _address(told: Any) -> str | None:
    """The driver's domain has eight digits, the kernel's four."""
    if told is None:
        return None
    domain, _, rest = _text(told.busId).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
