"""``BackendAISpawner``: a Hub user's server is the command of a session, which ends with it.

The Hub holds the keypair of a service at the manager, and acts for its users with it. The proxy's target is the
manager, which has the server's path in the session's row; the server reaches the Hub by a door of its container. So
nothing here is needed for a server that runs: Hub, proxy, manager and agent may end and start again.
"""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import random_port, url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from traitlets import Dict, Enum, List, Unicode, default

from bai_jupyter.client import (
    ClientConfig,
    ConfigError,
    Json,
    ManagerClient,
    SessionEnded,
    SessionRequest,
    load_config,
)
from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.spawner.form import Offer, form_of
from bai_jupyter.spawner.options import Options, options_of_form, read_options
from bai_jupyter.spawner.progress import progress_of

_DAY_S = 24 * 3600
_LONGEST_WAIT_S = 3650 * _DAY_S
_FIRST_ANSWER_S = 120  # from a cold disk, and after a restart of the manager
_STOP_S = 300.0
_LOOK_EVERY_S = 0.1
_DOORS_FOLDER = "/run/bai"


class BackendAISpawner(Spawner):
    """Runs a user's server in a Backend.AI session."""

    image = Unicode(help="Environment, if the user chooses none. It has jupyterhub-singleuser.").tag(config=True)
    preset = Unicode(help="Resources, if the user chooses none. Default: what the policy says.").tag(config=True)
    images = List(Unicode(), help="Environments that users may choose. Empty: all that they may use.").tag(config=True)
    folders = Dict(
        value_trait=Enum(("ro", "rw")), help='Folders that every server mounts, beside home: {"datasets": "ro"}.'
    ).tag(config=True)
    resource_group = Unicode("default", help="Agents that may run servers.").tag(config=True)
    projects = List(
        Unicode(), help="Projects of the manager in which the Hub's users are; servers count for the first."
    ).tag(config=True)
    door = Unicode(
        "hub",
        help="Which of the agent's doors (AgentApp.doors) leads to the Hub. Empty: sessions reach the Hub by network.",
    ).tag(config=True)

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return _LONGEST_WAIT_S  # a queue may be long; the manager has deadlines of its own

    @default("http_timeout")
    def _default_http_timeout(self) -> int:
        return _FIRST_ANSWER_S

    @default("hub_connect_url")
    def _default_hub_connect_url(self) -> str | None:
        return f"http+unix://{quote(f'{_DOORS_FOLDER}/{self.door}.sock', safe='')}" if self.door else None

    @default("options_form")
    def _default_options_form(self) -> Any:
        return BackendAISpawner.options_page

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return options_of_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        return lambda _spawner, _options: None  # ``start`` reads them; a Hub without a hook warns that nobody does

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._session = ""  # its id
        self._view: Json | None = None
        self._changed = asyncio.Event()

    # What the Hub keeps

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._session = state.get("session", "")

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        return {**state, "session": self._session} if self._session else state

    def clear_state(self) -> None:
        super().clear_state()
        self._session, self._view = "", None

    # Life

    async def start(self) -> str:
        """Returns when the server answers, however long its session waits. Raises ``SpawnException``."""
        self.port = self.port or random_port()
        try:
            await self._become_ward()
            async with self._manager() as client:
                await self._end_leftover(client)
                created = await client.create_session(self._request())
                self._session = created["sessionId"]
                self._keep_state()
                await client.wait_for(self._session, timeout_s=self.start_timeout, on_change=self._show)
                return await self._until_it_answers(client)
        except SessionEnded as error:
            raise SpawnException(str(error), reason=error.view["reason"]["code"], status_code=500) from error
        except (PublicError, ConfigError) as error:
            raise _refusal(error) from error

    async def poll(self) -> int | None:
        """None also while the manager cannot be asked: nothing is known then, and the session goes on."""
        if not self._session:
            return 0
        try:
            async with self._manager() as client:
                view = await client.get_session(self._session)
        except NotFound:
            return 0
        except (PublicError, ConfigError) as error:
            self.log.warning("%s: %s", self._log_name, error)
            return None
        return None if view["status"] not in FINAL else view["exitCode"] or 0

    async def stop(self, now: bool = False) -> None:
        async with self._manager() as client:
            await self._end(client, self._session, forced=now)

    async def get_url(self) -> str:
        return url_path_join(self._config().endpoint, self.server.base_url)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        told = None
        while True:
            changed, view = self._changed, self._view
            if view is not None and (event := progress_of(view)) != told:
                told = event
                yield event
            await changed.wait()

    @property
    def session_name(self) -> str:
        """One's own for each of a user's servers."""
        return f"jupyterhub-{self.name}" if self.name else "jupyterhub"

    # Choosing

    async def options_page(self) -> str:
        """The form, with what was chosen last, and when each choice would start. Raises ``SpawnException``."""
        try:
            await self._become_ward()
            async with self._manager() as client:
                chosen = self._chosen_last()
                images = self.images or [one["name"] for one in await client.list_images()]
                if not images:
                    raise NotFound(Reason.of("no-images"))
                presets = ["", *(one["name"] for one in await client.list_presets())]
                trial = replace(self._trial(chosen), image=chosen.image if chosen.image in images else images[0])
                answers = await asyncio.gather(*(client.dry_run(replace(trial, preset=name)) for name in presets))
                folders = {
                    one["name"]: "ro" if one["permission"] == "ro" else "rw"
                    for one in await client.list_folders()
                    if one["status"] == "ready" and not one["name"].startswith(".")
                    if one["name"] not in ("home", *self.folders)
                }
        except (PublicError, ConfigError) as error:
            raise _refusal(error) from error
        verdicts = dict(zip(presets, answers, strict=True))
        if verdicts[""]["verdict"] == "refused" and len(verdicts) > 1:  # a policy need not name anything
            del verdicts[""]
        return form_of(Offer(images, verdicts, folders), chosen)

    def _chosen_last(self) -> Options:
        try:
            return self._chosen(self.orm_spawner.user_options or {})
        except BadRequest:  # it may be no option any more
            return self._chosen({})

    def _chosen(self, user_options: Mapping[str, Any]) -> Options:
        """What the user chose, and for the rest what the admin did. Raises ``BadRequest``."""
        options = read_options(user_options)
        if self.images and options.image and options.image not in self.images:
            raise BadRequest(
                Reason.of("bad-value", field="image", given=options.image, expected=f"one of {', '.join(self.images)}")
            )
        folders = {**options.folders, **self.folders}
        return Options(options.image or self.image, options.preset or self.preset, folders)

    # Inside

    def _config(self) -> ClientConfig:
        """The service's credentials, found where every program of ours looks. Raises ``ConfigError``."""
        config = load_config(os.environ, Path.cwd())
        if config is None:
            raise ConfigError("The Hub has no credentials for the manager: name their file in BAI_CREDENTIALS.")
        return config

    def _manager(self) -> ManagerClient:
        return ManagerClient(replace(self._config(), on_behalf_of=self.user.name))

    async def _become_ward(self) -> None:
        async with ManagerClient(self._config()) as service:
            await service.make_ward(self.user.name, projects=self.projects)

    def _request(self) -> SessionRequest:
        chosen = self._chosen(self.user_options)
        if not chosen.image:
            raise BadRequest(Reason.of("no-image"))
        return replace(
            self._trial(chosen),
            environ={name: str(value) for name, value in self.get_env().items() if value is not None},
            reuse_if_exists=False,
            command=shlex.join(["exec", *self.cmd, *self.get_args()]),
            route=(self.server.base_url, self.port),
            doors=[self.door] if self.door else [],
        )

    def _trial(self, chosen: Options) -> SessionRequest:
        """As much of the request as decides when it starts."""
        return SessionRequest(
            name=self.session_name,
            image=chosen.image,
            resources=self._resources(),
            preset=chosen.preset or None,
            mounts=list(chosen.folders),
            read_only=[name for name, permission in chosen.folders.items() if permission == "ro"],
            resource_group=self.resource_group,
            project=self.projects[0] if self.projects else None,
        )

    def _resources(self) -> dict[str, str]:
        """The Hub's limits; the manager gives what it promises, so a guarantee is one too."""
        cpu, mem = self.cpu_limit or self.cpu_guarantee, self.mem_limit or self.mem_guarantee
        amounts = {"cpu": f"{cpu:g}" if cpu else "", "mem": str(mem or "")}
        return {name: amount for name, amount in amounts.items() if amount}

    def _keep_state(self) -> None:
        """Now, because the Hub does so only when the server runs, and may end before."""
        self.orm_spawner.state = self.get_state()
        self.user.db.commit()

    def _show(self, view: Json) -> None:
        self._view = view
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until_it_answers(self, client: ManagerClient) -> str:
        """The manager's address; the server's path is behind it. Raises ``SpawnException`` if the session ends."""
        api = url_path_join(await self.get_url(), "api")
        up = asyncio.create_task(_answers(api, self.http_timeout))
        end = asyncio.create_task(client.wait_for(self._session, FINAL, timeout_s=self.http_timeout))
        try:
            done, _ = await asyncio.wait({up, end}, return_when=asyncio.FIRST_COMPLETED)
            if up in done:
                up.result()
                return client.config.endpoint
            lines = (await client.logs(self._session)).strip().splitlines() or ["nothing was printed"]
            why = Reason.of("server-ended", why=end.result()["reason"]["text"], line=lines[-1])
            raise SpawnException(why.text, reason=why.code, status_code=500)
        finally:
            for task in (up, end):
                task.cancel()
            await asyncio.gather(up, end, return_exceptions=True)

    async def _end_leftover(self, client: ManagerClient) -> None:
        """What a Hub that died while starting it has left: its token is not good any more.

        Users can make sessions of that name too, but none with a route. Those stay, and the manager refuses ours.
        """
        with suppress(NotFound):
            view = await client.get_session(self.session_name)
            if view["route"] is not None and view["status"] not in FINAL:
                await self._end(client, view["id"])

    async def _end(self, client: ManagerClient, session: str, *, forced: bool = False) -> None:
        """It is gone, or was before."""
        with suppress(NotFound):
            await client.destroy_session(session, forced)
            await client.wait_for(session, FINAL, timeout_s=_STOP_S)


async def _answers(url: str, timeout_s: float) -> None:
    """When there is an answer. The Hub waits for that too, but looks less and less often. Raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(OSError, HTTPClientError):
                answer = await AsyncHTTPClient().fetch(url, raise_error=False, follow_redirects=False)
                if answer.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return
            await asyncio.sleep(_LOOK_EVERY_S)


def _refusal(error: PublicError | ConfigError) -> SpawnException:
    status = error.status if isinstance(error, PublicError) else 500
    return SpawnException(str(error), reason=error.code, status_code=status)
