"""Folders as Jupyter's contents: what ``/bai/api/contents`` serves, for Lab's own file browser and editors.

A path begins with a folder's name; above the folders there is nothing to write. Which notebooks are trusted is known to
the notary of the server's own contents: it goes by what is in them, not by where they lie. What is read is in memory as
a whole, so its size has a limit; what is written is there at once, as any upload is.
"""

import asyncio
import mimetypes
import posixpath
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

import nbformat
from jupyter_server.services.contents.checkpoints import AsyncCheckpoints
from jupyter_server.services.contents.manager import AsyncContentsManager

from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size
from bai_jupyter.extension.handlers import bad_value

Json = dict[str, Any]

DRIVE = "bai"
"""What Lab calls the drive: the notebook ``bai:data/a.ipynb`` lies in the folder ``data``."""

LARGEST_FILE_BYTES = 100 * 1024**2
LARGEST_LISTING = 500
"""So many entries of a directory are listed at once: Lab draws them all. ``total`` says how many there are."""

_MOST_ARRIVING = 8


@dataclass(frozen=True)
class Place:
    folder: Json
    path: str
    """Inside the folder; empty for the folder itself."""

    @property
    def directory(self) -> dict[str, str]:
        """Where a kernel starts whose notebook this is, as the start keyword ``bai_cwd`` of our provisioner."""
        return {"mount": self.id, "folder": self.folder["name"], "path": posixpath.dirname(self.path)}

    @property
    def id(self) -> str:
        return str(self.folder["id"])

    @property
    def is_writable(self) -> bool:
        return bool(self.folder["permission"] != "ro")


def path_in_drive(path: str) -> str | None:
    """``data/a.ipynb`` of ``bai:data/a.ipynb``; ``None`` for what lies in the server's own files."""
    prefix = f"{DRIVE}:"
    return path.removeprefix(prefix).strip("/") if path.startswith(prefix) else None


def in_drive(path: str) -> str:
    """The other way round."""
    return f"{DRIVE}:{path}"


def names_of(folders: list[Json]) -> dict[str, Json]:
    """The folders that can be used, by their names in the drive.

    Of several that are called the same, the first has the name alone: the manager lists first what it means by that
    name. The others are told apart by whose they are.
    """
    named: dict[str, Json] = {}
    for folder in folders:
        if folder["status"] == "ready":
            name = folder["name"]
            owner = folder["user_email"] or folder["group_name"]
            named.setdefault(f"{name} ({owner})" if name in named else name, folder)
    return named


class NoCheckpoints(AsyncCheckpoints):
    """None are kept; editors make one each time they save, and are told that it was done."""

    async def create_checkpoint(self, contents_mgr: Any, path: str) -> Json:  # noqa: ARG002
        return {"id": "none", "last_modified": datetime.now(UTC)}

    async def list_checkpoints(self, path: str) -> list[Json]:  # noqa: ARG002
        return []

    async def restore_checkpoint(self, contents_mgr: Any, checkpoint_id: str, path: str) -> None:  # noqa: ARG002
        raise NotFound(Reason.of("not-found", kind="checkpoint", name=checkpoint_id))

    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:  # noqa: ARG002
        raise NotFound(Reason.of("not-found", kind="checkpoint", name=checkpoint_id))

    async def rename_all_checkpoints(self, old_path: str, new_path: str) -> None: ...

    async def delete_all_checkpoints(self, path: str) -> None: ...


