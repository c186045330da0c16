"""Versions and health; what superadmins do to the cluster as a whole; what was done, and what went wrong."""

from typing import Literal

from bai_jupyter import __version__
from bai_jupyter.manager.api.base import API_VERSION, Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.api.configuration import SettingView, kept
from bai_jupyter.manager.api.recent_errors import KEPT, ErrorView
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db import sessions, settings
from bai_jupyter.manager.db.listings import AUDIT, MAX_PAGE, Reach, Window, fetch
from bai_jupyter.manager.sessions.requests import bad_value, read_moment

NODE = {
    **dict.fromkeys(("id", "status", "version", "api_version", "service_addr"), str),
    **dict.fromkeys(("num_proc", "active_sessions"), int),
    "heartbeat_timeout": float,
    "ssl_enabled": bool,
}
AUDIT_ENTRY = {
    **dict.fromkeys(("at", "action", "target", "request_id"), str),
    "id": int,
    "user_id": str | None,
    "access_key": str | None,
    "result": int,
}


class VersionHandler(ApiHandler):
    is_public = True

    @gives({"version": str, "manager": str})
    def get(self) -> None:
        self.answer(200, {"version": API_VERSION, "manager": __version__})


class HealthHandler(ApiHandler):
    is_public = True

    @gives({"status": str})
    def get(self) -> None:
        self.answer(200, {"status": "ok"})


class ManagerStatusHandler(ApiHandler):
    @gives({"status": Literal["running", "frozen"], "active_sessions": int, "nodes": [NODE]})
    @needs("manager:read")
    async def get(self) -> Answer:
        active = await self.services.store.read(sessions.count_placed)
        is_frozen = await self.services.store.read(settings.frozen) is not None
        status = "frozen" if is_frozen else "running"
        node = {
            "id": "manager",
            "status": status,
            "version": __version__,
            "api_version": API_VERSION,
            "num_proc": 1,
            "service_addr": self.request.host,
            "ssl_enabled": self.request.protocol == "https",
            "heartbeat_timeout": self.services.agents.patience_s,
            "active_sessions": active,
        }
        return 200, {"status": status, "active_sessions": active, "nodes": [node]}

    @takes(status=str, force_kill=bool)
    @gives(None)
    @needs("manager:control")
    async def put(self) -> Answer:
        """``{"status": "frozen" or "running", "force_kill"?}``: pause new sessions, or go on."""
        match self.params.get("status"):
            case "frozen":
                await self.services.sessions.freeze(self.caller, end_all=self.params.get("force_kill") is True)
            case "running":
                await self.services.sessions.unfreeze()
            case other:
                raise bad_value("status", other, "frozen or running")
        return 204, None


class AnnouncementHandler(ApiHandler):
    @gives({"enabled": bool, "message": str})
    @needs("manager:read")
    async def get(self) -> Answer:
        message = await self.services.store.read(settings.load, settings.ANNOUNCEMENT)
        return 200, {"enabled": message is not None, "message": message or ""}

    @takes(enabled=bool, message=str)
    @gives(None)
    @needs("manager:control")
    async def post(self) -> Answer:
        """``{"enabled": true, "message"}``: what clients show to everybody; ``enabled`` false takes it away."""
        message = self.text("message") if self.params.get("enabled") else None
        await self.services.store.write(settings.store, settings.ANNOUNCEMENT, message)
        return 204, None


class SettingsHandler(ApiHandler):
    @gives({"settings": [SettingView]})
    @needs("manager:settings")
    async def get(self) -> Answer:
        """How this manager is set up: first the options of its start, then what the API changes."""
        message = await self.services.store.read(settings.load, settings.ANNOUNCEMENT)
        pause = await self.services.store.read(settings.frozen)
        changed = [
            kept(settings.ANNOUNCEMENT, message, "What everybody is told."),
            kept(settings.FROZEN, pause.text if pause else None, "Why no new sessions are taken."),
        ]
        return 200, {"settings": [*self.services.options(), *changed]}


class SchedulerHandler(ApiHandler):
    @takes(op=str, args=list, by=str)
    @gives(None)
    @needs("agent:schedule")
    async def post(self) -> Answer:
        """``{"op": "include-agents" or "exclude-agents", "args": [name or id], "by"?}``: let them take new sessions,
        or none; what runs there goes on then, until ``by`` if there is one."""
        refs = self.params.get("args")
        match self.params.get("op"):
            case "include-agents":
                await self.services.agents.resume(refs)
            case "exclude-agents":
                await self.services.agents.drain(refs, read_moment("by", self.params.get("by")))
            case other:
                raise bad_value("op", other, "include-agents or exclude-agents")
        return 204, None


class AuditHandler(ApiHandler):
    """What was changed by whom, logins, and terminals that were opened, newest first: a superadmin sees all, everybody
    what was done in their own name."""

    @takes(limit=int, offset=int, filter=str, order=str)
    @gives({"entries": [AUDIT_ENTRY], "total_count": int})
    @needs("audit:read")
    async def get(self) -> Answer:
        reach = Reach() if policy.may(self.caller.role, "domain:any") else Reach(user_id=self.caller.user_id)
        limit, offset = self.number("limit", 50, 1, MAX_PAGE), self.number("offset", 0, 0, 2**31)
        window = Window(limit, offset, self.optional_text("filter"), self.optional_text("order"))
        rows, total = await self.services.store.read(fetch, AUDIT, reach, window)
        entries = [{**row._mapping, "at": row.at.isoformat()} for row in rows]
        return 200, {"entries": entries, "total_count": total}


class ErrorLogHandler(ApiHandler):
    @takes(page_size=int, page_no=int)
    @gives({"logs": [ErrorView], "count": int})
    @needs("manager:errors")
    async def get(self) -> Answer:
        """``{"page_size"?, "page_no"?}``: errors since this manager started, newest first."""
        size, number = self.number("page_size", 20, 1, KEPT), self.number("page_no", 1, 1, KEPT)
        logs, count = self.services.errors.page(size, number)
        return 200, {"logs": logs, "count": count}


ROUTES = [
    (r"/(?:v\d+/?)?", VersionHandler),
    (r"/health", HealthHandler),
    (r"/manager/status", ManagerStatusHandler),
    (r"/manager/announcement", AnnouncementHandler),
    (r"/manager/settings", SettingsHandler),
    (r"/manager/scheduler/operation", SchedulerHandler),
    (r"/audit", AuditHandler),
    (r"/logs/error", ErrorLogHandler),
]
