"""``bai up --hub CONFIG``: a JupyterHub on this machine, and the accounts that it needs at the manager.

Owns what is in the data folder's ``hub``: the Hub's keypair, the first person's password, and what the Hub itself
keeps. All of it is made once and found again. The order and the messages are ``up``'s.
"""

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from bai_jupyter.cli.local import PYTHON, LocalCluster
from bai_jupyter.cli.servers import write_private
from bai_jupyter.cli.terminal import CommandFailed
from bai_jupyter.client import Json, ManagerClient

PROXY = "configurable-http-proxy"
DOOR = "hub"
HUB_DEADLINE_S = 120.0
SERVICE_EMAIL, PERSON_EMAIL = "hub@localhost", "user@localhost"
_FIND = "query($email: String) {user(email: $email) {uuid} keypairs(email: $email) {access_key secret_key}}"
_MAKE = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"


@dataclass(frozen=True)
class Login:
    email: str
    password: str


def check(config: Path) -> None:
    """Raises ``CommandFailed`` if something is missing that a Hub needs."""
    if not config.is_file():
        raise CommandFailed(f"There is no file {config}. Name the Hub's configuration: --hub jupyterhub_config.py")
    if shutil.which(PROXY) is None:
        raise CommandFailed(f"The Hub needs {PROXY}, which is not on PATH. Run: npm install -g {PROXY}")


@dataclass
class LocalHub:
    """The Hub of ``cluster``, whose agent has a door to ``own_port``, where the Hub's API is."""

    cluster: LocalCluster
    config: Path
    port: int
    own_port: int
    proxy_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _folder(self) -> Path:
        return self.cluster.folder.path / "hub"

    @property
    def _credentials(self) -> Path:
        return self._folder / "service.json"

    async def accounts(self) -> Login:
        """The Hub's service and the first person, made if need be. Returns how that one logs in."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        login = self._login()
        async with self.cluster.client() as client:
            keypair = await _account(client, SERVICE_EMAIL, {"username": "hub", "role": "service", "password": ""})
            write_private(self._credentials, json.dumps({"endpoint": self.cluster.manager_url, **keypair}, indent=1))
            person = {"username": "user", "role": "user", "password": login.password}
            await _account(client, login.email, person)
        return login

    def _login(self) -> Login:
        """As it was told the first time."""
        path = self._folder / "login.json"
        if not path.exists():
            write_private(path, json.dumps({"email": PERSON_EMAIL, "password": secrets.token_urlsafe(12)}, indent=1))
        return Login(**json.loads(path.read_text()))

    async def start(self, image: str) -> None:
        """Returns when it answers."""
        places = {
            "JupyterHub.bind_url": self.url,
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{self.own_port}",
            "ConfigurableHTTPProxy.api_url": f"http://127.0.0.1:{self.proxy_port}",
        }
        flags = [f"--{name}={value}" for name, value in places.items()]
        argv = [*PYTHON, "-m", "jupyterhub", "-f", str(self.config.absolute()), *flags]
        env = {"BAI_CREDENTIALS": str(self._credentials), "BAI_HUB_IMAGE": image}
        server = await self.cluster.start_other("hub", argv, env, self._folder)
        await server.ready(self._answers, HUB_DEADLINE_S)

    async def _answers(self) -> bool:
        try:
            answer = await AsyncHTTPClient().fetch(f"{self.url}/hub/api/", request_timeout=5)
        except (OSError, HTTPClientError):
            return False
        return answer.code == 200


async def _account(client: ManagerClient, email: str, props: Json) -> Json:
    """Make it if there is none, and return its keypair. A person's password is left as they have it."""
    if (await client.graphql(_FIND, email=email))["user"] is None:
        made = (await client.graphql(_MAKE, email=email, props=props))["create_user"]
        if not made["ok"]:
            raise CommandFailed(f"The account {email} cannot be made. {made['msg']}")
    keypair: Json = (await client.graphql(_FIND, email=email))["keypairs"][0]
    return keypair
