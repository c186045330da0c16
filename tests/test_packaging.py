"""One version, light imports, and every role starts from its own extra."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import bai_jupyter

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    """Output of a new interpreter: imports of this one would hide those of the code."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_has_one_source(pyproject):
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "bai_jupyter/_version.py"
    assert metadata.version("bai_jupyter") == bai_jupyter.__version__


def test_lab_extension_has_the_same_version():
    package = ROOT / "labextension" / "package.json"
    if not package.exists():
        pytest.skip("no lab extension in this tree")
    assert json.loads(package.read_text(encoding="utf-8"))["version"] == bai_jupyter.__version__


def test_importing_the_package_imports_nothing_else():
    """Not even what is light: whoever wants a role imports that role."""
    code = "import sys; before = set(sys.modules); import bai_jupyter; print(*sorted(set(sys.modules) - before))"
    assert run(code).split() == ["bai_jupyter", "bai_jupyter._version"]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("bai_jupyter.common.messages", {"tornado", "traitlets", "sqlalchemy", "jupyter_client", "asyncio"}),
        ("bai_jupyter.manager.scheduler", {"tornado", "traitlets", "sqlalchemy", "asyncio"}),
        ("bai_jupyter.client", {"sqlalchemy", "docker", "jupyter_client", "jupyter_server", "zmq"}),
        ("bai_jupyter.cli", {"tornado", "sqlalchemy", "docker", "jupyter_client", "jupyter_server", "zmq"}),
        ("bai_jupyter.manager.app", {"docker", "jupyter_client", "jupyter_server", "zmq", "bai_agent"}),
        ("bai_agent.app", {"sqlalchemy", "jupyter_server", "zmq"}),
        ("bai_agent.relay.__main__", {"tornado", "traitlets", "docker", "asyncio"}),
        ("bai_jupyter.provisioner", {"sqlalchemy", "docker"}),
        ("bai_jupyter.extension", {"sqlalchemy", "docker"}),
        ("bai_jupyter.widgets", {"sqlalchemy", "docker", "jupyter_server"}),
    ],
)
def test_roles_import_and_stay_light(module, heavy):
    loaded = set(run(f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})").split())
    assert not loaded & heavy


def test_declared_entry_points_load(pyproject):
    """What the installed package promises to others is what pyproject.toml says, and it is there."""
    declared = {
        (group, name, target)
        for group, entries in pyproject["project"]["entry-points"].items()
        for name, target in entries.items()
    } | {("console_scripts", name, target) for name, target in pyproject["project"]["scripts"].items()}
    for _, name, target in sorted(declared):
        module, _, attribute = target.partition(":")
        run(f"import {module}; {module}.{attribute}")
        assert name
    installed = {(point.group, point.name, point.value) for point in metadata.distribution("bai_jupyter").entry_points}
    assert declared <= installed, "install again: pip install -e ."


def test_extras_add_up(pyproject):
    """``all`` has every role; ``test`` has ``all``."""
    extras = pyproject["project"]["optional-dependencies"]
    (everything,) = (item for item in extras["all"] if item.startswith("bai_jupyter["))
    roles = set(everything.removeprefix("bai_jupyter[").removesuffix("]").split(","))
    assert roles == extras.keys() - {"all", "test"}
    assert "bai_jupyter[all]" in extras["test"]
