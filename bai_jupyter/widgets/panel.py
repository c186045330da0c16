"""What the widgets share: a line that says something, and a box that ends its work when it is closed."""

from collections.abc import Iterator
from html import escape
from typing import Any

from IPython import get_ipython
from ipywidgets import HTML, Box, VBox, Widget

from bai_jupyter.widgets.work import Work

LABELLED = {"description_width": "8em"}
WIDE = {"width": "36em", "max_width": "100%"}


class Line(HTML):
    """A sentence, which wraps and which a screen reader is told of. It may hold a stranger's words: none is markup."""

    text = ""

    def say(self, text: str) -> None:
        self.text = text
        self.value = f'<span role="status">{escape(text)}</span>'


class Panel(VBox):
    """A box of widgets and their work. When a cell runs again, what it made before is closed."""

    def __init__(self, work: Work, children: list[Widget]) -> None:
        self._work = work
        super().__init__(children)
        _replace_earlier(self)

    def close(self) -> None:
        """Take it off the page and end its work; what it has started goes on."""
        if (work := getattr(self, "_work", None)) is not None:  # it may never have been complete
            work.end()
        for part in _parts(self):
            part.close()
        super().close()


def _parts(box: Box) -> Iterator[Widget]:
    for child in box.children:
        if isinstance(child, Box):
            yield from _parts(child)
        yield child


_in_cells: dict[str, tuple[str, list[Panel]]] = {}  # of each cell its last run, and what that made


def _replace_earlier(panel: Panel) -> None:
    run = running_cell()
    if run is None:
        return
    cell, request = run
    earlier, panels = _in_cells.get(cell, (request, []))
    if earlier != request:
        for old in panels:
            old.close()
        panels = []
    _in_cells[cell] = (request, [*panels, panel])


def running_cell() -> tuple[str, str] | None:
    """The cell that is run, and the request that runs it; ``None`` where a front end does not say."""
    parent: dict[str, Any] = getattr(get_ipython(), "parent_header", None) or {}
    cell, request = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
    return (str(cell), str(request)) if cell and request else None
