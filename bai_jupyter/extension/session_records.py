"""``/bai/api``: what is on record about sessions.

Of one, for its tab: its statuses, what was done to it, its project. Of those that have ended: which ones lately.
"""

import json
from datetime import UTC, datetime
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.common.errors import Forbidden
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.extension.handlers import BaiHandler, bad_value

_PROJECT = "query($id: UUID!) {compute_session(id: $id) {group_name user_email}}"
_ENDED = """query($filter: String) {
  compute_session_list(limit: 50, offset: 0, order: "-terminated_at", filter: $filter) {
    total_count
    items {id name type image status status_data terminated_at requested_slots cluster_size}
  }
}"""
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


class EndedHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"sessions", "total"}``: one's own that ended at ``?since=`` (ISO 8601) or later, newest first.

        The newest 50, of how many. None for a server that sees nothing but the session it is in.
        """
        since = _moment(self.get_query_argument("since", ""))
        try:
            me = (await self.client.whoami())["id"]
            own = f'user_id == "{me}" & terminated_at >= "{since.isoformat()}"'
            found = (await self.client.graphql(_ENDED, filter=own))["compute_session_list"]
        except Forbidden:
            found = {"items": [], "total_count": 0}
        self.finish({"sessions": [ended_view(one) for one in found["items"]], "total": found["total_count"]})


def _moment(given: str) -> datetime:
    """Raises ``BadRequest``."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise bad_value("since", given, "a time with its zone, such as 2026-11-30T00:00:00Z")
    return found.astimezone(UTC)


def ended_view(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the manager's list in the words of a session's view. ``slots`` are of each of its containers."""
    count = row["cluster_size"]
    together = ResourceSlots.parse(json.loads(row["requested_slots"]))
    return {
        **{name: row[name] for name in ("id", "name", "type", "image", "status")},
        "reason": json.loads(row["status_data"])["reason"],
        "slots": ResourceSlots({name: amount / count for name, amount in together.items()}).to_json(),
        "clusterSize": count,
        "terminationTime": row["terminated_at"],
    }


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
    (r"/bai/api/ended-sessions", EndedHandler),
    (r"/bai/api/sessions/([\w.-]+)/history", HistoryHandler),
    (r"/bai/api/sessions/([\w.-]+)/audit", AuditHandler),
    (r"/bai/api/sessions/([\w.-]+)/project", ProjectHandler),
]
