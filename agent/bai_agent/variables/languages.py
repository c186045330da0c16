"""The languages whose kernels can save their variables: which program does it, and how it is called in a kernel.

A program is carried into the session and has two functions, ``save`` and ``wake``, which say in a file how it went. A
kernel is asked to save like anybody asks it something; what wakes one is a file that its interpreter reads when it
starts.
"""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SAVE_TO, WAKE_FROM = "BAI_SAVE_TO", "BAI_WAKE_FROM"


@dataclass(frozen=True)
class Language:
    """``name`` is a kernelspec's, ``startup`` the environment variable that names a file to be read at the start.

    ``calling`` makes code, of the program's path and a call of it, that leaves no name behind.
    """

    name: str
    file: str
    program: Callable[[], bytes]
    calling: Callable[[str, str], str]
    startup: str

    def save(self, path: str, report: str, ask: str, seconds: float) -> str:
        """Code that saves to the folder ``SAVE_TO``, in ``seconds``, by the program at ``path``."""
        return self.calling(path, f"save({json.dumps(report)}, {json.dumps(ask)}, {seconds!r})")

    def wake(self, path: str, report: str) -> str:
        """A file to be read at the start, which restores what is in the folder ``WAKE_FROM``."""
        return self.calling(path, f"wake({json.dumps(report)})") + "\n"  # R ignores a last line that does not end


@cache
def _python_program() -> bytes:
    """The package ``bai_variables`` as a zip, which Python imports as it is."""
    found = find_spec("cloudpickle")
    assert found is not None
    assert found.origin is not None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: an image's Python may lack zlib
        archive.writestr("bai_variables/__init__.py", Path(__file__).with_name("inside.py").read_bytes())
        archive.writestr("bai_variables/cloudpickle.py", Path(found.origin).with_name("cloudpickle.py").read_bytes())
    return buffer.getvalue()


def _python_calling(path: str, call: str) -> str:
    bring = f"(path.insert(0, {path!r}), __import__('bai_variables'), path.remove({path!r}))[1]"
    return f"(lambda path: {bring})(__import__('sys').path).{call}"


def _r_program() -> bytes:
    return Path(__file__).with_name("inside.R").read_bytes()


def _r_calling(path: str, call: str) -> str:
    source = f"base::sys.source({json.dumps(path)}, base::environment())"
    return f"base::local({{{source}; {call}}}, base::new.env(parent = base::baseenv()))"


LANGUAGES = {
    one.name: one
    for one in (
        Language("python", "variables.zip", _python_program, _python_calling, "PYTHONSTARTUP"),
        Language("R", "variables.R", _r_program, _r_calling, "R_PROFILE_USER"),
    )
}
