"""An agent that kills itself, as ``kill -9`` would, right after it has done a step for the nth time.

python dying_agent.py STEP NTH …the agent's options
"""

import asyncio
import os
import signal
import sys
from typing import Any

from bai_agent.app import main
from bai_agent.containers import Containers
from bai_agent.runtimes.docker import DockerRuntime
from bai_agent.runtimes.spares import Spares

OWNERS = {"_request": Containers, "_hold_pooled": Containers, "resize": DockerRuntime}


def die_after(owner: Any, name: str, nth: int) -> None:
    step, done = getattr(owner, name), 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    async def later(*args: Any) -> Any:
        result = await step(*args)
        count()
        return result

    def at_once(*args: Any) -> Any:
        result = step(*args)
        count()
        return result

    setattr(owner, name, later if asyncio.iscoroutinefunction(step) else at_once)


if __name__ == "__main__":
    _, step, nth, *options = sys.argv
    die_after(OWNERS.get(step, Spares), step, int(nth))
    sys.argv = [sys.argv[0], *options]
    main()
