"""Servers that waited in the queue when an earlier Hub ended: the Hub is asked to start them again, once.

JupyterHub (6.1) finds at its start the servers that run, and has no hook for those that it was starting: whoever
waited would see a stopped server. So a service of the Hub asks for them by the Hub's own API, with what their users
chose then; ``BackendAISpawner.start`` goes on with the session that has kept its place, and the Hub's pages show it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError
from jupyterhub.httpclient import fetch
from jupyterhub.services.auth import HubAuth
from jupyterhub.utils import make_ssl_context
from tornado.log import app_log

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import PublicError, Unavailable
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.spawner.credentials import service_config
from bai_jupyter.spawner.queued import Queued

_TRY_EVERY_S = 2.0
_AGAIN_S = 60.0  # where a Hub that starts no more servers now does not say when it may
_REFUSED = {
    HTTPStatus.UNAUTHORIZED: "the Hub does not know this service's token",
    HTTPStatus.FORBIDDEN: "no role of the Hub lets this service",
    HTTPStatus.NOT_FOUND: "what this service takes for the Hub's API is not that",
}
_PAGED = "application/jupyterhub-pagination+json"


@dataclass(frozen=True)
class Left:
    """A server that no Hub starts now, and the session that an earlier one has asked for."""

    user: str
    server: str  # empty: the user's default one
    session: str  # its id


async def go_on(hub: HubAuth) -> None:
    """Start those whose sessions still wait or run by now. Tries until Hub and manager answer, or the Hub refuses."""
    while True:
        try:
            found = [left async for page in _pages(hub) for left in left_in(page) if await _is_alive(left)]
            break
        except (ClientError, TimeoutError, Unavailable) as error:
            app_log.warning("Cannot look for servers that waited; trying again: %s", error)
            await asyncio.sleep(_TRY_EVERY_S)
    await asyncio.gather(*(_start(hub, left) for left in found))


def left_in(users: Iterable[Json]) -> Iterator[Left]:
    """What the Hub's list of users, with stopped servers and their state, says of them. Pure."""
    for user in users:
        for name, server in user.get("servers", {}).items():
            queued = Queued.from_json((server.get("state") or {}).get("queued"))
            if queued is not None and server["stopped"]:
                yield Left(user["name"], name, queued.session)


async def _pages(hub: HubAuth) -> AsyncIterator[list[Json]]:
    """All users; none if the Hub does not let this service see them. Raises ``ClientError``, ``TimeoutError``."""
    offset: int | None = 0
    while offset is not None:
        path = f"/users?include_stopped_servers=1&offset={offset}"
        async with await _call(hub, "GET", path, headers={"Accept": _PAGED}) as answer:
            if answer.status in _REFUSED:
                why = _REFUSED[HTTPStatus(answer.status)]
                app_log.warning(
                    "Servers that waited are not started again: %s (%s: %s).", why, hub.api_url, answer.status
                )
                return
            answer.raise_for_status()
            page = await answer.json(content_type=None)
        yield page["items"]
        following = page["_pagination"]["next"]
        offset = following and following["offset"]


async def _is_alive(left: Left) -> bool:
    """What has ended is not asked for again. Raises ``Unavailable`` if the manager cannot say."""
    try:
        async with ManagerClient(replace(service_config(), on_behalf_of=left.user)) as client:
            return (await client.get_session(left.session))["status"] not in FINAL
    except Unavailable:
        raise
    except PublicError as error:  # it is gone, or the Hub may not act for its user any more
        app_log.info("%s/%s is not started again: %s", left.user, left.server, error)
        return False


async def _start(hub: HubAuth, left: Left) -> None:
    while (wait_s := await _ask(hub, left)) is not None:
        await asyncio.sleep(wait_s)


async def _ask(hub: HubAuth, left: Left) -> float | None:
    """After how many seconds to ask again; None: it starts, is refused, or is not waited for any more.

    Without a body the Hub takes what was chosen last.
    """
    path = f"/users/{quote(left.user, safe='')}/servers/{quote(left.server, safe='')}"
    try:
        if not await _is_alive(left):
            return None
        async with await _call(hub, "POST", path) as answer:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:  # its limit of servers, or of those that start at once
                return _seconds(answer.headers.get("Retry-After", ""))
            if answer.status >= HTTPStatus.BAD_REQUEST:
                app_log.warning("%s/%s does not start again: %s", left.user, left.server, await answer.text())
            return None
    except (ClientError, TimeoutError, Unavailable) as error:
        app_log.warning("%s/%s does not start yet; trying again: %s", left.user, left.server, error)
        return _AGAIN_S


def _seconds(retry_after: str) -> float:
    """Never at once again, whatever the Hub says."""
    return max(float(retry_after), _TRY_EVERY_S) if retry_after.isdecimal() else _AGAIN_S


async def _call(hub: HubAuth, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
    """The answer, whatever it is. Raises ``ClientError``, ``TimeoutError``."""
    tls = make_ssl_context(hub.keyfile, hub.certfile, cafile=hub.client_ca) if hub.certfile else True
    every = {"Authorization": f"token {hub.api_token}", **(headers or {})}
    return await fetch(hub.api_url + path, method=method, raise_for_status=False, headers=every, ssl=tls)
