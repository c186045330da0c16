"""The base of accelerator plugins: class attributes are a table of what a vendor's devices need, methods read them.

Most vendors write ``candidates`` and ``read`` and fill in the table. Files are reached through ``at`` and programs
through ``run``, and in no other way: a plugin can be tried on a tree of files and a script in place of hardware.
"""

import contextlib
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices import pci
from bai_agent.devices.base import ContainerOptions, DevicePlugin, Figures
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots, parse_size

log = logging.getLogger(__name__)

Run = Callable[[Sequence[str]], str]

_PROGRAM_TIMEOUT_S = 10.0
FAULTS = (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError)
"""What reading a driver's files, or what its programs print, may raise."""


def run_program(argv: Sequence[str]) -> str:
    """What a program prints. Raises ``OSError`` (it is not there) or ``subprocess.SubprocessError``."""
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, stdin=subprocess.DEVNULL
    )
    return done.stdout


@dataclass(frozen=True)
class Card:
    """One device as its driver tells it. ``nodes`` are paths as the host's kernel names them, ``number`` is in them."""

    device_id: str
    model: str
    number: int
    nodes: tuple[str, ...] = ()
    slot: str | None = None  # None: nothing can be given of it, and ``health`` says why
    pci: str | None = None
    mem_bytes: int | None = None
    health: str = "ok"
    attributes: Mapping[str, str] = field(default_factory=dict)


