"""Device memory by cgroup: Linux's ``dmem`` controller (6.14 and later), to which AMD's driver tells each GPU's memory.

``dmem.capacity`` of the root lists regions (``drm/0000:03:00.0/vram 8514437120``); ``dmem.max`` and ``dmem.current``
of a cgroup have lines of the same form, or ``max`` in place of a number. The kernel holds to it: nobody inside gets
past.
"""

from pathlib import Path

from bai_jupyter.common.errors import BaiError

ROOT = Path("/sys/fs/cgroup")
_CONTROLLER = "dmem"
_PAGE = 64 * 1024  # the largest that kernels with such GPUs are built for


class DmemFault(BaiError):
    """A limit is not in force; the message says what is amiss."""


def region_of(pci: str) -> str:
    """How the kernel calls the memory of the GPU at that address."""
    return f"drm/{pci}/vram"


class Dmem:
    """``root`` is where cgroups are mounted; cgroups are named below it, with a slash in front."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def why_not(self, region: str) -> str:
        """Why this host cannot limit that region; empty if it can."""
        if not (self._root / "cgroup.controllers").exists():
            return f"{self._root} is not cgroup version 2"
        if _CONTROLLER not in (self._root / "cgroup.controllers").read_text().split():
            return "the kernel has no dmem controller (Linux 6.14 and later)"
        if region not in _lines(self._root / "dmem.capacity"):
            return f"the GPU's driver does not tell the kernel of {region}"
        return ""

    def limit(self, region: str, cgroup: str, most_bytes: int) -> None:
        """Let the processes of a cgroup hold so much of a region, and read that back. Raises ``DmemFault``."""
        try:
            self._enable(cgroup)
            (self._root / cgroup.lstrip("/") / "dmem.max").write_text(f"{region} {most_bytes}")
            found = _lines(self._root / cgroup.lstrip("/") / "dmem.max").get(region, "nothing")
        except OSError as error:
            raise DmemFault(f"{region} cannot be limited for {cgroup}: {error.strerror}") from error
        # The kernel counts in pages.
        if not found.isdigit() or not most_bytes - _PAGE < int(found) <= most_bytes:
            raise DmemFault(f"the kernel has {found} bytes of {region} where {most_bytes} were set")

    def used(self, region: str, cgroup: str) -> int | None:
        """What the processes of a cgroup hold of a region, in bytes; None if that is not told."""
        found = _lines(self._root / cgroup.lstrip("/") / "dmem.current").get(region, "")
        return int(found) if found.isdigit() else None

    def _enable(self, cgroup: str) -> None:
        """A cgroup has the controller if all those above it hand it down."""
        folder = self._root
        for name in ("", *cgroup.strip("/").split("/")[:-1]):
            folder = folder / name
            control = folder / "cgroup.subtree_control"
            if _CONTROLLER not in control.read_text().split():
                control.write_text(f"+{_CONTROLLER}")


def _lines(file: Path) -> dict[str, str]:
    """Empty if it cannot be read."""
    try:
        text = file.read_text()
    except OSError:
        return {}
    return {region: amount for region, _, amount in (line.rpartition(" ") for line in text.splitlines())}
