"""What an execute call asks for, and which kernel it gets."""

from datetime import UTC, datetime

import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.manager.db.records import ImageRecord
from bai_jupyter.manager.execution.batch import read_steps
from bai_jupyter.manager.execution.service import choose_kernelspec, read_execute

SPECS = tuple(KernelSpecFacts(name, name, language, ["x"]) for name, language in (("bash", "bash"), ("ir", "R")))


NOW = datetime.now(UTC)


def image(*specs, **labels):
    known = {f"ai.backend.{name}": value for name, value in labels.items()}
    return ImageRecord("i", "d", "x86_64", 1, known, specs, False, None, (), NOW)


@pytest.mark.parametrize(
    ("labels", "wanted", "name"),
    [
        ({}, None, "bash"),
        ({"runtime-type": "r"}, None, "ir"),
        ({"runtime-type": "app"}, None, "bash"),
        ({"runtime-type": "r"}, "bash", "bash"),
        ({}, "ir", "ir"),
        ({}, "R", "ir"),
    ],
)
def test_which_kernel(labels, wanted, name):
    assert choose_kernelspec(image(*SPECS, **labels), wanted).name == name


def test_no_such_kernel():
    with pytest.raises(BadRequest, match=r"no Jupyter kernel lua\. It has: bash, ir"):
        choose_kernelspec(image(*SPECS), "lua")
    with pytest.raises(BadRequest, match="It has: none"):
        choose_kernelspec(image(), None)


def test_both_spellings_of_the_run_id_and_one_made_up():
    assert read_execute({"mode": "query", "runId": "a"}).run_id == "a"
    assert read_execute({"mode": "query", "run_id": "b"}).run_id == "b"
    assert len(read_execute({"mode": "query", "runId": None, "code": None}).run_id) == 16


def test_steps():
    steps = read_steps({"clean": None, "build": "*", "exec": "./run"})
    assert [status.value for status in steps] == ["clean-finished", "build-finished", "finished"]
    clean, build, execute = steps.values()
    assert (clean, execute) == (None, "./run")
    assert "make" in build
    with pytest.raises(BadRequest, match=r"options\.exec"):
        read_steps({"exec": ["ls"]})
