"""What a container starts for a kernelspec."""

from dataclasses import replace

import pytest
from bai_agent.runtimes.kernelspecs import tuned

from bai_jupyter.common.messages import KernelSpecFacts

ARGV = ["/opt/venv/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
PYTHON = KernelSpecFacts("python3", "Python 3", "python", ARGV, {}, "signal", {})


def test_ipython_keeps_its_history_in_memory() -> None:
    assert tuned(PYTHON, ["/home/work/home"]).argv == [*ARGV, "--HistoryManager.hist_file=:memory:"]


@pytest.mark.parametrize(
    ("spec", "mounted"),
    [
        (PYTHON, ["/home/work/.ipython"]),
        (PYTHON, ["/home/work/.ipython/profile_default"]),
        (replace(PYTHON, argv=[*ARGV, "--HistoryManager.enabled=False"]), []),
        (replace(PYTHON, argv=["R", "--slave", "--args", "{connection_file}"]), []),
    ],
)
def test_what_has_something_of_its_own_is_left_alone(spec: KernelSpecFacts, mounted: list[str]) -> None:
    assert tuned(spec, mounted) == spec
