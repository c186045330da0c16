"""Use cases of sharing: invitations, direct shares of project folders, leaving."""

from collections.abc import Callable, Collection
from datetime import datetime

from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import vfolders
from bai_jupyter.manager.db.records import InvitationRecord, Person, ShareRecord, VFolderRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.vfolders import requests
from bai_jupyter.manager.vfolders.access import FolderExists, FolderFailed, require_owner, require_ready
from bai_jupyter.manager.vfolders.requests import Params
from bai_jupyter.manager.vfolders.service import VFolderService, viewer_of


class Sharing:
    """What is taken back holds for every call from then on; sessions that mount the folder lose it."""

    def __init__(self, store: Store, folders: VFolderService, now: Callable[[], datetime]) -> None:
        self._store, self._folders, self._now = store, folders, now

    # Invitations: folders of a person

    async def invite(self, caller: Caller, ref: str, params: Params) -> list[Person]:
        """Those who were invited; who was invited before, or uses the folder already, is left out."""
        folder = await self._owned(caller, ref)
        if folder.user_id is None:
            raise FolderFailed(f"{folder.name} is a project's folder: its members have it, share it with others.")
        permission = requests.permission(params, "perm", "permission", default="rw")
        people = await self._people(caller, requests.words(params, "user_ids", "emails"))
        return await self._store.write(vfolders.invite, folder, caller.user_id, people, permission, self._now())

    async def received(self, caller: Caller) -> list[InvitationRecord]:
        return await self._store.read(vfolders.received, caller.user_id)

    async def sent(self, caller: Caller) -> list[InvitationRecord]:
        return await self._store.read(vfolders.sent, caller.user_id)

    async def change(self, caller: Caller, invitation_id: str, params: Params) -> None:
        permission = requests.permission(params, "perm", "permission")
        if not await self._store.write(
            vfolders.change_invitation, invitation_id, caller.user_id, permission, self._now()
        ):
            raise _no_invitation(invitation_id)

    async def accept(self, caller: Caller, params: Params) -> InvitationRecord:
        invitation_id = requests.word(params, "inv_id")
        found = next((one for one in await self.received(caller) if one.id == invitation_id), None)
        if found is None:
            raise _no_invitation(invitation_id)
        if not await self._store.write(vfolders.accept, found, self._now()):
            raise FolderExists(Reason.of("folder-used", name=found.vfolder_name))
        return found

    async def decline(self, caller: Caller, params: Params) -> None:
        """By who was invited, or taken back by who invited."""
        invitation_id = requests.word(params, "inv_id")
        if not await self._store.write(vfolders.decline, invitation_id, caller.user_id, self._now()):
            raise _no_invitation(invitation_id)

    # Direct shares

    async def share(self, caller: Caller, ref: str, params: Params) -> list[Person]:
        """Give people a project's folder, or its members another permission than the others."""
        folder = await self._owned(caller, ref)
        if folder.project_id is None:
            raise FolderFailed(f"{folder.name} is a person's folder: invite people instead.")
        permission = requests.permission(params, "permission", "perm", default="rw")
        people = await self._people(caller, requests.words(params, "emails"))
        for person in people:
            await self._folders.change_rights(folder, vfolders.give, folder.id, person.id, permission)
        return people

    async def unshare(self, caller: Caller, ref: str, params: Params) -> list[Person]:
        """Those who had it."""
        folder = await self._folders.get(caller, ref)
        require_owner(folder, caller)
        people = await self._people(caller, requests.words(params, "emails"))
        had_it = await self._take_away(folder, [one.id for one in people])
        return [one for one in people if one.id in had_it]

    async def shares(self, caller: Caller, vfolder_id: str | None) -> list[ShareRecord]:
        """Of the folders that the caller manages: all, or those of one."""
        found = await self._store.read(vfolders.list_shares, viewer_of(caller))
        wanted = None if vfolder_id is None else requests.folder_ref(vfolder_id)
        return [one for one in found if one.vfolder.user_id == caller.user_id and wanted in (None, one.vfolder.id)]

    async def change_share(self, caller: Caller, params: Params) -> None:
        """Another permission for somebody who has the folder; without ``perm`` it is taken away."""
        folder = await self._owned(caller, requests.word(params, "vfolder"))
        user_id = UserId(requests.word(params, "user"))
        had_it = any(
            one.person.id == user_id and one.vfolder.id == folder.id
            for one in await self._store.read(vfolders.list_shares, viewer_of(caller))
        )
        if not had_it:
            raise NotFound(Reason.of("person-unknown", who=user_id), title="No such user.")
        if params.get("perm") is None:
            await self._take_away(folder, [user_id])
        else:
            permission = requests.permission(params, "perm")
            await self._folders.change_rights(folder, vfolders.give, folder.id, user_id, permission)

    async def leave(self, caller: Caller, ref: str) -> VFolderRecord:
        """Do without a folder that somebody shared."""
        folder = await self._folders.get(caller, ref)
        if not await self._take_away(folder, [caller.user_id]):
            raise FolderFailed(f"{folder.name} was not shared with you, so you cannot leave it.")
        return folder

    # Inside

    async def _owned(self, caller: Caller, ref: str) -> VFolderRecord:
        folder = await self._folders.get(caller, ref)
        require_owner(folder, caller)
        require_ready(folder)
        return folder

    async def _people(self, caller: Caller, addresses: Collection[str]) -> list[Person]:
        """Raises ``NotFound`` if one of them is nobody: the same for a person of another domain."""
        found = await self._store.read(vfolders.find_people, addresses, caller.domain)
        unknown = sorted(set(addresses) - {one.name for one in found})
        if unknown:
            raise NotFound(Reason.of("person-unknown", who=", ".join(unknown)), title="No such user.")
        return found

    async def _take_away(self, folder: VFolderRecord, user_ids: list[UserId]) -> list[UserId]:
        return await self._folders.change_rights(folder, vfolders.take_away, folder.id, user_ids)


def _no_invitation(invitation_id: str) -> NotFound:
    return NotFound(Reason.of("not-found", kind="invitation", name=invitation_id), title="No such vfolder invitation.")
