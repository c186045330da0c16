"""What a killed agent has left of its commands and terminals."""

from pathlib import Path
from typing import Any

import pytest
from bai_agent.attachments import Attachments

pytestmark = pytest.mark.asyncio


async def test_the_next_agent_ends_what_a_killed_one_left(bench: Any, tmp_path: Path) -> None:
    _, ref = await bench.launch()
    killed = Attachments(bench.runtime, tmp_path / "attached")
    left = [
        await killed.start(ref, ["/bin/sleep", "1000"], env={}, cwd="/home/work", terminal=terminal)
        for terminal in (None, (24, 80))
    ]
    done = await killed.start(ref, ["/bin/true"], env={}, cwd="/home/work", terminal=None)
    await bench.runtime.wait(done.process)
    killed.forget(done.process)
    assert [await bench.runtime.exit_code(one.process) for one in left] == [None, None]

    (tmp_path / "attached" / "torn.json").write_text("{")
    await Attachments(bench.runtime, tmp_path / "attached").end_leftovers()
    for one in [*left, done]:
        one.close()
        assert await bench.runtime.wait(one.process) is not None
    assert not list((tmp_path / "attached").iterdir())
