"""The wheel that images get: what is in it, and that pip takes it."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bai_jupyter.cli import own_wheel


def test_pip_installs_what_jupyter_looks_for(tmp_path: Path) -> None:
    wheel = own_wheel.write(tmp_path)
    target = tmp_path / "there"
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True, timeout=60)
    assert (target / "bai_jupyter" / "extension" / "app.py").exists()
    assert (target / "etc" / "jupyter" / "jupyter_server_config.d" / "bai_jupyter.json").exists()
    entry_points = next(target.glob("bai_jupyter-*.dist-info")) / "entry_points.txt"
    assert "backendai-provisioner" in entry_points.read_text()


def test_the_same_package_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = own_wheel.write(tmp_path), own_wheel.write(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert not [name for name in archive.namelist() if "__pycache__" in name or name.startswith("bai_agent")]


def test_a_part_of_the_panel_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.distribution("bai_jupyter")
    gone = importlib.metadata.PackagePath("../../../share/jupyter/labextensions/@bai-jupyter/labextension/old.js")
    gone.dist = installed
    monkeypatch.setattr(type(installed), "files", property(lambda _: [gone]))
    with pytest.raises(own_wheel.NotWhole, match=r"old\.js of bai_jupyter is gone\. Install bai_jupyter again\."):
        own_wheel.write(tmp_path)
