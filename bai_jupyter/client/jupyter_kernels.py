"""Jupyter kernels of sessions, and their streams."""

from collections.abc import Mapping
from urllib.parse import quote

from tornado.websocket import WebSocketClientConnection

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection
from bai_jupyter.client.paths import jupyter_kernel_path, session_path


class JupyterKernels(Connection):
    async def create_jupyter_kernel(
        self,
        session: str,
        kernelspec: str,
        key: str,
        *,
        jupyter_kernel_id: str | None = None,
        env: Mapping[str, str] | None = None,
        folder: str | None = None,
        path: str | None = None,
        timeout_s: float = 30,
    ) -> Json:
        """Start a Jupyter kernel, now or when the session runs. ``key`` signs its messages and is a secret.

        ``path`` is relative to the root of the vfolder ``folder``. Returns the Jupyter kernel view.
        """
        body = {"id": jupyter_kernel_id, "kernelspec": kernelspec, "key": key, "env": dict(env or {})}
        body |= {"folder": folder, "path": path}
        given = {name: value for name, value in body.items() if value is not None}
        return await self.request("POST", f"{session_path(session)}/jupyter-kernels", given, timeout_s=timeout_s)

    async def get_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> Json:
        return await self.request("GET", jupyter_kernel_path(session, jupyter_kernel_id))

    async def restart_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> Json:
        """The view, with ``generation`` one larger. Not to be repeated blindly: each call restarts."""
        return await self.request("POST", f"{jupyter_kernel_path(session, jupyter_kernel_id)}/restart")

    async def interrupt_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> None:
        await self.request("POST", f"{jupyter_kernel_path(session, jupyter_kernel_id)}/interrupt")

    async def delete_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> None:
        await self.request("DELETE", jupyter_kernel_path(session, jupyter_kernel_id))

    async def open_stream(
        self, session: str, jupyter_kernel_id: str, generation: int, ping_s: float | None = 30
    ) -> WebSocketClientConnection:
        """Dial a Jupyter kernel's stream: binary messages, the records of ``common.records`` in pieces of any length.

        ``close_code`` at the end is 4404, 4409 (ended, nothing kept) or 4503 (dial again).
        """
        path = f"/stream{session_path(session)}/jupyter-kernels/{quote(jupyter_kernel_id, safe='')}"
        return await self._dial(path, {"generation": generation}, ping_s)
