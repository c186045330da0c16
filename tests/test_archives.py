"""What is built and installed: everything is in the archives, and each extra is enough for its role."""

import json
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from bai_jupyter._version import __version__
from bai_jupyter.extension import LABEXTENSION_NAME

ROOT = Path(__file__).parents[1]

# What a program of that role imports first. Nothing of another role may be needed for it.
ROLES = {
    "": ["bai_jupyter", "bai_jupyter.client", "bai_jupyter.common.messages"],
    "jupyter": ["bai_jupyter.extension.app", "bai_jupyter.provisioner"],
    "manager": ["bai_jupyter.manager.app"],
    "agent": ["bai_agent.app", "bai_agent.relay", "bai_jupyter.cli.images"],
    "cli": ["bai_jupyter.cli"],
    "widgets": ["bai_jupyter.widgets"],
}


def test_the_panel_is_installed_under_its_own_name():
    panel = json.loads((ROOT / "labextension" / "package.json").read_text())
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert panel["name"] == LABEXTENSION_NAME
    assert f"share/jupyter/labextensions/{LABEXTENSION_NAME}" in shared.values()


def run(*argv: str | Path, cwd: Path = ROOT) -> str:
    words = [str(part) for part in argv]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_both_archives_are_complete(archives):
    sdist, wheel = archives
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "bai_jupyter").rglob("*.py")}
    agent = {path.relative_to(ROOT / "agent").as_posix() for path in (ROOT / "agent").rglob("*.py")}
    images = {path.relative_to(ROOT).as_posix() for path in (ROOT / "images").rglob("Dockerfile")}
    data = f"bai_jupyter-{__version__}.data/data"
    assert {"LICENSE", "Makefile", "labext_build.py", "labextension/package-lock.json"} <= in_sdist
    assert sources | images <= in_sdist
    assert sources | agent | {f"bai_jupyter/{name}" for name in images} <= in_wheel
    assert "bai_jupyter/manager/db/migrations/script.py.mako" in in_wheel
    assert "bai_jupyter/extension/labextension/package.json" in in_wheel
    assert f"{data}/share/jupyter/labextensions/{LABEXTENSION_NAME}/package.json" in in_wheel
    assert f"{data}/etc/jupyter/jupyter_server_config.d/bai_jupyter.json" in in_wheel


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("extra", ROLES)
def test_each_extra_is_enough_for_its_role(archives, tmp_path, extra):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{archives[1]}[{extra}]" if extra else archives[1])
    run(python, "-c", f"import {', '.join(ROLES[extra])}", cwd=tmp_path)
    if extra == "cli":
        assert "bai up" in run(tmp_path / "venv" / "bin" / "bai", "--help", cwd=tmp_path)
    if extra == "jupyter":
        assert (tmp_path / "venv/share/jupyter/labextensions" / LABEXTENSION_NAME / "package.json").is_file()
        assert (tmp_path / "venv/etc/jupyter/jupyter_server_config.d/bai_jupyter.json").is_file()
