"""A host made of files: what drivers show in /sys and /dev, written by hand after their documentation and sources."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest


class HandMadeHost:
    """``root`` stands for ``/``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: Mapping[str, object]) -> None:
        for path, content in files.items():
            file = self._place(path)
            file.write_text(f"{content}\n")

    def link(self, path: str, target: str) -> None:
        self._place(path).symlink_to(self.root / target.lstrip("/"))

    def nodes(self, *paths: str, gid: int = 44) -> None:
        """The null device behind other names, if we may make that; else files, which only look like it."""
        for path in paths:
            place = self._place(path)
            try:
                os.mknod(place, stat.S_IFCHR, os.makedev(1, 3))
                place.chmod(0o660)
                os.chown(place, 0, gid)
            except PermissionError:
                place.touch()

    def pci(self, address: str, vendor: str, device: str, numa_node: int = 0) -> str:
        """A device on the bus; its folder in sysfs."""
        folder = f"/sys/bus/pci/devices/{address}"
        self.write({f"{folder}/vendor": f"0x{vendor}", f"{folder}/device": f"0x{device}"})
        self.write({f"{folder}/numa_node": numa_node})
        return folder

    def _place(self, path: str) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


@pytest.fixture
def host(tmp_path: Path) -> HandMadeHost:
    return HandMadeHost(tmp_path / "host")
