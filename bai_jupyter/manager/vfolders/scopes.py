"""Has file systems with hard limits keep what policies allow each folder, and each owner's on a volume together."""

import asyncio
import logging
from typing import Any

from bai_jupyter.common.errors import PublicError, Unavailable
from bai_jupyter.manager.agents.link import AgentLink
from bai_jupyter.manager.db import folder_rules
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.vfolders.volumes import Volumes

log = logging.getLogger(__name__)

_TIMEOUT_S = 300.0
_RETRY_S = 60.0

Scopes = dict[str, dict[str, Any]]


class ScopeLimits:
    """Tells each agent all scopes of its volumes, and the limits of their folders, when it came; later what changed.

    ``nudge`` it when an agent came, or when a policy, whom it binds, or whose a folder is may have changed.
    """

    def __init__(self, store: Store, volumes: Volumes) -> None:
        self._store, self._volumes = store, volumes
        self._changed = asyncio.Event()
        self._told: dict[str, tuple[AgentLink, Scopes]] = {}
        self._task: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        self._changed.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                for volume, scopes in (await self._store.read(folder_rules.hard_scopes)).items():
                    await self._bring(volume, scopes)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("limits of folders are not looked after; it is tried again")
                self._try_again()

    async def _bring(self, volume: str, scopes: Scopes) -> None:
        try:
            await self._tell(volume, scopes)
        except Unavailable:
            pass  # it is told when it comes back
        except PublicError as error:
            log.warning("limits of folders on %s are not in force yet: %s", volume, error)
            self._try_again()

    def _try_again(self) -> None:
        asyncio.get_running_loop().call_later(_RETRY_S, self.nudge)

    async def _tell(self, volume: str, scopes: Scopes) -> None:
        link = await self._volumes.holder(volume)
        told_link, told = self._told.get(volume, (None, {}))
        known = told if told_link is link else {}
        changed = [scope for key, scope in scopes.items() if known.get(key) != scope]
        if changed:
            await self._volumes.call({"volume": volume}, "limit_scopes", {"scopes": changed}, _TIMEOUT_S)
        self._told[volume] = link, scopes
