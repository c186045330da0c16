"""AMD Instinct GPUs with the ``amdgpu`` driver, whole or in partitions. Nothing but sysfs is read.

With the option ``shares`` GPUs are handed out in parts, where the kernel can hold sessions to theirs (``shares.dmem``).
The compute topology (KFD) is the list, for only it knows which render node belongs to which GPU: a display controller
on the board takes render nodes as well.
"""

from collections.abc import Iterator
from pathlib import Path

from bai_agent.devices.accelerator import AcceleratorPlugin, Card
from bai_agent.devices.base import Figures
from bai_agent.shares.dmem import Dmem, region_of

WHOLE, SHARES = "rocm.device", "rocm.shares"
_TOPOLOGY = "/sys/class/kfd/kfd/topology/nodes"
_MODELS = {
    "7408": "MI250X",
    "740c": "MI250X/MI250",
    "74a0": "MI300A",
    "74a1": "MI300X",
    "74a2": "MI308X",
    "74a5": "MI325X",
    "74b5": "MI300X VF",
    "74b9": "MI325X VF",
    "75a0": "MI350X",
    "75a3": "MI355X",
}


class RocmPlugin(AcceleratorPlugin):
    """Each node of the topology that computes is a device: a GPU, or one of its partitions."""

    key = "rocm"
    metrics = {WHOLE: "rocm", SHARES: "rocm"}
    own_options = frozenset({"shares"})
    shared_nodes = ("/dev/kfd",)
    visible_env = {"ROCR_VISIBLE_DEVICES": "local"}

    def candidates(self) -> Iterator[str]:
        for name, _ in self.entries(_TOPOLOGY, r"(\d+)"):
            if self._properties(name).get("simd_count"):  # 0: a CPU
                yield name

    def read(self, candidate: str) -> Card:
        facts = self._properties(candidate)
        pci, minor = _address(facts["domain"], facts["location_id"]), facts["drm_render_minor"]
        device = f"{facts['device_id']:04x}"
        unique = f"{facts['unique_id']:016x}" if facts.get("unique_id") else pci
        siblings = [name for name in self.candidates() if self._is_at(name, facts["domain"], facts["location_id"])]
        partition = {"partition": str(siblings.index(candidate))} if len(siblings) > 1 else {}
        return Card(
            device_id=f"{unique}-{partition['partition']}" if partition else unique,
            model=f"AMD {_MODELS.get(device, device)}",
            number=minor,
            nodes=(f"/dev/dri/renderD{minor}",),
            slot=SHARES if self._in_parts else WHOLE,
            pci=pci,
            mem_bytes=self._memory(candidate),
            health=self._health(minor, pci, in_partitions=bool(partition)),
            attributes={**partition, **({"enforcement": "cgroup"} if self._in_parts else {})},
        )

    @property
    def _in_parts(self) -> bool:
        return bool(self.config.get("shares", False))

    def _health(self, minor: int, pci: str, *, in_partitions: bool) -> str:
        if not self._is_of(minor, pci):
            return f"renderD{minor} is not a node of {pci}"
        return (self._why_no_parts(pci, in_partitions=in_partitions) if self._in_parts else "") or "ok"

    def _why_no_parts(self, pci: str, *, in_partitions: bool) -> str:
        if in_partitions:
            return "in partitions, which are handed out whole"
        if not self.isolated:
            return "shares need a cgroup for each session, which this runtime does not give"
        why = Dmem(self.at("/sys/fs/cgroup")).why_not(region_of(pci))
        return f"shares cannot be held: {why}" if why else ""

    def figures(self, card: Card) -> Figures:
        """Of whole GPUs: the counters of one in partitions do not say whose they are."""
        if "partition" in card.attributes:
            return {}
        folder = f"/sys/bus/pci/devices/{card.pci}"
        return {
            "util_pct": self.number(f"{folder}/gpu_busy_percent"),
            "mem_used_bytes": self.number(f"{folder}/mem_info_vram_used"),
            "mem_total_bytes": self.number(f"{folder}/mem_info_vram_total"),
            **self.hwmon(folder),
        }

    def _properties(self, node: str) -> dict[str, int]:
        return _parse(self.text(f"{_TOPOLOGY}/{node}/properties"))

    def _is_at(self, node: str, domain: int, location: int) -> bool:
        facts = self._properties(node)
        return (facts.get("domain"), facts.get("location_id")) == (domain, location)

    def _memory(self, node: str) -> int:
        banks: list[Path] = sorted(self.at(f"{_TOPOLOGY}/{node}/mem_banks").glob("*/properties"))
        return sum(_parse(bank.read_text())["size_in_bytes"] for bank in banks)

    def _is_of(self, minor: int, pci: str) -> bool:
        """True if the render node is the GPU's own, or one of the platform devices that partitions get theirs from."""
        name = f"renderD{minor}"
        partitions = self.at("/sys/devices/platform").glob(f"amdgpu_xcp_*/drm/{name}")
        return self.at(f"/sys/bus/pci/devices/{pci}/drm/{name}").exists() or any(partitions)


def _parse(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines() if line.strip())}


def _address(domain: int, location: int) -> str:
    return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 0x7}"
