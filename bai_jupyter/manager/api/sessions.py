"""``/session``, ``/kernel`` (as old clients say), ``/sessions`` and ``/resource/dry-run``."""

from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.api.base import Answer, ApiHandler, needs
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.service import Created


class SessionsHandler(ApiHandler):
    @needs("session:create")
    async def post(self) -> Answer:
        return 201, _created(await self.services.sessions.create(self.caller, self.params))


class SessionListHandler(ApiHandler):
    @needs("session:read")
    async def get(self) -> Answer:
        statuses = _statuses(str(self.params.get("status") or ""))
        everybody = str(self.params.get("all", "")).lower() in ("true", "1")
        found = await self.services.sessions.list(self.caller, statuses, everybody=everybody)
        return 200, {"sessions": [self.services.views.session(one) for one in found]}


class SessionHandler(ApiHandler):
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        return 200, self.services.views.session(await self.services.sessions.get(self.caller, ref))

    @needs("session:control")
    async def delete(self, ref: str) -> Answer:
        await self.services.sessions.end(self.caller, ref)
        return 200, {"stats": {"status": "terminated"}}


class RenameHandler(ApiHandler):
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        await self.services.sessions.rename(self.caller, ref, self.params.get("name"))
        return 204, None


class LogsHandler(ApiHandler):
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        return 200, {"result": {"logs": await self.services.sessions.logs(self.caller, ref)}}


class DryRunHandler(ApiHandler):
    @needs("session:read")
    async def post(self) -> Answer:
        return 200, await self.services.sessions.dry_run(self.caller, self.params)


def _created(created: Created) -> dict[str, object]:
    return {
        "sessionId": created.session.id,
        "kernelId": created.session.id,  # what v4 clients read
        "sessionName": created.session.name,
        "status": str(created.status),
        "servicePorts": [],
        "created": created.is_new,
    }


def _statuses(text: str) -> list[SessionStatus]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    known = set(SessionStatus)
    for name in names:
        if name not in known:
            raise bad_value("status", name, f"one of {', '.join(SessionStatus)}")
    return [SessionStatus(name) for name in names]


ROUTES = [
    (r"/(?:session|kernel)", SessionsHandler),
    (r"/sessions", SessionListHandler),
    (r"/(?:session|kernel)/([^/]+)", SessionHandler),
    (r"/(?:session|kernel)/([^/]+)/rename", RenameHandler),
    (r"/(?:session|kernel)/([^/]+)/logs", LogsHandler),
    (r"/resource/dry-run", DryRunHandler),
]
