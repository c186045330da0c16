"""What is in a directory of a folder, as a list to choose from. Pure; paths are relative to the folder's root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bai_jupyter.common.slots import format_size


@dataclass(frozen=True)
class Entry:
    name: str
    is_directory: bool
    label: str


def entries_of(items: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """In the manager's order, so that what comes later is appended."""
    return [_entry(one) for one in items]


def inside(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def above(path: str) -> str:
    return path.rpartition("/")[0]


def describe_place(folder: str, path: str) -> str:
    """``data / runs / 7``"""
    return " / ".join([folder, *(part for part in path.split("/") if part)])


def count(shown: int, total: int) -> str:
    """How much of what is there is seen."""
    if shown < total:
        return f"the first {shown:,} of {total:,} entries"
    return {0: "empty", 1: "1 entry"}.get(total, f"{total:,} entries")


def _entry(item: Mapping[str, Any]) -> Entry:
    name, is_directory = str(item["name"]), item["type"] == "DIRECTORY"
    label = f"{name}/" if is_directory else f"{name}  ({format_size(item['size'])})"
    return Entry(name, is_directory, label)
