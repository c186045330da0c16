"""``/bai/api``: what is on record about one session, for its tab: its statuses, what was done to it, its project."""

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.extension.handlers import BaiHandler

_PROJECT = "query($id: UUID!) {compute_session(id: $id) {group_name user_email}}"
_SHOWN = ("id", "at", "action", "access_key", "result")


class HistoryHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        """``{"changes"}``: each change of its status, oldest first, as the manager says it."""
        self.finish({"changes": await self.client.status_history(session, self.owner)})


class AuditHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        """``{"entries"}``: the newest of what was done to it, as far as whoever asks may see that."""
        view = await self.client.get_session(session, self.owner)
        entries = await self.client.audit(about(view))
        shown = [{name: one[name] for name in _SHOWN} for one in entries if is_about(view, one["target"])]
        self.finish({"entries": shown})


class ProjectHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self, session: str) -> None:
        """``{"name", "owner"}``: of the project that it counts for, ``null`` if that is gone, and whose it is."""
        view = await self.client.get_session(session, self.owner)
        found = (await self.client.graphql(_PROJECT, id=view["id"]))["compute_session"]
        self.finish({"name": found["group_name"], "owner": found["user_email"]})


def about(view: dict[str, Any]) -> str:
    """A filter of the audit trail. By its id; by its name only as its owner used it while this session had it."""
    ended = f' & at <= "{view["terminationTime"]}"' if view["terminationTime"] else ""
    own = f'user_id == "{view["userId"]}" & at >= "{view["creationTime"]}"{ended} & action contains " session:"'
    return f"{_is_on(view['id'])} | ({own} & ({_is_on(view['name'])}))"


def _is_on(ref: str) -> str:
    return f'target == "{ref}" | target like "{ref}/%"'


def is_about(view: dict[str, Any], target: str) -> bool:
    """What the filter found by the name of another, since ``_`` in it stands for any character, is not."""
    return target.split("/", 1)[0] in (view["id"], view["name"])


HANDLERS = [
    (r"/bai/api/sessions/([\w.-]+)/history", HistoryHandler),
    (r"/bai/api/sessions/([\w.-]+)/audit", AuditHandler),
    (r"/bai/api/sessions/([\w.-]+)/project", ProjectHandler),
]
