"""Build the JupyterLab panel while the package is built or installed (a build function of hatch-jupyter-builder).

The panel is built once for each state of its sources: a digest of them is kept beside the result, since a git checkout
gives files new times. Without node the package installs all the same, without the panel; pip hides what is printed
here, so the server extension says it again. Needs nothing but the standard library, and no registry but npm's.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
SOURCE = ROOT / "labextension"
OUTPUT = ROOT / "bai_jupyter" / "extension" / "labextension"
STAMP = OUTPUT / ".source-digest"
BUILD_TIMEOUT_S = 900


def ensure(target_name: str, version: str, **_: Any) -> None:
    """Have the panel of the present sources in ``OUTPUT``; called by hatch with the target and its version.

    Raises ``SystemExit`` if node is there and the build fails. A source distribution brings the result and its stamp.
    """
    digest = source_digest(SOURCE)
    if _stamp() == digest and (OUTPUT / "package.json").exists():
        return
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if not (SOURCE / "package.json").exists() or not (shutil.which("node") and shutil.which("npm")):
        _say("panel not built: install node 20.19 or newer and run pip install again")
        return
    _say(f"building the panel for {target_name} {version}")
    _run("ci", "--no-audit", "--no-fund")
    _run("run", "build")
    STAMP.write_text(digest)


def source_digest(source: Path) -> str:
    """SHA-256 over the names and contents of everything the panel is made of."""
    digest = hashlib.sha256()
    for path in sorted(_sources(source)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(source: Path) -> Iterator[Path]:
    for folder in ("src", "style", "schema"):
        yield from (path for path in (source / folder).rglob("*") if path.is_file())
    for name in ("package.json", "package-lock.json", "tsconfig.json", "copy-terminal.mjs"):
        if (source / name).exists():
            yield source / name


def _stamp() -> str | None:
    try:
        return STAMP.read_text()
    except OSError:
        return None


def _run(*arguments: str) -> None:
    done = subprocess.run(
        ["npm", *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        sys.exit(f"`npm {' '.join(arguments)}` failed in {SOURCE}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def _say(text: str) -> None:
    print(f"bai_jupyter: {text}", file=sys.stderr)


if __name__ == "__main__":
    ensure("development", "editable")
