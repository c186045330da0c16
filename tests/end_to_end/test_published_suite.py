"""The published suite for Jupyter kernels (jupyter_kernel_test), through the provisioner, for three languages."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import jupyter_kernel_test
import loopback
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

IMAGES = ("python-minimal", "r", "polyglot")


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory, docker_client: Any) -> Iterator[None]:
    from bai_jupyter.cli import images

    names = [(images.local(f"bai/{name}:") or images.build([name]))[-1] for name in IMAGES]
    module = sys.modules["end_to_end_cluster"]
    cluster = module.Cluster(tmp_path_factory.mktemp("suite"), loopback.free_port(), "docker")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environ.items():
            patch.setenv(name, value)
        try:
            cluster.start("manager")
            cluster.start("agent")
            asyncio.run(_prepare(cluster, names))
            yield
            asyncio.run(cluster.end_sessions())
        finally:
            cluster.stop()
            cluster.clean_up()


async def _prepare(cluster: Any, names: list[str]) -> None:
    await cluster.ready()
    for name in names:
        await cluster.add_image(name)
    await cluster.write_kernelspecs()


class TestPython(jupyter_kernel_test.KernelTests):
    kernel_name = "bai-python-minimal-3.11-python3"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]  # noqa: RUF012 - the suite's way
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]  # noqa: RUF012
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"}
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"


class TestR(jupyter_kernel_test.KernelTests):
    kernel_name = "bai-r-4.2-ir"
    language_name = "R"
    file_extension = ".r"
    code_hello_world = "cat('hello, world\\n')"
    code_stderr = "message('test')"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]  # noqa: RUF012
    complete_code_samples = ["1", "print('hello')", "f <- function(x) {\n  x*2\n}"]  # noqa: RUF012
    incomplete_code_samples = ["print('hello", "f <- function(x) {"]  # noqa: RUF012
    code_generate_error = "stop('no')"
    code_display_data = [{"code": "1:3", "mime": "text/plain"}]  # noqa: RUF012


class TestBash(jupyter_kernel_test.KernelTests):
    kernel_name = "bai-polyglot-1-bash"
    language_name = "bash"
    file_extension = ".sh"
    code_hello_world = "echo hello, world"
    completion_samples = [{"text": "ech", "matches": {"echo"}}]  # noqa: RUF012
