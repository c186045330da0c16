"""What to do next about a kernel, from what is wanted of it and what is there: the reconciler's decision, pure."""

import enum

from bai_agent.book import FINAL
from bai_agent.runtimes.base import ContainerState
from bai_jupyter.common.statuses import KernelStatus, Target

STARTING = frozenset({KernelStatus.PREPARING, KernelStatus.PULLING, KernelStatus.CREATING})


class Step(enum.Enum):
    NOTHING = "nothing"
    START = "start"  # from wherever it stopped
    RUN = "run"  # it runs: see to what is inside
    RESTART = "restart"  # a restart was asked for that it has not had
    END = "end"  # it is not wanted any more
    ENDED = "ended"  # it ended, and nobody here asked for that
    CLEAR = "clear"  # it is over; something of it is left


def next_step(target: Target, status: KernelStatus, container: ContainerState | None, *, restart: bool = False) -> Step:
    """What to do about a kernel wanted as ``target``, last told as ``status``, and found as ``container`` (or not).

    ``restart``: one more was asked for than it has had.
    """
    if status in FINAL:
        return Step.CLEAR if container is not None else Step.NOTHING
    if target is Target.TERMINATED or status is KernelStatus.TERMINATING:
        return Step.END
    if restart and status is KernelStatus.RUNNING and container is not None:
        return Step.RESTART
    if container is not None and container.running:
        return Step.RUN
    if container is None:
        return Step.START if status in STARTING else Step.ENDED
    return Step.START if container.started_at is None else Step.ENDED
