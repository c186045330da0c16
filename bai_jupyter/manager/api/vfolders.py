"""``/folders``: folders, the files in them, and sharing, as Backend.AI's clients of all ages call them."""

import asyncio
import json
from typing import Any, TypedDict

from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.vfolders import requests
from bai_jupyter.manager.vfolders.views import (
    FolderDetails,
    FolderView,
    InvitationView,
    ShareView,
    folder_details,
    folder_view,
    hex_id,
    invitation_view,
    quota_kind,
    quota_scope_kind,
    share_view,
)

HOSTS = {"default": str | None, "allowed": [str], "volume_info": dict[str, dict[str, Any]]}


class ClonedView(FolderView):
    bgtask_id: None


class QuotaView(TypedDict):
    id: str
    size_bytes: int | None
    quota_kind: str | None
    quota_scope_max_size: int | None
    quota_scope_kind: str | None
    used_bytes: int | None


class FileView(TypedDict):
    name: str
    type: str
    size: int
    mode: str
    created: float
    modified: float


class FilesView(TypedDict):
    items: list[FileView]
    files: str
    total: int
    offset: int


# Folders


class FoldersHandler(ApiHandler):
    @takes(all=bool, group_id=str, owner_user_email=str)
    @gives([FolderView])
    @needs("folder:read")
    async def get(self) -> Answer:
        folders, everybody = self.services.folders, requests.flag(self.params, "all")
        found = await (folders.list(self.caller, everybody=True) if everybody else folders.counted(self.caller))
        group, owner = self.params.get("group_id"), self.params.get("owner_user_email")
        wanted = [one for one in found if group in (None, one.project_id) and owner in (None, one.user_name)]
        return 200, [folder_view(one, self.caller) for one in wanted]

    @takes(name=str, host=str, group=str, usage_mode=str, permission=str, quota=str, cloneable=bool)
    @gives(FolderView)
    @needs("folder:create")
    async def post(self) -> Answer:
        return 201, folder_view(await self.services.folders.create(self.caller, self.params), self.caller)

    @takes(id=str)
    @gives(None)
    @needs("folder:change")
    async def delete(self) -> Answer:
        await self.services.folders.trash(self.caller, _named(self.params))
        return 204, None


class FolderHandler(ApiHandler):
    @gives(FolderDetails)
    @needs("folder:read")
    async def get(self, ref: str) -> Answer:
        return 200, folder_details(await self.services.folders.measured(self.caller, ref), self.caller)

    @gives(None)
    @needs("folder:change")
    async def delete(self, ref: str) -> Answer:
        await self.services.folders.trash(self.caller, ref)
        return 204, None


class RenameHandler(ApiHandler):
    @takes(new_name=str)
    @gives(None)
    @needs("folder:change")
    async def post(self, ref: str) -> Answer:
        await self.services.folders.rename(self.caller, ref, self.params)
        return 201, None


class OptionsHandler(ApiHandler):
    @takes(cloneable=bool, permission=str)
    @gives(None)
    @needs("folder:change")
    async def post(self, ref: str) -> Answer:
        await self.services.folders.set_options(self.caller, ref, self.params)
        return 201, None


class RestoreHandler(ApiHandler):
    """By path, or with the id in the body."""

    @takes(id=str)
    @gives(None)
    @needs("folder:change")
    async def post(self, ref: str | None = None) -> Answer:
        await self.services.folders.restore(self.caller, ref or _named(self.params))
        return 204, None


class PurgeHandler(ApiHandler):
    """By path, or with the id in the body."""

    @takes(id=str)
    @gives(None)
    @needs("folder:change")
    async def post(self, ref: str | None = None) -> Answer:
        await self.services.folders.purge(self.caller, ref or _named(self.params))
        return 204, None


