"""Runs of one session: order, patience, and what is kept."""

import asyncio

import pytest

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.manager.execution import engine
from bai_jupyter.manager.execution.engine import KEPT_RUNS, Executor
from bai_jupyter.manager.execution.runs import MAX_TEXT, Asks, Ends, RunStatus, Text

pytestmark = pytest.mark.asyncio

END = Ends(RunStatus.FINISHED, 0)


class Script:
    """Work that says what it is told to, when it is let go on."""

    def __init__(self, *events, error=None):
        self.events, self.error = events, error
        self.go_on = asyncio.Event()
        self.answers = []

    async def carry_out(self, run):
        if self.error is not None:
            raise self.error
        for event in self.events:
            await run.hear(event)
        await self.go_on.wait()
        await run.hear(END)

    async def answer(self, text):
        self.answers.append(text)

    async def interrupt(self):
        self.go_on.set()


@pytest.fixture
def executor():
    return Executor()


async def test_one_after_the_other(executor):
    first, second = Script(Text("stdout", "1")), Script(Text("stdout", "2"))
    runs = [executor.submit("first", first), executor.submit("second", second)]
    assert (await runs[1].poll(0.05)).console == []
    first.go_on.set()
    second.go_on.set()
    assert [(await run.poll(5)).console for run in runs] == [[["stdout", "1"]], [["stdout", "2"]]]
    await executor.close()


async def test_a_run_sent_again_is_the_same_run(executor):
    script = Script(Text("stdout", "once"))
    assert executor.submit("id", script) is executor.submit("id", Script(Text("stdout", "twice")))
    script.go_on.set()
    assert (await executor.find("id").poll(5)).console == [["stdout", "once"]]
    await executor.close()


async def test_a_run_sent_again_is_not_told_again():
    begun = []
    executor = Executor(lambda: begun.append(None))
    for run_id in ("first", "first", "second", "first"):
        executor.submit(run_id, Script())
    assert len(begun) == 2
    await executor.close()


async def test_a_cancelled_poll_takes_nothing(executor):
    script = Script(Text("stdout", "kept"))
    run = executor.submit("id", script)
    polling = asyncio.create_task(run.poll(30))
    await asyncio.sleep(0)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    script.go_on.set()
    assert (await run.poll(5)).console == [["stdout", "kept"]]
    await executor.close()


async def test_an_answer_goes_to_who_asked(executor):
    script = Script(Asks(is_password=False))
    run = executor.submit("id", script)
    assert (await run.poll(5)).status is RunStatus.WAITING_INPUT
    await executor.answer("id", "Kim")
    assert script.answers == ["Kim"]
    with pytest.raises(BadRequest, match="does not ask"):
        await executor.answer("id", "again")
    with pytest.raises(NotFound, match="no run other"):
        await executor.answer("other", "x")
    await executor.interrupt()
    assert (await run.poll(5)).status is RunStatus.FINISHED
    await executor.close()


async def test_what_cannot_be_carried_out_is_told_and_the_next_goes_on(executor):
    failing = executor.submit("fails", Script(error=BadRequest("no such thing")))
    broken = executor.submit("breaks", Script(error=ZeroDivisionError()))
    fine = Script()
    fine.go_on.set()
    last = executor.submit("fine", fine)
    with pytest.raises(BadRequest, match="no such thing"):
        await failing.poll(5)
    with pytest.raises(Exception, match="its log says why"):
        await broken.poll(5)
    assert (await last.poll(5)).status is RunStatus.FINISHED
    await executor.close()


async def test_output_that_nobody_takes_holds_the_writer_up(executor):
    much = Text("stdout", "x" * MAX_TEXT)
    script = Script(much, much)
    script.go_on.set()
    run = executor.submit("id", script)
    await run.changed()
    assert (run.run.size, run.is_over) == (MAX_TEXT, False)
    taken = [await run.poll(5) for _ in range(2)]
    assert [len(result.console[0][1]) for result in taken] == [MAX_TEXT] * 2
    await run.over()
    await executor.close()


async def test_output_is_given_up_in_the_end_so_that_others_can_go_on(executor, monkeypatch):
    monkeypatch.setattr(engine, "ABANDONED_S", 0.01)
    abandoned, next_one = Script(*[Text("stdout", "x" * MAX_TEXT)] * 3), Script()
    abandoned.go_on.set()
    next_one.go_on.set()
    run = executor.submit("abandoned", abandoned)
    assert (await executor.submit("next", next_one).poll(5)).status is RunStatus.FINISHED
    result = await run.poll(5)
    assert (result.status, result.console) == (RunStatus.FINISHED, [])
    await executor.close()


async def test_only_the_last_runs_are_kept(executor):
    for n in range(3 * KEPT_RUNS):
        script = Script()
        script.go_on.set()
        await executor.submit(f"run-{n}", script).poll(5)
    assert (await executor.find(f"run-{3 * KEPT_RUNS - 1}").poll(5)).status is RunStatus.FINISHED
    with pytest.raises(NotFound):
        executor.find("run-0")
    assert len(executor._runs) <= KEPT_RUNS
    await executor.close()
