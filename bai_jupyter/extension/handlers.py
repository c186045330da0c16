"""``/bai/api``: what the Lab panel asks, passed on to the manager.

Each handler authorizes (resource ``bai``), makes one call of the client and writes the answer. Credentials stay in the
server; the page only has its own Jupyter login. Errors are ``{"code", "message"}`` with the manager's status.
"""

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from bai_jupyter._version import __version__
from bai_jupyter.client import ManagerClient, link_of
from bai_jupyter.common.errors import BadRequest, PublicError, Unavailable
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import read_number
from bai_jupyter.extension.app_proxy import entry, said_by

NOT_CONNECTED = (
    "This Jupyter server is not connected to a Backend.AI manager. "
    "Run `bai up` in this folder, or set BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY; "
    "then start it again."
)


COMMIT_WAIT_S = 20.0  # shorter than what proxies bear


class NotConnected(Unavailable):
    slug = "not-connected"


def bad_value(field: str, given: object, expected: str) -> BadRequest:
    shown = json.dumps(given, ensure_ascii=False)
    return BadRequest(Reason.of("bad-value", field=field, given=shown, expected=expected))


class BaiHandler(APIHandler):
    """Common to all: the client, and errors in one form."""

    auth_resource = "bai"

    @property
    def extension(self) -> Any:
        return self.settings["bai_extension"]

    @property
    def client(self) -> ManagerClient:
        if self.extension.client is None:
            raise NotConnected(self.extension.config_error or NOT_CONNECTED)
        return self.extension.client

    def fields(self) -> dict[str, Any]:
        """The body; what its values must be, the manager knows."""
        given = self.get_json_body()
        if not isinstance(given, dict):
            raise bad_value("body", given, "an object")
        return given

    def number(self, field: str, default: int, least: int = 0, largest: int = 2**53) -> int:
        """A parameter of the query. Raises ``BadRequest``."""
        given = self.get_query_argument(field, str(default))
        found = read_number(given)
        if found is None or not least <= found <= largest:
            raise bad_value(field, given, f"a number from {least} to {largest}")
        return found

    @property
    def owner(self) -> str | None:
        """``?owner=``: for admins, a keypair of the person whose session it is."""
        return self.get_query_argument("owner", None)

    def done(self) -> None:
        """All is well, and there is nothing to say."""
        self.set_status(204)
        self.finish()

    def write_error(self, _: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, PublicError):
            self.set_status(error.status)
            body = {"code": error.code, "message": error.message}
        elif isinstance(error, web.HTTPError):
            body = {"code": "http", "message": said_by(error) or error.reason or self._reason}
        else:
            body = {"code": "internal", "message": "The Jupyter server failed to answer; its log says why."}
        self.finish(json.dumps(body))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, PublicError):  # those are answers, not faults
            super().log_exception(typ, value, tb)


class StatusHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Which manager, is it there, who am I: answers 200 also when the manager does not."""
        answer: dict[str, Any] = {
            "configured": self.extension.client is not None,
            "reachable": False,
            "endpoint": None,
            "versions": {"extension": __version__, "manager": None},
            "user": None,
            "error": None,
        }
        try:
            answer["endpoint"] = self.client.config.endpoint
            answer["versions"]["manager"] = (await self.client.request("GET", "/", timeout_s=5)).get("manager")
            answer["user"] = await self.client.whoami()
            answer["reachable"] = True
        except PublicError as error:
            answer["error"] = {"code": error.code, "message": error.message}
        self.finish(answer)


class SessionsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"sessions": await self.client.list_sessions()})


class SessionHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        """As the manager shows it, also one that has ended."""
        self.finish(await self.client.get_session(session, self.owner))

    @web.authenticated
    @authorized
    async def patch(self, session: str) -> None:
        """``{"name"}``: what it is called from now on."""
        name = self.fields().get("name")
        if not isinstance(name, str):
            raise bad_value("name", name, "a text")
        await self.client.rename(session, name)
        self.done()

    @web.authenticated
    @authorized
    async def delete(self, session: str) -> None:
        await self.client.destroy_session(session, owner=self.owner)
        self.done()


class ExtendHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """Keep it for a while, if it would be stopped for being idle."""
        await self.client.extend(session)
        self.done()


class LogsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        """``{"logs"}``: what its container and the programs in it printed last, as text."""
        self.finish({"logs": await self.client.logs(session, owner=self.owner)})


class RestartHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """Its container, with its files, and every kernel in it."""
        await self.client.restart(session)
        self.done()


class CommitHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """``{"name"?}``: begin to make an image of what its container has become, for its owner alone.
        ``{"image", "task"}``."""
        given = self.fields() if self.request.body else {}
        made = await self.client.commit(session, given.get("name"))
        self.set_status(202)
        self.finish({"image": made["image"], "task": made["bgtask_id"]})


class CommitEndHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, task: str) -> None:
        """``{"status", "message"}`` of an image that is being made: waits a while for its end. When it is ``done``,
        the image is among the kernelspecs."""
        told = await self.client.task_end(task, COMMIT_WAIT_S)
        if told["status"] == "done":
            await self.extension.refresh_images()
        self.finish(told)


class ResizeHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str) -> None:
        """``{"resources": {"cpu"?, "mem"?}}``: other amounts for a session that runs. What it has then."""
        resources = self.fields().get("resources")
        if not isinstance(resources, dict):
            raise bad_value("resources", resources, 'amounts by slot, such as {"mem": "4g"}')
        view = await self.client.resize(session, resources)
        self.finish({"slots": view["slots"]})


class AppsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        self.finish({"apps": await self.client.list_apps(session)})


class AppHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self, session: str, app: str) -> None:
        """Start it if it does not answer. ``{"link"}``: to this server, or for a minute to the manager."""
        service = await self.client.start_service(session, app)
        is_apart = self.extension.is_apart(service)
        self.finish({"link": link_of(service) if is_apart else f"{entry(self.base_url, session, app)}/"})


class ImagesHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"images": await self.client.list_images()})


class PresetsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"presets": await self.client.list_presets()})


class CapacityHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """What the user may use and uses, at each level, and which presets would start now."""
        self.finish(await self.client.check_presets())


class ResourceGroupsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"resource_groups": await self.client.list_resource_groups()})


class AgentsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """What each agent has and uses; nothing about its devices or its address."""
        self.finish({"agents": [summarize(agent) for agent in await self.client.list_agents()]})


_AGENT_SUMMARY = ("name", "status", "resource_group", "runtime", "isolated", "slots", "used")


def summarize(agent: dict[str, Any]) -> dict[str, Any]:
    return {name: agent.get(name) for name in _AGENT_SUMMARY}


HANDLERS = [
    (r"/bai/api/status", StatusHandler),
    (r"/bai/api/sessions", SessionsHandler),
    (r"/bai/api/sessions/([\w.-]+)", SessionHandler),
    (r"/bai/api/sessions/([\w.-]+)/extend", ExtendHandler),
    (r"/bai/api/sessions/([\w.-]+)/logs", LogsHandler),
    (r"/bai/api/sessions/([\w.-]+)/restart", RestartHandler),
    (r"/bai/api/sessions/([\w.-]+)/commit", CommitHandler),
    (r"/bai/api/commits/([\w-]+)", CommitEndHandler),
    (r"/bai/api/sessions/([\w.-]+)/resize", ResizeHandler),
    (r"/bai/api/sessions/([\w.-]+)/apps", AppsHandler),
    (r"/bai/api/sessions/([\w.-]+)/apps/([\w.-]+)", AppHandler),
    (r"/bai/api/images", ImagesHandler),
    (r"/bai/api/presets", PresetsHandler),
    (r"/bai/api/capacity", CapacityHandler),
    (r"/bai/api/resource-groups", ResourceGroupsHandler),
    (r"/bai/api/agents", AgentsHandler),
]
