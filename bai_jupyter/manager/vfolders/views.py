"""What a caller sees of folders and invitations, as JSON values in Backend.AI's words."""

from typing import Any

from bai_jupyter.common.messages import has_hard_quota
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.records import InvitationRecord, ShareRecord, VFolderRecord
from bai_jupyter.manager.vfolders.access import is_owner


def folder_view(folder: VFolderRecord, caller: Caller) -> dict[str, Any]:
    kind = "user" if folder.project_id is None else "group"
    owner_id = folder.user_id or folder.project_id or ""
    return {
        "id": hex_id(folder.id),
        "name": folder.name,
        "quota_scope_id": f"{'user' if kind == 'user' else 'project'}:{hex_id(owner_id)}",
        "host": folder.volume,
        "status": folder.status.value,
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
        "max_size": folder.quota_bytes,
        "quota_kind": quota_kind(folder),
        "cur_size": folder.used_bytes or 0,
        "unmanaged_path": None,
    }


def quota_kind(folder: VFolderRecord) -> str | None:
    """``hard``: the file system keeps the limit, whoever writes. ``soft``: uploads that would pass it are refused."""
    if folder.quota_bytes is None:
        return None
    return "hard" if has_hard_quota(folder.subpath) else "soft"


def folder_details(folder: VFolderRecord, caller: Caller) -> dict[str, Any]:
    return {
        **folder_view(folder, caller),
        "default_permission": folder.permission,
        "num_files": folder.num_files,
        "numFiles": folder.num_files,
        "used_bytes": folder.used_bytes,
        "created": folder.created_at.isoformat(),
        "last_used": None,
    }


def invitation_view(invitation: InvitationRecord) -> dict[str, Any]:
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


def share_view(share: ShareRecord) -> dict[str, Any]:
    folder = share.vfolder
    return {
        "vfolder_id": hex_id(folder.id),
        "vfolder_name": folder.name,
        "status": folder.status.value,
        "owner": folder.user_name or folder.project_name,
        "type": "user" if folder.project_id is None else "group",
        "shared_to": {"uuid": share.person.id, "email": share.person.name},
        "perm": share.permission,
    }


def hex_id(uuid: str) -> str:
    return uuid.replace("-", "")
