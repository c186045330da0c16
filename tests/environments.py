"""Virtual environments of programs that tests run and that do not go together with ours; made once per machine."""

import fcntl
import os
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def environment(name: str, requirements: Sequence[str], missing: Callable[[str, str], Any]) -> Path:
    """The folder of one with ``requirements``. Making it takes most of a minute. Calls ``missing(name, why)``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bai_jupyter"
    folder = cache / "-".join(one.replace("<", "-below-") for one in requirements)
    complete = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not complete.exists():
            venv.create(folder, with_pip=True, clear=True)
            command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements]
            installing = subprocess.run(command, capture_output=True, text=True, check=False)
            if installing.returncode:
                missing(name, f"pip could not install it: {installing.stderr.strip()[-500:]}")
            complete.touch()
    return folder
