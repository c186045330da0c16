"""What a caller sees of folders and invitations, as JSON values in Backend.AI's words."""

from typing import TypedDict

from bai_jupyter.common.messages import has_hard_quota
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.folder_rules import quota_scope_id
from bai_jupyter.manager.db.records import InvitationRecord, ShareRecord, VFolderRecord
from bai_jupyter.manager.vfolders.access import is_owner


class FolderView(TypedDict):
    id: str
    name: str
    quota_scope_id: str
    host: str
    status: FolderStatus
    usage_mode: str
    created_at: str
    is_owner: bool
    permission: str
    user: str | None
    group: str | None
    creator: str
    user_email: str | None
    group_name: str | None
    ownership_type: str
    type: str
    cloneable: bool
    max_files: int
    max_size: int | None
    quota_kind: str | None
    quota_scope_max_size: int | None
    quota_scope_kind: str | None
    quota_scope_used: int | None
    cur_size: int
    unmanaged_path: None


class FolderDetails(FolderView):
    default_permission: str
    num_files: int | None
    numFiles: int | None
    used_bytes: int | None
    created: str
    last_used: None


class InvitationView(TypedDict):
    id: str
    inviter: str
    invitee: str
    perm: str
    state: str
    created_at: str
    modified_at: str
    vfolder_id: str
    vfolder_name: str


class PersonView(TypedDict):
    uuid: str
    email: str


class ShareView(TypedDict):
    vfolder_id: str
    vfolder_name: str
    status: FolderStatus
    owner: str | None
    type: str
    shared_to: PersonView
    perm: str


def folder_view(folder: VFolderRecord, caller: Caller) -> FolderView:
    kind = "user" if folder.project_id is None else "group"
    return {
        "id": hex_id(folder.id),
        "name": folder.name,
        "quota_scope_id": quota_scope_id(folder.user_id, folder.project_id),
        "host": folder.volume,
        "status": folder.status,
        "usage_mode": folder.usage_mode,
        "created_at": folder.created_at.isoformat(),
        "is_owner": is_owner(folder, caller),
        "permission": folder.access,
        "user": folder.user_id,
        "group": folder.project_id,
        "creator": folder.creator,
        "user_email": folder.user_name,
        "group_name": folder.project_name,
        "ownership_type": kind,
        "type": kind,
        "cloneable": folder.cloneable,
        "max_files": 0,
        "max_size": folder.limit_bytes,
        "quota_kind": quota_kind(folder),
        "quota_scope_max_size": folder.scope_bytes,
        "quota_scope_kind": quota_scope_kind(folder),
        "quota_scope_used": _quota_scope_used(folder, caller),
        "cur_size": folder.used_bytes or 0,
        "unmanaged_path": None,
    }


def quota_kind(folder: VFolderRecord) -> str | None:
    """``hard``: the file system keeps the limit, whoever writes. ``soft``: uploads that would pass it are refused."""
    if folder.limit_bytes is None:
        return None
    return "hard" if has_hard_quota(folder.subpath) else "soft"


def quota_scope_kind(folder: VFolderRecord) -> str | None:
    """The same of what its owner's folders on its volume may hold together: hard if all of them are such folders."""
    if folder.scope_bytes is None:
        return None
    return "soft" if folder.has_soft_beside else "hard"


def _quota_scope_used(folder: VFolderRecord, caller: Caller) -> int | None:
    """What they hold, as last counted. With whom one of them is shared does not learn of the others."""
    is_told = folder.scope_bytes is not None and (is_owner(folder, caller) or folder.project_id is not None)
    return folder.scope_used_bytes if is_told else None


def folder_details(folder: VFolderRecord, caller: Caller) -> FolderDetails:
    return {
        **folder_view(folder, caller),
        "default_permission": folder.permission,
        "num_files": folder.num_files,
        "numFiles": folder.num_files,
        "used_bytes": folder.used_bytes,
        "created": folder.created_at.isoformat(),
        "last_used": None,
    }


def invitation_view(invitation: InvitationRecord) -> InvitationView:
    return {
        "id": invitation.id,
        "inviter": invitation.inviter.name,
        "invitee": invitation.invitee.name,
        "perm": invitation.permission,
        "state": invitation.state,
        "created_at": invitation.created_at.isoformat(),
        "modified_at": invitation.modified_at.isoformat(),
        "vfolder_id": hex_id(invitation.vfolder_id),
        "vfolder_name": invitation.vfolder_name,
    }


def share_view(share: ShareRecord) -> ShareView:
    folder = share.vfolder
    return {
        "vfolder_id": hex_id(folder.id),
        "vfolder_name": folder.name,
        "status": folder.status,
        "owner": folder.user_name or folder.project_name,
        "type": "user" if folder.project_id is None else "group",
        "shared_to": {"uuid": share.person.id, "email": share.person.name},
        "perm": share.permission,
    }


def hex_id(uuid: str) -> str:
    return uuid.replace("-", "")
