"""Builds the preload library ``shim/shim.c`` with the host's own compiler, once, and checks what came out.

It is shipped as source, so that what an agent puts before a session's programs can be read and is made for the host.
"""

import hashlib
import platform
import re
import shutil
import subprocess
from pathlib import Path

from bai_jupyter.common.errors import BaiError

INSIDE = "/opt/bai/gpu"
"""The folder that the library reads its limits from, in the container."""

SOURCE = Path(__file__).parent / "shim" / "shim.c"
_FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wl,-z,now", "-Wl,-z,relro")
# In glibc before 2.34 dlsym was in a library of its own. Not by -ldl: where it is none any more, that names nothing.
_LIBRARIES = ("-Wl,--no-as-needed", "-l:libdl.so.2")
_COMPILERS = ("cc", "gcc", "clang")
_BUILD_TIMEOUT_S = 60
_TRY_TIMEOUT_S = 10
NEWEST_GLIBC = (2, 17)
"""An image must have this at least, and the library must not need more."""


class NoLibrary(BaiError):
    """It cannot be built here, or what came out is of no use."""


def build(folder: Path, inside: str = INSIDE) -> Path:
    """The library, from ``folder`` if it was built before. ``inside`` is compiled in. Raises ``NoLibrary``. Blocks."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise NoLibrary(f"there is no C compiler ({', '.join(_COMPILERS)}) to build it with")
    made_from = [SOURCE.read_text(), *_FLAGS, *_LIBRARIES, inside, platform.machine()]
    digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16]
    library = folder / f"shim-{digest}.so"
    if not library.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = library.with_suffix(".tmp")
        _compile(compiler, scratch, inside)
        _check(scratch)
        scratch.chmod(0o755)
        scratch.replace(library)
    return library


def _compile(compiler: str, out: Path, inside: str) -> None:
    command = [compiler, *_FLAGS, f'-DFOLDER="{inside}"', "-o", str(out), str(SOURCE), *_LIBRARIES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLibrary(f"{compiler} could not be run: {error}") from error
    if done.returncode != 0:
        raise NoLibrary(f"{compiler} failed: {' '.join(done.stderr.split())[:300]}")


def _check(library: Path) -> None:
    """It needs no newer C library than images have, and a program runs with it as without."""
    if (needed := newest_glibc(library.read_bytes())) > NEWEST_GLIBC:
        raise NoLibrary("it came to need glibc {}.{}, newer than {}.{}".format(*needed, *NEWEST_GLIBC))
    command = [shutil.which("true") or "/bin/true"]
    try:
        done = subprocess.run(
            command, env={"LD_PRELOAD": str(library)}, capture_output=True, timeout=_TRY_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLibrary(f"no program runs with it: {error}") from error
    if done.returncode != 0 or done.stderr:
        raise NoLibrary(f"no program runs with it: {done.stderr.decode(errors='replace')[:300]}")


def newest_glibc(library: bytes) -> tuple[int, int]:
    """The newest version of glibc that a library asks for."""
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", library)
    return max(((int(major), int(minor)) for major, minor in found), default=(0, 0))
