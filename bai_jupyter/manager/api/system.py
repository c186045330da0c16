"""Versions, health, who am I."""

from bai_jupyter import __version__
from bai_jupyter.manager.api.base import API_VERSION, Answer, ApiHandler, needs


class VersionHandler(ApiHandler):
    is_public = True

    def get(self) -> None:
        self.answer(200, {"version": API_VERSION, "manager": __version__})


class HealthHandler(ApiHandler):
    is_public = True

    def get(self) -> None:
        self.answer(200, {"status": "ok"})


class AuthHandler(ApiHandler):
    @needs("auth:read")
    async def get(self) -> Answer:
        caller = self.caller
        user = {"id": caller.user_id, "name": caller.user_name, "role": caller.role}
        return 200, {"authorized": "yes", "user": user}


ROUTES = [
    (r"/(?:v\d+/?)?", VersionHandler),
    (r"/health", HealthHandler),
    (r"/auth(?:/test)?", AuthHandler),
]