class CloneHandler(ApiHandler):
    @takes(target_name=str, target_host=str, usage_mode=str, permission=str, cloneable=bool)
    @gives(ClonedView)
    @needs("folder:create")
    async def post(self, ref: str) -> Answer:
        made = await self.services.folders.clone(self.caller, ref, self.params)
        return 201, {**folder_view(made, self.caller), "bgtask_id": None}


class QuotaHandler(ApiHandler):
    """``id`` names the folder; ``input.size_bytes`` (or ``quota``) is the new limit, 0 none."""

    @takes(id=str)
    @gives(QuotaView)
    @needs("folder:read")
    async def get(self) -> Answer:
        return 200, _quota_view(await self.services.folders.measured(self.caller, _named(self.params)))

    @takes(id=str, quota=str, input=dict)
    @gives(QuotaView)
    @needs("folder:change")
    async def post(self) -> Answer:
        given = self.params.get("input")
        given = given if isinstance(given, dict) else self.params
        quota = requests.quota(given, "size_bytes" if "size_bytes" in given else "quota")
        return 200, _quota_view(await self.services.folders.set_quota(self.caller, _named(self.params), quota))


class UsageHandler(ApiHandler):
    @takes(id=str)
    @gives({"used_bytes": int | None, "file_count": int | None})
    @needs("folder:read")
    async def get(self) -> Answer:
        folder = await self.services.folders.measured(self.caller, _named(self.params))
        return 200, {"used_bytes": folder.used_bytes, "file_count": folder.num_files}


class OwnershipHandler(ApiHandler):
    """``{"vfolder": id, "user_email"}``: make somebody else the owner of a person's folder."""

    @takes(vfolder=str, user_email=str)
    @gives({})
    @needs("folder:hand-over")
    async def post(self) -> Answer:
        await self.services.folders.hand_over(self.caller, self.params)
        return 200, {}


class HostsHandler(ApiHandler):
    @gives(HOSTS)
    @needs("folder:read")
    async def get(self) -> Answer:
        return 200, await self.services.folders.hosts(self.caller)


class AllHostsHandler(ApiHandler):
    @gives(HOSTS)
    @needs("folder:any-owner")
    async def get(self) -> Answer:
        return 200, await self.services.folders.hosts(self.caller)


class TypesHandler(ApiHandler):
    @gives([str])
    @needs("folder:read")
    async def get(self) -> Answer:
        return 200, ["user", "group"]


# Files


class DirectoriesHandler(ApiHandler):
    @takes(path=str, parents=bool, exist_ok=bool)
    @gives(None)
    @needs("folder:write")
    async def post(self, ref: str) -> Answer:
        await self.services.folder_files.make_directory(self.caller, ref, self.params)
        return 201, None


class FilesHandler(ApiHandler):
    @takes(path=str, offset=int, limit=int, match=str)
    @gives(FilesView)
    @needs("folder:read")
    async def get(self, ref: str) -> Answer:
        page = await self.services.folder_files.list(self.caller, ref, self.params)
        return 200, await asyncio.to_thread(_page_view, page)  # it may be long


class RenameFileHandler(ApiHandler):
    @takes(target_path=str, new_name=str)
    @gives({})
    @needs("folder:write")
    async def post(self, ref: str) -> Answer:
        await self.services.folder_files.rename(self.caller, ref, self.params)
        return 200, {}


class MoveFileHandler(ApiHandler):
    @takes(src=str, dst=str)
    @gives({})
    @needs("folder:write")
    async def post(self, ref: str) -> Answer:
        await self.services.folder_files.move(self.caller, ref, self.params)
        return 200, {}


class DeleteFilesHandler(ApiHandler):
    @takes(files=list, recursive=bool)
    @gives({})
    @needs("folder:write")
    async def delete(self, ref: str) -> Answer:
        await self.services.folder_files.delete(self.caller, ref, self.params)
        return 200, {}

    post = delete


class RequestUploadHandler(ApiHandler):
    @takes(path=str, size=int)
    @gives({"token": str, "url": str})
    @needs("folder:write")
    async def post(self, ref: str) -> Answer:
        token = await self.services.folder_files.request_upload(self.caller, ref, self.params)
        return 200, {"token": token, "url": self.own_url("/storage/upload")}


