"""Kernelspecs of images: from memory, kept for a manager that is away, and never in a local one's place."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from bai_jupyter.extension.kernelspecs import BaiKernelSpecManager

PYTHON = {"name": "python:3.11", "kernelspecs": [{"name": "python3", "display_name": "Python 3", "language": "python"}]}
R = {"name": "r:4", "kernelspecs": [{"name": "ir", "display_name": "R", "language": "R"}]}


@pytest.fixture
def make_specs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed_survivor: None
) -> Callable[[], BaiKernelSpecManager]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))

    def make(**options: Any) -> BaiKernelSpecManager:
        return BaiKernelSpecManager(kernelspecs_of="survivor_specs.kernelspecs_of", **options)

    return make


@pytest.fixture
def installed_survivor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("survivor_specs", None)


def test_local_and_ours(make_specs: Callable[..., BaiKernelSpecManager]) -> None:
    specs = make_specs()
    local = set(specs.find_kernel_specs())
    assert specs.replace([PYTHON, R])
    assert set(specs.find_kernel_specs()) - local == {"bai-python-3.11-python3", "bai-r-4-ir"}
    all_specs = specs.get_all_specs()
    assert all_specs["bai-r-4-ir"]["spec"]["display_name"] == "R (r:4)"
    assert (Path(all_specs["bai-r-4-ir"]["resource_dir"]) / "logo-svg.svg").is_file()
    assert "python3" in local


def test_a_removed_image_goes(make_specs: Callable[..., BaiKernelSpecManager]) -> None:
    specs = make_specs()
    specs.replace([PYTHON, R])
    assert specs.replace([PYTHON])
    assert not specs.replace([PYTHON])
    with pytest.raises(NoSuchKernel):
        specs.get_kernel_spec("bai-r-4-ir")


def test_the_last_list_is_known_to_the_next_server(make_specs: Callable[..., BaiKernelSpecManager]) -> None:
    first = make_specs()
    first.use_manager("http://one")
    first.replace([PYTHON])
    second = make_specs()
    second.use_manager("http://one")
    assert second.our_names == ["bai-python-3.11-python3"]
    other = make_specs()
    other.use_manager("http://two")
    assert other.our_names == []


def test_a_broken_cache_is_as_none(make_specs: Callable[..., BaiKernelSpecManager]) -> None:
    specs = make_specs()
    Path(specs.cache_file).parent.mkdir(parents=True)
    for text in ("{", "[]", '{"endpoint": "http://one"}', '{"endpoint": "http://one", "images": [{}]}'):
        Path(specs.cache_file).write_text(text)
        specs.use_manager("http://one")
        assert specs.our_names == []


def test_a_local_spec_wins(make_specs: Callable[..., BaiKernelSpecManager], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "kernels" / "bai-r-4-ir"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["r"], "display_name": "mine", "language": "R"}')
    specs = make_specs()
    specs.replace([R])
    assert specs.get_all_specs()["bai-r-4-ir"]["spec"]["display_name"] == "mine"


def test_the_allow_list_counts_for_ours_too(make_specs: Callable[..., BaiKernelSpecManager]) -> None:
    specs = make_specs(allowed_kernelspecs={"bai-r-4-ir"})
    specs.replace([PYTHON, R])
    assert set(specs.find_kernel_specs()) == {"bai-r-4-ir"}


def test_the_server_refreshes_and_keeps_the_list(server: Any, manager: Any, wait_until: Callable[..., Any]) -> None:
    manager.images = [PYTHON]
    server.start()
    wait_until(lambda: "bai-python-3.11-python3" in names(server), "the image's kernelspec")
    manager.images = [PYTHON, R]
    wait_until(lambda: "bai-r-4-ir" in names(server), "the new image")
    manager.is_away = True
    asked = len(manager.calls)
    wait_until(lambda: len(manager.calls) > asked + 3 or "does not answer" in server.log, "a question in vain")
    server.stop()
    server.start()
    assert "bai-r-4-ir" in names(server)
    wait_until(lambda: server.log.count("does not answer") == 2, "one line per change and server")


def names(server: Any) -> set[str]:
    return set(server.ask("GET", "/api/kernelspecs")["kernelspecs"])
