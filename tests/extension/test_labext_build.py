"""The build function: builds once for each state of the sources, and lets an installation without node go on."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
NPM = """#!/bin/sh
echo "$@" >> "$NPM_LOG"
[ "$1" = run ] && echo '{}' > "$NPM_OUT/package.json"
exit ${NPM_EXIT:-0}
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with folders of its own and an npm that only notes what it was asked."""
    spec = importlib.util.spec_from_file_location("labext_build", REPOSITORY / "labext_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source, output, tools = tmp_path / "source", tmp_path / "out", tmp_path / "bin"
    for folder in (source / "src", tools):
        folder.mkdir(parents=True)
    (source / "package.json").write_text("{}")
    (source / "src" / "index.ts").write_text("export default 1;")
    for name in ("npm", "node"):
        (tools / name).write_text(NPM)
        (tools / name).chmod(0o755)
    monkeypatch.setattr(module, "SOURCE", source)
    monkeypatch.setattr(module, "OUTPUT", output)
    monkeypatch.setattr(module, "STAMP", output / ".source-digest")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/bin")
    monkeypatch.setenv("NPM_LOG", str(tmp_path / "npm.log"))
    monkeypatch.setenv("NPM_OUT", str(output))
    return module


def asked(tmp_path: Path) -> list[str]:
    log = tmp_path / "npm.log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def test_builds_once(build: Any, tmp_path: Path) -> None:
    build.ensure("wheel", "standard")
    build.ensure("wheel", "editable")
    assert asked(tmp_path) == ["ci", "run"]


def test_builds_again_when_a_source_changed(build: Any, tmp_path: Path) -> None:
    build.ensure("wheel", "standard")
    (build.SOURCE / "src" / "new.ts").write_text("")
    build.ensure("wheel", "standard")
    assert asked(tmp_path) == ["ci", "run", "ci", "run"]


def test_builds_again_when_the_result_is_gone(build: Any, tmp_path: Path) -> None:
    build.ensure("wheel", "standard")
    (build.OUTPUT / "package.json").unlink()
    build.ensure("wheel", "standard")
    assert asked(tmp_path) == ["ci", "run", "ci", "run"]


def test_a_failed_build_stops_and_is_tried_again(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_EXIT", "1")
    with pytest.raises(SystemExit, match="npm ci"):
        build.ensure("wheel", "standard")
    monkeypatch.setenv("NPM_EXIT", "0")
    build.ensure("wheel", "standard")
    assert asked(tmp_path) == ["ci", "ci", "run"]


def test_without_node_there_is_an_empty_folder_and_a_word(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    build.ensure("wheel", "editable")
    assert list(build.OUTPUT.iterdir()) == []
    assert "install node" in capsys.readouterr().err


def test_a_source_distribution_needs_no_node(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.ensure("sdist", "standard")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    build.ensure("wheel", "standard")
    assert asked(tmp_path) == ["ci", "run"]


def test_moved_content_is_another_digest(build: Any) -> None:
    one, two = build.SOURCE / "src" / "one.ts", build.SOURCE / "src" / "two.ts"
    one.write_text("x")
    before = build.source_digest(build.SOURCE)
    one.rename(two)
    assert build.source_digest(build.SOURCE) != before


def test_one_version() -> None:
    import json

    from bai_jupyter._version import __version__

    assert json.loads((REPOSITORY / "labextension" / "package.json").read_text())["version"] == __version__
    assert f"VERSION = '{__version__}'" in (REPOSITORY / "labextension" / "src" / "versions.ts").read_text()


def test_the_lock_file_names_no_host() -> None:
    assert '"resolved"' not in (REPOSITORY / "labextension" / "package-lock.json").read_text()


def test_what_is_built_loads_fast(missing: Any) -> None:
    """All scripts of the panel together, as a browser gets them without compression."""
    static = REPOSITORY / "bai_jupyter" / "extension" / "labextension" / "static"
    if not static.exists():
        missing("browser", "the panel was not built here (python labext_build.py)")
    assert 0 < sum(script.stat().st_size for script in static.glob("*.js")) < 400_000
