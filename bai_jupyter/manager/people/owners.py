"""An admin asks for what is somebody else's, by a keypair of theirs, as Backend.AI's clients do (``--owner``)."""

from dataclasses import replace

from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller, caller_of
from bai_jupyter.manager.db import accounts, people
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.people.visibility import may_touch


class Owners:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def act_as(self, caller: Caller, access_key: str) -> Caller:
        """The keypair's owner as a caller, with no more rights than theirs, also where they are shut out.

        Whom the caller may not ask for is answered as one who does not exist. Raises ``NotFound``.
        """
        if access_key == caller.access_key:
            return caller
        keypair = await self._store.read(accounts.find_keypair, access_key)
        if keypair is not None and keypair.user_id == caller.user_id and keypair.is_active:
            return replace(caller, access_key=keypair.access_key, admin_key=caller.signing_key)
        if keypair is not None and policy.may(caller.role, "people:manage"):
            owner = await self._store.read(people.require_user, t.users.c.id, keypair.user_id)
            if may_touch(caller, owner):
                return replace(caller_of(keypair), admin_key=caller.signing_key, rate_limit=caller.rate_limit)
        raise NotFound(Reason.of("not-found", kind="keypair", name=access_key), title="No such keypair.")
