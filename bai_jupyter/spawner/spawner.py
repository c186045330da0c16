"""``BackendAISpawner``: a Hub user's server is the command of a session, which ends with it.

The Hub holds the keypair of a service at the manager, and acts for its users with it. The proxy's target is the
manager, which has the server's path in the session's row; the server reaches the Hub by a door of its container. So
nothing here is needed for a server that runs: Hub, proxy, manager and agent may end and start again.

With the Hub's ``internal_ssl`` the target is a port of the manager that leads to the server unread, and the server
speaks TLS itself, to the Hub too (``internal_tls``).

What a user chose becomes traits (``choose``) before the hooks run, and ``start`` looks at nothing else.
"""

import asyncio
import shlex
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientError
from jupyterhub.httpclient import fetch
from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import make_ssl_context, random_port, url_path_join
from traitlets import Dict, Enum, List, Unicode, default

from bai_jupyter.client import ConfigError, Json, ManagerClient, SessionEnded, SessionRequest
from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL
from bai_jupyter.spawner import internal_tls
from bai_jupyter.spawner.amounts import amounts_of
from bai_jupyter.spawner.credentials import service_config
from bai_jupyter.spawner.form import Last, Offer, form_of, room_of
from bai_jupyter.spawner.naming import session_name_of
from bai_jupyter.spawner.options import Options, options_of_form, read_options
from bai_jupyter.spawner.progress import progress_of
from bai_jupyter.spawner.queued import Queued

_DAY_S = 24 * 3600
_LONGEST_WAIT_S = 3650 * _DAY_S
_FIRST_ANSWER_S = 120  # from a cold disk, and after a restart of the manager
_STOP_S = 300.0
_NO_SUCH_COMMAND = 127  # a shell's
_LOOK_EVERY_S = 0.1
_FAILED = int(HTTPStatus.INTERNAL_SERVER_ERROR)
_LONGEST_LINE = 300  # of what a server prints, in a sentence
_DOORS_FOLDER = "/run/bai"
_HOME = "/home/work/home"  # the user's home folder, in every session; all else of a container goes with it
_PLACES = {
    "BAI_HOME_ROOT": _HOME,  # from here on kernels in other sessions find a notebook's folder
    "JUPYTER_CONFIG_DIR": f"{_HOME}/.jupyter",
    "JUPYTER_DATA_DIR": f"{_HOME}/.local/share/jupyter",  # with which kernels it has, for the next server
}
_ANY_OWN_PORT = ":0"  # of the manager