class RequestDownloadHandler(ApiHandler):
    @takes(path=str, archive=bool)
    @gives({"token": str, "url": str, "file": FileView})
    @needs("folder:read")
    async def post(self, ref: str) -> Answer:
        token, facts = await self.services.folder_files.request_download(self.caller, ref, self.params)
        return 200, {"token": token, "url": self.own_url("/storage/download"), "file": _file_view(facts)}


# Sharing


class InviteHandler(ApiHandler):
    @takes(perm=str, user_ids=list)
    @gives({"invited_ids": [str]})
    @needs("folder:share")
    async def post(self, ref: str) -> Answer:
        invited = await self.services.sharing.invite(self.caller, ref, self.params)
        return 201, {"invited_ids": [one.name for one in invited]}


class InvitationsHandler(ApiHandler):
    """``list``: those that came. ``accept`` and ``delete`` (also by who sent it) name one as ``inv_id``."""

    @gives({"invitations": [InvitationView]})
    @needs("folder:read")
    async def get(self) -> Answer:
        found = await self.services.sharing.received(self.caller)
        return 200, {"invitations": [invitation_view(one) for one in found]}


class SentInvitationsHandler(ApiHandler):
    @gives({"invitations": [InvitationView]})
    @needs("folder:read")
    async def get(self) -> Answer:
        return 200, {"invitations": [invitation_view(one) for one in await self.services.sharing.sent(self.caller)]}


class ChangeInvitationHandler(ApiHandler):
    @takes(perm=str)
    @gives({"msg": str})
    @needs("folder:share")
    async def post(self, invitation_id: str) -> Answer:
        await self.services.sharing.change(self.caller, invitation_id, self.params)
        return 200, {"msg": "The invitation was changed."}


class AcceptHandler(ApiHandler):
    @takes(inv_id=str)
    @gives({"msg": str})
    @needs("folder:share")
    async def post(self) -> Answer:
        accepted = await self.services.sharing.accept(self.caller, self.params)
        return 200, {"msg": f"You can now use the folder {accepted.vfolder_name}."}


class DeclineHandler(ApiHandler):
    @takes(inv_id=str)
    @gives({"msg": str})
    @needs("folder:share")
    async def delete(self) -> Answer:
        await self.services.sharing.decline(self.caller, self.params)
        return 200, {"msg": "The invitation was deleted."}


class ShareHandler(ApiHandler):
    @takes(permission=str, emails=list)
    @gives({"shared_emails": [str]})
    @needs("folder:share")
    async def post(self, ref: str) -> Answer:
        people = await self.services.sharing.share(self.caller, ref, self.params)
        return 201, {"shared_emails": [one.name for one in people]}


class UnshareHandler(ApiHandler):
    @takes(emails=list)
    @gives({"unshared_emails": [str]})
    @needs("folder:share")
    async def delete(self, ref: str) -> Answer:
        people = await self.services.sharing.unshare(self.caller, ref, self.params)
        return 200, {"unshared_emails": [one.name for one in people]}


class LeaveHandler(ApiHandler):
    @gives({"msg": str})
    @needs("folder:share")
    async def post(self, ref: str) -> Answer:
        left = await self.services.sharing.leave(self.caller, ref)
        return 201, {"msg": f"You left the folder {left.name}."}


class SharedHandler(ApiHandler):
    """Who has one's folders; ``POST`` changes what one person may (``perm``), or takes it away."""

    @takes(vfolder_id=str)
    @gives({"shared": [ShareView]})
    @needs("folder:read")
    async def get(self) -> Answer:
        found = await self.services.sharing.shares(self.caller, requests.optional_word(self.params, "vfolder_id"))
        return 200, {"shared": [share_view(one) for one in found]}

    @takes(vfolder=str, user=str, perm=str)
    @gives({"msg": str})
    @needs("folder:share")
    async def post(self) -> Answer:
        await self.services.sharing.change_share(self.caller, self.params)
        return 200, {"msg": "The share was changed."}


