"""Users' home folders: each is made on its volume before the first session that mounts it."""

import logging

from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.ids import UserId
from bai_jupyter.manager.db import vfolders
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.vfolders.volumes import Volumes

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


class Homes:
    """Not made where a session starts: an agent whose volume is not mounted would give an empty home without a word."""

    def __init__(self, store: Store, volumes: Volumes) -> None:
        self._store, self._volumes = store, volumes
        self._made: set[UserId] = set()

    async def ensure(self, user_id: UserId) -> None:
        """Make it if an agent that holds the volume answers. Who mounts a home that is not there says so."""
        if user_id in self._made:
            return
        home = await self._store.read(vfolders.home_of, user_id)
        if home is not None and home[1]:  # without a subpath it is the volume itself
            try:
                place = {"volume": home[0], "subpath": home[1]}
                await self._volumes.call(place, "make_folder", {"beside": None}, _TIMEOUT_S)
            except PublicError as error:
                log.warning("the home of user %s is not made yet: %s", user_id, error)
                return
        self._made.add(user_id)