class BackendAISpawner(Spawner):
    """Runs a user's server in a Backend.AI session."""

    image = Unicode(
        help="Environment of a server, if the user chooses none. It must have jupyterhub-singleuser of JupyterHub 6."
    ).tag(config=True)
    preset = Unicode(
        help="Resource preset of a server, if the user chooses none. Empty: as the user's resource policy says."
    ).tag(config=True)
    images = List(Unicode(), help="Environments that users may choose. Empty: all that they may use.").tag(config=True)
    folders = Dict(
        value_trait=Enum(("ro", "rw")), help='Folders that every server mounts, beside home: {"datasets": "ro"}.'
    ).tag(config=True)
    resource_group = Unicode(
        "default", help="Resource group (of agents) that servers run in, if the user chooses none."
    ).tag(config=True)
    resource_groups = List(
        Unicode(), help="Resource groups that users may choose from. Empty: `resource_group`, and no choice."
    ).tag(config=True)
    projects = List(
        Unicode(), help="Projects of the manager in which all users of the Hub are; servers count for the first."
    ).tag(config=True)
    project_of_group = Dict(
        value_trait=Unicode(),
        help='Projects of those who are in a group of the Hub, {"vision-lab": "vision"}; they go before `projects`.',
    ).tag(config=True)
    policy_of_group = Dict(
        value_trait=Unicode(),
        help='The resource policy of the keypair of those who are in a group of the Hub, {"students": "student"}: the '
        "first that fits. The manager's admin lets the Hub give each: `bai policy allow`. Empty: policies are as they "
        "are at the manager.",
    ).tag(config=True)
    policy = Unicode("default", help="With `policy_of_group`: the policy of who is in none of its groups.").tag(
        config=True
    )
    project = Unicode(help="The project that a server counts for. Default: the first of the user's.").tag(config=True)
    manager_access = Enum(
        ("", "self", "user"),
        "user",
        help="What a server may do at the manager. `user`: what its user may, such as to start kernels in other "
        "sessions and to see folders and the queue. `self`: see and end its own session. Empty: nothing. With these "
        "two its kernels run beside it only.",
    ).tag(config=True)
    door = Unicode(
        "hub",
        help="Which of the agent's doors (AgentApp.doors) leads to the Hub. Empty: sessions reach the Hub by network.",
    ).tag(config=True)

    @default("ssl_alt_names")
    def _default_ssl_alt_names(self) -> list[str]:
        """Where the proxy finds the server: at the manager."""
        host = _host_of(service_config().endpoint)
        return [f"IP:{host}" if _is_address(host) else f"DNS:{host}"]

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return _LONGEST_WAIT_S  # a queue may be long; the manager has deadlines of its own

    @default("http_timeout")
    def _default_http_timeout(self) -> int:
        return _FIRST_ANSWER_S

    @default("hub_connect_url")
    def _default_hub_connect_url(self) -> str | None:
        if not self.door:
            return None
        if self.internal_ssl:  # JupyterHub speaks no TLS through sockets
            return f"https://127.0.0.1:{self._hub_port}"
        return f"http+unix://{quote(self._door_socket, safe='')}"

    @property
    def _door_socket(self) -> str:
        return f"{_DOORS_FOLDER}/{self.door}.sock"

    @default("options_form")
    def _default_options_form(self) -> Any:
        return BackendAISpawner.options_page

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return options_of_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        return BackendAISpawner.choose

    @default("notebook_dir")
    def _default_notebook_dir(self) -> str:
        return _HOME

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._session = ""  # its id
        self._queued: Queued | None = None  # while this Hub waits for it
        self._left: Queued | None = None  # what an earlier Hub waited for
        self._certs: dict[str, str] = {}  # with internal_ssl, as PEM: keyfile, certfile, cafile
        self._hub_port = random_port() if self.internal_ssl else 0  # where the door is in the container
        self._presets: dict[str, dict[str, str]] = {}  # what is in them, as the manager said last
        self._view: Json | None = None
        self._changed = asyncio.Event()

    # What the Hub keeps

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._session = state.get("session", "")
        self._left = Queued.from_json(state.get("queued"))

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if queued := self._queued or self._left:
            return {**state, "queued": queued.to_json()}
        return {**state, "session": self._session} if self._session else state

    def clear_state(self) -> None:
        """What an earlier Hub has left stays: the Hub clears before each start, and ``start`` goes on with it."""
        super().clear_state()
        self._session, self._view, self._queued = "", None, None

    # Life

    async def start(self) -> str:
        """Returns when the server answers, however long its session waits. Raises ``SpawnException``."""
        self.port = self.port or random_port()
        if self._left is not None:
            self._session = self._left.session  # from now on a stop ends it
        try:
            await self._become_ward()
            async with self._manager() as client:
                self._presets = {one["name"]: one["resource_slots"] for one in await client.list_presets()}
                if not await self._take_up(client):
                    await self._ask(client)
                await client.wait_for(self._session, timeout_s=self.start_timeout, on_change=self._show)
                url = await self._until_it_answers(client)
                self._queued = None
                return url
        except SessionEnded as error:
            raise _told(str(error), error.view["reason"]["code"]) from error
        except (PublicError, ConfigError) as error:
            raise _refusal(error) from error

    async def poll(self) -> int | None:
        """None also while the manager cannot be asked: nothing is known then, and the session goes on.

        What an earlier Hub waited for counts as stopped: this Hub would wait for an answer, and end it after a while.
        The service has it started again (``left_behind``).
        """
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
        self._left = None

    async def rename(self, old_name: str, new_name: str) -> None:  # noqa: ARG002 - JupyterHub's
        """It is stopped. What an earlier Hub waited for has the old name in its path and its environment."""
        await self.delete_forever()

    async def delete_forever(self) -> None:
        if self._left is not None:
            async with self._manager() as client:
                await self._end(client, self._left.session)
            self._left = None
            self._keep_state()

    async def get_url(self) -> str:
        """For a Hub that finds a server which its predecessor did not see start."""
        async with self._manager() as client:
            return url_path_join(await self._target(client), self.server.base_url)

    async def move_certs(self, paths: dict[str, str]) -> dict[str, str]:
        """Where they will be for the server."""
        self._certs = {name: Path(path).read_text() for name, path in paths.items()}
        return internal_tls.places()

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
        return session_name_of(self.name)

    # Choosing

    async def options_page(self) -> str:
        """The form, with what was chosen last, and when each choice would start. Raises ``SpawnException``.

        Made by another one of us, as configuration and groups have it: in this one may be what an earlier start chose.
        """
        ours = {name: getattr(self, name) for name in ("config", "user", "orm_spawner", "hub", "authenticator")}
        fresh = type(self)(**ours)
        await fresh.apply_group_overrides()
        return await fresh._page()

    async def _page(self) -> str:
        try:
            await self._become_ward()
            async with self._manager() as client:
                chosen = self._chosen_last()
                images = self.images or [one["name"] for one in await client.list_images()]
                if not images:
                    raise NotFound(Reason.of("no-images"))
                slots = {one["name"]: one["resource_slots"] for one in await client.list_presets()}
                presets = ["", *slots]
                self._presets = slots
                shown_image = chosen.image if chosen.image in images else images[0]
                trials = [self._trial(replace(chosen, image=shown_image, preset=name)) for name in presets]
                projects = await client.list_projects()
                answers = await asyncio.gather(*(client.dry_run(trial) for trial in trials))
                room = room_of(await client.check_presets())
                last = await self._last(client)
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
        amounts = {name: {**one, **self._resources(name)} for name, one in slots.items()}
        amounts |= {name: answer["slots"] for name, answer in verdicts.items() if answer.get("slots")}
        shown = {name: ResourceSlots.parse(amount).describe() for name, amount in amounts.items()}
        return form_of(Offer(images, verdicts, folders, shown, projects, self.resource_groups, room, last), chosen)

    async def _last(self, client: ManagerClient) -> Last | None:
        """What was chosen last, if it may still be chosen. Raises ``PublicError``."""
        if self.orm_spawner.user_options is None:
            return None
        try:
            chosen = self._chosen(self.orm_spawner.user_options)
        except BadRequest:
            return None
        return Last(asdict(read_options(self.orm_spawner.user_options)), await client.dry_run(self._trial(chosen)))

    def choose(self, user_options: Mapping[str, Any]) -> None:
        """Make the user's options this server's (``apply_user_options``). Raises ``SpawnException``."""
        try:
            chosen = self._chosen(user_options)
        except BadRequest as error:
            raise _refusal(error) from error
        self.image, self.preset, self.folders = chosen.image, chosen.preset, dict(chosen.folders)
        self.resource_group, self.project = chosen.group, chosen.project

    def _chosen_last(self) -> Options:
        try:
            return self._chosen(self.orm_spawner.user_options or {})
        except BadRequest:  # it may be no option any more
            return self._chosen({})

    def _chosen(self, user_options: Mapping[str, Any]) -> Options:
        """What the user chose, and for the rest what the admin did. Raises ``BadRequest``."""
        options = read_options(user_options)
        group = options.group or self.resource_group
        _check("image", options.image, self.images)
        _check("group", options.group, self.resource_groups or [self.resource_group])
        folders = {**options.folders, **self.folders}
        project = options.project or self.project
        return Options(options.image or self.image, options.preset or self.preset, folders, group, project)

    # Inside

    def _manager(self) -> ManagerClient:
        return ManagerClient(replace(service_config(), on_behalf_of=self.user.name))

    async def _become_ward(self) -> None:
        async with ManagerClient(service_config()) as service:
            has_say = self.projects or self.project_of_group
            projects = self._projects if has_say else None
            await service.make_ward(self.user.name, projects=projects, policy=self._policy)

    def _of_groups(self, chosen: Mapping[str, str]) -> list[str]:
        """Those of ``{group: chosen}`` whose groups the user is in."""
        groups = {group.name for group in self.user.groups}
        return [one for group, one in chosen.items() if group in groups]

    @property
    def _projects(self) -> list[str]:
        return list(dict.fromkeys([*self._of_groups(self.project_of_group), *self.projects]))

    @property
    def _policy(self) -> str | None:
        """None: the manager's matter."""
        return next(iter([*self._of_groups(self.policy_of_group), self.policy])) if self.policy_of_group else None

    def _request(self) -> SessionRequest:
        if not self.image:
            raise BadRequest(Reason.of("no-image"))
        return replace(
            self._wish,
            environ={name: str(value) for name, value in self.get_env().items() if value is not None},
            reuse_if_exists=False,
            bootstrap=internal_tls.bootstrap_of(self._certs) if self._certs else None,
            command=self._command,
            route=(_ANY_OWN_PORT if self.internal_ssl else self.server.base_url, self.port),
            doors=[self.door] if self.door else [],
            manager_access=self.manager_access or None,
        )

    @property
    def _command(self) -> str:
        words = [*self.cmd, *self.get_args()]
        if self.internal_ssl and self.door:
            return internal_tls.command_by_door(words, self._hub_port)
        return shlex.join(["exec", *words])

    @property
    def _wish(self) -> SessionRequest:
        return self._trial(Options(self.image, self.preset, self.folders, self.resource_group, self.project))

    def get_env(self) -> dict[str, str]:
        tls = {internal_tls.DOOR_VARIABLE: self._door_socket} if self.internal_ssl and self.door else {}
        return {**_PLACES, **tls, **super().get_env()}

    def _trial(self, chosen: Options) -> SessionRequest:
        """As much of the request as decides when it starts."""
        return SessionRequest(
            name=self.session_name,
            image=chosen.image,
            resources=self._resources(chosen.preset),
            preset=chosen.preset or None,
            mounts=list(chosen.folders),
            read_only=[name for name, permission in chosen.folders.items() if permission == "ro"],
            resource_group=chosen.group,
            project=chosen.project or next(iter(self._projects), None),
        )

    def _resources(self, preset: str) -> dict[str, str]:
        limits, guarantees = (
            {slot: getattr(self, f"{slot}_{kind}") for slot in ("cpu", "mem")} for kind in ("limit", "guarantee")
        )
        return amounts_of(limits, guarantees, self._presets.get(preset, {}))

    def _keep_state(self) -> None:
        """Now, because the Hub does so only when the server runs, and may end before."""
        self.orm_spawner.state = self.get_state()
        self.user.db.commit()

    def _show(self, view: Json) -> None:
        self._view = view
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until_it_answers(self, client: ManagerClient) -> str:
        """The proxy's target; the server's path is behind it. Raises ``SpawnException`` if it does not, or ends."""
        target = await self._target(client)
        api = url_path_join(target, self.server.base_url, "api")
        tls = self._tls(client) if target.startswith("https:") else None
        up = asyncio.create_task(_answers(api, tls, self.http_timeout))
        end = asyncio.create_task(client.wait_for(self._session, FINAL, timeout_s=self.http_timeout))
        try:
            done, _ = await asyncio.wait({up, end}, return_when=asyncio.FIRST_COMPLETED)
            view = end.result() if end in done else await client.get_session(self._session)
            if view["status"] in FINAL:  # then the manager may have answered itself: it has no such path any more
                raise _failure(await self._why_it_ended(client, view))
            up.result()
            return target
        except TimeoutError as error:
            line = await self._last_line(client)
            raise _failure(Reason.of("server-silent", seconds=self.http_timeout, line=line)) from error
        finally:
            for task in (up, end):
                task.cancel()
            await asyncio.gather(up, end, return_exceptions=True)

    async def _why_it_ended(self, client: ManagerClient, view: Json) -> Reason:
        if view["exitCode"] == _NO_SUCH_COMMAND:
            return Reason.of("no-singleuser", image=view["image"], command=self.cmd[0])
        return Reason.of("server-ended", why=view["reason"]["text"], line=await self._last_line(client))

    async def _last_line(self, client: ManagerClient) -> str:
        """Of what the server has printed, as much as can be shown on a page."""
        lines = (await client.logs(self._session)).strip().splitlines() or ["nothing was printed"]
        return lines[-1][-_LONGEST_LINE:]

    async def _target(self, client: ManagerClient) -> str:
        """The manager; with internal_ssl the port of it that is the session's. Raises ``PublicError``."""
        if not self.internal_ssl:
            return client.config.endpoint
        route = (await client.get_session(self._session))["route"]
        host = _host_of(client.config.endpoint)
        return f"https://{f'[{host}]' if ':' in host else host}{route['path']}"

    def _tls(self, client: ManagerClient) -> ssl.SSLContext:
        """As who answers must be known: the manager by its certificate, a server by that which the Hub made for it."""
        if not self.internal_ssl:
            return client.config.trust.context()
        ours = (self.user.settings[f"internal_ssl_{name}"] for name in ("key", "cert", "ca"))
        return make_ssl_context(*ours)

    async def _take_up(self, client: ManagerClient) -> bool:
        """Go on with what an earlier Hub waited for, in its place in the queue. False if there is nothing of the kind.

        What is there and cannot be gone on with is ended. Users can make sessions of that name too, but none with a
        route. Those stay, and the manager refuses ours.
        """
        left = self._left
        try:
            view = await client.get_session(self.session_name)
        except NotFound:
            return False
        if view["route"] is None or view["status"] in FINAL:
            return False
        token = left and left.token(view["id"], self._wish.to_json(), self._secret)
        if not token:
            await self._end(client, view["id"])
            return False
        self.api_token, self._session = token, view["id"]  # the Hub sees that it is another token
        self._queued, self._left = left, None
        self._keep_state()
        return True

    async def _ask(self, client: ManagerClient) -> None:
        """Ask for the session. Cancelled meanwhile, it is known all the same, so that it will be ended."""
        asking = asyncio.create_task(client.create_session(self._request()))
        try:
            await asyncio.shield(asking)
        finally:
            self._session, self._left = (await asking)["sessionId"], None
            self._queued = Queued.of(self._session, self._wish.to_json(), self.api_token, self._secret)
            self._keep_state()

    @property
    def _secret(self) -> bytes:
        return bytes(self.user.settings["cookie_secret"])

    async def _end(self, client: ManagerClient, session: str, *, forced: bool = False) -> None:
        """It is gone, or was before."""
        with suppress(NotFound):
            await client.destroy_session(session, forced)
            await client.wait_for(session, FINAL, timeout_s=_STOP_S)


