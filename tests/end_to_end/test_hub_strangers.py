"""Users of a JupyterHub are strangers to each other, and no server's container holds what is good for anybody else."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from end_to_end.hubs import KEYS, JupyterHub, Visitor, http_session

from bai_jupyter.client import ClientConfig, ManagerClient, read_credentials
from bai_jupyter.common.errors import AuthFailed, PublicError

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.docker,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True),
]

# Run by a kernel beside the server, as its user may: every word that could be a secret, but for what the image has.
COLLECT = r"""
import json, os, re
made, root, words = os.stat("/.dockerenv").st_ctime, os.stat("/").st_dev, set()
def read(path):
    try:
        with open(path, "rb") as file:
            said = file.read(4 << 20)
            if not said.startswith(b"\x7fELF"):  # a program of the agent's
                words.update(re.findall(rb"[A-Za-z0-9_.~-]{16,}", said))
    except OSError:
        pass
for pid in filter(str.isdecimal, os.listdir("/proc")):
    read(f"/proc/{pid}/environ")
    read(f"/proc/{pid}/cmdline")
for folder, names, files in os.walk("/"):
    if folder == "/":
        names[:] = set(names) - {"proc", "sys", "dev"}
    for path in (os.path.join(folder, name) for name in files):
        if os.path.isfile(path):
            found = os.stat(path)
            if found.st_ctime >= made or found.st_dev != root:
                read(path)
print(json.dumps(sorted(word.decode() for word in words)))
"""
AT_ONCE = 8
SHORTEST = 16  # of a secret
KIM = "/user/kim/"
OF_SERVERS = {  # JupyterHub's scopes for them
    "access:servers!server=kim/",
    *(f"users:{what}!user=kim" for what in ("activity", "groups", "name")),
}
# What is another user's, and how it could be asked for.
AT_THE_MANAGER = [
    *(("GET", path, None) for path in ("/session/{session}", "/session/{session}/logs", "/folders/{folder}")),
    *(("GET", path, None) for path in ("/stream/session/{session}/apps", "/folders/{folder}/files")),
    ("GET", "/events/session-views?sessionId={session}", None),
    *(("DELETE", path, None) for path in ("/session/{session}", "/folders/{folder}")),
    ("POST", "/session/{session}/start-service", {"app": "jupyter"}),
    ("POST", "/session/{session}/jupyter-kernels", {"kernelspec": "python3", "key": "k"}),
    ("POST", "/session/{session}/attach-folder", {"folder": "home"}),
    ("POST", "/folders/{folder}/request-download", {"path": "."}),
    ("POST", "/folders/{folder}/clone", {"target_name": "mine"}),
    ("WS", "/stream/session/{session}/tcpproxy?app=8888", None),
    ("WS", "/stream/session/{session}/pty", None),
]
BY_HER_SERVER = [
    *(("GET", path) for path in ("bai/api/sessions/{session}/logs", "bai/api/sessions/{session}/apps")),
    ("GET", "bai/api/folders/{folder}/files"),
    *(("DELETE", path) for path in ("bai/api/sessions/{session}", "bai/api/folders/{folder}")),
]
AT_THE_HUB = [
    ("GET", "/users/{user}"),
    ("GET", "/users/{user}/server/progress"),
    ("POST", "/users/{user}/server"),
    ("POST", "/users/{user}/tokens"),
    ("DELETE", "/users/{user}/server"),
]
Ask = Callable[[str], Awaitable[tuple[int, Any]]]


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}}


async def test_users_are_strangers_to_each_other(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    await hub.start()
    kim, lee = await visit("kim"), await visit("lee")
    for name, one in (("kim", kim), ("lee", lee)):
        status, answer = await one.call("POST", f"/users/{name}/server", {})
        assert status in (201, 202), answer
    for name, one in (("kim", kim), ("lee", lee)):
        await cluster.until(lambda: one.is_ready(name))  # noqa: B023 - called before the next
        assert (await one.get(f"/user/{name}/lab"))[0] == HTTPStatus.OK
    of_session, of_server = await holds_nothing_of_others(hub, cluster, await words_inside(kim, "kim"))
    await is_for_one_server_alone(hub, of_server)
    await finds_nothing_of_lee(hub, cluster, kim, of_session)


async def words_inside(visitor: Visitor, name: str) -> set[str]:
    server = f"/user/{name}/"
    kernel = (await visitor.ask("POST", server, "api/kernels", {"name": "python3"}))["id"]
    return set(json.loads(await visitor.run(server, kernel, COLLECT)))


async def holds_nothing_of_others(hub: JupyterHub, cluster: Any, words: set[str]) -> tuple[str, str]:
    """Each word is tried as what it could be. The two that are good for something: at the manager, and at the Hub."""
    assert not [one for one in await secrets(cluster, hub) if any(one in word for word in words)]
    for right in await keypairs(cluster, hub):
        assert await name_of(right)
        assert await each(words, lambda word: name_of(replace(right, secret_key=word))) == {}  # noqa: B023
    found = []
    async with http_session() as http:
        for address, kind in (
            *((f"{cluster.config.endpoint}/auth{acting}", "Bearer") for acting in ("", "?on_behalf_of=lee")),
            (f"{hub.url}/hub/api/user", "token"),
        ):
            known = await each(words, lambda word: who_is(http, address, f"{kind} {word}"))  # noqa: B023
            assert [*known.values()] == ["kim"], address
            found += known
    assert found[0] == found[1]  # a session acts for nobody else
    return found[0], found[2]


async def each(words: set[str], ask: Callable[[str], Awaitable[str]]) -> dict[str, str]:
    """Whom each of the words makes one; without those that make one nobody."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(word: str) -> str:
        async with limit:
            return await ask(word)

    names = await asyncio.gather(*(one(word) for word in words))
    return {word: name for word, name in zip(words, names, strict=True) if name}


