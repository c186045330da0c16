"""A run as a table: what happens, and what a client that asks is told."""

import pytest

from bai_jupyter.manager.execution.runs import MAX_TEXT, Asks, Ends, Run, RunStatus, Shown, Text

FINISHED, BUILT, CLEAN = RunStatus.FINISHED, RunStatus.BUILD_FINISHED, RunStatus.CLEAN_FINISHED
OUT, ERR = (lambda text: Text("stdout", text)), (lambda text: Text("stderr", text))
TAKE, ANSWER = "take", "answer"

# (what happens, in order; what each TAKE gives: status, exit code, console)
TABLE = {
    "nothing yet": ([TAKE], [("continued", None, [])]),
    "output comes once": (
        [OUT("a"), TAKE, TAKE, OUT("b"), TAKE],
        [("continued", None, [["stdout", "a"]]), ("continued", None, []), ("continued", None, [["stdout", "b"]])],
    ),
    "text is joined and keeps its order": (
        [OUT("a"), OUT("b"), ERR("c"), OUT("d"), TAKE],
        [("continued", None, [["stdout", "ab"], ["stderr", "c"], ["stdout", "d"]])],
    ),
    "an end comes with all before it": (
        [OUT("a"), Ends(FINISHED, 0), TAKE],
        [("finished", 0, [["stdout", "a"]])],
    ),
    "a poll too many": (
        [Ends(FINISHED, 3), TAKE, TAKE, TAKE],
        [("finished", 3, []), ("finished", 3, []), ("finished", 3, [])],
    ),
    "nothing is heard behind the end": (
        [Ends(FINISHED, 0), OUT("late"), Asks(False), Ends(FINISHED, 1), TAKE, TAKE],
        [("finished", 0, []), ("finished", 0, [])],
    ),
    "a question, asked again until it is answered": (
        [OUT("name? "), Asks(False), TAKE, TAKE, ANSWER, TAKE, OUT("Kim"), Ends(FINISHED, 0), TAKE],
        [
            ("waiting-input", None, [["stdout", "name? "]]),
            ("waiting-input", None, []),
            ("continued", None, []),
            ("finished", 0, [["stdout", "Kim"]]),
        ],
    ),
    "killed while it asks": ([Asks(True), Ends(FINISHED, 130), TAKE], [("finished", 130, [])]),
    "rich output": (
        [OUT("a"), Shown("html", "<b>"), Shown("media", ["image/png", "data:"]), OUT("b"), TAKE],
        [("continued", None, [["stdout", "a"], ["html", "<b>"], ["media", ["image/png", "data:"]], ["stdout", "b"]])],
    ),
    "steps of a batch one by one, each with its own output": (
        [OUT("c"), Ends(CLEAN, 0), OUT("b"), Ends(BUILT, 2), OUT("e"), Ends(FINISHED, 127), TAKE, TAKE, TAKE, TAKE],
        [
            ("clean-finished", 0, [["stdout", "c"]]),
            ("build-finished", 2, [["stdout", "b"]]),
            ("finished", 127, [["stdout", "e"]]),
            ("finished", 127, []),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    happens, told = TABLE[name]
    run, given = Run("r"), []
    for event in happens:
        if event == TAKE:
            result = run.take()
            given.append((result.status.value, result.exit_code, result.console))
        elif event == ANSWER:
            run.answered()
        else:
            run.hear(event)
    assert given == told


def test_a_question_says_if_it_is_a_password():
    run = Run("r")
    run.hear(Asks(is_password=True))
    assert run.take().options == {"is_password": True}


def test_much_output_comes_in_pieces_and_whole():
    run, text = Run("r"), "".join(f"{n}\n" for n in range(200_000))
    assert len(text) > 2 * MAX_TEXT
    run.hear(OUT(text))
    run.hear(Ends(FINISHED, 0))
    assert run.is_full
    got, results = "", []
    while not results or results[-1].status is not FINISHED:
        results.append(run.take())
        got += "".join(part for _, part in results[-1].console)
        assert sum(len(part) for _, part in results[-1].console) <= MAX_TEXT
    assert got == text
    assert [result.status for result in results[:-1]] == [RunStatus.CONTINUED] * (len(results) - 1)
    assert run.size == 0


def test_when_there_is_no_use_in_waiting():
    run = Run("r")
    run.hear(OUT("x"))
    assert not run.is_ready
    run.hear(Asks(is_password=False))
    assert run.is_ready
    run.answered()
    assert not run.is_ready
    run.hear(Ends(BUILT, 0))
    assert run.is_ready
    run.take()
    assert not run.is_ready
    run.hear(OUT("x" * MAX_TEXT))
    assert run.is_full
    assert run.is_ready


def test_output_nobody_takes_can_be_dropped():
    run = Run("r")
    run.hear(OUT("x" * MAX_TEXT))
    run.hear(Ends(BUILT, 1))
    run.drop_output()
    assert run.size == 0
    result = run.take()
    assert (result.status, result.exit_code, result.console) == (BUILT, 1, [])


def test_on_the_wire():
    run = Run("r")
    run.hear(OUT("x"))
    run.hear(Ends(FINISHED, 0))
    assert run.take().to_json() == {
        "runId": "r",
        "status": "finished",
        "exitCode": 0,
        "console": [["stdout", "x"]],
        "options": None,
        "files": [],
    }
