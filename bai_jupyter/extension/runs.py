"""``/bai/api/notebooks/PATH/runs``: a notebook run from start to end in a batch session, which needs no Jupyter server.

A copy without outputs is put beside the notebook, and the session runs that copy in place: it is the result.
"""

import os
import shlex
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.choice import METADATA_KEY, request_of
from bai_jupyter.common.errors import BadRequest, PublicError, Unavailable
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension import notebooks
from bai_jupyter.extension.choices import read_with_image
from bai_jupyter.extension.folder_contents import path_in_drive
from bai_jupyter.extension.handlers import BaiHandler, bad_value
from bai_jupyter.notebook import HOME_ROOT, place_in_home, session_name

_PROGRAM = Path(__file__).with_name("run_inside.py")
_END_OF_PROGRAM = "END_OF_PROGRAM"
_IPYKERNEL = {"ipykernel", "ipykernel_launcher"}  # how kernelspecs start it


class RunsHandler(BaiHandler):
    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def post(self, path: str) -> None:
        """A choice with an image → 201 ``{"session": id, "name", "result": path}``. Refused, nothing is left."""
        if path_in_drive(path) is not None:
            raise BadRequest(Reason.of("run-outside-home", path=path))
        model = await notebooks.read(self.contents_manager, path)
        choice = read_with_image(self.get_json_body(), "choice")
        if "session" in choice:
            raise bad_value("choice.session", choice["session"], "nothing: a run has a session of its own")
        python = python_of(choice["image"], await self.client.list_images())
        kernelspec = choice.get("kernelspec", "python3")
        wanted = result_path(model["path"], datetime.now().astimezone())
        command = command_of(python, self._inside(str(wanted)), kernelspec)
        request = replace(request_of(choice, session_name(uuid4().hex, model["path"])), command=command)
        verdict = await self.client.dry_run(request)
        if verdict["verdict"] == "refused":
            raise BadRequest(Reason.from_json(verdict["reason"]))
        copy = {"type": "notebook", "format": "json", "content": copy_to_run(model["content"])}
        result = await notebooks.save_new(self.contents_manager, self.extension.naming, copy, wanted)
        request = replace(request, command=command_of(python, self._inside(result), kernelspec))
        try:
            made = await self.client.create_session(request)
        except PublicError as error:
            if not isinstance(error, Unavailable):  # else there may be a session, which needs it
                await ensure_async(self.contents_manager.delete_file(str(result)))
            raise
        self.set_status(201)
        self.finish({"session": made["sessionId"], "name": request.name, "result": result})

    def _inside(self, path: str) -> str:
        """Where a session has the file, from the folder that its command starts in."""
        root = getattr(self.contents_manager, "root_dir", None)
        place = place_in_home(str(PurePosixPath(root) / path) if root else None, os.environ.get(HOME_ROOT))
        if place is None:
            raise BadRequest(Reason.of("run-outside-home", path=path))
        return str(PurePosixPath(place.folder) / place.path)


def result_path(path: str, now: datetime) -> PurePosixPath:
    """``a/train.ipynb`` → ``a/train-result-20261130-1405.ipynb``."""
    place = PurePosixPath(path)
    return place.with_name(f"{place.stem}-result-{now:%Y%m%d-%H%M}{place.suffix}")


def copy_to_run(content: dict[str, Any]) -> dict[str, Any]:
    """Without outputs, and asking for nothing: whoever opens the result has not chosen what the run was to have."""
    copy = deepcopy(content)
    copy["metadata"].pop(METADATA_KEY, None)
    for cell in copy["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return copy


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
