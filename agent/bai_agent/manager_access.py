"""A session's own way to the manager, if it was granted one: a token, and a door that leads there.

The token is the manager's matter.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from bai_agent import folders
from bai_agent.doors import Address, Doors, socket_name
from bai_agent.manager_place import ManagerPlace
from bai_agent.runtimes.base import INSIDE_RUN
from bai_jupyter.common.ids import KernelId

log = logging.getLogger(__name__)

DOOR, _TOKEN = "manager", "token"


class ManagerAccess:
    """``doors`` has one named ``DOOR`` that leads to the manager (``address_of``)."""

    def __init__(self, manager_url: str, doors: Doors) -> None:
        self._manager_url, self._doors = manager_url, doors

    async def grant(self, kernel_id: KernelId, run: Path, token: str) -> dict[str, str]:
        """Put ``token`` in the place of the one before and see to the door. What processes inside need to find them.

        May be repeated, and is for each fresh token. A user who hinders it goes without.
        """
        try:
            await asyncio.to_thread(folders.replace_private, run, _TOKEN, token.encode())
            await self._doors.open(kernel_id, run, DOOR)
        except OSError as error:
            log.warning("kernel %s: its access to the manager could not be put in place: %s", kernel_id, error)
        return {
            "BACKEND_ENDPOINT": self._manager_url,
            "BAI_TOKEN_FILE": f"{INSIDE_RUN}/{_TOKEN}",
            "BAI_MANAGER_SOCKET": f"{INSIDE_RUN}/{socket_name(DOOR)}",
        }


def address_of(place: ManagerPlace, tls: ssl.SSLContext | None) -> Address:
    """Where the door leads. What comes through it is HTTP, also where the manager speaks TLS."""
    parts = urlsplit(place.url)
    return Address(parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme], tls)
