"""What root fields are given, and how they are declared: each with the permission that it needs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import PublicError
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db.listings import Reach
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.people.service import PeopleService
from bai_jupyter.manager.sessions.views import Views
from bai_jupyter.manager.vfolders.volumes import Volumes


@dataclass(frozen=True)
class Parts:
    """What root fields work with."""

    store: Store
    people: PeopleService
    registry: Registry
    vault: Vault
    views: Views
    volumes: Volumes


Audit = Callable[[str, str, int], Awaitable[None]]
"""Records a mutation: its name, what it was about, and its result as an HTTP status."""


@dataclass(frozen=True)
class Context:
    """One request. ``conn`` is there for queries only, until they await something."""

    caller: Caller
    parts: Parts
    audit: Audit
    conn: Connection

    @property
    def reach(self) -> Reach:
        """How far the caller sees in lists of people and sessions."""
        if policy.may(self.caller.role, "domain:any"):
            return Reach()
        if policy.may(self.caller.role, "people:manage"):
            return Reach(domain=self.caller.domain)
        return Reach(user_id=self.caller.user_id)


Query = TypeVar("Query", bound=Callable[..., Any])
Mutation = TypeVar("Mutation", bound=Callable[..., Awaitable[Mapping[str, Any] | None]])


class Queries:
    """Declares root fields of ``Query``: functions of a context and the field's arguments."""

    def __init__(self) -> None:
        self.fields: dict[str, Callable[..., Any]] = {}

    def __call__(self, permission: str) -> Callable[[Query], Query]:
        """An unknown permission fails at import."""
        assert permission in policy.PERMISSIONS

        def add(function: Query) -> Query:
            def resolve(_root: None, info: Any, **arguments: Any) -> Any:
                policy.require(info.context.caller.role, permission)
                return function(info.context, **arguments)

            self.fields[function.__name__] = resolve
            return function

        return add


class Mutations:
    """Declares root fields of ``Mutation``. What they return stands beside ``ok``; each use is audited.

    A refusal is not an error of the document but ``ok: false`` with its sentence, as clients expect.
    """

    def __init__(self) -> None:
        self.fields: dict[str, Callable[..., Awaitable[Any]]] = {}

    def __call__(self, permission: str) -> Callable[[Mutation], Mutation]:
        """An unknown permission, or one whose use is not audited, fails at import."""
        assert policy.PERMISSIONS[permission].is_audited

        def add(function: Mutation) -> Mutation:
            async def resolve(_root: None, info: Any, **arguments: Any) -> Mapping[str, Any]:
                context: Context = info.context
                target = str(next(iter(arguments.values()), ""))
                try:
                    policy.require(context.caller.role, permission)
                    result = await function(context, **arguments)
                except PublicError as error:
                    await context.audit(function.__name__, target, error.status)
                    return {"ok": False, "msg": error.message}
                await context.audit(function.__name__, target, 200)
                return {"ok": True, "msg": "", **(result or {})}

            self.fields[function.__name__] = resolve
            return function

        return add
