"""A real JupyterHub with a real proxy on a cluster of these tests, and who visits it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import aiohttp
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1

from bai_jupyter.client import ManagerClient

PROXY = "configurable-http-proxy@5.3.0"
WAIT_S = 60
START_S = 180  # its programs are large
EXAMPLES = Path(__file__).parents[2] / "examples" / "jupyterhub"
CONFIG = """
load_subconfig({example!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.BackendAISpawner.mem_limit = "512M"
c.BackendAISpawner.cpu_limit = 1
{more}
"""
SERVICE = 'c.JupyterHub.services[0]["url"] = "http://127.0.0.1:{service_port}"\n'
NO_SERVICE = "c.JupyterHub.services, c.JupyterHub.load_roles = [], []\n"
PRINTING = """
import os, time
n = 0
while not os.path.exists("go"):
    print(n, flush=True)
    n += 1
    time.sleep(0.01)
"""
KEYS = "query($email: String) {keypairs(email: $email) {access_key secret_key}}"
CREATE = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"


def installed_proxy(missing: Any) -> Path:
    """Where the Hub's usual proxy is installed; kept for the next run."""
    npm = shutil.which("npm")
    if npm is None:
        missing("node", "npm is not on PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bai_jupyter"
    folder = cache / PROXY
    complete = folder / "complete"
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not complete.exists():
            command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", PROXY]
            installing = subprocess.run(command, capture_output=True, text=True, check=False)
            if installing.returncode:
                missing("node", f"npm could not install {PROXY}: {installing.stderr.strip()[-500:]}")
            complete.touch()
    return folder / "node_modules" / ".bin"


def http_session() -> aiohttp.ClientSession:
    """Its usual resolver would leave a thread for good."""
    connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True))


class JupyterHub:
    """The Hub of ``cluster``, and its users' requests to it."""

    def __init__(self, cluster: Any, folder: Path, proxy_folder: Path, ports: dict[str, int], image: str) -> None:
        self.folder, self.ports = folder, ports
        self.url = f"http://127.0.0.1:{ports['port']}"
        self.environ = {
            **os.environ,
            "PATH": f"{proxy_folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "BAI_CREDENTIALS": str(folder / "service.json"),
            "BAI_HUB_IMAGE": image,
        }
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def configure(
        self, more: str = "", example: str = "jupyterhub_config.py", *, service: bool = False, **environ: str
    ) -> None:
        """``more`` is configuration, ``environ`` what the example reads besides; ``service``: with the example's."""
        of_service = SERVICE if service else NO_SERVICE
        text = CONFIG.format(example=str(EXAMPLES / example), more=of_service.format(**self.ports) + more, **self.ports)
        (self.folder / "config.py").write_text(text)
        self.environ |= environ

    async def make_service(self) -> None:
        """The Hub's own user at the manager, and its credentials."""
        email = "hub@localhost"
        async with ManagerClient(self._cluster.config) as admin:
            props = {"username": "hub", "password": "", "role": "service"}
            made = (await admin.graphql(CREATE, email=email, props=props))["create_user"]
            assert made["ok"], made
            keypair = (await admin.graphql(KEYS, email=email))["keypairs"][0]
        path = self.folder / "service.json"
        path.touch(mode=0o600)
        config = self._cluster.config
        trust = {"fingerprint": config.trust.fingerprint} if config.trust.fingerprint else {}
        path.write_text(json.dumps({"endpoint": config.endpoint, **keypair, **trust}))

    async def start(self) -> None:
        """Returns when it answers."""
        self._spawn()
        await self._cluster.until(self.is_up, START_S)

    def _spawn(self) -> None:
        with (self.folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", "config.py"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.wait(WAIT_S)
            self._process = None

    def stop(self) -> None:
        """The proxy too, which a Hub that was killed or did not come up has left."""
        self.kill(signal.SIGTERM)
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"configurable-http-proxy" in Path(f"/proc/{self.proxy_pid}/cmdline").read_bytes():
                os.kill(self.proxy_pid, signal.SIGTERM)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def proxy_pid(self) -> int:
        return int((self.folder / "jupyterhub-proxy.pid").read_text())

    async def is_up(self) -> bool:
        try:
            async with http_session() as http, http.get(f"{self.url}/hub/api/") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def log(self) -> str:
        return (self.folder / "hub.log").read_text()


class Visitor:
    """A browser, as far as the Hub can tell."""

    def __init__(self, hub: JupyterHub) -> None:
        self._hub = hub
        self._http = http_session()
        self.page, self.location = "", ""  # what the last form was answered

    async def log_in(self, name: str, password: str = "any") -> int:  # noqa: S107 - the dummy authenticator takes any
        """The answer's status: 302 if this may come in."""
        await self.get("/hub/login")
        return await self.post("/hub/login", {"username": name, "password": password})

    def _token(self, path: str = "/hub/") -> str:
        """What the forms and scripts of pages below ``path`` send back."""
        (token,) = {one.value for one in self._http.cookie_jar if one.key == "_xsrf" and one["path"] == path}
        return token

    async def post(self, path: str, form: dict[str, str]) -> int:
        data = {**form, "_xsrf": self._token()}
        async with self._http.post(f"{self._hub.url}{path}", data=data, allow_redirects=False) as answer:
            self.page, self.location = await answer.text(), answer.headers.get("Location", "")
            return answer.status

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, address and body at the end of all redirects."""
        async with self._http.get(urljoin(self._hub.url, path)) as answer:
            return answer.status, answer.url.path, await answer.text()

    async def reaches(self, path: str) -> bool:
        try:
            return (await self.get(path))[0] == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The Hub's API, as its pages call it."""
        return await self._call(method, f"/hub/api{path}", self._token(), "/hub/home", body)

    async def ask(self, method: str, server: str, path: str, body: Any = None) -> Any:
        """The API of a server, such as ``/user/kim/``, as JupyterLab calls it. What it answers, which must be good."""
        status, answer = await self.call_server(method, server, path, body)
        assert status < 300, answer
        return answer

    async def call_server(self, method: str, server: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self._call(method, server + path, self._token(server), f"{server}lab", body)

    async def _call(self, method: str, path: str, token: str, page: str, body: Any) -> tuple[int, Any]:
        headers = {"X-XSRFToken": token, "Referer": f"{self._hub.url}{page}", "Content-Type": "application/json"}
        async with self._http.request(method, f"{self._hub.url}{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def progress(self, name: str, server: str = "") -> AsyncIterator[dict[str, Any]]:
        """What the page of a server that starts is told."""
        which = f"servers/{server}" if server else "server"
        address = f"{self._hub.url}/hub/api/users/{name}/{which}/progress"
        async with self._http.get(address, headers={"Referer": f"{self._hub.url}/hub/home"}) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    async def is_ready(self, name: str, server: str = "") -> bool:
        status, found = await self.call("GET", f"/users/{name}")
        assert status == 200, found
        return bool(found["servers"].get(server, {}).get("ready"))

    async def open_page(self, server: str, kernel_id: str, name: str = "") -> "Page":
        """A notebook's connection to a kernel; with the name of an earlier one it is that page's next."""
        name = name or uuid4().hex
        url = f"{self._hub.url}{server}api/kernels/{kernel_id}/channels?session_id={name}"
        return Page(await self._http.ws_connect(url, max_msg_size=0), name)

    async def open_rest(self, server: str, kernel_id: str, heard: "Heard") -> "Page":
        """What a page that lost its connection asks for: the cell's output behind the last message that it has."""
        query = f"msg_id={heard.msg_id}&after={heard.last}"
        url = f"{self._hub.url}{server}bai/api/kernels/{kernel_id}/outputs?{query}"
        return Page(await self._http.ws_connect(url, max_msg_size=0), "")

    async def run(self, server: str, kernel_id: str, code: str) -> str:
        """What a cell prints."""
        page = await self.open_page(server, kernel_id)
        try:
            heard = Heard(await page.execute(code))
            await page.listen(heard)
        finally:
            await page.close()
        assert heard.is_done
        return heard.text

    async def close(self) -> None:
        await self._http.close()


class Heard:
    """The output of one cell."""

    def __init__(self, msg_id: str) -> None:
        self.msg_id = msg_id
        self.last = ""  # id of the last message on IOPub
        self.text = ""
        self.is_done = False

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def take(self, message: dict[str, Any]) -> None:
        if message["parent_header"].get("msg_id") != self.msg_id or message["channel"] != "iopub":
            return
        content, kind = message["content"], message["header"]["msg_type"]
        self.last = message["header"]["msg_id"]
        if kind == "stream":
            self.text += content["text"]
        elif kind == "error":
            self.text += f"{content['ename']}: {content['evalue']}"
        elif kind == "status" and content["execution_state"] == "idle":
            self.is_done = True


class Page:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, name: str) -> None:
        self._socket, self.name = socket, name

    async def execute(self, code: str) -> str:
        msg_id = uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": "execute_request",
            "username": "",
            "session": self.name,
            "version": "5.3",
            "date": datetime.now(UTC).isoformat(),
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {"cellId": "cell-1"}, "content": content}
        await self._socket.send_json({**message, "channel": "shell", "buffers": []})
        return msg_id

    async def listen(self, heard: Heard, until: str = "") -> None:
        """Until that cell has ended, or has printed ``until``, or the connection ends."""
        with suppress(aiohttp.ClientError):
            async for message in self._socket:
                heard.take(_read(message.data))
                if heard.is_done or (until and until in heard.text):
                    return

    async def close(self) -> None:
        await self._socket.close()


def _read(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, str):
        return dict(json.loads(data))
    channel, (header, parent, metadata, content, *_) = deserialize_msg_from_ws_v1(data)
    parts = {"header": header, "parent_header": parent, "metadata": metadata, "content": content}
    return {**{name: json.loads(part) for name, part in parts.items()}, "channel": channel}


# What there is in its cluster


async def sessions(cluster: Any) -> list[dict[str, Any]]:
    async with ManagerClient(cluster.config) as admin:
        found: list[dict[str, Any]] = await admin.list_sessions(everyone=True)
        return found


async def let_agents_take(cluster: Any, *, new_sessions: bool) -> None:
    async with ManagerClient(cluster.config) as admin:
        await admin.set_schedulable([agent["name"] for agent in await admin.list_agents()], new_sessions)


async def tells_why(visitor: Visitor, server: str, name: str = "kim", sentence: str = "takes new sessions now") -> None:
    """What the page of a server that waits is told, until it is the reason."""
    async with aclosing(visitor.progress(name, server)) as events:
        async for event in events:
            if sentence in event["message"]:
                break


async def kill(victim: str, hub: JupyterHub, cluster: Any) -> None:
    """And start it again, if nobody else does."""
    if victim == "proxy":
        os.kill(hub.proxy_pid, signal.SIGKILL)  # its Hub starts it again
    elif victim == "hub":
        hub.kill()
        await hub.start()
    else:
        cluster.kill(victim)
        cluster.start(victim)
