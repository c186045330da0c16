"""The reconciler's decision as a table."""

from datetime import UTC, datetime

import pytest
from bai_agent.runtimes.base import ContainerState
from bai_agent.steps import Step, next_step

from bai_jupyter.common.statuses import KernelStatus, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = ContainerState(running=False, exit_code=None, oom=False, started_at=None)
RUNS = ContainerState(running=True, exit_code=None, oom=False, started_at=NOW)
ENDED = ContainerState(running=False, exit_code=137, oom=False, started_at=NOW)


@pytest.mark.parametrize(
    ("target", "status", "container", "step"),
    [
        (Target.RUNNING, KernelStatus.PREPARING, None, Step.START),
        (Target.RUNNING, KernelStatus.PULLING, None, Step.START),
        (Target.RUNNING, KernelStatus.CREATING, CREATED, Step.START),
        (Target.RUNNING, KernelStatus.CREATING, RUNS, Step.RUN),
        (Target.RUNNING, KernelStatus.CREATING, ENDED, Step.ENDED),
        (Target.RUNNING, KernelStatus.RUNNING, RUNS, Step.RUN),
        (Target.RUNNING, KernelStatus.RUNNING, ENDED, Step.ENDED),
        (Target.RUNNING, KernelStatus.RUNNING, None, Step.ENDED),
        (Target.RUNNING, KernelStatus.TERMINATING, RUNS, Step.END),
        (Target.RUNNING, KernelStatus.TERMINATED, None, Step.NOTHING),
        (Target.RUNNING, KernelStatus.ERROR, RUNS, Step.CLEAR),
        (Target.TERMINATED, KernelStatus.PREPARING, None, Step.END),
        (Target.TERMINATED, KernelStatus.RUNNING, RUNS, Step.END),
        (Target.TERMINATED, KernelStatus.TERMINATED, None, Step.NOTHING),
        (Target.TERMINATED, KernelStatus.TERMINATED, ENDED, Step.CLEAR),
    ],
)
def test_next_step(target: Target, status: KernelStatus, container: ContainerState | None, step: Step) -> None:
    assert next_step(target, status, container) is step


@pytest.mark.parametrize(
    ("target", "status", "container", "step"),
    [
        (Target.RUNNING, KernelStatus.RUNNING, RUNS, Step.RESTART),
        (Target.RUNNING, KernelStatus.RUNNING, ENDED, Step.RESTART),  # an agent died between stop and start
        (Target.RUNNING, KernelStatus.RUNNING, None, Step.ENDED),
        (Target.RUNNING, KernelStatus.CREATING, RUNS, Step.RUN),
        (Target.TERMINATED, KernelStatus.RUNNING, RUNS, Step.END),
    ],
)
def test_next_step_of_what_is_to_be_restarted(
    target: Target, status: KernelStatus, container: ContainerState | None, step: Step
) -> None:
    assert next_step(target, status, container, restart=True) is step
