"""The manager's process: its options, how the parts are joined, and in which order they start and stop."""

import asyncio
import fcntl
import ipaddress
import json
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socket import gethostname, socket
from typing import Any, TextIO
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application as WebApplication
from traitlets import Bool, Dict, Float, Integer, List, Unicode, default, validate
from traitlets.config import Application

from bai_jupyter import __version__
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.slots import ResourceSlots, parse_size
from bai_jupyter.manager.agents.idle_connections import IdleConnections
from bai_jupyter.manager.agents.link import LinkHandler
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.service import AgentService
from bai_jupyter.manager.agents.streams import AgentSocket, Streams
from bai_jupyter.manager.agents.traffic import Traffic
from bai_jupyter.manager.api import agents as agents_api
from bai_jupyter.manager.api import (
    app_proxy,
    apps,
    commands,
    events,
    execution,
    files,
    jupyter_kernels,
    metrics,
    openapi,
    resources,
    routed,
    sessions,
    storage,
    system,
    templates,
    terminals,
    user_config,
    vfolders,
)
from bai_jupyter.manager.api import auth as auth_api
from bai_jupyter.manager.api.base import Services, UnknownPath, log_request
from bai_jupyter.manager.api.configuration import options_of
from bai_jupyter.manager.api.graphql import handlers as graphql_api
from bai_jupyter.manager.api.graphql.execution import Executor
from bai_jupyter.manager.api.graphql.roots import Parts
from bai_jupyter.manager.api.recent_errors import RecentErrors
from bai_jupyter.manager.auth.app_tokens import AppTokens
from bai_jupyter.manager.auth.keypairs import KeypairAuth
from bai_jupyter.manager.auth.logins import Logins
from bai_jupyter.manager.auth.metrics_token import MetricsToken
from bai_jupyter.manager.auth.rates import Rates
from bai_jupyter.manager.auth.session_tokens import SessionTokens
from bai_jupyter.manager.auth.vault import Vault, new_keypair, write_private
from bai_jupyter.manager.auth.wards import Wards
from bai_jupyter.manager.background import BackgroundTasks
from bai_jupyter.manager.certificate import Certificate, is_loopback, load, outgoing_address, own
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.people import DEFAULT, NewUser
from bai_jupyter.manager.db.records import PresetRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.execution.service import Execution
from bai_jupyter.manager.own_ports import OwnPorts
from bai_jupyter.manager.people.config import UserConfig
from bai_jupyter.manager.people.owners import Owners
from bai_jupyter.manager.people.service import PeopleService
from bai_jupyter.manager.sessions.apps import Apps
from bai_jupyter.manager.sessions.callbacks import Callbacks
from bai_jupyter.manager.sessions.changes import SessionChanges
from bai_jupyter.manager.sessions.commits import Commits
from bai_jupyter.manager.sessions.creation import SessionCreation
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.files import SessionFiles
from bai_jupyter.manager.sessions.idle_watch import IdleWatch
from bai_jupyter.manager.sessions.intake import Intake
from bai_jupyter.manager.sessions.jupyter_kernels import JupyterKernelService
from bai_jupyter.manager.sessions.query_counts import QueryCounts
from bai_jupyter.manager.sessions.reconciler import Reconciler
from bai_jupyter.manager.sessions.routes import read_ports
from bai_jupyter.manager.sessions.scheduling import Conditions
from bai_jupyter.manager.sessions.service import SessionService
from bai_jupyter.manager.sessions.templates import Templates
from bai_jupyter.manager.sessions.variables import Variables
from bai_jupyter.manager.sessions.views import Views
from bai_jupyter.manager.vfolders.files import FolderFiles
from bai_jupyter.manager.vfolders.homes import Homes
from bai_jupyter.manager.vfolders.scopes import ScopeLimits
from bai_jupyter.manager.vfolders.service import VFolderService
from bai_jupyter.manager.vfolders.sharing import Sharing
from bai_jupyter.manager.vfolders.transfers import Transfers
from bai_jupyter.manager.vfolders.volumes import Volumes

