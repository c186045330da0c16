"""How far a pull is, from what a Docker engine says of its layers. Pure.

Downloading is half of a layer and unpacking the other, which takes as long from a near registry. An engine tells a
layer's size when its download begins; until then it counts as large as the others are on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class _Layer:
    size: int = 0  # bytes, compressed; 0 until it is known
    downloaded: int = 0
    unpacked: int = 0
    is_whole: bool = False

    @property
    def part(self) -> float:
        """From 0 to 1."""
        if self.is_whole:
            return 1.0
        return (self.downloaded + self.unpacked) / (2 * self.size) if self.size else 0.0


class PullProgress:
    """Fed with the lines of one pull, in order."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._percent = -1

    def take(self, line: Mapping[str, Any]) -> tuple[int, int, int] | None:
        """Percent, bytes downloaded, and bytes in all as far as known; ``None`` unless the percentage has risen."""
        self._note(line.get("id", ""), line.get("status"), line.get("progressDetail") or {})
        percent = int(100 * self._part())
        if percent <= self._percent or not self._layers:
            return None
        self._percent = percent
        layers = self._layers.values()
        return percent, sum(layer.downloaded for layer in layers), sum(layer.size for layer in layers)

    def _note(self, name: str, status: str | None, detail: Mapping[str, Any]) -> None:
        """Layers that are here already are never begun."""
        if status == "Pulling fs layer":
            self._layers[name] = _Layer()
        layer = self._layers.get(name)
        if layer is None:
            return
        layer.size = detail.get("total") or layer.size
        match status:
            case "Downloading":
                layer.downloaded = min(detail.get("current", 0), layer.size)
            case "Verifying Checksum" | "Download complete":
                layer.downloaded = layer.size
            case "Extracting":
                layer.downloaded = layer.size
                layer.unpacked = min(detail.get("current", 0), layer.size)
            case "Pull complete":
                layer.downloaded = layer.size
                layer.is_whole = True

    def _part(self) -> float:
        sizes = [layer.size for layer in self._layers.values() if layer.size]
        average = sum(sizes) / len(sizes) if sizes else 1.0
        weights = [layer.size or average for layer in self._layers.values()]
        parts = [layer.part for layer in self._layers.values()]
        return sum(weight * part for weight, part in zip(weights, parts, strict=True)) / (sum(weights) or 1.0)
