"""Which drivers are new enough for an image."""

from datetime import UTC, datetime

import pytest

from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.messages import ENVIRON_LABEL, DeviceFacts
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.db.records import AgentRecord
from bai_jupyter.manager.sessions.matching import cuda_needed, cuda_offered, has_cuda

GPU = ResourceSlots({"cuda.device": 1})
# As in NVIDIA's own images: the plain condition, and older drivers of cards for data centres.
REQUIRED = "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=tesla,driver>=535,driver<536"


def agent(*versions: tuple[str, str]) -> AgentRecord:
    devices = tuple(
        DeviceFacts(f"g{i}", "cuda", "m", GPU, attributes={"cuda_version": cuda, "driver_version": driver})
        for i, (cuda, driver) in enumerate(versions)
    )
    return AgentRecord(
        id=AgentId("a"),
        name="a",
        resource_group="lab",
        status=AgentStatus.ALIVE,
        is_schedulable=True,
        runtime="docker",
        isolated=True,
        architecture="x86_64",
        slots=GPU,
        used=ResourceSlots(),
        devices=devices,
        volumes=frozenset(),
        images=frozenset(),
        heard_at=None,
        version="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def labels(**environ: str) -> dict[str, str]:
    return {f"{ENVIRON_LABEL}{name}": value for name, value in environ.items()}


@pytest.mark.parametrize(
    ("cuda", "driver", "runs"),
    [
        ("12.8", "570.86.15", True),
        ("12.4", "550.54", True),
        ("12.3", "545.23", False),
        ("11.4", "470.82", True),  # an older driver that the image names
        ("12.2", "535.104.05", True),
        ("11.8", "520.61", False),
        ("13.0", "580.65", True),
    ],
)
def test_what_an_image_requires(cuda: str, driver: str, runs: bool) -> None:
    assert has_cuda(agent((cuda, driver)), GPU, labels(NVIDIA_REQUIRE_CUDA=REQUIRED, CUDA_VERSION="12.4.1")) is runs


@pytest.mark.parametrize(("cuda", "runs"), [("12.0", True), ("12.8", True), ("11.8", False), ("13.0", True)])
def test_an_image_that_only_names_its_version_runs_on_its_major_version(cuda: str, runs: bool) -> None:
    assert has_cuda(agent((cuda, "1")), GPU, labels(CUDA_VERSION="12.4.1")) is runs


def test_who_is_not_asked() -> None:
    required = labels(NVIDIA_REQUIRE_CUDA="cuda>=99.0")
    assert not has_cuda(agent(("12.8", "570")), GPU, required)
    assert has_cuda(agent(("12.8", "570")), ResourceSlots({"cpu": 1}), required)  # no GPU asked for
    assert has_cuda(agent(), GPU, required)  # a driver that does not tell
    assert has_cuda(agent(("12.8", "570")), GPU, {})


def test_the_oldest_driver_of_an_agent_counts() -> None:
    assert not has_cuda(agent(("12.8", "570"), ("12.2", "536")), GPU, labels(NVIDIA_REQUIRE_CUDA=REQUIRED))


def test_figures_for_people() -> None:
    assert cuda_needed(labels(NVIDIA_REQUIRE_CUDA=REQUIRED)) == "12.4"
    assert cuda_needed(labels(CUDA_VERSION="12.4.1")) == "12.4.1"
    assert cuda_offered([agent(("12.8", "570")), agent(("9.2", "396"))]) == "12.8"