async def who_is(http: Any, address: str, authorization: str) -> str:
    async with http.get(address, headers={"Authorization": authorization}) as answer:
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ""
        assert answer.status == HTTPStatus.OK, await answer.text()
        told = await answer.json()
        return str(told.get("user", told)["name"])


async def name_of(config: ClientConfig) -> str:
    async with ManagerClient(config) as client:
        try:
            return str((await client.whoami())["name"])
        except AuthFailed:
            return ""


async def keypairs(cluster: Any, hub: JupyterHub) -> list[ClientConfig]:
    """The admin's, the Hub's, the Hub's acting for another user, and both users' own."""
    service = read_credentials(hub.folder / "service.json")
    found = [cluster.config, service, replace(service, on_behalf_of="lee")]
    async with ManagerClient(cluster.config) as admin:
        for name in ("kim", "lee"):
            (of_user,) = (await admin.graphql(KEYS, email=f"{name}@wards.localhost"))["keypairs"]
            found.append(replace(cluster.config, **of_user))
    return found


async def secrets(cluster: Any, hub: JupyterHub) -> list[str]:
    """Which Hub, proxy, manager and agent have."""
    of_proxy = Path(f"/proc/{hub.proxy_pid}/environ").read_text().split("\0")
    (of_proxy,) = [one.partition("=")[2] for one in of_proxy if one.startswith("CONFIGPROXY_AUTH_TOKEN=")]
    files = ("agent/credential", "manager/master.key", "hub/jupyterhub_cookie_secret")
    kept = [(cluster.folder / file).read_text().strip().rstrip("=") for file in files]
    assert min(map(len, (of_proxy, *kept))) > SHORTEST
    return [of_proxy, cluster.join_token, *kept, *(one.secret_key for one in await keypairs(cluster, hub))]


async def is_for_one_server_alone(hub: JupyterHub, token: str) -> None:
    async with http_session() as http:

        async def call(method: str, path: str) -> tuple[int, Any]:
            headers = {"Authorization": f"token {token}"}
            async with http.request(method, f"{hub.url}/hub/api{path}", headers=headers, json={}) as answer:
                return answer.status, await answer.text()

        for method, path in (
            *(
                ("GET", path)
                for path in ("/users", "/users/lee", "/groups", "/proxy", "/services", "/users/kim/tokens")
            ),
            *(("POST", path) for path in ("/users/kim/tokens", "/users/lee/server", "/users/kim/servers/more")),
            *(("POST", path) for path in ("/users/lee/activity", "/users/eve", "/shutdown")),
            *(("DELETE", path) for path in ("/users/kim/server", "/users/lee/server", "/users/lee")),
        ):
            status, answer = await call(method, path)
            assert status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND), (method, path, status, answer)
        scopes = json.loads((await call("GET", "/user"))[1])["scopes"]
        assert {one.removeprefix("read:") for one in scopes} <= OF_SERVERS


async def finds_nothing_of_lee(hub: JupyterHub, cluster: Any, kim: Visitor, token: str) -> None:
    """Neither at the manager, nor by her server, nor at the Hub. What is his is answered like what there is not."""
    async with ManagerClient(replace(read_credentials(hub.folder / "service.json"), on_behalf_of="lee")) as service:
        (session,) = await service.list_sessions()
        folder = await service.create_folder("papers")
    words = {"session": [session["id"], str(uuid4())], "folder": [folder["id"], uuid4().hex]}
    token_file = hub.folder / "token"
    token_file.write_text(token)
    async with ManagerClient(ClientConfig(cluster.config.endpoint, token_file=token_file)) as client:
        assert session["userId"] not in [one["userId"] for one in await client.list_sessions()]
        assert "papers" not in [one["name"] for one in await client.list_folders()]
        for method, path, body in AT_THE_MANAGER:
            await is_as_if_there_were_none(path, words, lambda path: refusal(client, method, path, body))  # noqa: B023
    for method, path in BY_HER_SERVER:
        await is_as_if_there_were_none(path, words, lambda path: kim.call_server(method, KIM, path))  # noqa: B023
    await is_as_if_there_were_none("bai/apps/{session}/8888/", words, lambda path: page_of(kim, KIM + path))
    for method, path in AT_THE_HUB:
        await is_as_if_there_were_none(path, {"user": ["lee", "nobody"]}, lambda path: kim.call(method, path, {}))  # noqa: B023
    for path in ("/user/lee/lab", "/user/lee/api/contents"):
        assert (await kim.get(path))[0] == HTTPStatus.FORBIDDEN


async def is_as_if_there_were_none(path: str, words: dict[str, list[str]], ask: Ask) -> None:
    """The same refusal for what is another's and for what is nobody's, which are the words of the noun in ``path``."""
    (noun,) = [noun for noun in words if f"{{{noun}}}" in path]
    told = []
    for word in words[noun]:
        status, text = await ask(path.format(**{noun: word}))
        told.append((status, str(text).replace(word, noun)))
    assert told[0] == told[1], path
    assert told[0][0] == HTTPStatus.NOT_FOUND or (noun == "user" and told[0][0] == HTTPStatus.FORBIDDEN), (path, told)


async def page_of(visitor: Visitor, path: str) -> tuple[int, str]:
    status, _, text = await visitor.get(path)
    return status, text


async def refusal(client: ManagerClient, method: str, path: str, body: Any) -> tuple[int, str]:
    try:
        if method == "WS":
            (await client._dial(path)).close()
        else:
            await client.request(method, path, body)
    except PublicError as error:
        return error.status, str(error)
    return HTTPStatus.OK, ""