class Arriving:
    """Files that come in numbered pieces, of which only the last is known as such (-1).

    Until that has come they are unnamed files here, for an upload has to say its size first.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[IO[bytes], int]] = {}

    def add(self, path: str, number: int, piece: bytes) -> IO[bytes] | None:
        """The whole file, for the caller to close, once it is there. Raises ``BadRequest`` if a piece is missing."""
        if number == 1:
            self.drop(path)
            while len(self._files) >= _MOST_ARRIVING:
                self.drop(next(iter(self._files)))
            self._files[path] = (TemporaryFile(), 1)  # noqa: SIM115  closed when it is whole, or dropped
        file, following = self._files.get(path, (None, 0))
        if file is None or number not in (following, -1):
            raise BadRequest(Reason.of("file-changed", path=path))
        file.write(piece)
        if number == -1:
            del self._files[path]
            return file
        self._files[path] = (file, number + 1)
        return None

    def drop(self, path: str) -> None:
        if path in self._files:
            self._files.pop(path)[0].close()

    def close(self) -> None:
        for path in list(self._files):
            self.drop(path)


class FolderContents(AsyncContentsManager):
    """Raises ``PublicError`` with the manager's sentences; who may do what, the manager knows."""

    def __init__(self, client: ManagerClient, **kwargs: Any) -> None:
        super().__init__(checkpoints_class=NoCheckpoints, **kwargs)
        self._client = client
        self._arriving = Arriving()

    def close(self) -> None:
        self._arriving.close()

    def emit(self, data: Any) -> None:
        """Nothing: who listens takes every path for one in the server's own files."""

    async def place_of(self, path: str) -> Place | None:
        """``None`` above the folders. Raises ``NotFound`` as the manager does for a folder that one cannot see."""
        name, _, inside = path.strip("/").partition("/")
        if not name:
            return None
        folder = names_of(await self._client.list_folders()).get(name)
        return Place(folder or await self._client.get_folder(name), inside)

    # What is there

    async def dir_exists(self, path: str) -> bool:
        return await self._type_of(path) == "DIRECTORY"

    async def file_exists(self, path: str) -> bool:
        return await self._type_of(path) not in (None, "DIRECTORY")

    async def _type_of(self, path: str) -> str | None:
        try:
            place = await self.place_of(path)
            return (await self._client.get_file(place.id, place.path))["type"] if place else "DIRECTORY"
        except NotFound:
            return None

    async def is_hidden(self, path: str) -> bool:  # noqa: ARG002
        """Nothing is: folders that begin with a dot are for settings, which their owners edit."""
        return False

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,  # noqa: A002
        format: str | None = None,  # noqa: A002
        require_hash: bool = False,
    ) -> Json:
        """The ``hash`` says which version a file is, as times and sizes tell; editors look at it before they save."""
        place = await self.place_of(path)
        if place is None:
            return await self._list_folders(content=content)
        facts = await self._client.get_file(place.id, place.path)
        model = _model(path.strip("/"), facts, place)
        if (model["type"] == "directory") != (type == "directory" if type else model["type"] == "directory"):
            found = "a folder" if model["type"] == "directory" else "not a folder"
            raise BadRequest(Reason.of("file-kind", path=path, found=found))
        model["type"] = type or model["type"]
        if require_hash:
            model |= {"hash": f"{facts['modified']}-{facts['size']}", "hash_algorithm": "modified-size"}
        if content and model["type"] == "directory":
            await self._list_files(model, place)
        elif content:
            raw = await self._read(place)
            await (self._fill_notebook(model, raw) if model["type"] == "notebook" else _fill_file(model, raw, format))
        return model

    async def _list_folders(self, *, content: bool) -> Json:
        root = _directory("", datetime.now(UTC), is_writable=False)
        if content:
            named = names_of(await self._client.list_folders())
            root["content"] = [
                _directory(name, _moment(folder["created_at"]), is_writable=folder["permission"] != "ro")
                for name, folder in named.items()
            ]
            root["format"] = "json"
        return root

    async def get_page(self, path: str, offset: int, match: str) -> Json:
        """A directory with its entries from ``offset`` on, by name, of those that have ``match`` in it."""
        place = await self.place_of(path)
        if place is None:
            raise BadRequest(Reason.of("folders-only"))
        model = _model(path.strip("/"), await self._client.get_file(place.id, place.path), place)
        await self._list_files(model, place, offset, match)
        return model

    async def _list_files(self, model: Json, place: Place, offset: int = 0, match: str = "") -> None:
        page = await self._client.list_files(place.id, place.path, offset, LARGEST_LISTING, match)
        model["content"] = [_model(f"{model['path']}/{one['name']}", one, place) for one in page["items"]]
        model |= {"format": "json", "total": page["total"], "offset": offset, "limit": LARGEST_LISTING}

    async def _read(self, place: Place) -> bytes:
        download = await self._client.begin_download(place.id, place.path)
        if download.size > LARGEST_FILE_BYTES:
            sizes = {"size": format_size(download.size), "limit": format_size(LARGEST_FILE_BYTES)}
            raise BadRequest(Reason.of("file-large", path=place.path, **sizes))
        return b"".join([piece async for piece in self._client.pieces(download)])

    async def _fill_notebook(self, model: Json, raw: bytes) -> None:
        faults: Json = {}

        def parse() -> Any:
            return nbformat.reads(raw.decode(), as_version=4, capture_validation_error=faults)

        try:
            notebook = await asyncio.to_thread(parse)
        except Exception as error:  # nbformat raises what it likes
            cause = str(error).partition("\n")[0].rstrip(".")
            raise BadRequest(Reason.of("file-broken", path=model["path"], kind="notebook", cause=cause)) from error
        self.mark_trusted_cells(notebook, model["path"])
        model["content"], model["format"] = notebook, "json"
        self.validate_notebook_model(model, faults)

    # What is changed

    async def save(self, model: Json, path: str) -> Json:
        """Also a piece of a file (``chunk``), as the file browser uploads what is large."""
        place = await self._place_to_change(path)
        self.run_pre_save_hooks(model=model, path=path)
        if model.get("type") == "directory":
            await self._client.make_directory(place.id, place.path)
            return await self.get(path, content=False)
        raw = await self._bytes_of(model, path)
        if (number := model.get("chunk")) is None:
            await self._client.upload(place.id, place.path, BytesIO(raw), len(raw))
        elif whole := self._arriving.add(path, number, raw):
            with whole:
                await self._client.upload(place.id, place.path, whole, whole.tell())
        else:
            now = datetime.now(UTC).timestamp()
            return _model(path, {"type": "FILE", "created": now, "modified": now, "size": None}, place)
        saved = await self.get(path, content=False)
        if "message" in model:
            saved["message"] = model["message"]
        return saved

    async def _bytes_of(self, model: Json, path: str) -> bytes:
        content = model.get("content")
        if model.get("type") == "notebook":
            if not isinstance(content, dict) or "nbformat" not in content:
                raise bad_value("content", str(content)[:40], "a notebook")
            model["content"] = notebook = nbformat.from_dict(content)
            self.check_and_sign(notebook, path)
            self.validate_notebook_model(model)
            return (await asyncio.to_thread(nbformat.writes, notebook, nbformat.NO_CONVERT)).encode()
        if not isinstance(content, str):
            raise bad_value("content", None, "a text or base64")
        if model.get("format") != "base64":
            return content.encode()
        try:
            return await asyncio.to_thread(b64decode, content, validate=True)
        except ValueError as error:
            raise bad_value("content", content[:40], "base64") from error

    async def delete_file(self, path: str) -> None:
        place = await self._place_to_change(path)
        await self._client.delete_file(place.id, place.path)

    async def rename_file(self, old_path: str, new_path: str) -> None:
        old, new = await self._place_to_change(old_path), await self._place_to_change(new_path)
        if old.id != new.id:
            raise BadRequest(Reason.of("folder-other", path=new_path))
        if posixpath.dirname(old.path) == posixpath.dirname(new.path):
            await self._client.rename_file(old.id, old.path, posixpath.basename(new.path))
        elif await self.exists(new_path):
            raise BadRequest(Reason.of("file-exists", path=new_path))
        else:
            await self._client.move_file(old.id, old.path, new.path)

    async def _place_to_change(self, path: str) -> Place:
        place = await self.place_of(path) if "/" in path.strip("/") else None
        if place is None:
            raise BadRequest(Reason.of("folders-only"))
        return place