def _named(params: requests.Params) -> str:
    """The folder that a body names."""
    field = next((one for one in ("id", "vfolder_id", "vfolderId") if params.get(one)), "id")
    return requests.word(params, field)


def _quota_view(folder: VFolderRecord) -> QuotaView:
    return {
        "id": hex_id(folder.id),
        "size_bytes": folder.limit_bytes,
        "quota_kind": quota_kind(folder),
        "quota_scope_max_size": folder.scope_bytes,
        "quota_scope_kind": quota_scope_kind(folder),
        "used_bytes": folder.used_bytes,
    }


def _page_view(page: dict[str, Any]) -> FilesView:
    return {
        "items": [_file_view(one) for one in page["items"]],
        "files": json.dumps([_old_file_view(one) for one in page["items"]]),
        "total": page["total"],
        "offset": page["offset"],
    }


def _file_view(facts: dict[str, Any]) -> FileView:
    return {
        "name": facts["name"],
        "type": facts["type"],
        "size": facts["size"],
        "mode": facts["mode"],
        "created": facts["ctime_ns"] / 1e9,
        "modified": facts["mtime_ns"] / 1e9,
    }


def _old_file_view(facts: dict[str, Any]) -> dict[str, Any]:
    """In the words of the clients that read ``files``."""
    return {
        "filename": facts["name"],
        "size": facts["size"],
        "mode": facts["mode"],
        "mtime": facts["mtime_ns"] / 1e9,
        "ctime": facts["ctime_ns"] / 1e9,
        "atime": facts["mtime_ns"] / 1e9,
    }


_ONE = r"/folders/([^/]+)"

ROUTES = [
    (r"/folders", FoldersHandler),
    (r"/folders/_/hosts", HostsHandler),
    (r"/folders/_/all_hosts", AllHostsHandler),
    (r"/folders/_/allowed(?:_|-)types", TypesHandler),
    (r"/config/vfolder-types", TypesHandler),
    (r"/folders/_/shared", SharedHandler),
    (r"/folders/_/change-ownership", OwnershipHandler),
    (r"/folders/_/quota", QuotaHandler),
    (r"/folders/_/(?:usage|used-bytes)", UsageHandler),
    (r"/folders/invitations/list", InvitationsHandler),
    (r"/folders/invitations/list(?:_|-)sent", SentInvitationsHandler),
    (r"/folders/invitations/update/([^/]+)", ChangeInvitationHandler),
    (r"/folders/invitations/accept", AcceptHandler),
    (r"/folders/invitations/delete", DeclineHandler),
    (r"/folders/restore-from-trash-bin", RestoreHandler),
    (r"/folders/(?:purge|delete-from-trash-bin)", PurgeHandler),
    (_ONE, FolderHandler),
    (_ONE + r"/rename", RenameHandler),
    (_ONE + r"/update-options", OptionsHandler),
    (_ONE + r"/(?:recover|undelete|restore)", RestoreHandler),
    (_ONE + r"/(?:purge|delete-from-trash)", PurgeHandler),
    (_ONE + r"/clone", CloneHandler),
    (_ONE + r"/mkdir", DirectoriesHandler),
    (_ONE + r"/files", FilesHandler),
    (_ONE + r"/rename(?:_|-)file", RenameFileHandler),
    (_ONE + r"/move(?:_|-)file", MoveFileHandler),
    (_ONE + r"/delete(?:_|-)files", DeleteFilesHandler),
    (_ONE + r"/request-upload", RequestUploadHandler),
    (_ONE + r"/request-download", RequestDownloadHandler),
    (_ONE + r"/invite", InviteHandler),
    (_ONE + r"/share", ShareHandler),
    (_ONE + r"/unshare", UnshareHandler),
    (_ONE + r"/leave", LeaveHandler),
]
