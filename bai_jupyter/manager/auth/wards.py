"""A service acts for a user: a JupyterHub signs with its own keypair and names the user in the signed query.

A service's keypair opens nothing by itself. It may act only for its *wards*, users whom it made or was given; then it
is that user, never more than an ordinary one, and the audit trail names both.
"""

from dataclasses import replace

from bai_jupyter.common.errors import Forbidden, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller, caller_of
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.records import Keypair
from bai_jupyter.manager.db.store import Store

ON_BEHALF_OF = "on_behalf_of"
"""Query parameter with the user's name. In the query, because that is signed and headers are not."""


class Wards:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def act_for(self, service: Caller, name: str) -> Caller:
        """The user as a caller. Whom the service may not act for is answered as one who does not exist."""
        policy.require(service.role, "user:act-for")
        keypair: Keypair | None = await self._store.read(accounts.find_ward, service.access_key, name)
        if keypair is None:
            raise NotFound(Reason.of("not-found", kind="user", name=name), title="No such user.")
        if not keypair.is_active:
            raise Forbidden(Reason.of("inactive"))
        if keypair.role != policy.USER:
            raise Forbidden(f"{name} is an {keypair.role}; a service acts for ordinary users only.")
        return replace(caller_of(keypair), service_key=service.access_key, rate_limit=service.rate_limit)