def _moment(raw: str) -> datetime:
    return datetime.fromisoformat(raw)


def _directory(path: str, modified: datetime, *, is_writable: bool) -> Json:
    """A model of Jupyter's, without its content."""
    return {
        "name": PurePosixPath(path).name,
        "path": path,
        "type": "directory",
        "writable": is_writable,
        "created": modified,
        "last_modified": modified,
        "size": None,
        "mimetype": None,
        "content": None,
        "format": None,
    }


def _model(path: str, facts: Json, place: Place) -> Json:
    """A model of Jupyter's for what the manager knows of an entry, without its content."""
    modified = datetime.fromtimestamp(facts["modified"], UTC)
    model = _directory(path, modified, is_writable=place.is_writable)
    if facts["type"] != "DIRECTORY":
        kind = "notebook" if path.endswith(".ipynb") else "file"
        mimetype = None if kind == "notebook" else mimetypes.guess_type(path)[0]
        created = datetime.fromtimestamp(facts["created"], UTC)
        model |= {"type": kind, "size": facts["size"], "mimetype": mimetype, "created": created}
    return model


async def _fill_file(model: Json, raw: bytes, wanted: str | None) -> None:
    """As text if it is that, and unless base64 is wanted."""
    if wanted != "base64":
        try:
            model["content"], model["format"] = raw.decode(), "text"
            model["mimetype"] = model["mimetype"] or "text/plain"
            return
        except UnicodeDecodeError as error:
            if wanted == "text":
                broken = {"path": model["path"], "kind": "text", "cause": "it is not UTF-8"}
                raise BadRequest(Reason.of("file-broken", **broken)) from error
    encoded = await asyncio.to_thread(b64encode, raw)
    model["content"], model["format"] = encoded.decode(), "base64"
    model["mimetype"] = model["mimetype"] or "application/octet-stream"
