"""``/bai/api``: sessions that run are suspended, and their variables saved and brought back."""

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.extension.handlers import BaiHandler, bad_value

_MAY_HOLD_SAVES = (
    SessionStatus.RUNNING,
    SessionStatus.RESTARTING,
    SessionStatus.TERMINATING,
    SessionStatus.TERMINATED,
    SessionStatus.ERROR,
)


class SuspendHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """Freeze it; it wakes when it is used. ``{"reason"}``: what it is doing then."""
        self.finish(told(await self.client.suspend(session)))


class ResumeHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        self.finish(told(await self.client.resume(session)))


class SaveHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """``{"kernels"}``: what was saved of the variables of each, or why nothing was."""
        self.finish({"kernels": await self.client.save(session)})


class WakeHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """``{"source"?, "kernel"?, "into"?}``: restart kernels with what was saved of them, or of those of ``source``.

        Returns when that is under way; how it went, each kernel says.
        """
        given = self.fields()
        names = {name: given.get(name) for name in ("source", "kernel", "into")}
        for name, value in names.items():
            if value is not None and not isinstance(value, str):
                raise bad_value(name, value, "a text")
        await self.client.wake(session, **names)
        self.set_status(202)
        self.finish()


class SavedHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"saved"}``: of which kernels of one's own sessions, also of ended ones, there are variables. Newest first.

        ``{"session", "name", "kernel", "at", "variables", "bytes"}`` each.
        """
        self.finish({"saved": saved_in(await self.client.list_sessions(_MAY_HOLD_SAVES))})


def told(view: dict[str, Any]) -> dict[str, Any]:
    """What a session is doing, as its view says."""
    return {"reason": {name: view["reason"][name] for name in ("code", "text")}}


def saved_in(views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [
        {
            "session": view["id"],
            "name": view["name"],
            "kernel": kernel["id"],
            **{name: kernel["saved"][name] for name in ("at", "variables", "bytes")},
        }
        for view in views
        for kernel in view["jupyterKernels"]
        if kernel.get("saved")
    ]
    return sorted(found, key=lambda one: one["at"], reverse=True)


HANDLERS = [
    (r"/bai/api/saved", SavedHandler),
    (r"/bai/api/sessions/([\w.-]+)/suspend", SuspendHandler),
    (r"/bai/api/sessions/([\w.-]+)/resume", ResumeHandler),
    (r"/bai/api/sessions/([\w.-]+)/save", SaveHandler),
    (r"/bai/api/sessions/([\w.-]+)/wake", WakeHandler),
]