class AcceleratorPlugin(DevicePlugin):
    """``config`` are the plugin's own options; ``OPTIONS`` names those that each plugin has.

    Raises ``ValueError`` for an option that it does not have.
    """

    # The table. Names inside are the host's unless ``rename`` says otherwise.
    rename: tuple[str, str] | None = None  # (pattern with the number as its group, path with {n} counted from 0)
    shared_nodes: tuple[str, ...] = ()  # beside those of the devices
    binds: tuple[tuple[str, str, bool], ...] = ()  # (host path, path inside, read only)
    caps: tuple[str, ...] = ()
    memlock = False
    syscalls: tuple[str, ...] = ()
    shm_bytes = 0
    visible_env: Mapping[str, str] = {}  # {variable: "local", "number", "pci" or the name of an attribute}
    own_options: frozenset[str] = frozenset()

    OPTIONS = frozenset({"host_ipc", "shm", "networks", "env", "cdi", "cdi_device"})

    def __init__(
        self, config: Mapping[str, Any] | None = None, sysroot: Path = Path("/"), run: Run = run_program
    ) -> None:
        self.config = dict(config or {})
        self.sysroot, self.run = sysroot, run
        self.cards: dict[str, Card] = {}
        known = self.OPTIONS | self.own_options
        if self.config.keys() - known:
            wrong = ", ".join(sorted(self.config.keys() - known))
            raise ValueError(f"{self.key}: no option {wrong}. It has: {', '.join(sorted(known))}")

    # What a vendor writes

    def candidates(self) -> Iterable[Any]:
        """What may be devices, each to be given to ``read``. May raise ``FAULTS``: then there is nothing."""
        raise NotImplementedError

    def read(self, candidate: Any) -> Card | None:
        """One device; ``None`` if it is not one of ours. May raise ``FAULTS``: then it is listed as broken."""
        raise NotImplementedError

    def figures(self, card: Card) -> Figures:  # noqa: ARG002 - for those that tell any
        """What is measured of one device. May raise ``FAULTS``: then nothing is told of it."""
        return {}

    # The contract

    def discover(self) -> list[DeviceFacts]:
        try:
            candidates = list(self.candidates())
        except (FileNotFoundError, NotADirectoryError):
            candidates = []  # no driver or no program: the usual case
        except FAULTS as error:
            log.warning("%s: devices cannot be listed: %s", self.key, error)
            candidates = []
        cards = [card for n, one in enumerate(candidates) if (card := self._read(n, one)) is not None]
        self.cards = {card.device_id: card for card in _told_apart(cards)}
        return [self._facts(card) for card in self.cards.values()]

    def options(self, held: Allocation) -> ContainerOptions:
        return self.options_for(self.held_cards(held))

    def measure(self) -> Mapping[str, Figures]:
        found: dict[str, Figures] = {}
        for card in self.cards.values():
            with contextlib.suppress(*FAULTS):
                found[card.device_id] = self.figures(card)
        return {device_id: figures for device_id, figures in found.items() if figures}

    def held_cards(self, held: Allocation) -> list[Card]:
        """In the order of the host, which is the order inside."""
        ids = {device_id for amounts in held.values() for device_id in amounts}
        return sorted(
            (card for card in self.cards.values() if card.device_id in ids), key=lambda card: (card.number, card.nodes)
        )

    def options_for(self, cards: Sequence[Card]) -> ContainerOptions:
        """From the table."""
        if not cards:
            return ContainerOptions()
        return self._common_options().merge(self._device_options(cards))

    def _common_options(self) -> ContainerOptions:
        return ContainerOptions(
            env=dict(self.config.get("env", {})),
            binds=tuple((str(self.at(host)), inside, read_only) for host, inside, read_only in self.binds),
            caps=self.caps,
            memlock=self.memlock,
            syscalls=self.syscalls,
            shm_bytes=max(self.shm_bytes, parse_size(self.config.get("shm", 0))),
            host_ipc=bool(self.config.get("host_ipc", False)),
            networks=tuple(self.config.get("networks", ())),
            cdi=tuple(self.config.get("cdi", ())),
        )

    def _device_options(self, cards: Sequence[Card]) -> ContainerOptions:
        template = self.config.get("cdi_device")
        if template is not None:
            return ContainerOptions(cdi=tuple(template.format(**_names_of(card)) for card in cards))
        env = {name: ",".join(self._shown(cards, what)) for name, what in self.visible_env.items()}
        options = ContainerOptions(env=env).merge(self.placed({node: node for node in self.shared_nodes}))
        for n, card in enumerate(cards):
            options = options.merge(self.placed({node: self._inside(node, n) for node in card.nodes}))
        return options

    def placed(self, nodes: Mapping[str, str]) -> ContainerOptions:
        """``{node of the host: path inside}``, with the groups that may use them."""
        return ContainerOptions(
            nodes=tuple((str(self.at(node)), inside, "rwm") for node, inside in nodes.items()),
            groups=self.groups_of(nodes),
        )

    def _inside(self, node: str, n: int) -> str:
        if self.rename is None:
            return node
        pattern, path = self.rename
        return re.sub(pattern, path.format(n=n), node, count=1)

    def _shown(self, cards: Sequence[Card], what: str) -> list[str]:
        return [_names_of(card, local=n)[what] for n, card in enumerate(cards)]

    # Reading

    def at(self, path: str) -> Path:
        """A path of the host."""
        return self.sysroot / path.lstrip("/")

    def text(self, path: str) -> str:
        return self.at(path).read_text().strip()

    def number(self, path: str) -> int:
        """A file that holds one number, decimal or with 0x."""
        return int(self.text(path), 0)

    def entries(self, folder: str, pattern: str) -> list[tuple[str, int]]:
        """Entries of a folder that match ``pattern`` as a whole, with the number that is its group, in its order."""
        names = [entry.name for entry in self.at(folder).iterdir()]
        matches = [match for name in names if (match := re.fullmatch(pattern, name))]
        return sorted(((match[0], int(match[1])) for match in matches), key=lambda item: (item[1], item[0]))

    def nodes_in(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Device nodes of a folder whose names match ``pattern`` as a whole."""
        with contextlib.suppress(FileNotFoundError):
            names = sorted(entry.name for entry in self.at(folder).iterdir() if re.fullmatch(pattern, entry.name))
            return tuple(f"{folder}/{name}" for name in names)
        return ()

    def groups_of(self, nodes: Iterable[str]) -> tuple[int, ...]:
        """The gids that may use these nodes. One that is missing has none: the runtime says that it is missing."""
        found: set[int] = set()
        for node in nodes:
            with contextlib.suppress(OSError):
                found.add(os.stat(self.at(node)).st_gid)
        return tuple(sorted(found - {0}))

    def numa_node(self, pci: str | None) -> int | None:
        try:
            node = self.number(f"/sys/bus/pci/devices/{pci}/numa_node")
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    def pci_ids(self, pci: str) -> tuple[str, str]:
        """Vendor and device as four hex digits."""
        folder = f"/sys/bus/pci/devices/{pci}"
        return f"{self.number(f'{folder}/vendor'):04x}", f"{self.number(f'{folder}/device'):04x}"

    def hwmon(self, folder: str) -> Figures:
        """``power_w`` and ``energy_j`` of the first monitor in a device's folder that has them, which count in
        microwatts and microjoules."""
        figures: dict[str, float] = {}
        for name, figure in (("power1_input", "power_w"), ("power1_average", "power_w"), ("energy1_input", "energy_j")):
            for file in sorted(self.at(folder).glob(f"hwmon/hwmon*/{name}"), reverse=True):
                figures[figure] = int(file.read_text()) / 1e6
        return figures

    def _read(self, n: int, candidate: Any) -> Card | None:
        try:
            return self.read(candidate)
        except FAULTS as error:
            name = candidate if isinstance(candidate, str) else n
            log.warning("%s: %s cannot be read: %s", self.key, name, error)
            return Card(f"{self.key}-broken-{name}", self.key, 0, health=f"cannot be read: {error}")

    def _facts(self, card: Card) -> DeviceFacts:
        can_be_given = card.slot is not None and card.health == "ok"
        return DeviceFacts(
            device_id=card.device_id,
            kind=self.key,
            model=card.model,
            slots=ResourceSlots({card.slot: 1}) if card.slot is not None and can_be_given else ResourceSlots(),
            mem_bytes=card.mem_bytes,
            numa_node=self.numa_node(card.pci),
            health=card.health,
            attributes={
                **card.attributes,
                **({"pci": card.pci} if card.pci else {}),
                **pci.path_attribute(card.pci, self.at("/sys")),
            },
        )


def _names_of(card: Card, local: int = 0) -> dict[str, str]:
    """How a device may be called in a variable or a CDI name."""
    names = {"id": card.device_id, "number": str(card.number), "local": str(local), "pci": card.pci or ""}
    return {**card.attributes, **names}


def _told_apart(cards: Sequence[Card]) -> list[Card]:
    """Two devices of one id cannot be told apart, so neither is handed out."""
    ids = [card.device_id for card in cards]
    return [
        card
        if ids.count(card.device_id) == 1
        else replace(card, device_id=f"{card.device_id}@{n}", health="has the same id as another device")
        for n, card in enumerate(cards)
    ]
