"""What a kernel says about a cell, as events of a run."""

import pytest

from bai_jupyter.common.jupyter_messages import JupyterMessage, pack_message, read_message
from bai_jupyter.manager.execution.cell import Cell, completions, cursor_position
from bai_jupyter.manager.execution.runs import Asks, Ends, RunStatus, Shown, Text

REPLY = ("execute_reply", {"status": "ok"})
IDLE, BUSY = ("status", {"execution_state": "idle"}), ("status", {"execution_state": "busy"})
END = Ends(RunStatus.FINISHED, 0)

TABLE = {
    "text": ([("stream", {"name": "stdout", "text": "a"})], [Text("stdout", "a")]),
    "errors": ([("stream", {"name": "stderr", "text": "a"})], [Text("stderr", "a")]),
    "a value": ([("execute_result", {"data": {"text/plain": "42"}})], [Text("stdout", "42\n")]),
    "a page": ([("display_data", {"data": {"text/plain": "p", "text/html": ["<b>", "x"]}})], [Shown("html", "<b>x")]),
    "an image": (
        [("display_data", {"data": {"text/plain": "p", "text/html": "h", "image/png": "iVBO\n"}})],
        [Shown("media", ["image/png", "data:image/png;base64,iVBO"])],
    ),
    "a drawing": (
        [("execute_result", {"data": {"image/svg+xml": "<svg/>"}})],
        [Shown("media", ["image/svg+xml", "<svg/>"])],
    ),
    "an exception": ([("error", {"traceback": ["one", "two"]})], [Text("stderr", "one\ntwo\n")]),
    "an exception without a traceback": (
        [("error", {"ename": "E", "evalue": "v", "traceback": []})],
        [Text("stderr", "E: v\n")],
    ),
    "a question": ([("input_request", {"prompt": "? ", "password": True})], [Text("stdout", "? "), Asks(True)]),
    "answered, then idle": ([BUSY, REPLY, IDLE], [END]),
    "idle, then answered": ([BUSY, IDLE, REPLY], [END]),
    "answered only": ([BUSY, REPLY], []),
    "idle only": ([BUSY, IDLE], []),
    "of no interest": ([("execute_input", {}), ("clear_output", {}), ("comm_msg", {})], []),
    "odd content": ([("display_data", {"data": 7}), ("stream", {})], [Text("stdout", "\n"), Text("stdout", "")]),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    said, expected = TABLE[name]
    cell = Cell("mine")
    assert [event for kind, content in said for event in cell.hear(JupyterMessage(kind, "mine", content))] == expected


def test_others_messages_are_not_heard():
    cell = Cell("mine")
    for kind, content in (("stream", {"text": "x"}), IDLE, REPLY):
        assert cell.hear(JupyterMessage(kind, "other", content)) == []


def test_completions():
    assert completions({"matches": ["a", "b"]}) == ["a", "b"]
    assert completions({"matches": None}) == []


@pytest.mark.parametrize(
    ("row", "column", "position"),
    [(0, 0, 0), (0, 2, 2), (1, 1, 5), (1, 99, 6), (7, 0, 6), (None, None, 6), ("1", 1, 6)],
)
def test_where_the_cursor_is(row, column, position):
    assert cursor_position("abc\nde", row, column) == position


def test_messages_on_the_wire():
    frames = pack_message("execute_request", {"code": "1"}, "key", "id", "me")
    read = read_message([b"topic", *frames])
    assert read == JupyterMessage("execute_request", "", {"code": "1"})
    for odd in ([], [b"x"], [b"<IDS|MSG>", b"", b"{", b"", b"", b""], [b"<IDS|MSG>", b"", b"[]", b"{}", b"{}", b"{}"]):
        assert read_message(odd) is None
