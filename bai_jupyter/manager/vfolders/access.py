"""What somebody may do with a folder they see. Pure; each check raises the ``PublicError`` that says why not."""

from bai_jupyter.common.errors import BadRequest, Forbidden
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.folder_rules import HOME
from bai_jupyter.manager.db.records import VFolderRecord

PERMISSIONS = ("ro", "rw", "wd")
"""Read; read and write; the same, called so for clients that tell writing from deleting."""

_SAID = {
    FolderStatus.CLONING: "still being copied",
    FolderStatus.TRASHED: "in the trash",
    FolderStatus.PURGING: "being deleted",
    FolderStatus.BROKEN: "an incomplete copy",
}


class FolderFailed(BadRequest):
    slug, title = "vfolder-operation-failed", "Virtual folder operation has failed."


class FolderExists(BadRequest):
    slug, title = "vfolder-already-exists", "The virtual folder already exists with the same name."


def is_owner(folder: VFolderRecord, caller: Caller) -> bool:
    """A project's folders are its admins' to manage."""
    if folder.user_id is None:
        return policy.may(caller.role, "folder:of-project")
    return folder.user_id == caller.user_id or policy.may(caller.role, "folder:any-owner")


def require_owner(folder: VFolderRecord, caller: Caller) -> None:
    if not is_owner(folder, caller):
        raise Forbidden(Reason.of("folder-owner", folder=folder.name))


def require_ready(folder: VFolderRecord) -> None:
    if folder.status is not FolderStatus.READY:
        raise FolderFailed(Reason.of("folder-status", folder=folder.name, status=_SAID[folder.status]))


def require_write(folder: VFolderRecord) -> None:
    require_ready(folder)
    if folder.access == "ro":
        raise Forbidden(Reason.of("folder-ro", folder=folder.name, owner=folder.user_name or folder.project_name))


def require_no_home(folder: VFolderRecord) -> None:
    if folder.user_id is not None and folder.name == HOME:
        raise FolderFailed(Reason.of("folder-home", folder=folder.name))


def require_hand_over(folder: VFolderRecord) -> None:
    """A dot-folder would be in all sessions of its new owner, who did not ask for what is in it."""
    require_ready(folder)
    require_no_home(folder)
    if folder.user_id is None:
        raise FolderFailed(Reason.of("folder-of-project", folder=folder.name, project=folder.project_name))
    if folder.name.startswith("."):
        raise FolderFailed(Reason.of("folder-everywhere", folder=folder.name))


def require_cloneable(folder: VFolderRecord, caller: Caller) -> None:
    require_ready(folder)
    if not folder.cloneable and not is_owner(folder, caller):
        raise Forbidden(Reason.of("folder-uncloneable", folder=folder.name))
