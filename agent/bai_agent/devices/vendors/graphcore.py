"""Graphcore IPUs, which are reached over a fabric: a host has no nodes of them, only a file that lists them.

``gc-monitor`` tells which there are. A container gets a list of its own IPUs in place of the host's, and RDMA. The
fabric itself keeps nobody from an IPU whose address they know.
"""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices.accelerator import FAULTS, AcceleratorPlugin, Card
from bai_agent.devices.base import ContainerOptions, Figures

_INSIDE = "/etc/ipuof.conf.d/ipuof.conf"

Told = Mapping[str, Any]
"""What Graphcore's tools and files say of one thing."""


class IpuPlugin(AcceleratorPlugin):
    """``ipuof_config``: the host's list. ``subnets``: the engine's network for each network of IPUs,
    ``{"10.1.0.0/16": "ipu-a"}``."""

    key, metrics = "ipu", {"ipu.device": "ipu"}
    caps = ("IPC_LOCK",)
    memlock = True
    own_options = frozenset({"ipuof_config", "subnets"})

    def candidates(self) -> list[tuple[int, Told, Told]]:
        """Each IPU with its number among all, and its card. None without the host's list."""
        self._fabric()
        cards: list[Told] = json.loads(self.run(["gc-monitor", "-j"]))["cards"]
        ipus = [(card, ipu) for card in cards for ipu in card["ipus"]]
        return [(number, card, ipu) for number, (card, ipu) in enumerate(ipus)]

    def read(self, candidate: tuple[int, Told, Told]) -> Card:
        number, card, ipu = candidate
        address, place = str(card["IPU-M"]), str(ipu["PCIe ID"])
        return Card(
            device_id=f"ipu-{address}-{place}",
            model=f"Graphcore {card['Type']}",
            number=number,
            slot="ipu.device",
            health=self._health(address, place),
            attributes={"address": address, "place": place, "serial": str(ipu["Serial"]), "monitor": str(ipu["ID"])},
        )

    def options_for(self, cards: Sequence[Card]) -> ContainerOptions:
        if not cards:
            return ContainerOptions()
        nodes = self.nodes_in("/dev/infiniband", r".+")
        networks = dict.fromkeys(name for card in cards if (name := self._network(card.attributes["address"])))
        own = self.placed({node: node for node in nodes}).merge(ContainerOptions(networks=tuple(networks)))
        return self._common_options().merge(own)

    def prepare(self, held: Allocation, folder: Path) -> ContainerOptions:
        cards = self.held_cards(held)
        if not cards:
            return ContainerOptions()
        fabric = self._fabric()
        listed = fabric["devices"]
        wanted = [(card.attributes["address"], card.attributes["place"]) for card in cards]
        chosen = [entry for place in wanted for entry in listed if _place_of(entry) == place]
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "ipuof.conf"
        file.write_text(json.dumps({"devices": chosen, "attributes": fabric.get("attributes", {})}))
        file.chmod(0o644)
        own = ContainerOptions(env={"IPUOF_CONFIG_PATH": _INSIDE}, binds=((str(file), _INSIDE, True),))
        return self.options(held).merge(own)

    def measure(self) -> Mapping[str, Figures]:
        if not self.cards:
            return {}
        try:
            told = {entry["id"]: entry for entry in json.loads(self.run(["gc-inventory", "-2"]))["devices"]}
            by_monitor = {card.attributes.get("monitor"): card.device_id for card in self.cards.values()}
            return {by_monitor[name]: _figures(entry) for name, entry in told.items() if name in by_monitor}
        except FAULTS:
            return {}

    def _fabric(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(self.config.get("ipuof_config", _INSIDE)))
        return found

    def _health(self, address: str, place: str) -> str:
        if (address, place) not in {_place_of(entry) for entry in self._fabric()["devices"]}:
            return "is not in the host's list of IPUs (ipuof_config)"
        if self.config.get("subnets") and self._network(address) is None:
            return f"no network is named for {address} (subnets)"
        return "ok"

    def _network(self, address: str) -> str | None:
        for subnet, network in self.config.get("subnets", {}).items():
            if ipaddress.ip_address(address) in ipaddress.ip_network(subnet):
                return str(network)
        return None


def _place_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry["ip"]), str(entry["device_id"])


def _figures(entry: Mapping[str, str]) -> Figures:
    """Memory is what is attached to the host for it; that inside the IPU is not told."""
    used = sum(int(entry[f"{kind} active size (bytes)"]) for kind in ("hexoatt", "hexopt"))
    total = sum(int(entry[f"{kind} total size (bytes)"]) for kind in ("hexoatt", "hexopt"))
    return {
        "util_pct": float(entry["ipu utilisation"].rstrip("%")),
        "mem_used_bytes": float(used),
        "mem_total_bytes": float(total),
    }
