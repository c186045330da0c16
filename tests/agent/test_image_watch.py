"""What an agent tells of its images, and of an engine that stops to answer."""

from typing import Any

import pytest
from bai_agent.image_watch import ImageWatch
from bai_agent.runtimes.base import RuntimeFault

from bai_jupyter.common.messages import ImageFacts
from bai_jupyter.common.reasons import Reason

pytestmark = pytest.mark.asyncio


async def test_trouble_with_the_engine_is_told_until_it_answers_again(bench: Any, monkeypatch: Any) -> None:
    told: list[list[ImageFacts]] = []
    watch = ImageWatch(bench.runtime, told.append)
    await watch.look()
    assert (watch.trouble, watch.known.is_set(), told) == ("", True, [watch.images])
    assert bench.image in {image.name for image in watch.images}

    async def away() -> list[ImageFacts]:
        raise RuntimeFault(Reason.of("engine-down", agent="lab-1", cause="Connection refused"))

    with monkeypatch.context() as engine:
        engine.setattr(bench.runtime, "images", away)
        await watch.look()
    assert watch.trouble == "The container engine on lab-1 does not answer: Connection refused. Tell your admin."
    assert bench.image in {image.name for image in watch.images}
    await watch.look()
    assert (watch.trouble, len(told)) == ("", 1)
