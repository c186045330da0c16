"""``/bai/api/notebooks/PATH/runs``: a notebook run from start to end in a batch session, which needs no Jupyter server.

A copy without outputs is put beside the notebook, and the session runs that copy in place: it is the result.
"""

import json
import keyword
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from nbformat.v4 import new_code_cell
from tornado import web

from bai_jupyter.choice import METADATA_KEY, request_of
from bai_jupyter.client import SessionRequest
from bai_jupyter.common.errors import BadRequest, Forbidden, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension import notebooks
from bai_jupyter.extension.choices import read_with_image
from bai_jupyter.extension.folder_contents import FolderContents, in_drive
from bai_jupyter.extension.handlers import BaiHandler, bad_value
from bai_jupyter.notebook import HOME_ROOT, place_in_home, session_name

_PROGRAM = Path(__file__).with_name("run_inside.py")
_END_OF_PROGRAM = "END_OF_PROGRAM"
PARAMETERS = "parameters"
"""The tag of the cell that says what there is to be set, as papermill has it."""
INJECTED = "injected-parameters"
_IPYKERNEL = {"ipykernel", "ipykernel_launcher"}  # how kernelspecs start it


class RunsHandler(BaiHandler):
    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def post(self, path: str) -> None:
        """``{"choice", "parameters"?, "starts_at"?}`` → 201 ``{"session": id, "name", "result": path}``.

        The choice has an image. ``parameters`` are set in a cell of their own; ``starts_at`` is as for a session.
        Refused, nothing is left: the session is there before the copy, for which it waits.
        """
        asked = Asked.read(self.get_json_body())
        contents, inside = notebooks.contents_of(path, self.contents_manager, self.extension.folder_contents)
        model = await notebooks.read(contents, inside)
        python = python_of(asked.choice["image"], await self.client.list_images())
        copy = {"type": "notebook", "format": "json", "content": copy_to_run(model["content"], asked.parameters)}
        place = await self._place_of(contents, model["path"])
        request = request_for(asked, session_name(uuid4().hex, model["path"]), place)
        wanted = result_path(model["path"], datetime.now().astimezone())
        kernelspec = asked.choice.get("kernelspec", "python3")
        async with self.extension.naming:
            result = await notebooks.free_path(contents, wanted)
            at = str(PurePosixPath(place.folder, place.path).with_name(PurePosixPath(result).name))
            request = replace(request, command=command_of(python, at, kernelspec))
            verdict = await self.client.dry_run(request)
            if verdict["verdict"] == "refused":
                raise BadRequest(Reason.from_json(verdict["reason"]))
            made = await self.client.create_session(request)
            try:
                await ensure_async(contents.save(copy, result))
            except BaseException:
                with suppress(PublicError):  # it ends by itself, without its notebook
                    await self.client.destroy_session(made["sessionId"], forced=True)
                raise
        self.set_status(201)
        where = result if contents is self.contents_manager else in_drive(result)
        self.finish({"session": made["sessionId"], "name": request.name, "result": where})

    async def _place_of(self, contents: Any, path: str) -> "NotebookPlace":
        """Where a session has the notebook. Raises ``PublicError`` if none can have it, or not write beside it."""
        if isinstance(contents, FolderContents):
            found = await contents.place_of(path)
            if found is None:
                raise BadRequest(Reason.of("folders-only"))
            if not found.is_writable:
                owner = found.folder["user_email"] or found.folder["group_name"]
                raise Forbidden(Reason.of("folder-ro", folder=found.folder["name"], owner=owner))
            return NotebookPlace(found.folder["name"], found.path, found.id)
        root = getattr(contents, "root_dir", None)
        place = place_in_home(str(PurePosixPath(root) / path) if root else None, os.environ.get(HOME_ROOT))
        if place is None:
            raise BadRequest(Reason.of("run-outside-home", path=path))
        return NotebookPlace(place.folder, place.path, None)


@dataclass(frozen=True)
class NotebookPlace:
    """Where a notebook lies in a session: below the directory that its command starts in."""

    folder: str
    path: str
    mount: str | None
    """The folder's id; ``None`` for the home folder of whoever runs it, which every session has."""


