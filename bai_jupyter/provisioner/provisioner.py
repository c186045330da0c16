"""The kernel provisioner: jupyter_client's side of a remote kernel.

jupyter_client calls these methods in a fixed order (start: pre_launch, launch_kernel, post_launch; restart: shutdown
request, poll, cleanup(restart), pre_launch, launch_kernel; shutdown: the same with cleanup(restart=False)). Answers
come from state that the manager pushes, so ``poll``, called every few seconds for each kernel, costs nothing.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerBase
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import Dict, Int, List, Unicode, default

from bai_jupyter.client import ClientConfig, ManagerAway, ManagerClient, load_config
from bai_jupyter.common.records import Channel
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream
from bai_jupyter.notebook import HOME_ROOT, Place, place_in_home
from bai_jupyter.provisioner.facade import IP, Ports
from bai_jupyter.provisioner.loop import in_background
from bai_jupyter.provisioner.options import KernelOptions, resolve, sources_of
from bai_jupyter.provisioner.remote import RemoteKernel

_POLL_S = 0.05


class BaiProvisioner(KernelProvisionerBase):  # type: ignore[misc]
    """Runs a kernel as a Jupyter kernel in a Backend.AI session.

    ``view`` is the manager's last session view and ``reason`` why the kernel waits, failed or ended (both may change on
    another thread). The configuration keys of a kernelspec's ``kernel_provisioner`` are the traits below.
    """

    image = Unicode(help="Image of the session.").tag(config=True)
    kernelspec = Unicode("python3", help="Name of the kernelspec inside the image.").tag(config=True)
    preset = Unicode(allow_none=True, default_value=None, help="Resource preset; without one the policy decides.").tag(
        config=True
    )
    resources = Dict(help='Resource slots, such as {"cpu": "2", "mem": "4g", "cuda.shares": "0.5"}.').tag(config=True)
    mounts = List(Unicode(), help="vfolders to mount beside the home folder.").tag(config=True)
    session = Unicode(allow_none=True, default_value=None, help="Join this running session.").tag(config=True)
    resource_group = Unicode(allow_none=True, default_value=None, help="Resource group.").tag(config=True)
    environ = Dict(help="Environment variables of the session.").tag(config=True)
    home_root = Unicode(
        help="Local folder that is the root of the home vfolder: notebooks below it find their files in the session."
    ).tag(config=True)
    start_timeout_s = Int(
        24 * 3600, help="How long a start may take, its time in the queue included, before it counts as failed."
    ).tag(config=True)

    view = Dict(allow_none=True, default_value=None)
    reason = Dict(allow_none=True, default_value=None)

    _remote: RemoteKernel | None = None
    _options: KernelOptions
    _notebook: str | None = None  # its path here, if a notebook asks
    _place: Place | None = None  # where it lies
    _has_process = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pages: WeakSet[KernelStream] = WeakSet()
        self._pages_loop: asyncio.AbstractEventLoop | None = None
        self._followed = 0  # the generation that pages read

    @default("home_root")
    def _home_root(self) -> str:
        return os.environ.get(HOME_ROOT, "")

    # Start

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        keywords = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("bai_")}
        config = {name: getattr(self, name) for name in ("image", "kernelspec", "preset", "resources", "mounts")}
        config |= {name: getattr(self, name) for name in ("session", "resource_group", "environ")}
        in_folder = keywords.pop("bai_cwd", None)
        self._options = resolve(sources_of(keywords, os.environ, config))
        self._place = place_in_home(kwargs.pop("cwd", None), self.home_root)
        if in_folder:
            self._options = self._options.mounting(in_folder["mount"])
            self._place = Place(in_folder["folder"], in_folder["path"])
        kwargs.pop("extra_arguments", None)
        kwargs.pop("transport_encryption", None)
        kwargs["env"] = dict(kwargs.get("env") or {})
        kwargs = await super().pre_launch(cmd=["backend.ai", self._options.image], **kwargs)
        self._notebook = kwargs["env"].get("JPY_SESSION_NAME")
        # Of this machine's environment nothing goes along: its paths mean nothing there, and it may hold secrets.
        kwargs["env"] = dict(self.kernel_spec.env)
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ARG002
        if self._remote is None:
            self._remote = await in_background(self._make_remote(_client_config()))
        key = self.parent.session.key
        launch = self._remote.launch(self._options, key.decode(), self._notebook, self._place, kwargs["env"])
        try:
            async with asyncio.timeout(self.start_timeout_s):
                ports = await in_background(launch)
        finally:
            self._show()
        self._has_process = True
        self._follow()
        self.connection_info = self._connection_info(ports, key)
        return self.connection_info

    async def _make_remote(self, config: ClientConfig) -> RemoteKernel:
        return RemoteKernel(config, self.kernel_id, Path(jupyter_runtime_dir()) / "bai", self._show)

    def _show(self) -> None:
        remote = self._remote
        if remote is not None:
            if self.generation != self._followed and self._pages_loop is not None:
                with suppress(RuntimeError):  # that loop has ended, and its pages with it
                    self._pages_loop.call_soon_threadsafe(self._follow, not remote.is_launching)
            self.view = remote.view
            self.reason = remote.reason

    def _follow(self, is_by_others: bool = False) -> None:
        """Pages read the process that runs now, whoever started it."""
        self._followed = self.generation
        for stream in list(self._pages):
            (stream.go_on if is_by_others else stream.follow)(self.generation)

    def _connection_info(self, ports: Ports, key: bytes) -> KernelConnectionInfo:
        return {
            "transport": "tcp",
            "ip": IP,
            "shell_port": ports.shell,
            "iopub_port": ports.iopub,
            "stdin_port": ports.stdin,
            "hb_port": ports.hb,
            "control_port": ports.control,
            "key": key,
            "signature_scheme": self.parent.session.signature_scheme,
        }

    def open_stream(
        self,
        reader: str,
        bookmark: Bookmark,
        on_message: Callable[[Incoming], Awaitable[None]],
        on_gap: Callable[[Channel], None],
    ) -> KernelStream:
        """Another reader of this kernel, on the caller's event loop, past the local ports; it follows restarts.

        Call it from the loop that starts and restarts this kernel, and ``close`` what it returns.
        """
        stream = self._new_stream(reader, bookmark, on_message, on_gap)
        stream.follow(self.generation)
        self._pages.add(stream)
        self._pages_loop, self._followed = asyncio.get_running_loop(), self.generation
        return stream

    def open_replay(
        self,
        reader: str,
        bookmark: Bookmark,
        on_message: Callable[[Incoming], Awaitable[None]],
        on_gap: Callable[[Channel], None],
        on_end: Callable[[], None],
    ) -> KernelStream:
        """Read from ``bookmark`` to the end of its generation, answers to everybody included; otherwise the same."""
        stream = self._new_stream(reader, bookmark, on_message, on_gap, on_end, all_replies=True)
        stream.follow(bookmark.generation)
        return stream

    def _new_stream(self, *arguments: Any, **options: Any) -> KernelStream:
        if self._remote is None or self._remote.session_id is None:
            raise RuntimeError("The kernel has not been started.")
        client = ManagerClient(_client_config())
        return KernelStream(client, self._remote.session_id, self.kernel_id, *arguments, **options)

    @property
    def generation(self) -> int:
        """Counts the starts of this kernel's process; 0 before the first."""
        return self._remote.generation if self._remote is not None else 0

    # Is it there?

    @property
    def has_process(self) -> bool:
        return self._has_process

    async def poll(self) -> int | None:
        if self._remote is None or not self._has_process:
            return 0
        return self._remote.exit_code

    async def wait(self) -> int | None:
        while (code := await self.poll()) is None:
            await asyncio.sleep(_POLL_S)
        self._has_process = False
        return code

    # Orders

    async def send_signal(self, signum: int) -> None:
        if self._remote is None or signum == 0:
            return
        if signum == signal.SIGINT:
            await in_background(self._remote.interrupt())
        elif signum in (signal.SIGTERM, signal.SIGKILL):
            await self.kill()

    async def kill(self, restart: bool = False) -> None:
        if self._remote is None:
            return
        if not restart:
            await in_background(self._remote.delete())
        # For a restart the agent ends the old process when it starts the new one.
        self._remote.mark_ended(-signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        await self.kill(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:
        if self._remote is not None and not restart:
            remote, self._remote = self._remote, None
            await in_background(remote.end())

    async def detach(self) -> None:
        """This Jupyter server stops; the kernel runs on for the next one."""
        if self._remote is not None:
            remote, self._remote = self._remote, None
            await in_background(remote.detach())
        self._has_process = False

    # Across a restart of the Jupyter server

    async def get_provisioner_info(self) -> dict[str, Any]:
        info = await super().get_provisioner_info()
        if self._remote is not None:
            info["remote"] = self._remote.to_json()
        return info

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take the kernel up again. Raises ``ManagerAway``: call again later, the kernel may well be running."""
        await super().load_provisioner_info(provisioner_info)
        saved = provisioner_info.get("remote")
        if saved is None:
            return
        self._remote = await in_background(self._make_remote(_client_config()))
        self._has_process = True
        try:
            ports = await in_background(self._remote.resume(saved))
        except ManagerAway:
            self._remote, self._has_process = None, False
            raise
        if ports is not None:
            key = self.connection_info["key"]
            self.connection_info = {**self.connection_info, **self._connection_info(ports, key)}
        self._show()

    # How long things may take

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        return recommended

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        return recommended


def _client_config() -> ClientConfig:
    config = load_config(os.environ, Path.cwd())
    if config is None:
        raise RuntimeError(
            "No Backend.AI credentials are configured. Start one here with `bai up`, or set BACKEND_ENDPOINT, "
            "BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY."
        )
    return config