async def _answers(url: str, tls: ssl.SSLContext | None, timeout_s: float) -> None:
    """When there is an answer. The Hub waits for that too, but looks less and less often. Raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(ClientError):
                answer = await fetch(url, raise_for_status=False, allow_redirects=False, ssl=tls or True)
                answer.release()
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return
            await asyncio.sleep(_LOOK_EVERY_S)


def _check(option: str, chosen: str, allowed: Collection[str]) -> None:
    """Raises ``BadRequest`` if it is chosen and not allowed. Nothing named: all are."""
    if chosen and allowed and chosen not in allowed:
        raise BadRequest(Reason.of("bad-value", field=option, given=chosen, expected=f"one of {', '.join(allowed)}"))


def _failure(reason: Reason) -> SpawnException:
    return _told(reason.text, reason.code)


def _refusal(error: PublicError | ConfigError) -> SpawnException:
    return _told(str(error), error.code, error.status if isinstance(error, PublicError) else _FAILED)


def _told(sentence: str, code: str, status: int = _FAILED) -> SpawnException:
    """The Hub's pages show that sentence, and nothing of what JupyterHub puts before it in its log."""
    error = SpawnException(sentence, reason=code, status_code=status)
    error.jupyterhub_message = sentence
    return error


def _host_of(url: str) -> str:
    return str(urlsplit(url).hostname)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
