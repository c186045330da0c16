"""A real JupyterHub with a real proxy: log in, and your server runs in a session, whatever is killed meanwhile."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
import pytest_asyncio

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

PROXY = "configurable-http-proxy@5.3.0"
EXAMPLE = Path(__file__).parents[2] / "examples" / "jupyterhub" / "jupyterhub_config.py"
CONFIG = """
load_subconfig({example!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"root-of-hub"}}
c.BackendAISpawner.mem_limit = "512M"
c.BackendAISpawner.cpu_limit = 1
{more}
"""
KEYS = "query($email: String) {keypairs(email: $email) {access_key secret_key}}"
CREATE = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"


@pytest.fixture(scope="session")
def proxy_folder(missing: Any) -> Path:
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
        self._environ = {
            **os.environ,
            "PATH": f"{proxy_folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "BAI_CREDENTIALS": str(folder / "service.json"),
            "BAI_HUB_IMAGE": image,
        }
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, more: str = "") -> None:
        (self.folder / "config.py").write_text(CONFIG.format(example=str(EXAMPLE), more=more, **self.ports))

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
        path.write_text(json.dumps({"endpoint": self._cluster.config.endpoint, **keypair}))

    def start(self) -> None:
        with (self.folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", "config.py"],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.wait(60)
            self._process = None

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

    async def log_in(self, name: str) -> None:
        await self.get("/hub/login")
        assert await self.post("/hub/login", {"username": name, "password": "any"}) == 302

    @property
    def _token(self) -> str:
        """What a page's forms and scripts send back."""
        (token,) = {one.value for one in self._http.cookie_jar if one.key == "_xsrf" and one["path"] == "/hub/"}
        return token

    async def post(self, path: str, form: dict[str, str]) -> int:
        async with self._http.post(
            f"{self._hub.url}{path}", data={**form, "_xsrf": self._token}, allow_redirects=False
        ) as answer:
            return answer.status

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, address and body at the end of all redirects."""
        async with self._http.get(urljoin(self._hub.url, path)) as answer:
            return answer.status, answer.url.path, await answer.text()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The Hub's API, as its pages call it."""
        headers = {"X-XSRFToken": self._token, "Referer": f"{self._hub.url}/hub/home"}
        async with self._http.request(method, f"{self._hub.url}/hub/api{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def progress(self, name: str, server: str) -> AsyncIterator[dict[str, Any]]:
        """What the page of a server that starts is told."""
        address = f"{self._hub.url}/hub/api/users/{name}/servers/{server}/progress"
        async with self._http.get(address, headers={"Referer": f"{self._hub.url}/hub/home"}) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    async def is_ready(self, name: str, server: str = "") -> bool:
        status, found = await self.call("GET", f"/users/{name}")
        assert status == 200, found
        return bool(found["servers"].get(server, {}).get("ready"))

    async def close(self) -> None:
        await self._http.close()


@pytest.fixture(scope="session")
def hub_image(docker_client: Any) -> str:
    """Built if there is none, in under a minute."""
    from bai_jupyter.cli import images

    found = images.local("bai/hub:")
    return found[-1] if found else images.build(["hub"])[0]


@pytest.fixture
def ports() -> dict[str, int]:
    free_port = sys.modules["end_to_end_cluster"].free_port
    return {name: free_port() for name in ("port", "proxy_port", "hub_port")}


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}}


@pytest_asyncio.fixture
async def hub(
    folder: Path, cluster: Any, proxy_folder: Path, ports: dict[str, int], request: pytest.FixtureRequest
) -> AsyncIterator[JupyterHub]:
    place = folder / "hub"
    place.mkdir()
    image = "local" if cluster.runtime == "process" else request.getfixturevalue("hub_image")
    if image != "local":
        await cluster.add_image(image)
    one = JupyterHub(cluster, place, proxy_folder, ports, image)
    one.configure()
    await one.make_service()
    yield one
    one.kill(signal.SIGTERM)


@pytest_asyncio.fixture
async def visit(hub: JupyterHub) -> AsyncIterator[Any]:
    """``await visit("kim")``: a visitor who has logged in."""
    visitors = []

    async def visit(name: str) -> Visitor:
        visitors.append(Visitor(hub))
        await visitors[-1].log_in(name)
        return visitors[-1]

    yield visit
    for visitor in visitors:
        await visitor.close()


