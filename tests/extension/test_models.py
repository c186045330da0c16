"""What the panel knows and says, without a page: the tests of ``labextension/test``, run by node."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

LABEXTENSION = Path(__file__).parents[2] / "labextension"


def test_models(missing: Callable[[str, str], None]) -> None:
    if shutil.which("npm") is None or not (LABEXTENSION / "node_modules").exists():
        missing("browser", "the panel was not built here (python labext_build.py)")
    done = subprocess.run(["npm", "test"], cwd=LABEXTENSION, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
