"""Which cells' output may be on tape only: the executions of one kernel that no saved notebook is known to hold.

An execution is noted when a page sends it, and *settled* once a page that has seen its end has saved the notebook.
What is left is what a page must fetch from the tape when it opens the notebook (``outputs``). Kept in a small file, so
that a server that was killed knows it too.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

MAX_CELL_ID = 64
"""Characters of a cell's id, as nbformat 4.5 bounds it."""

MAX_KEPT = 1000


@dataclass(frozen=True)
class Execution:
    """One run of a cell. All that it causes lies behind ``positions``, ``{channel: byte offset}`` of ``generation``."""

    msg_id: str
    cell_id: str
    generation: int
    positions: dict[str, int]


class Executions:
    """The unsettled executions of one kernel, oldest first; of each cell only the last one counts.

    Beside them the questions (``input()``) that somebody has answered, so that nobody is asked again. Without a path
    all of this lives in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._by_cell: dict[str, Execution] = {}
        self._answered: set[str] = set()
        self._lines = 0  # in the file, those that count no more included
        for noted in _read(path) if path is not None else ():
            self._put(noted)

    def of(self, generation: int) -> list[Execution]:
        """Those of one generation. A restart makes the others void: their cells will never go on."""
        return [execution for execution in self._by_cell.values() if execution.generation == generation]

    def is_answered(self, question_id: str) -> bool:
        return question_id in self._answered

    def note(self, noted: Execution | str) -> None:
        """Keep an execution, or the message id of a question that has just been answered.

        On a full disk it is known until this server ends: the cell runs all the same.
        """
        self._put(noted)
        if self._path is None:
            return
        with suppress(OSError):
            if self._lines > 2 * MAX_KEPT:
                self._rewrite(self._path)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path.open("a") as file:
                file.write(_line(noted))

    def settle(self, msg_ids: Collection[str]) -> None:
        kept = {cell: execution for cell, execution in self._by_cell.items() if execution.msg_id not in msg_ids}
        if len(kept) != len(self._by_cell):
            self._by_cell = kept
            if not kept:
                self._answered.clear()
            if self._path is not None:
                self._rewrite(self._path)

    def _put(self, noted: Execution | str) -> None:
        self._lines += 1
        if isinstance(noted, str):
            self._answered.add(noted)
            return
        execution = noted
        self._by_cell.pop(execution.cell_id, None)
        self._by_cell[execution.cell_id] = execution
        if len(self._by_cell) > MAX_KEPT:
            del self._by_cell[next(iter(self._by_cell))]

    def _rewrite(self, path: Path) -> None:
        draft = path.with_suffix(".new")
        noted = [*self._by_cell.values(), *self._answered]
        draft.write_text("".join(_line(each) for each in noted))
        draft.replace(path)
        self._lines = len(noted)


def cell_of(frames: Sequence[bytes]) -> tuple[str, str] | None:
    """``(msg_id, cell id)`` if this is a request to run a notebook's cell. ``frames`` begin at Jupyter's delimiter."""
    if len(frames) < 6 or b"execute_request" not in frames[2]:
        return None
    header, metadata = json.loads(frames[2]), json.loads(frames[4])
    msg_id, cell_id = header.get("msg_id"), metadata.get("cellId")
    if header.get("msg_type") != "execute_request" or not isinstance(msg_id, str) or not isinstance(cell_id, str):
        return None
    return (msg_id, cell_id) if len(cell_id) <= MAX_CELL_ID else None


def answer_of(frames: Sequence[bytes]) -> str | None:
    """The message id of the question that this ``input_reply`` answers."""
    if len(frames) < 6 or b"input_reply" not in frames[2]:
        return None
    question_id = json.loads(frames[3]).get("msg_id")
    return question_id if isinstance(question_id, str) else None


def _line(noted: Execution | str) -> str:
    return json.dumps(noted if isinstance(noted, str) else asdict(noted)) + "\n"


def _read(path: Path) -> Iterator[Execution | str]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        # A line may be torn by a kill, or of another version: then the notebook's file has what it has.
        with suppress(ValueError, TypeError):
            noted = json.loads(line)
            yield noted if isinstance(noted, str) else Execution(**noted)
