"""Accelerators of which no plugin knows more than a table says: an admin fills it in, in TOML.

::

    key = "groq"                          # kind of device, and name of the plugin
    slot = "groq.device"
    model = "GroqCard"
    pci_vendor = "1de0"                   # what the cards are on the bus
    pci_devices = ["0000"]                # all of that vendor without it
    node_pattern = "/dev/groq(\\\\d+)"      # one node of each device, with its number as the group
    nodes = ["/dev/groq{number}_dma"]     # further nodes of each device
    rename_to = "/dev/groq{n}"            # the first node inside, counted from 0; without it as on the host
    shared_nodes = ["/dev/groq_ctl"]
    binds = [["/opt/groq", "/opt/groq"]]  # read only
    caps = ["IPC_LOCK"]
    memlock = true
    shm = "1g"
    visible_env = { GROQ_DEVICES = "number" }

Without ``node_pattern`` the cards on the bus are listed and none is handed out. Nothing is measured.
"""

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bai_agent.devices.accelerator import AcceleratorPlugin, Card, Run, run_program
from bai_jupyter.common.slots import parse_size

_PCI = "/sys/bus/pci/devices"
_LISTS = frozenset({"pci_devices", "nodes", "shared_nodes", "caps"})
_TEXTS = frozenset({"key", "slot", "model", "pci_vendor", "node_pattern", "rename_to", "shm"})
_OTHERS = frozenset({"binds", "memlock", "visible_env"})
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_SLOT = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")


class TablePlugin(AcceleratorPlugin):
    """Raises ``ValueError`` for a table that is not understood."""

    def __init__(
        self,
        table: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        sysroot: Path = Path("/"),
        run: Run = run_program,
    ) -> None:
        self._table = dict(table)
        self.key = str(table.get("key"))
        _check(table)
        self._slot = str(table["slot"])
        self._pattern = str(table.get("node_pattern", ""))
        self.metrics = {self._slot: self.key.replace("-", "_")}
        if "rename_to" in table:
            self.rename = (f"^{self._pattern}$", str(table["rename_to"]))
        self.shared_nodes = tuple(table.get("shared_nodes", ()))
        self.binds = tuple((host, inside, True) for host, inside in table.get("binds", ()))
        self.caps = tuple(table.get("caps", ()))
        self.memlock = bool(table.get("memlock", False))
        self.shm_bytes = parse_size(table.get("shm", 0))
        self.visible_env = dict(table.get("visible_env", {}))
        super().__init__(config, sysroot, run)

    @classmethod
    def from_file(cls, path: Path, options: Mapping[str, Mapping[str, Any]]) -> "TablePlugin":
        """With what ``options`` has for its key. Raises ``ValueError`` naming the file."""
        try:
            table = tomllib.loads(path.read_text())
            return cls(table, options.get(str(table.get("key"))))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def candidates(self) -> Iterator[tuple[str | None, str | None]]:
        """Nodes with their PCI address, as far as the kernel tells it; then cards on the bus without a node."""
        nodes = {node: self._address_of(node) for node in self._nodes()}
        yield from nodes.items()
        yield from ((None, pci) for pci in self._on_the_bus() if self._is_without_node(pci, nodes))

    def read(self, candidate: tuple[str | None, str | None]) -> Card | None:
        node, pci = candidate
        if node is None:
            lacking = "no device node matches node_pattern" if self._pattern else "its node_pattern is not filled in"
            return Card(f"{self.key}-{pci}", self._model, 0, pci=pci, health=f"{lacking} in the table {self.key}")
        if pci is not None and not self._is_ours(pci):
            return None
        match = re.fullmatch(self._pattern, node)
        assert match is not None
        number = int(match[1])
        return Card(
            device_id=f"{self.key}-{pci or number}",
            model=self._model,
            number=number,
            nodes=(node, *(one.format(number=number) for one in self._table.get("nodes", ()))),
            slot=self._slot,
            pci=pci,
        )

    @property
    def _model(self) -> str:
        return str(self._table.get("model", self.key))

    def _nodes(self) -> list[str]:
        """In the order of their numbers. The pattern's folder is searched and none below it."""
        if not self._pattern:
            return []
        folder, _, name = self._pattern.rpartition("/")
        with contextlib.suppress(FileNotFoundError):
            return [f"{folder}/{node}" for node, _ in self.entries(folder, name)]
        return []

    def _address_of(self, node: str) -> str | None:
        """By the kernel's own record of what a device number belongs to."""
        number = os.stat(self.at(node)).st_rdev
        link = self.at(f"/sys/dev/char/{os.major(number)}:{os.minor(number)}/device")
        name = link.resolve().name
        return name if self.at(f"{_PCI}/{name}").exists() else None

    def _on_the_bus(self) -> list[str]:
        if not self._table.get("pci_vendor") or not self.at(_PCI).is_dir():
            return []
        return [name for name in sorted(os.listdir(self.at(_PCI))) if self._is_ours(name)]

    def _is_ours(self, pci: str) -> bool:
        vendor, device = self.pci_ids(pci)
        devices = self._table.get("pci_devices")
        return vendor == self._table.get("pci_vendor", vendor) and (not devices or device in devices)

    def _is_without_node(self, pci: str, nodes: Mapping[str, str | None]) -> bool:
        """Nodes of which the kernel tells no address may be of any card."""
        return pci not in nodes.values() and not (nodes and None in nodes.values())


def _check(table: Mapping[str, Any]) -> None:
    known = _LISTS | _TEXTS | _OTHERS
    wrong = sorted(table.keys() - known)
    if wrong:
        raise ValueError(f"no such entry: {', '.join(wrong)}. There are: {', '.join(sorted(known))}")
    if not _NAME.fullmatch(str(table.get("key", ""))) or not _SLOT.fullmatch(str(table.get("slot", ""))):
        raise ValueError("key and slot are needed, such as groq and groq.device")
    for name in _TEXTS & table.keys():
        if not isinstance(table[name], str):
            raise ValueError(f"{name} is {table[name]!r}; give a text")
    for name in _LISTS & table.keys():
        if not isinstance(table[name], list) or not all(isinstance(one, str) for one in table[name]):
            raise ValueError(f"{name} is {table[name]!r}; give a list of texts")
    pattern = table.get("node_pattern")
    if pattern is not None and (not pattern.startswith("/dev/") or _groups_in(pattern) != 1):
        raise ValueError(f"node_pattern is {pattern!r}; give a path below /dev with one group, the number")
    if pattern is None and ("rename_to" in table or "nodes" in table):
        raise ValueError("rename_to and nodes need a node_pattern")


def _groups_in(pattern: str) -> int | None:
    try:
        return re.compile(pattern).groups
    except re.error:
        return None
