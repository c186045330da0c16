"""The server extension: puts our classes into place, keeps the image list fresh, serves ``/bai/api``.

Our classes replace Jupyter's only if credentials of a manager are found, nobody chose other classes in a configuration,
and no kernel gateway is in use. Otherwise the server is exactly a stock one, and the panel says how to connect.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.gateway.gateway_client import GatewayClient
from traitlets import Enum, Float

from bai_jupyter.client import ConfigError, ManagerClient, load_config
from bai_jupyter.common.errors import PublicError
from bai_jupyter.extension import (
    account,
    admin,
    announcements,
    app_proxy,
    choices,
    copies,
    drive,
    environments,
    folders,
    imports,
    live_sessions,
    outputs,
    runs,
    session_records,
    status,
    terminals,
    usage,
)
from bai_jupyter.extension.folder_contents import FolderContents
from bai_jupyter.extension.handlers import HANDLERS
from bai_jupyter.extension.kernelspecs import BaiKernelSpecManager
from bai_jupyter.extension.sessions import BaiSessionManager

_CLASSES = {
    "kernel_spec_manager_class": "bai_jupyter.extension.kernelspecs.BaiKernelSpecManager",
    "kernel_manager_class": "bai_jupyter.extension.kernels.BaiMappingKernelManager",
    "kernel_websocket_connection_class": "bai_jupyter.extension.websocket.BaiWebsocketConnection",
    "session_manager_class": "bai_jupyter.extension.sessions.BaiSessionManager",
}


class BaiExtension(ExtensionApp):
    """Backend.AI in this Jupyter server."""

    name = "bai_jupyter"
    description = "Backend.AI sessions as Jupyter kernels"

    image_refresh_s = Float(5.0, config=True, help="Seconds between two questions to the manager for its images.")

    apps_at = Enum(
        ("server", "manager"),
        "server",
        config=True,
        help="Where browsers find the apps of sessions. `server`: behind this server's login, each page with an origin "
        "of its own, so without cookies and storage. `manager`: at the manager's address, which browsers must reach; "
        "it is another origin than this server's, so pages have all that they are used to.",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client: ManagerClient | None = None
        self.folder_contents: FolderContents | None = None
        self.config_error: str | None = None
        self.naming = asyncio.Lock()  # of files that get a name that is free
        self._refreshing: asyncio.Task[None] | None = None

    def _link_jupyter_server_extension(self, serverapp: Any) -> None:
        # Runs before the server makes its managers, so this is where classes can still be chosen.
        super()._link_jupyter_server_extension(serverapp)
        try:
            config = load_config(os.environ, serverapp.root_dir)
        except ConfigError as error:
            self.config_error = str(error)
            serverapp.log.error("bai_jupyter: %s", error)
            return
        if config is None:
            return
        self.client = ManagerClient(config)
        if GatewayClient.instance(parent=serverapp).gateway_enabled:
            serverapp.log.warning("bai_jupyter: a kernel gateway is in use; kernels stay with it")
            return
        for trait, name in _CLASSES.items():
            if trait in serverapp.config.ServerApp:
                serverapp.log.warning("bai_jupyter: ServerApp.%s is configured; ours is not used", trait)
            else:
                setattr(serverapp, trait, name)

    def is_apart(self, service: dict[str, Any]) -> bool:
        """Whether an app is opened at the manager's address: one that knows its own can be nowhere else."""
        return self.apps_at == "manager" or bool(service["knows_base_url"])

    def initialize_settings(self) -> None:
        status.register(self.serverapp.event_logger)
        self.settings["bai_extension"] = self
        if self.client is not None and isinstance(self._specs, BaiKernelSpecManager):
            self._specs.use_manager(self.client.config.endpoint)
        if self.client is not None:
            own = self.serverapp.contents_manager
            self.folder_contents = FolderContents(self.client, parent=self.serverapp, notary=own.notary)
            if isinstance(self.serverapp.session_manager, BaiSessionManager):
                self.serverapp.session_manager.folder_contents = self.folder_contents
        if not (Path(__file__).with_name("labextension") / "package.json").exists():
            self.log.warning("The Backend.AI panel is not built: install node 20.19 or newer and run pip install again")

    def initialize_handlers(self) -> None:
        for module in (
            account,
            admin,
            announcements,
            app_proxy,
            choices,
            copies,
            drive,
            environments,
            folders,
            imports,
            live_sessions,
            outputs,
            runs,
            session_records,
            terminals,
            usage,
        ):
            self.handlers.extend(module.HANDLERS)
        self.handlers.extend(HANDLERS)

    async def _start_jupyter_server_extension(self, _: Any) -> None:
        if self.client is not None and isinstance(self._specs, BaiKernelSpecManager):
            self._refreshing = asyncio.create_task(self._keep_images_fresh(self.client, self._specs))

    async def stop_extension(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
        if self.folder_contents is not None:
            self.folder_contents.close()
        if self.client is not None:
            self.client.close()

    async def refresh_images(self) -> None:
        """Ask at once, for what somebody waits for."""
        if self.client is not None and isinstance(self._specs, BaiKernelSpecManager):
            await self._refresh_images(self.client, self._specs)

    @property
    def _specs(self) -> Any:
        return self.serverapp.kernel_spec_manager

    async def _keep_images_fresh(self, client: ManagerClient, specs: BaiKernelSpecManager) -> None:
        trouble: str | None = None
        while True:
            now = await self._refresh_images(client, specs)
            if now != trouble:  # once per change, not once per question
                self.log.warning("images: %s", now) if now else self.log.info("images: the manager answers again")
                trouble = now
            await asyncio.sleep(self.image_refresh_s)

    async def _refresh_images(self, client: ManagerClient, specs: BaiKernelSpecManager) -> str | None:
        """Ask once. ``None`` if it went well, else what is wrong; the last list stays."""
        try:
            if specs.replace(await client.list_images()):
                self.log.info("images: kernelspecs %s", ", ".join(specs.our_names) or "none")
        except PublicError as error:
            return error.message
        except Exception as error:  # noqa: BLE001  an answer we cannot use must not end the asking
            return f"the manager's list could not be used: {error!r}"
        return None
