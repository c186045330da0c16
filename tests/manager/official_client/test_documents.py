"""``docs/official-client.md`` speaks of every command of the client, and of no other."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "official-client.md"
STATES = {"works", "fails", "cannot", "refused"}
_WALK = """
import json, click
from ai.backend.cli.loader import load_entry_points
def walk(command, path):
    if not isinstance(command, click.Group):
        return [path]
    return [found for name, below in command.commands.items() for found in walk(below, [*path, name])]
print(json.dumps(walk(load_entry_points(allowlist={"ai.backend.client"}), [])))
"""

Words = tuple[str, ...]


def rows(text: str) -> Iterator[tuple[list[str], str]]:
    """Of the table: the code spans of the first column, and the state."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and "`" in cells[1]:
            yield re.findall("`([^`]+)`", cells[1]), cells[2]


def command_of(span: str) -> Words:
    """The words of a command, without options and arguments; none if the span is an option or a call of the SDK."""
    return tuple(takewhile(re.compile(r"[a-z][a-z-]*\Z").match, span.split()))


def named(spans: list[str], commands: set[Words]) -> tuple[set[Words], list[str]]:
    """Commands that a row names, and what it names that there is not.

    A group is all that is in it. A span goes on from the one before (``vfolder ls``, ``mv``), unless the row has named
    that command already or there is none.
    """
    found: set[Words] = set()
    unknown: list[str] = []
    before: Words = ()
    for span in spans:
        words = command_of(span)
        if not words:
            continue
        paths = [before[:length] + words for length in range(len(before) - 1, -1, -1)]
        for path in paths or [words]:
            below = {one for one in commands if one[: len(path)] == path}
            if below - found:
                found, before = found | below, path
                break
        else:
            unknown.append(span)
    return found, unknown


@pytest.mark.timeout(600)  # making the client's environment counts towards the first test
def test_every_command_is_there(installed_client: Path, tmp_path: Path) -> None:
    walking = [installed_client / "bin" / "python", "-c", _WALK]
    walked = subprocess.run(
        walking, env={**os.environ, "HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    commands = {tuple(path) for path in json.loads(walked.stdout)}
    assert len(commands) > 150
    told = [(*named(spans, commands), state) for spans, state in rows(DOCUMENT.read_text(encoding="utf-8"))]
    assert [unknown for _, unknown, _ in told if unknown] == []
    assert {state for _, _, state in told} <= STATES
    assert sorted(commands - set().union(*(found for found, _, _ in told))) == []


def test_how_a_row_is_read() -> None:
    commands = {("a", "list"), ("a", "b", "get"), ("a", "b", "put"), ("list",), ("watch",), ("s", "watch")}
    for spans, paths, unknown in (
        (["a list"], {("a", "list")}, []),
        (["a b"], {("a", "b", "get"), ("a", "b", "put")}, []),
        (["a b get -x", "put NAME"], {("a", "b", "get"), ("a", "b", "put")}, []),
        (["a b get", "list"], {("a", "b", "get"), ("a", "list")}, []),
        (["a list", "list"], {("a", "list"), ("list",)}, []),
        (["s watch", "watch", "--until", "Session.watch", "get_it"], {("s", "watch"), ("watch",)}, []),
        (["a list", "put", "no"], {("a", "list")}, ["put", "no"]),
    ):
        assert named(spans, commands) == (paths, unknown), spans
