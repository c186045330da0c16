"""What notebooks ask for: their ``bai`` metadata, read and written through the server's contents manager.

A notebook may come from anywhere, and what it asks for costs money and opens folders. So it is heard only if Jupyter's
notary says that the file is as its user saved it here.
"""

import asyncio
import posixpath
from copy import deepcopy
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from jupyter_core.utils import ensure_async
from tornado import web

from bai_jupyter.choice import METADATA_KEY
from bai_jupyter.common.errors import PublicError
from bai_jupyter.extension.folder_contents import FolderContents, path_in_drive


@dataclass(frozen=True)
class Wishes:
    """``choice`` is as the notebook has it, nobody has checked it; empty if it asks for nothing."""

    choice: Any
    is_trusted: bool
    kernelspec: str | None = None
    """Which it names."""


NO_WISHES = Wishes({}, is_trusted=True)


def contents_of(path: str, own: Any, folders: FolderContents | None) -> tuple[Any, str]:
    """Where the notebook at ``path`` lies, in the server's ``own`` files or in ``folders``, and its path there."""
    inside = path_in_drive(path)
    return (own, path) if inside is None or folders is None else (folders, inside)


async def wishes_of(contents: Any, path: str) -> Wishes:
    """What the notebook at ``path`` asks for. Nothing if no notebook can be read there."""
    try:
        return wishes_in(contents, await read(contents, path))
    except (web.HTTPError, PublicError):
        return NO_WISHES


def wishes_in(contents: Any, model: dict[str, Any]) -> Wishes:
    """What a notebook that ``read`` gave asks for."""
    notebook = model["content"]
    named = (notebook["metadata"].get("kernelspec") or {}).get("name")
    choice = notebook["metadata"].get(METADATA_KEY) or {}
    return Wishes(choice, not choice or _is_signed(contents, notebook), named)


async def read(contents: Any, path: str) -> dict[str, Any]:
    """The contents model of a notebook. Raises ``web.HTTPError`` or ``PublicError``, as the contents do."""
    model: dict[str, Any] = await ensure_async(contents.get(path, type="notebook", content=True))
    return model


async def save_new(contents: Any, naming: asyncio.Lock, model: dict[str, Any], path: PurePosixPath) -> str:
    """Save a file at ``path``, or at one like it that nothing has yet. Returns where.

    ``naming`` is the server's: a name that is free is taken before the next one asks.
    """
    async with naming:
        free = await free_path(contents, path)
        await ensure_async(contents.save(model, free))
    return free


async def free_path(contents: Any, path: PurePosixPath) -> str:
    """``path``, or one like it that nothing has yet."""
    name = await ensure_async(contents.increment_filename(path.name, posixpath.dirname(str(path)), insert="-"))
    return str(path.with_name(name))


async def write(
    contents: Any, model: dict[str, Any], choice: dict[str, Any] | None, kernelspec: dict[str, str]
) -> bool:
    """Put a choice, or none, and the kernelspec into a notebook that ``read`` gave. True if it is trusted then.

    Its cells still carry the trust they were read with, so the contents manager signs it again if it was signed.
    """
    metadata = model["content"]["metadata"]
    metadata.pop(METADATA_KEY, None)
    if choice:
        metadata[METADATA_KEY] = choice
    if kernelspec:
        metadata["kernelspec"] = kernelspec
    path = model["path"]
    await ensure_async(contents.save({"type": "notebook", "format": "json", "content": model["content"]}, path))
    return _is_signed(contents, (await read(contents, path))["content"])


def _is_signed(contents: Any, notebook: Any) -> bool:
    """Whether the notary knows this very content. The marks that reading has put on cells are no part of it."""
    plain = deepcopy(notebook)
    contents.notary.check_cells(plain)  # takes the marks off, as it does before signing
    return bool(contents.notary.check_signature(plain))
