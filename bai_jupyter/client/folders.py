"""Folders, who has them, and the files in them, but for what files hold (``transfers``)."""

from collections.abc import Sequence

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection
from bai_jupyter.client.paths import folder_path

_DELETE_TIMEOUT_S = 600.0


class Folders(Connection):
    async def list_folders(self) -> list[Json]:
        """Own, shared and project folders, also those in the trash (``status``)."""
        return await self.request("GET", "/folders")

    async def get_folder(self, folder: str) -> Json:
        return await self.request("GET", folder_path(folder))

    async def create_folder(
        self, name: str, host: str | None = None, quota: str | None = None, project: str | None = None
    ) -> Json:
        return await self.request(
            "POST", "/folders", {"name": name, "host": host, "quota": quota or "0", "group": project}
        )

    async def delete_folder(self, folder: str) -> None:
        """Into the trash."""
        await self.request("DELETE", folder_path(folder))

    async def restore_folder(self, folder: str) -> None:
        await self.request("POST", f"{folder_path(folder)}/restore")

    async def purge_folder(self, folder: str, timeout_s: float = 3600) -> None:
        """Delete one that is in the trash for good."""
        await self.request("POST", f"{folder_path(folder)}/purge", timeout_s=timeout_s)

    async def list_shares(self, folder: str) -> list[Json]:
        """Who has it besides its owner: ``[{"shared_to": {"uuid", "email"}, "perm"}]``; of others' folders nobody."""
        return (await self.request("GET", "/folders/_/shared", query={"vfolder_id": folder}))["shared"]

    async def change_share(self, folder: str, user: str, permission: str | None) -> None:
        """What one person may; ``None`` takes the folder away."""
        body = {"vfolder": folder, "user": user, "perm": permission}
        await self.request("POST", "/folders/_/shared", body)

    async def clone_folder(self, folder: str, name: str, host: str | None = None, timeout_s: float = 6 * 3600) -> Json:
        """A copy of one's own, once it is complete."""
        body = {"target_name": name, "target_host": host}
        return await self.request("POST", f"{folder_path(folder)}/clone", body, timeout_s=timeout_s)

    async def leave_folder(self, folder: str) -> None:
        """One that somebody shares with the caller."""
        await self.request("POST", f"{folder_path(folder)}/leave")

    async def rename_folder(self, folder: str, name: str) -> None:
        await self.request("POST", f"{folder_path(folder)}/rename", {"new_name": name})

    async def invite(self, folder: str, people: Sequence[str], permission: str) -> list[str]:
        """Who was invited; who has the folder or was invited before is left out."""
        body = {"perm": permission, "user_ids": list(people)}
        return (await self.request("POST", f"{folder_path(folder)}/invite", body))["invited_ids"]

    async def list_invitations(self) -> list[Json]:
        return (await self.request("GET", "/folders/invitations/list"))["invitations"]

    async def accept_invitation(self, invitation_id: str) -> None:
        await self.request("POST", "/folders/invitations/accept", {"inv_id": invitation_id})

    async def decline_invitation(self, invitation_id: str) -> None:
        await self.request("DELETE", "/folders/invitations/delete", {"inv_id": invitation_id})

    async def list_files(
        self, folder: str, path: str = "", offset: int = 0, limit: int = 1000, match: str = ""
    ) -> Json:
        """``{"items": [{"name", "type", "size", "mode", "modified"}], "total"}``; with ``match`` in their names."""
        body = {"path": path, "offset": offset, "limit": limit, "match": match}
        return await self.request("GET", f"{folder_path(folder)}/files", body)

    async def get_file(self, folder: str, path: str) -> Json:
        """``{"name", "type", "size", "mode", "created", "modified"}`` of what lies there; times in s since 1970."""
        return (await self.request("POST", f"{folder_path(folder)}/request-download", {"path": path}))["file"]

    async def rename_file(self, folder: str, path: str, name: str) -> None:
        """It stays in its directory. Nothing is overwritten."""
        await self.request("POST", f"{folder_path(folder)}/rename-file", {"target_path": path, "new_name": name})

    async def move_file(self, folder: str, path: str, target: str) -> None:
        """As ``mv``: into ``target`` if that is a directory, over it if that is a file."""
        await self.request("POST", f"{folder_path(folder)}/move-file", {"src": path, "dst": target})

    async def delete_file(self, folder: str, path: str) -> None:
        """For good, and with it all that a directory holds."""
        body = {"files": [path], "recursive": True}
        await self.request("POST", f"{folder_path(folder)}/delete-files", body, timeout_s=_DELETE_TIMEOUT_S)

    async def make_directory(self, folder: str, path: str) -> None:
        """And those above it; one that is there already will do."""
        await self.request("POST", f"{folder_path(folder)}/mkdir", {"path": path, "parents": True, "exist_ok": True})
