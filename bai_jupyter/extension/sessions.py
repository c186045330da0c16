"""Jupyter's sessions: which notebook has which kernel, and what a notebook's kernel is started with."""

import posixpath
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.sessions.sessionmanager import SessionManager
from traitlets import default

from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.folder_contents import FolderContents
from bai_jupyter.extension.kernels import BaiMappingKernelManager
from bai_jupyter.extension.notebooks import contents_of, wishes_of


class BaiSessionManager(SessionManager):
    """The stock session manager, which remembers over a restart and hears what notebooks ask for.

    Heard is one that the notary trusts, or for whose very choice somebody has given consent. What was chosen for one
    that cannot be written counts in its place.

    Its table lies in the folder of the kernel records. Rows of local kernels disappear at the first listing after a
    restart, as those kernels did. A notebook that lies in a folder has its kernel there, with the folder mounted.
    """

    folder_contents: FolderContents | None = None  # the extension's, once it knows a manager

    @default("database_filepath")
    def _table_beside_the_kernel_records(self) -> str:
        kernels = self.kernel_manager
        return str(kernels.records.session_table) if isinstance(kernels, BaiMappingKernelManager) else ":memory:"

    async def start_kernel_for_session(
        self,
        session_id: str,
        path: str | None,
        name: str | None,
        type: str | None,  # noqa: A002  Jupyter's name
        kernel_name: str | None,
        kernel_id: str | None = None,
    ) -> str:
        kernels = self.kernel_manager
        if not isinstance(kernels, BaiMappingKernelManager) or not kernels.is_remote_name(kernel_name):
            started = await super().start_kernel_for_session(session_id, path, name, type, kernel_name, kernel_id)
            return str(started)
        return await kernels.start_kernel(
            path=await ensure_async(self.contents_manager.get_kernel_path(path=path)),
            kernel_name=kernel_name,
            env=self.get_kernel_env(path, name),
            kernel_id=kernel_id,
            **{
                **(await self._wishes(path, name, kernel_name) if type == "notebook" and path else {}),
                **(await self.cwd_in_folder(path) if path else {}),
            },
        )

    async def _wishes(self, path: str, name: str | None, kernel_name: str | None) -> dict[str, Any]:
        """Start keywords for what the notebook asks for, or for why it was not heard.

        None if it names another kernelspec: then somebody has just chosen a kernel by hand, and that counts.
        """
        path = await self._notebook(path, name)
        contents, inside = contents_of(path, self.contents_manager, self.folder_contents)
        wishes = await wishes_of(contents, inside)
        consents = self.kernel_manager.consents
        chosen = consents.held(path, wishes.choice)
        if chosen and kernel_name in (chosen.kernelspec["name"], wishes.kernelspec):
            return {"bai_metadata": chosen.choice} if chosen.choice else {}
        if kernel_name and wishes.kernelspec and kernel_name != wishes.kernelspec:
            return {}
        if not consents.is_heard(path, wishes.choice, wishes.is_trusted):
            return {"bai_notice": Reason.of("notebook-untrusted").text}
        return {"bai_metadata": wishes.choice} if wishes.choice else {}

    async def _notebook(self, path: str, name: str | None) -> str:
        """Lab begins a session under a path that it makes up, in the notebook's directory; its name is the file's."""
        named = posixpath.join(posixpath.dirname(path), name) if name else path
        contents, inside = contents_of(named, self.contents_manager, self.folder_contents)
        return named if await ensure_async(contents.file_exists(inside)) else path

    async def cwd_in_folder(self, path: str) -> dict[str, Any]:
        """Start keywords for a kernel in a folder of the drive; in the server's own files it is found otherwise."""
        contents, inside = contents_of(path, self.contents_manager, self.folder_contents)
        if not isinstance(contents, FolderContents):
            return {}
        try:
            place = await contents.place_of(inside)
        except PublicError as error:
            return {"bai_notice": error.message}
        return {"bai_cwd": place.directory} if place else {}