@pytest.mark.parametrize(
    "cluster", [{"runtime": "process"}, pytest.param({"runtime": "docker"}, marks=pytest.mark.docker)], indirect=True
)
async def test_log_in_and_your_server_runs_in_a_session(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.start()
    await cluster.until(hub.is_up)
    kim = await visit("kim")
    status, answer = await kim.call("POST", "/users/kim/server", {})
    assert status in (201, 202), answer
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get("/user/kim/lab"))[:2] == (200, "/user/kim/lab")  # by way of the Hub, which knows who it is
    status, path, body = await kim.get("/user/kim/api/status")
    assert (status, path) == (200, "/user/kim/api/status"), body
    started = json.loads(body)["started"]
    (session,) = await sessions(cluster)
    assert (session["name"], session["type"], session["status"]) == ("jupyterhub", "batch", "RUNNING")
    assert session["route"]["path"] == "/user/kim/"

    stranger = await visit("stranger")
    assert (await stranger.get("/user/kim/lab"))[0] == 403
    assert (await stranger.get("/user/kim/api/status"))[0] == 403
    async with http_session() as http, http.get(f"{cluster.config.endpoint}/user/kim/api/status") as answer:
        assert answer.status == 403

    hub.kill()
    for name in ("manager", "agent"):
        cluster.kill(name)
        cluster.start(name)
    hub.start()
    await cluster.until(hub.is_up)
    status, _, body = await kim.get("/user/kim/api/status")
    assert (status, json.loads(body)["started"]) == (200, started)
    again = await visit("kim")  # of whom the server must ask the Hub

    async def is_let_in() -> bool:
        return (await again.get("/user/kim/lab"))[0] == 200

    await cluster.until(is_let_in)

    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)

    async def none_left() -> bool:
        return not await sessions(cluster)

    await cluster.until(none_left)


ENDS_AT_ONCE = """
def _break(spawner):
    if spawner.name == "broken":
        spawner.cmd = ["sh", "-c", "echo there is no server here; exit 3"]
c.Spawner.pre_spawn_hook = _break
"""


async def test_choosing_and_being_refused(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure(ENDS_AT_ONCE)
    hub.start()
    await cluster.until(hub.is_up)
    kim = await visit("kim")
    status, _, page = await kim.get("/hub/spawn")
    assert status == 200
    for part in ('<option value="local" selected>', "As your policy says", "Starts now."):
        assert part in page

    for server, options, sentence in (
        ("", {"cmd": ["sh"]}, "user_options: 'cmd' is not image, preset or folders."),
        ("", {"image": "no/such:image"}, "There is no environment no/such:image for you."),
        ("", {"preset": "huge"}, "preset huge"),
        ("", {"folders": {"secrets": "ro"}}, "Folder secrets does not exist or is not shared with you."),
        ("broken", {}, 'Its last line: "there is no server here".'),
    ):
        status, answer = await kim.call(
            "POST", f"/users/kim/servers/{server}" if server else "/users/kim/server", options
        )
        assert (status >= 400, sentence in str(answer)) == (True, True), (options, answer)
        assert await sessions(cluster) == []

    assert await kim.post("/hub/spawn", {"image": "local", "preset": ""}) == 302
    await cluster.until(lambda: kim.is_ready("kim"))
    (session,) = await sessions(cluster)
    assert (session["image"], session["slots"]["cpu"]) == ("local", "1")


async def test_a_server_that_waits_says_why_is_not_left_behind_and_can_be_cancelled(
    hub: JupyterHub, cluster: Any, visit: Any
) -> None:
    hub.configure("c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 0}")
    hub.start()
    await cluster.until(hub.is_up)
    kim = await visit("kim")
    await kim.get("/hub/spawn")  # makes her a user of the manager
    async with ManagerClient(cluster.config) as admin:
        (agent,) = await admin.list_agents()
        await admin.set_schedulable([agent["name"]], False)
    assert (await kim.call("POST", "/users/kim/servers/lab", {}))[0] == 202
    async with aclosing(kim.progress("kim", "lab")) as events:
        said = [await anext(events), await anext(events)]
    assert "takes new sessions now" in said[-1]["message"]
    (left,) = await sessions(cluster)

    async def has_ended() -> bool:
        return left["id"] not in [session["id"] for session in await sessions(cluster)]

    path = hub.folder / "jupyterhub.sqlite"
    hub.kill()
    path.unlink()  # with it, all that the Hub knew
    hub.start()
    await cluster.until(hub.is_up)
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/servers/lab", {}))[0] == 202
    await cluster.until(has_ended)
    assert (await kim.call("DELETE", "/users/kim/servers/lab", {}))[0] in (202, 204)

    async def none_left() -> bool:
        return not await sessions(cluster)

    await cluster.until(none_left)


async def sessions(cluster: Any) -> list[dict[str, Any]]:
    async with ManagerClient(cluster.config) as admin:
        found: list[dict[str, Any]] = await admin.list_sessions(everyone=True)
        return found
