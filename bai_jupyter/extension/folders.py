"""``/bai/api/folders``: folders and their files for the Lab panel, passed on to the manager.

A file goes through this server in pieces, at most one of each transfer in memory. A page knows an upload by the token
that is good for that one file; it travels in a header, for addresses are written into logs.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from bai_jupyter.client import TRANSFER_BYTES
from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.slots import read_number
from bai_jupyter.extension.folder_contents import names_of
from bai_jupyter.extension.handlers import BaiHandler, bad_value

LARGEST_PAGE = 1000


# Folders


class FoldersHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """As the manager lists them, each with its ``drive_name``; ``null`` if it cannot be used now."""
        folders = await self.client.list_folders()
        names = {folder["id"]: name for name, folder in names_of(folders).items()}
        self.finish({"folders": [{**one, "drive_name": names.get(one["id"])} for one in folders]})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """``{"name", "quota"?}``, a quota such as ``10g``."""
        given = self.fields()
        made = await self.client.create_folder(given.get("name", ""), quota=given.get("quota"))
        self.set_status(201)
        self.finish(made)


class FolderHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def patch(self, folder: str) -> None:
        """``{"name"}``: call it so."""
        await self.client.rename_folder(folder, self.fields().get("name", ""))
        self.done()

    @web.authenticated
    @authorized
    async def delete(self, folder: str) -> None:
        """Into the trash."""
        await self.client.delete_folder(folder)
        self.done()


class RestoreHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, folder: str) -> None:
        await self.client.restore_folder(folder)
        self.done()


class PurgeHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, folder: str) -> None:
        """Out of the trash, for good."""
        await self.client.purge_folder(folder)
        self.done()


# Sharing


class MembersHandler(BaiHandler):
    """Those with whom a folder is shared. Only its owner learns of them."""

    @web.authenticated
    @authorized
    async def get(self, folder: str) -> None:
        """``{"members": [{"id", "email", "permission"}]}``."""
        shares = await self.client.list_shares(folder)
        self.finish({"members": [member_view(share) for share in shares]})

    @web.authenticated
    @authorized
    async def patch(self, folder: str) -> None:
        """``{"member": id, "permission"}``: what that person may from now on; without a permission, nothing."""
        given = self.fields()
        await self.client.change_share(folder, given.get("member", ""), given.get("permission"))
        self.done()


def member_view(share: dict[str, Any]) -> dict[str, Any]:
    person = share["shared_to"]
    return {"id": person["uuid"], "email": person["email"], "permission": share["perm"]}


class InviteHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, folder: str) -> None:
        """``{"person", "permission"}`` → who was invited; nobody if they have the folder or were invited before."""
        given = self.fields()
        invited = await self.client.invite(folder, [given.get("person", "")], given.get("permission", "ro"))
        self.finish({"invited": invited})


class InvitationsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"invitations": await self.client.list_invitations()})


class InvitationHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, invitation: str) -> None:
        """Accept it."""
        await self.client.accept_invitation(invitation)
        self.done()

    @web.authenticated
    @authorized
    async def delete(self, invitation: str) -> None:
        await self.client.decline_invitation(invitation)
        self.done()


# Files


class FilesHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, folder: str) -> None:
        offset = self.number("offset", 0)
        limit = self.number("limit", LARGEST_PAGE, largest=LARGEST_PAGE)
        page = await self.client.list_files(folder, self.get_query_argument("path", ""), offset, limit)
        self.finish({name: page[name] for name in ("items", "total", "offset")})


class DirectoriesHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, folder: str) -> None:
        await self.client.make_directory(folder, self.fields().get("path", ""))
        self.done()


class DownloadHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, folder: str) -> None:
        """The file at ``path``; with ``archive=true`` the directory there, as a zip file."""
        path = self.get_query_argument("path", "")
        if self.get_query_argument("archive", "false") == "true":
            async with self.client.archive(folder, path) as (disposition, pieces):
                await self._pour(path, "application/zip", disposition, pieces)
        else:
            await self.send_file(folder, path)

    async def send_file(self, folder: str, path: str) -> None:
        download = await self.client.begin_download(folder, path)
        disposition = f"attachment; filename*=UTF-8''{quote(PurePosixPath(path).name)}"
        self.set_header("Content-Length", str(download.size))
        await self._pour(path, "application/octet-stream", disposition, self.client.pieces(download))

    async def _pour(self, path: str, kind: str, disposition: str, pieces: AsyncGenerator[bytes, None]) -> None:
        self.set_header("Content-Type", kind)
        self.set_header("Content-Disposition", disposition)
        self.set_header("X-Content-Type-Options", "nosniff")
        try:
            await self.flush()
            async with aclosing(pieces):
                async for piece in pieces:
                    self.write(piece)
                    await self.flush()
        except StreamClosedError:
            return
        except PublicError as error:
            # Too late for an answer: what is broken off is seen by the reader.
            self.log.warning("download of %s: %s", path, error.message)
            self.request.connection.stream.close()  # type: ignore[union-attr]


# Uploads


class UploadsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, folder: str) -> None:
        """``{"path", "size"}`` → ``{"token"}``; an empty file is there at once."""
        given = self.fields()
        token = await self.client.begin_upload(folder, given.get("path", ""), given.get("size", -1))
        self.set_status(201)
        self.finish({"token": token})


class UploadHandler(BaiHandler):
    """The upload of the header ``Upload-Token``: how far it is, more of it, or drop it."""

    @property
    def upload_token(self) -> str:
        return self.request.headers.get("Upload-Token", "")

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"offset": await self.client.uploaded(self.upload_token)})

    @web.authenticated
    @authorized
    async def patch(self) -> None:
        """The body goes to ``Upload-Offset``; → how much of the file has come then."""
        given, piece = self.request.headers.get("Upload-Offset", ""), self.request.body
        offset = read_number(given)
        if offset is None:
            raise bad_value("Upload-Offset", given, "a number")
        if len(piece) > TRANSFER_BYTES:
            raise bad_value("body", f"{len(piece)} bytes", f"a piece of at most {TRANSFER_BYTES} bytes")
        self.finish({"offset": await self.client.send_piece(self.upload_token, offset, piece)})

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        await self.client.drop_upload(self.upload_token)
        self.done()


# In sessions that run


class AttachedHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """``{"folder", "path"?, "read_only"?}``: one more folder. What the session has then."""
        given = self.fields()
        read_only = given.get("read_only", False) is True
        view = await self.client.attach_folder(session, given.get("folder", ""), given.get("path"), read_only=read_only)
        self.finish({"mounts": view["mounts"]})


class AttachedFolderHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def delete(self, session: str, folder: str) -> None:
        """Take it away; with ``force=true`` also if it is in use."""
        force = self.get_query_argument("force", "false") == "true"
        view = await self.client.detach_folder(session, folder, force=force)
        self.finish({"mounts": view["mounts"]})


_ONE = r"/bai/api/folders/([^/]+)"

HANDLERS = [
    (r"/bai/api/folders", FoldersHandler),
    (_ONE, FolderHandler),
    (_ONE + r"/restore", RestoreHandler),
    (_ONE + r"/purge", PurgeHandler),
    (_ONE + r"/members", MembersHandler),
    (_ONE + r"/invite", InviteHandler),
    (_ONE + r"/files", FilesHandler),
    (_ONE + r"/directories", DirectoriesHandler),
    (_ONE + r"/download", DownloadHandler),
    (_ONE + r"/uploads", UploadsHandler),
    (r"/bai/api/uploads", UploadHandler),
    (r"/bai/api/sessions/([\w.-]+)/folders", AttachedHandler),
    (r"/bai/api/sessions/([\w.-]+)/folders/([^/]+)", AttachedFolderHandler),
    (r"/bai/api/invitations", InvitationsHandler),
    (r"/bai/api/invitations/([\w-]+)", InvitationHandler),
]
