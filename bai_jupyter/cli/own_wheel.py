"""Our own package as a wheel, made of what is installed here: for images whose programs need it.

Without the agent, which runs outside of containers, and without the recipes of images.
"""

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from bai_jupyter.common.errors import BaiError

_NAME = "bai_jupyter"
_SHARED = ("etc", "share")  # where Jupyter finds the server extension and the panel
_LEFT_OUT = {"__pycache__", "images"}
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: bai_jupyter\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class NotWhole(BaiError):
    """What was installed is not there any more: in a checkout, whose panel was built anew since."""


def write(folder: Path) -> Path:
    """Write it into ``folder``. What is the same here gives the same bytes, so that a builder need not begin again.

    Raises ``NotWhole``.
    """
    version = distribution(_NAME).version
    info = f"{_NAME}-{version}.dist-info"
    path = folder / f"{_NAME}-{version}-py3-none-any.whl"
    content = dict(sorted({**_metadata(info), **dict(_package()), **dict(_shared(f"{_NAME}-{version}.data"))}.items()))
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in content.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**content, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return path


def _metadata(info: str) -> dict[str, bytes]:
    kept = {name: distribution(_NAME).read_text(name) or "" for name in ("METADATA", "entry_points.txt")}
    return {f"{info}/{name}": text.encode() for name, text in {**kept, "WHEEL": _WHEEL}.items()}


def _package() -> Iterator[tuple[str, bytes]]:
    root = Path(str(files(_NAME)))
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.is_file() and not _LEFT_OUT & set(inside.parts):
            yield f"{_NAME}/{inside.as_posix()}", path.read_bytes()


def _shared(data: str) -> Iterator[tuple[str, bytes]]:
    for one in distribution(_NAME).files or ():
        parts = [part for part in one.parts if part != ".."]
        if parts[0] in _SHARED:
            try:
                yield f"{data}/data/{'/'.join(parts)}", one.read_binary()
            except FileNotFoundError as error:
                raise NotWhole(f"{parts[-1]} of bai_jupyter is gone. Install bai_jupyter again.") from error


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
