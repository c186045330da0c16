"""Tenstorrent Wormhole cards with the ``tenstorrent`` driver (tt-kmd). Nothing but sysfs is read.

There are no counters of load or memory: power is what can be told.
"""

from collections.abc import Iterator

from bai_agent.allocation import Allocation
from bai_agent.devices.accelerator import AcceleratorPlugin, Card
from bai_agent.devices.base import ContainerOptions, Figures

_CLASS = "/sys/class/tenstorrent"
_HUGEPAGES = "/dev/hugepages-1G"


class TenstorrentPlugin(AcceleratorPlugin):
    """``hugepages``: give containers the host's folder of large pages, which hosts without an IOMMU need.

    Tenants then see one another's files there, so it is off by itself.
    """

    key = "tenstorrent"
    metrics = {"tt-n150.device": "tt_n150", "tt-n300.device": "tt_n300"}
    visible_env = {"TT_VISIBLE_DEVICES": "number"}
    own_options = frozenset({"hugepages"})

    def candidates(self) -> Iterator[str]:
        return (name for name, _ in self.entries(_CLASS, r"tenstorrent!(\d+)"))

    def read(self, candidate: str) -> Card:
        folder, number = f"{_CLASS}/{candidate}", int(candidate.rpartition("!")[2])
        kind, serial = self.text(f"{folder}/tt_card_type"), self.text(f"{folder}/tt_serial")
        slot = f"tt-{kind}.device"
        return Card(
            device_id=f"tt-{serial}",
            model=f"Tenstorrent {kind}",
            number=number,
            nodes=(f"/dev/tenstorrent/{number}",),
            slot=slot if slot in self.metrics else None,
            pci=self.at(f"{folder}/device").resolve().name,
            health="ok" if slot in self.metrics else f"cards of type {kind} are not known",
        )

    def options(self, held: Allocation) -> ContainerOptions:
        cards = self.held_cards(held)
        options = self.options_for(cards)
        if not cards or not self.config.get("hugepages"):
            return options
        return options.merge(ContainerOptions(binds=((str(self.at(_HUGEPAGES)), _HUGEPAGES, False),)))

    def figures(self, card: Card) -> Figures:
        return self.hwmon(f"{_CLASS}/tenstorrent!{card.number}/device")
