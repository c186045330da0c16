"""For tests of a ``cluster`` that are to hold on each of an agent's runtimes."""

import pytest

ON_PROCESSES = pytest.param({"runtime": "process"}, id="process")
ON_DOCKER = pytest.param({"runtime": "docker"}, id="docker", marks=pytest.mark.docker)

on_both_runtimes = pytest.mark.parametrize("cluster", [ON_PROCESSES, ON_DOCKER], indirect=True)
on_docker = pytest.mark.parametrize("cluster", [ON_DOCKER], indirect=True)
