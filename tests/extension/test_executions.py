"""Which cells' output may be on tape only."""

import json

import pytest

from bai_jupyter.extension.executions import MAX_KEPT, Execution, Executions, answer_of, cell_of


def execution(number: int, cell: str = "", generation: int = 1) -> Execution:
    return Execution(f"m{number}", cell or f"c{number}", generation, {"iopub": number})


def test_the_next_server_knows_them(tmp_path):
    path = tmp_path / "bookmarks" / "executions.jsonl"
    Executions(path).note(execution(1))
    assert Executions(path).of(1) == [execution(1)]


def test_of_a_cell_the_last_counts(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    executions.note(execution(1, "a"))
    executions.note(execution(2, "b"))
    executions.note(execution(3, "a"))
    assert executions.of(1) == [execution(2, "b"), execution(3, "a")]


def test_a_restart_makes_them_void(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    executions.note(execution(1))
    executions.note(execution(2, generation=2))
    assert executions.of(2) == [execution(2, generation=2)]


def test_what_is_settled_is_gone(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    executions.note(execution(1))
    executions.note(execution(2))
    executions.settle({"m1", "unknown"})
    assert Executions(tmp_path / "x.jsonl").of(1) == [execution(2)]


def test_their_number_is_bounded(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    for number in range(MAX_KEPT + 1):
        executions.note(execution(number))
    kept = executions.of(1)
    assert len(kept) == MAX_KEPT
    assert kept[0] == execution(1)


def test_a_torn_line_costs_itself_only(tmp_path):
    path = tmp_path / "x.jsonl"
    Executions(path).note(execution(1))
    path.write_text('{"msg_id": "m2"}\n' + path.read_text() + '{"msg_id": "m3", "cel')
    assert Executions(path).of(1) == [execution(1)]


def test_the_file_stays_short(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    for number in range(3 * MAX_KEPT):
        executions.note(execution(number, "a"))
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) <= 2 * MAX_KEPT
    assert Executions(tmp_path / "x.jsonl").of(1) == [execution(3 * MAX_KEPT - 1, "a")]


@pytest.mark.parametrize(
    ("kind", "metadata", "found"),
    [
        ("execute_request", {"cellId": "c"}, ("m", "c")),
        ("execute_request", {}, None),
        ("execute_request", {"cellId": 7}, None),
        ("execute_request", {"cellId": "c" * 65}, None),
        ("kernel_info_request", {"cellId": "c", "note": "execute_request"}, None),
    ],
)
def test_only_a_notebooks_cell_is_one(kind, metadata, found):
    parts = [{"msg_id": "m", "msg_type": kind}, {}, metadata, {"code": "execute_request"}]
    assert cell_of([b"<IDS|MSG>", b"", *(json.dumps(part).encode() for part in parts)]) == found


def test_what_was_answered_is_not_asked_again(tmp_path):
    executions = Executions(tmp_path / "x.jsonl")
    executions.note(execution(1))
    executions.note("question")
    assert Executions(tmp_path / "x.jsonl").is_answered("question")
    assert not executions.is_answered("another")
    executions.settle({"m1"})
    assert not Executions(tmp_path / "x.jsonl").is_answered("question")


@pytest.mark.parametrize(("kind", "found"), [("input_reply", "q"), ("execute_request", None)])
def test_an_answer_names_its_question(kind, found):
    parts = [{"msg_id": "m", "msg_type": kind}, {"msg_id": "q"}, {}, {"value": "1"}]
    assert answer_of([b"<IDS|MSG>", b"", *(json.dumps(part).encode() for part in parts)]) == found
