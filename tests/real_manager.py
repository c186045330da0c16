"""A manager and an agent without containers in a thread of their own: for tests whose loop is Jupyter's or a browser's.

The agent really does what is asked of folders. An app that is opened answers with ``PAGE``.
"""

import asyncio
import threading
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bai_agent.volumes import Volumes
from fakes_agent import IMAGE, FakeAgent, StreamHandler
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_jupyter.client import ClientConfig, ManagerClient, read_credentials
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.app import ManagerApp
from bai_jupyter.manager.auth.vault import new_keypair
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.people import NewUser

PAGE = "<title>An app</title>It answers."
JOIN_TOKEN = "join"


class RealManager:
    """Start with ``with``. ``ask`` calls as the first admin, or as a user that ``add_user`` made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = {"local:home": folder / "home", "local:data": folder / "data"}

    @property
    def environ(self) -> dict[str, str]:
        return environ_of(self.config)

    def __enter__(self) -> "RealManager":
        for root in self.disk.values():
            root.mkdir(parents=True)
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="real manager")
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)

    def ask(self, method: str, path: str, body: Any = None, config: ClientConfig | None = None) -> Any:
        async def call() -> Any:
            async with ManagerClient(config or self.config) as client:
                return await client.request(method, path, body)

        return self._run(call())

    def add_user(self, name: str) -> ClientConfig:
        access_key, secret_key = new_keypair()
        user = NewUser(name, "user", access_key, self._app.vault.seal(secret_key), "local:home", name)
        self._run(self._app.store.write(accounts.create_user, user, datetime.now(UTC)))
        return ClientConfig(self.config.endpoint, access_key, secret_key)

    def add_domain_admin(self, domain: str, name: str) -> ClientConfig:
        """A domain of its own, which may use the group of the agents, and its admin."""
        made = f"""mutation {{
            create_domain(name: "{domain}", props: {{}}) {{ok}}
            associate_scaling_group_with_domain(domain: "{domain}", scaling_group: "default") {{ok}}
            create_user(email: "{name}@{domain}", props:
                {{username: "{name}", password: "", role: "admin", domain_name: "{domain}"}}) {{ok}}
            create_keypair(user_id: "{name}@{domain}", props: {{is_admin: true}}) {{keypair {{access_key secret_key}}}}
        }}"""
        keypair = self.ask("POST", "/admin/gql", {"query": made})["data"]["create_keypair"]["keypair"]
        return ClientConfig(self.config.endpoint, **keypair)

    def limit_folders(self, size_bytes: int) -> None:
        """What all folders of the first admin on one volume may hold together; 0: no limit."""
        props = f"{{max_quota_scope_size: {size_bytes}}}"
        made = self.ask(
            "POST",
            "/admin/gql",
            {
                "query": f"""mutation {{
            create_keypair_resource_policy(name: "folders", props: {props}) {{ok}}
            modify_keypair_resource_policy(name: "folders", props: {props}) {{ok}}
            modify_user(email: "admin@localhost", props: {{resource_policy: "folders"}}) {{ok}}
        }}"""
            },
        )["data"]
        assert made["modify_keypair_resource_policy"]["ok"]
        assert made["modify_user"]["ok"]

    def folder_to_read(self, name: str, owner: ClientConfig) -> Path:
        """A folder of ``owner``'s, of that name, which the first admin may only read; where it lies."""
        made = self.ask("POST", "/folders", {"name": name}, owner)
        self.ask("POST", f"/folders/{name}/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, owner)
        (invitation,) = self.ask("GET", "/folders/invitations/list")["invitations"]
        self.ask("POST", "/folders/invitations/accept", {"inv_id": invitation["id"]})
        return self.disk[made["host"]] / ".vfolders" / str(UUID(made["id"]))

    def write_file(self, folder: str, name: str, size_bytes: int) -> None:
        """As a session would: nothing has counted it when this returns."""
        facts = self.ask("GET", f"/folders/{folder}")
        (self.disk[facts["host"]] / ".vfolders" / str(UUID(facts["id"])) / name).write_bytes(bytes(size_bytes))

    def start_session(self, name: str, **config: Any) -> str:
        """The id of a running one."""
        config = {"resources": {"cpu": "2", "mem": "4g"}, **config}
        body = {"name": name, "image": IMAGE.name, "enqueueOnly": False, "maxWaitSeconds": 20, "config": config}
        made = self.ask("POST", "/session", body)
        assert made["status"] == "RUNNING"
        return str(made["sessionId"])

    def open_real_ports(self, *listed: int) -> None:
        """From now on what is opened at a port in a session is what listens there on this host; these are told of."""
        self.serve_streams(dial)
        self.list_ports(*listed)

    def serve_streams(self, serve: StreamHandler) -> None:
        """From now on this is what is at the far end of any stream into a session."""
        self._agent.on_stream = serve

    def list_ports(self, *listed: int) -> None:
        """At these, it is said, something listens in every session."""
        self._agent.call_results["open_ports"] = {"ports": list(listed)}

    def answer_calls(self, **results: dict[str, Any]) -> None:
        """What the agent answers to these calls from now on."""
        self._agent.call_results |= results

    def fail_calls(self, **reasons: Reason) -> None:
        """The agent refuses these calls from now on, and no others."""
        self._agent.call_errors = dict(reasons)

    def refuse_resizes(self, reason: Reason | None) -> None:
        """From now on the agent changes no session, and says why; or changes them again."""
        self._agent.resize_refused = reason

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        options = {"port": 0, "heartbeat_s": 0.5, "sweep_s": 0.5, "join_token": JOIN_TOKEN}
        self._app = ManagerApp(data_dir=str(self.folder / "manager"), **options)
        await self._app.start_services()
        self.config = read_credentials(self.folder / "credentials.json")
        self.config = ClientConfig(self._app.endpoint, self.config.access_key, self.config.secret_key)
        self._agent = agent = FakeAgent(self._app.endpoint, JOIN_TOKEN, volumes=sorted(self.disk))
        agent.held, agent.on_stream = Volumes(self.disk, "lab-1", None), show_page
        for pool, threads in ((agent.held._folders._quick, 8), (agent.held._folders._slow, 2)):
            await asyncio.to_thread(start_threads, pool, threads)
        await agent.connect()
        async with ManagerClient(self.config) as client:
            await client.add_image(IMAGE.name)
        started.set()
        await self._stopped.wait()
        await agent.close()
        await agent.held.close()
        await self._app.stop_services()


def environ_of(config: ClientConfig) -> dict[str, str]:
    """With which a Jupyter server calls as that user."""
    return {
        "BACKEND_ENDPOINT": config.endpoint,
        "BACKEND_ACCESS_KEY": config.access_key,
        "BACKEND_SECRET_KEY": config.secret_key,
    }


def start_threads(pool: Executor, number: int) -> None:
    """All of them: one that came later would look as if it were left by the test that came then."""
    everybody = threading.Barrier(number)
    list(pool.map(lambda _: everybody.wait(), range(number)))


async def show_page(socket: WebSocketClientConnection, _endpoint: dict[str, Any]) -> None:
    """An app that says one thing to whoever asks."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\nConnection: close\r\n\r\n"
    with suppress(WebSocketClosedError):
        while (frame := await socket.read_message()) is not None:
            if b"\r\n\r\n" in frame:
                await socket.write_message((head + PAGE).encode(), binary=True)


async def dial(far: WebSocketClientConnection, endpoint: dict[str, Any]) -> None:
    """Bytes both ways until the one at the port has said all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint["port"])

    async def send() -> None:
        while frame := await far.read_message():
            assert isinstance(frame, bytes)
            writer.write(frame)
            await writer.drain()
        if frame is None:
            writer.close()
        else:
            writer.write_eof()

    sending = asyncio.create_task(send())
    with suppress(WebSocketClosedError):
        while piece := await reader.read(64 * 1024):
            await far.write_message(piece, binary=True)
    writer.close()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
