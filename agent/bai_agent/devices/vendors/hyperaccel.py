"""HyperAccel LPUs: Xilinx boards that HyperAccel's software makes one of. Nothing but sysfs is read.

A board is two PCI functions: the one that ``xclmgmt`` drives, and beside it the one that programs use.
"""

import re
from collections.abc import Iterator

from bai_agent.devices.accelerator import AcceleratorPlugin, Card

_DRIVER = "/sys/bus/pci/drivers/xclmgmt"
_SOFTWARE = "/opt/hyperdex"
_XILINX = "10ee"
_FUNCTION = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.[0-7]")


class HyperAccelPlugin(AcceleratorPlugin):
    key, metrics = "hyperaccel-lpu", {"hyperaccel-lpu.device": "hyperaccel_lpu"}
    binds = ((_SOFTWARE, _SOFTWARE, True),)
    caps = ("IPC_LOCK",)
    memlock = True

    def candidates(self) -> Iterator[str]:
        if self.at(_SOFTWARE).is_dir():  # without it such a board may be anything
            yield from sorted(entry.name for entry in self.at(_DRIVER).iterdir() if _FUNCTION.fullmatch(entry.name))

    def read(self, candidate: str) -> Card | None:
        match = _FUNCTION.fullmatch(candidate)
        assert match is not None
        if self.pci_ids(candidate)[0] != _XILINX:
            return None
        domain, bus, slot = match.groups()
        user = f"{domain}:{bus}:{slot}.1"
        ((render, minor),) = self.entries(f"/sys/bus/pci/devices/{user}/drm", r"renderD(\d+)")
        return Card(
            device_id=f"lpu-{candidate}",
            model="HyperAccel LPU",
            number=minor,
            # The driver reads bus and slot as one hexadecimal number.
            nodes=(f"/dev/dri/{render}", f"/dev/xfpga/xvc_pri.m{int(bus + slot, 16)}.0"),
            slot="hyperaccel-lpu.device",
            pci=user,
        )