JOIN_TOKEN_EXPIRES_S = 3600
TYPED_TOKEN_USES = 16  # of the token that is shown to who starts a manager by hand
BODY_PIECE_BYTES = 512 * 1024  # of an upload, from the client's socket to the agent's
BACKLOG = 4096  # all agents dial at once after a restart
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - and where this machine reaches it


class ManagerApp(Application):
    """Queues sessions, places them on agents, and is the only way to their kernels."""

    name = "bai-manager"
    version = __version__
    description = __doc__ or ""

    config_file = Unicode("", help="Configuration file (Python or JSON) to read before the command line.").tag(
        config=True
    )
    data_dir = Unicode(".bai/manager", help="Folder of the database and master.key; made, mode 0700, if missing.").tag(
        config=True
    )
    ip = Unicode("127.0.0.1", help="Address to listen on.").tag(config=True)
    port = Integer(8090, help="Port to listen on; 0 takes a free one.").tag(config=True)
    certfile = Unicode(
        help="PEM file of a certificate, and of those of its CA, to speak TLS with. Default: beyond loopback addresses "
        "the manager makes one and keeps it in data_dir; agents know it by their join tokens."
    ).tag(config=True)
    keyfile = Unicode(help="PEM file of the key of certfile. Default: it is in certfile too.").tag(config=True)
    allow_plain_http = Bool(
        False,
        help="Speak HTTP without TLS also beyond loopback addresses: only where a proxy speaks TLS for the manager, or "
        "every machine of the network is trusted.",
    ).tag(config=True)
    loopback_port = Integer(
        0,
        help="Another port, at 127.0.0.1 and without TLS, for programs of this machine such as a JupyterHub and its "
        "proxy. 0: none.",
    ).tag(config=True)
    route_ports = Unicode(
        help="Ports of this manager that lead into sessions unread, such as 42000-42099, one for each server of a "
        "JupyterHub with internal_ssl. Default: none."
    ).tag(config=True)
    public_url = Unicode(
        help="Where clients reach this manager, if that is not the address that they call: behind a proxy that speaks "
        "TLS for it, such as https://bai.example.org."
    ).tag(config=True)
    db_url = Unicode(help="SQLAlchemy URL of the database. Default: manager.db in data_dir.").tag(
        config=True, is_url=True
    )
    credentials_file = Unicode(
        help="Where the first admin's endpoint, access key and secret key are written (mode 0600). "
        "Default: credentials.json beside data_dir."
    ).tag(config=True)
    heartbeat_s = Float(
        3.0, help="How often agents say that they live. One that is silent three times as long is unreachable."
    ).tag(config=True)
    sweep_s = Float(
        30.0, help="How often everything is looked at again, in seconds; events make it happen at once."
    ).tag(config=True)
    idle_check_s = Float(
        15.0, help="How often it is looked for sessions that are idle or have lived too long, in seconds."
    ).tag(config=True)
    extension_s = Float(3600.0, help="How long an idle session is kept whose owner asks for it, in seconds.").tag(
        config=True
    )
    max_extensions = Integer(3, help="How often that may be asked for, one after the other.").tag(config=True)
    save_before_stop_s = Float(
        60.0,
        help="How long it may take to save the variables of each kernel of a session before that is stopped for "
        "being idle, having lived too long, or its agent being emptied, in seconds. 0: they are not saved.",
    ).tag(config=True)
    session_token_s = Float(
        600.0, help="How long a token lives that a session was granted; it gets the next after a third of that."
    ).tag(config=True)
    admin_name = Unicode("admin", help="Name of the user made at the first start.").tag(config=True)
    home_volume = Unicode("local:home", help="Volume of users' home folders, as host:volume.").tag(config=True)
    presets = Dict(
        {
            "small": {"cpu": "1", "mem": "2g"},
            "medium": {"cpu": "2", "mem": "8g"},
            "gpu": {"cpu": "1", "mem": "2g", "cuda.device": "1"},
        },
        help="Resource presets made at the first start: {name: {slot: amount}}; 'shmem' sets shared memory.",
    ).tag(config=True)
    default_slots = Dict(
        {"cpu": "1", "mem": "2g"}, help="Slots of a request that names none; used at the first start."
    ).tag(config=True)
    allow_unsafe_runtime = Bool(
        False, help="Let several people share an agent that does not isolate them from each other."
    ).tag(config=True)
    max_user_images = Integer(20, help="How many images made from sessions each user may have.").tag(config=True)
    callback_networks = List(
        Unicode(),
        help="Private networks that sessions' callback_url may lead to, such as 10.1.2.0/24; public ones always may.",
    ).tag(config=True)
    metrics_token_file = Unicode(
        help="A file with a token of 16 characters or more, with which GET /metrics may be read besides by superadmins "
        "(Authorization: Bearer …). It is read at each use. Default: none."
    ).tag(config=True)
    join_token = Unicode(
        help="A token with which one agent may join within the first hour. Default: $BAI_JOIN_TOKEN."
    ).tag(config=True, secret=True)

    aliases = {  # noqa: RUF012 - traitlets' way
        "config": "ManagerApp.config_file",
        "data-dir": "ManagerApp.data_dir",
        "ip": "ManagerApp.ip",
        "port": "ManagerApp.port",
        "log-level": "Application.log_level",
    }

    @default("log_level")
    def _default_log_level(self) -> int:
        return 20

    @default("db_url")
    def _default_db_url(self) -> str:
        return f"sqlite:///{Path(self.data_dir).resolve() / 'manager.db'}"

    @default("credentials_file")
    def _default_credentials_file(self) -> str:
        return str(Path(self.data_dir).resolve().parent / "credentials.json")

    @default("join_token")
    def _default_join_token(self) -> str:
        return os.environ.get("BAI_JOIN_TOKEN", "")

    @validate("heartbeat_s", "sweep_s", "session_token_s", "idle_check_s", "extension_s")
    def _check_positive(self, proposal: Any) -> float:
        if proposal["value"] <= 0:
            raise ValueError(f"{proposal['trait'].name} must be more than 0 seconds, not {proposal['value']}")
        return float(proposal["value"])

    @validate("route_ports")
    def _check_ports(self, proposal: Any) -> str:
        read_ports(proposal["value"])
        return str(proposal["value"])

    @validate("callback_networks")
    def _check_networks(self, proposal: Any) -> list[str]:
        return [str(ipaddress.ip_network(one)) for one in proposal["value"]]

    # Life of the process

    def initialize(self, argv: list[str] | None = None) -> None:
        super().initialize(argv)
        if self.config_file:
            self.load_config_file(self.config_file)
            self.update_config(self.cli_config)
        self._route_logs()

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        super().start()
        try:
            asyncio.run(self._serve())
        except (BaiError, OSError, ValueError) as error:
            self.log.critical("The manager cannot start: %s", error)
            self.exit(1)

    async def _serve(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.start_services()
        try:
            if not self.is_local and sys.stdout.isatty():
                await self._show_join_command()
            await stop.wait()
            self.log.info("stopping")
        finally:
            await self.stop_services()

    async def start_services(self) -> None:
        """Start everything, in order; on failure what was started is stopped again."""
        async with AsyncExitStack() as stack:
            await self._start_services(stack)
            self._stack = stack.pop_all()

    async def stop_services(self) -> None:
        """Stop taking requests, end the loops, close the database: the start backwards."""
        await self._stack.aclose()

    async def _start_services(self, stack: AsyncExitStack) -> None:
        folder = Path(self.data_dir)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.callback(_lock(folder).close)
        self.errors = RecentErrors()
        logging.getLogger("bai_jupyter").addHandler(self.errors)
        stack.callback(logging.getLogger("bai_jupyter").removeHandler, self.errors)
        self.store = Store(self.db_url)
        stack.push_async_callback(self.store.close)
        await self.store.open()
        self.vault = await self._open_vault(folder)
        await self._bootstrap()
        intake = self._wire()
        await self.reconciler.start(intake)
        stack.push_async_callback(self.reconciler.stop)
        await self.idle_watch.start()
        stack.push_async_callback(self.idle_watch.stop)
        await self.queries.start()
        stack.push_async_callback(self.queries.stop)
        await self.services.folders.start()
        stack.push_async_callback(self.services.folders.stop)
        await self.scope_limits.start()
        stack.push_async_callback(self.scope_limits.stop)
        await self.tasks.open()
        stack.push_async_callback(self.tasks.close)
        await self.callbacks.start()
        stack.push_async_callback(self.callbacks.stop)
        stack.push_async_callback(self.services.execution.stop)
        stack.callback(self.services.idle_connections.close)
        if self.join_token:
            await self.services.agents.add_join_token(self.join_token, DEFAULT, 1, JOIN_TOKEN_EXPIRES_S, None)
        sockets = _bind(stack, self.port, self.ip)
        self.bound_port = sockets[0].getsockname()[1]
        self.is_local = all(is_loopback(one.getsockname()[0]) for one in sockets)
        self.certificate = await asyncio.to_thread(self._choose_certificate, folder)
        await self._write_credentials()  # before the first answer: who finds us healthy finds them too
        self.web = self._make_web(intake)
        self._serve_at(stack, sockets, self.certificate)
        if self.loopback_port:
            self._serve_at(stack, _bind(stack, self.loopback_port, "127.0.0.1"), None)
        own_ports = OwnPorts(self.services.sessions, self.services.apps)
        bound = [one for port in read_ports(self.route_ports) for one in _bind(stack, port, self.ip)]
        stack.push_async_callback(own_ports.close)
        await own_ports.open(bound)
        self._say_where()

    # Joining the parts

    def _wire(self) -> Intake:
        """Make every part and give it those below it."""
        now = _now
        self.registry = Registry(self.heartbeat_s)
        self.tasks = BackgroundTasks(self.store, now)
        self.queries = QueryCounts(self.store)
        allowed = [ipaddress.ip_network(one) for one in self.callback_networks]
        self.callbacks = Callbacks(self.store, self.vault, allowed)
        traffic = Traffic(now)
        hub, self.streams = Hub(self.callbacks.nudge), Streams(traffic)
        conditions = Conditions(lambda agent_id: self.registry.link(agent_id) is not None, self.allow_unsafe_runtime)
        self.reconciler = Reconciler(
            self.store, self.registry, hub, conditions, now, self.sweep_s, self.session_token_s / 3
        )
        variables = Variables(self.store, self.registry, hub, self.reconciler.nudge_session, now)
        self.idle_watch = IdleWatch(
            self.store,
            self.registry,
            traffic,
            hub,
            self.reconciler.nudge_session,
            now,
            every_s=self.idle_check_s,
            extension=timedelta(seconds=self.extension_s),
            max_extensions=self.max_extensions,
            save=partial(variables.save_before_stop, seconds=self.save_before_stop_s)
            if self.save_before_stop_s
            else None,
        )
        tokens = SessionTokens(self.store, self.vault, now, self.session_token_s)
        volumes = Volumes(self.store, self.registry, self.streams, self.home_volume)
        homes = Homes(self.store, volumes)
        session_service = SessionService(self.store, self.registry, self.streams, hub, self.reconciler, now)
        jupyter_kernel_service = JupyterKernelService(session_service, self.store, self.vault, now)
        self.scope_limits = ScopeLimits(self.store, volumes)

        def nudge(group: str | None) -> None:
            """Sessions may have waited for what changed, and all groups are told when an agent or a policy did."""
            self.reconciler.nudge_group(group)
            if group is None:
                self.scope_limits.nudge()

        auth, rates = KeypairAuth(self.store, self.vault, now), Rates()
        folders = VFolderService(self.store, volumes, now, session_service.announce, self.scope_limits.nudge)
        people = PeopleService(
            self.store, self.vault, auth, partial(nudge, None), now, self.home_volume, folders.recheck
        )
        transfers = Transfers(self.store, volumes, self.vault, now)
        views = Views(
            self.registry, self.reconciler.waiting, self.reconciler.looked_at, self.idle_watch, self.queries, now
        )
        self.services = Services(
            auth=auth,
            tokens=tokens,
            metrics_token=MetricsToken(Path(self.metrics_token_file) if self.metrics_token_file else None),
            app_tokens=AppTokens(self.vault, now),
            rates=rates,
            logins=Logins(self.store, self.vault, rates, now),
            owners=Owners(self.store),
            wards=Wards(self.store),
            people=people,
            user_config=UserConfig(self.store, self.vault),
            graphql=Executor(Parts(self.store, people, self.registry, self.vault, views, volumes)),
            sessions=session_service,
            creation=SessionCreation(
                session_service,
                self.store,
                hub,
                self.vault,
                self.reconciler,
                conditions,
                homes,
                now,
                read_ports(self.route_ports),
            ),
            changes=SessionChanges(session_service, self.store, self.registry, self.streams, hub, self.reconciler),
            jupyter_kernels=jupyter_kernel_service,
            idle=self.idle_watch,
            commits=Commits(self.store, self.registry, session_service, self.tasks, now, self.max_user_images),
            variables=variables,
            templates=Templates(self.store, now),
            tasks=self.tasks,
            execution=Execution(session_service, jupyter_kernel_service, hub, self.vault, self.queries),
            apps=Apps(session_service),
            idle_connections=IdleConnections(),
            session_files=SessionFiles(session_service),
            agents=AgentService(self.store, self.registry, nudge, now, self.place_of),
            folders=folders,
            folder_files=FolderFiles(folders, volumes, transfers),
            sharing=Sharing(self.store, folders, now),
            transfers=transfers,
            views=views,
            errors=self.errors,
            options=lambda: options_of(self, self.config_file and str(Path(self.config_file).resolve())),
            hub=hub,
            store=self.store,
            public_url=self.public_url,
            now=now,
        )
        return Intake(self.store, self.registry, hub, self.vault, tokens, nudge, now)

    def _make_web(self, intake: Intake) -> WebApplication:
        groups = (
            *(system, metrics, openapi, auth_api, templates, sessions, execution, commands, apps, terminals, files),
            *(app_proxy, jupyter_kernels, events, agents_api, resources, vfolders, storage, user_config, graphql_api),
            routed,  # last: other paths go first
        )
        options = {"services": self.services}
        routes: list[Any] = [(path, handler, options) for group in groups for path, handler in group.ROUTES]
        routes += [
            (r"/agent/link", LinkHandler, {"intake": intake}),
            (r"/agent/streams/([^/]+)", AgentSocket, {"streams": self.streams}),
        ]
        return WebApplication(
            routes, default_handler_class=UnknownPath, default_handler_args=options, log_function=log_request
        )

    def _serve_at(self, stack: AsyncExitStack, sockets: list[socket], certificate: Certificate | None) -> None:
        tls = certificate.context if certificate else None
        server = HTTPServer(self.web, chunk_size=BODY_PIECE_BYTES, ssl_options=tls)
        server.add_sockets(sockets)
        stack.push_async_callback(self._stop_server, server)

    # Where it is reached, and how it is known there

    def _choose_certificate(self, folder: Path) -> Certificate | None:
        """None: plain HTTP. Raises ``CertificateError``, or ``ValueError`` for options that contradict one another."""
        if self.certfile:
            if self.allow_plain_http:
                raise ValueError("certfile and allow_plain_http exclude one another; leave one out")
            return load(Path(self.certfile), Path(self.keyfile) if self.keyfile else None)
        if self.keyfile:
            raise ValueError(f"keyfile is {self.keyfile}, but there is no certfile; give both, or none")
        if self.is_local or self.allow_plain_http:
            return None
        public = urlsplit(self.public_url).hostname
        names = {"localhost", "127.0.0.1", "::1", gethostname(), outgoing_address(), *([public] if public else [])}
        return own(folder, names if self.ip in _EVERYWHERE else {*names, self.ip})

    @property
    def endpoint(self) -> str:
        """Where this machine reaches the manager."""
        if self.loopback_port:
            return f"http://127.0.0.1:{self.loopback_port}"
        return self._address(_EVERYWHERE.get(self.ip, self.ip))

    def _address(self, host: str) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.bound_port}"

    def place_of(self, called: str) -> tuple[str, str]:
        """Address and fingerprint for agents that shall join. ``called``: the address at which somebody asks for that.

        No fingerprint where a CA vouches for the certificate, or a proxy shows its own.
        """
        url = self.public_url.rstrip("/") or called
        if not self.public_url and is_loopback(str(urlsplit(called).hostname)) and not self.is_local:
            url = self._address(outgoing_address() if self.ip in _EVERYWHERE else self.ip)
        if self.certificate is None or self.certificate.is_vouched_for(str(urlsplit(url).hostname)):
            return url, ""
        return url, self.certificate.fingerprint

    def _say_where(self) -> None:
        self.log.info("manager %s listens at %s", __version__, self.place_of(self.endpoint)[0])
        if self.certificate is not None:
            until, path = self.certificate.expires_at.date(), self.certificate.path
            self.log.info("TLS with %s, good until %s, SHA-256 %s", path, until, self.certificate.fingerprint)
        elif not self.is_local:
            self.log.warning("Without TLS, as allow_plain_http says: all but a TLS proxy can read what is sent.")
        if not self.is_local:
            self.log.info("other hosts join by what this prints: bai agent join-token")

    async def _stop_server(self, server: HTTPServer) -> None:
        server.stop()
        for link in self.registry.links():
            self.registry.detach(link)
            link.close()
        await server.close_all_connections()

    async def _show_join_command(self) -> None:
        """To a person at a terminal; a log must not have it."""
        token = await self.services.agents.new_join_token(
            DEFAULT, TYPED_TOKEN_USES, JOIN_TOKEN_EXPIRES_S, None, self.endpoint
        )
        print(f"\nOn each host that shall run sessions, within an hour:\n\n    bai agent join {token}\n", flush=True)

    # First start

    async def _open_vault(self, folder: Path) -> Vault:
        is_first = await self.store.read(accounts.is_empty)
        return await asyncio.to_thread(Vault.at, folder / "master.key", create=is_first)

    async def _bootstrap(self) -> None:
        """Fill an empty database. All in one transaction, so a kill in between leaves it empty."""
        access_key, secret_key = new_keypair()
        admin = NewUser(
            name=self.admin_name,
            role="superadmin",
            access_key=access_key,
            secret_encrypted=self.vault.seal(secret_key),
            home_volume=self.home_volume,
            home_subpath="",
        )
        presets = [_preset(name, dict(raw)) for name, raw in self.presets.items()]
        slots = ResourceSlots.parse(self.default_slots)
        if await self.store.write(accounts.bootstrap, admin, presets, slots, _now()):
            self.log.info("first start: made user %s", self.admin_name)

    async def _write_credentials(self) -> None:
        """Write the first admin's credentials where they are missing, or name another endpoint."""
        admin = await self.store.read(accounts.first_superadmin)
        wanted = {
            "endpoint": self.endpoint,
            "access_key": admin.access_key,
            "secret_key": self.vault.open(admin.secret_encrypted),
            "user": admin.user_name,
        }
        if self.certificate is not None and self.endpoint.startswith("https:"):
            wanted["fingerprint"] = self.certificate.fingerprint
        path = Path(self.credentials_file)
        if _read_json(path) != wanted:
            await asyncio.to_thread(write_private, path, json.dumps(wanted, indent=2).encode() + b"\n")

    def _route_logs(self) -> None:
        """Modules log under their own names; they show where this application's log shows."""
        for name in ("bai_jupyter", "tornado"):
            logger = logging.getLogger(name)
            logger.handlers[:] = self.log.handlers
            logger.setLevel(self.log_level)  # type: ignore[arg-type]  # traitlets says object
            logger.propagate = False


def _now() -> datetime:
    return datetime.now(UTC)


def _bind(stack: AsyncExitStack, port: int, ip: str) -> list[socket]:
    sockets = bind_sockets(port, ip, backlog=BACKLOG)
    for one in sockets:
        stack.callback(one.close)
    return sockets


def _lock(folder: Path) -> TextIO:
    """Hold the folder for this process. Raises ``BlockingIOError`` if another manager has it."""
    path = folder / "manager.lock"
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(f"another manager runs on {folder}; stop that one first") from error
    return file


def _preset(name: str, raw: dict[str, Any]) -> PresetRecord:
    shm = raw.pop("shmem", None)
    return PresetRecord(name, ResourceSlots.parse(raw), None if shm is None else parse_size(shm))


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