@dataclass(frozen=True)
class Asked:
    choice: dict[str, Any]
    parameters: dict[str, Any]
    starts_at: str | None

    @classmethod
    def read(cls, raw: Any) -> "Asked":
        """Raises ``BadRequest``."""
        body = raw if isinstance(raw, dict) else {}
        choice = read_with_image(body.get("choice") or {}, "choice")
        if "session" in choice:
            raise bad_value("choice.session", choice["session"], "nothing: a run has a session of its own")
        starts_at = body.get("starts_at") or None
        if not isinstance(starts_at, str | None):
            raise bad_value("starts_at", starts_at, "a time, such as 2026-11-30T18:00:00Z")
        return cls(choice, _read_parameters(body.get("parameters") or {}), starts_at)


def _read_parameters(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise bad_value("parameters", raw, "an object of names and values")
    for name, value in raw.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise bad_value("parameters", name, "a name as Python has it")
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise bad_value(f"parameters.{name}", value, "a finite number, a text, or lists of such") from None
    return raw


def request_for(asked: Asked, name: str, place: NotebookPlace) -> SessionRequest:
    """The session, without its command. Raises ``BadRequest`` if it could not write beside the notebook."""
    request = replace(request_of(asked.choice, name), starts_at=asked.starts_at)
    if place.mount is None:
        return request
    if not {place.mount, place.folder}.isdisjoint(request.read_only):
        expected = "the notebook's own folder to read and write: the result is put there"
        raise bad_value("choice.mounts", f"{place.folder}:ro", expected)
    return replace(request, mounts=(*request.mounts, place.mount))


def result_path(path: str, now: datetime) -> PurePosixPath:
    """``a/train.ipynb`` → ``a/train-result-20261130-1405.ipynb``."""
    place = PurePosixPath(path)
    return place.with_name(f"{place.stem}-result-{now:%Y%m%d-%H%M}{place.suffix}")


def copy_to_run(content: dict[str, Any], parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Without outputs, and asking for nothing: whoever opens the result has not chosen what the run was to have."""
    copy = deepcopy(content)
    copy["metadata"].pop(METADATA_KEY, None)
    for cell in copy["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    if parameters:
        _set(copy, parameters)
    return copy


def _set(notebook: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    """In a cell behind the one with the tag ``parameters``, else before all; one of an earlier run is replaced."""
    language = (notebook["metadata"].get("kernelspec") or {}).get("language", "python")
    if language != "python":
        raise bad_value("parameters", ", ".join(parameters), f"none: they are set in Python, this is {language}")
    cells = [cell for cell in notebook["cells"] if INJECTED not in _tags(cell)]
    tagged = [place for place, cell in enumerate(cells) if PARAMETERS in _tags(cell)]
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    cell = new_code_cell("\n".join(["# Parameters of this run", *lines]), metadata={"tags": [INJECTED]})
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        del cell["id"]
    cells.insert(tagged[0] + 1 if tagged else 0, cell)
    notebook["cells"] = cells


def _tags(cell: Mapping[str, Any]) -> Any:
    return cell["metadata"].get("tags") or ()


def python_of(image: str, images: Sequence[dict[str, Any]]) -> str:
    """The Python inside the image that has ipykernel, and so what the run needs.

    Raises ``BadRequest`` if there is none, or no such image.
    """
    found = [one for one in images if one["name"] == image]
    if not found:
        names = ", ".join(one["name"] for one in images) or "none"
        raise BadRequest(Reason.of("image-unknown", image=image, names=names))
    for spec in found[0]["kernelspecs"]:
        if not _IPYKERNEL.isdisjoint(spec.get("argv", ())):
            return str(spec["argv"][0])
    raise BadRequest(Reason.of("run-without-python", image=image))


def command_of(python: str, notebook: str, kernelspec: str) -> str:
    """The batch session's command, for its shell. The program comes along: nothing of it is left in folders."""
    arguments = shlex.join([python, "-", notebook, kernelspec])
    return f"exec {arguments} <<'{_END_OF_PROGRAM}'\n{_PROGRAM.read_text()}{_END_OF_PROGRAM}\n"


HANDLERS = [(r"/bai/api/notebooks/(.+)/runs", RunsHandler)]
