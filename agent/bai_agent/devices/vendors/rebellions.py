"""Rebellions ATOM, ATOM+ and ATOM Max with Rebellions' driver and its tool, ``rbln-smi``.

A container reaches its NPUs through a group of just these, which is made before it and taken apart after it. Numbers
change whenever groups do, so devices are listed again after each change, and are known by other names.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices.accelerator import FAULTS, AcceleratorPlugin, Card
from bai_agent.devices.base import ContainerOptions, DeviceFault, Figures

_UNGROUPED = 0  # all NPUs that nobody grouped are in this one
_groups_lock = threading.Lock()  # of the host's groups: one change at a time, over all products

Npu = Mapping[str, Any]
"""One entry of the tool's ``devices``."""


class _RebellionsPlugin(AcceleratorPlugin):
    """``program``: the tool, ``rbln-stat`` on older hosts. ``groups`` false: use NPUs without making groups."""

    caps = ("IPC_LOCK",)
    memlock = True
    own_options = frozenset({"program", "groups"})
    products: frozenset[str]  # as the tool names them

    def candidates(self) -> list[list[Npu]]:
        """The NPUs of each card."""
        return [[npu] for npu in self._npus() if npu["name"] in self.products]

    def read(self, candidate: list[Npu]) -> Card:
        first = candidate[0]
        return Card(
            device_id=self._id(candidate),
            model=f"Rebellions {first['name']}",
            number=min(int(npu["npu"]) for npu in candidate),
            nodes=tuple(f"/dev/{npu['device']}" for npu in candidate),
            slot=f"{self.key}.device",
            pci=str(first["pci"]["bus_id"]).lower(),
            mem_bytes=sum(int(npu["memory"]["total"]) for npu in candidate),
            health=self.health(first),
        )

    def health(self, npu: Npu) -> str:  # noqa: ARG002 - for those of which something may be amiss
        return "ok"

    def measure(self) -> Mapping[str, Figures]:
        if not self.cards:
            return {}
        try:
            return {self._id(npus): _figures(npus) for npus in self.candidates()}
        except FAULTS:
            return {}

    def options_for(self, cards: Sequence[Card]) -> ContainerOptions:
        """Nodes count over all NPUs, of which a card may have several."""
        if not cards:
            return ContainerOptions()
        nodes = [node for card in cards for node in card.nodes]
        return self._common_options().merge(self.placed({node: f"/dev/rbln{n}" for n, node in enumerate(nodes)}))

    def prepare(self, held: Allocation, folder: Path) -> ContainerOptions:  # noqa: ARG002 - no files are needed
        ids = {device_id for amounts in held.values() for device_id in amounts}
        if not ids:
            return ContainerOptions()
        try:
            with _groups_lock:
                group = self._make_group(ids)
                self.discover()
        except FAULTS as error:
            names = ", ".join(sorted(ids))
            raise DeviceFault(names, f"no group could be made of them ({error})") from error
        return self.options(held).merge(self.placed({f"/dev/rsd{group}": "/dev/rsd0"}))

    def release(self, held: Allocation) -> None:
        ids = {device_id for amounts in held.values() for device_id in amounts}
        with _groups_lock:
            for group in sorted({_group_of(npu) for npu in self._npus_of(ids)} - {_UNGROUPED}):
                self._tool("group", "-d", str(group))

    def _make_group(self, ids: Iterable[str]) -> int:
        """The number of a group of these devices alone. An older group that has one of them is left over: it goes."""
        if not self.config.get("groups", True):
            return _UNGROUPED
        ids = set(ids)
        ours, everybody = self._npus_of(ids), self._npus()
        groups = {_group_of(npu) for npu in ours}
        if len(groups) == 1 and _UNGROUPED not in groups:
            (group,) = groups
            if len(ours) == sum(_group_of(npu) == group for npu in everybody):
                return group
        for group in sorted(groups - {_UNGROUPED}):
            self._tool("group", "-d", str(group))
        used = {_group_of(npu) for npu in self._npus()}
        free = next(number for number in range(1, len(used) + 2) if number not in used)
        members = ",".join(str(npu["npu"]) for npu in self._npus_of(ids))
        self._tool("group", "-c", str(free), "-a", members)
        return free

    def _npus_of(self, ids: Iterable[str]) -> list[Npu]:
        return [npu for npus in self.candidates() if self._id(npus) in set(ids) for npu in npus]

    def _npus(self) -> list[Npu]:
        """Of all products. Raises ``FAULTS``."""
        found: list[Npu] = json.loads(self._tool("-g", "-j"))["devices"]
        return found

    def _tool(self, *arguments: str) -> str:
        return self.run([self.config.get("program", "rbln-smi"), *arguments])

    def _id(self, npus: Sequence[Npu]) -> str:
        """Some cards' UUIDs are all zero: these are known by their place on the bus."""
        uuid = str(npus[0]["uuid"])
        return uuid if uuid.strip("0-") else f"rbln-{npus[0]['pci']['bus_id']}".lower()


class AtomPlugin(_RebellionsPlugin):
    key, metrics = "atom", {"atom.device": "atom"}
    products = frozenset({"RBLN-CA02"})


class AtomPlusPlugin(_RebellionsPlugin):
    key, metrics = "atom-plus", {"atom-plus.device": "atom_plus"}
    products = frozenset({"RBLN-CA12", "RBLN-CA22"})


class AtomMaxPlugin(_RebellionsPlugin):
    """Several NPUs on one card, handed out together: they have the card's ``sid`` in common."""

    key, metrics = "atom-max", {"atom-max.device": "atom_max"}
    products = frozenset({"RBLN-CA25"})

    def candidates(self) -> list[list[Npu]]:
        cards: dict[str, list[Npu]] = {}
        for npu in self._npus():
            if npu["name"] in self.products:
                cards.setdefault(self._id([npu]), []).append(npu)
        return [sorted(npus, key=lambda npu: int(npu["npu"])) for npus in cards.values()]

    def health(self, npu: Npu) -> str:
        return "ok" if npu["sid"] else "its tool does not tell which card it is on"

    def _id(self, npus: Sequence[Npu]) -> str:
        return str(npus[0]["sid"] or super()._id(npus))


def _group_of(npu: Npu) -> int:
    return int(npu.get("group_id") or _UNGROUPED)


def _figures(npus: Sequence[Npu]) -> Figures:
    return {
        "util_pct": sum(float(npu["util"]) for npu in npus) / len(npus),
        "mem_used_bytes": float(sum(int(npu["memory"]["used"]) for npu in npus)),
        "mem_total_bytes": float(sum(int(npu["memory"]["total"]) for npu in npus)),
    }
