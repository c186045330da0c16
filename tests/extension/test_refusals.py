"""No handler of ours lets anybody in without leave: all that the server has of us, so that none can be forgotten."""

import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

import pytest
from jupyter_server.base.handlers import APIHandler, path_regex
from tornado.web import RequestHandler

from bai_jupyter.extension import app_proxy

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READS = ("GET", "HEAD")

BY_TICKET = app_proxy.AppHandler
"""Nobody's login counts there: a ticket lets in, and nothing else does (``test_app_proxy``)."""

NOT_OURS = (RequestHandler._unimplemented_method, APIHandler.options)


class Door(NamedTuple):
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} /{self.path}"


def example_of(pattern: str) -> str:
    """A path that a handler's pattern matches."""
    path = pattern.replace(path_regex, "/x").replace("(?:/.*)?", "").replace("(absolute/)?", "")
    path = path.replace(r"(\d{1,5})", "8080")
    path = re.sub(r"\(([a-z-]+)(?:\|[^()]*)?\)", r"\1", path)  # a word, the first of several
    path = re.sub(r"\([^()]*\)", "x", path)
    assert re.fullmatch(pattern, path), f"no example of {pattern}: {path}"
    return path.removeprefix("/")


def doors_of(handlers: list[tuple[Any, ...]]) -> list[Door]:
    return [
        Door(method, example_of(pattern))
        for pattern, handler, *_ in handlers
        if handler is not BY_TICKET
        for method in METHODS
        if getattr(handler, method.lower()) not in NOT_OURS
    ]


def test_all_ways_in_are_found() -> None:
    """What is walked below."""
    handlers = [(r"/bai/api/sessions/([\w.-]+)/apps", APIHandler), (r"/b/(users)/([^/]+)/~([^/]*)(?:/.*)?", BY_TICKET)]
    assert doors_of(handlers) == []
    assert example_of(handlers[1][0]) == "b/users/x/~x"


@pytest.fixture
def connected(manager: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """To be asked for before the server, which reads the credentials while it is made."""
    for name, value in manager.environ.items():
        monkeypatch.setenv(name, value)
    return manager


@pytest.fixture
def doors(connected: Any, jp_serverapp: Any) -> list[Door]:
    found = doors_of(jp_serverapp.web_app.settings["bai_extension"].handlers)
    assert {Door("GET", "bai/api/status"), Door("POST", "bai/api/imports"), Door("GET", "bai/apps/x/x")} <= set(found)
    return found


@pytest.fixture
def knock(jp_serverapp: Any, http_server_client: Any, jp_base_url: str) -> Callable[..., Any]:
    async def knock(door: Door, **headers: str) -> Any:
        return await http_server_client.fetch(
            jp_base_url + door.path,
            method=door.method,
            headers=headers,
            body=None if door.method in READS else b"{}",
            allow_nonstandard_methods=True,
            follow_redirects=False,
            raise_error=False,
        )

    return knock


@pytest.fixture
def asked(jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the authorizer was asked. It says no to all of it."""
    asked: list[tuple[str, str]] = []

    def deny(handler: Any, user: Any, action: str, resource: str) -> bool:
        asked.append((action, resource))
        return False

    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", deny)
    return asked


async def test_strangers(doors: list[Door], connected: Any, knock: Callable[..., Any]) -> None:
    for door in doors:
        answer = await knock(door)
        is_sent_to_login = answer.code == 302 and "/login?" in answer.headers["Location"]
        assert answer.code in (401, 403) or is_sent_to_login, f"{door}: {answer.code}"
    assert {path for _, path in connected.calls} <= {"/images"}  # which the server asks for itself


async def test_whom_the_authorizer_does_not_let(
    doors: list[Door], connected: Any, knock: Callable[..., Any], asked: list[tuple[str, str]], jp_auth_header: Any
) -> None:
    for door in doors:
        asked.clear()
        answer = await knock(door, **jp_auth_header)
        assert answer.code == 403, f"{door}: {answer.code}"
        ((action, resource),) = asked
        assert action in (("read", "execute") if door.method in READS else ("write",)), f"{door}: {action}"
        assert resource in ("bai", "terminals", "kernels", "contents"), f"{door}: {resource}"
    assert {path for _, path in connected.calls} <= {"/images"}


async def test_what_a_page_of_another_site_sends_with_the_users_cookie(
    doors: list[Door], connected: Any, knock: Callable[..., Any], asked: list[tuple[str, str]], jp_serverapp: Any
) -> None:
    token = jp_serverapp.identity_provider.token
    answer = await knock(Door("GET", f"bai/apps/x/x?token={token}"))
    cookies = {
        name: one.value for line in answer.headers.get_list("Set-Cookie") for name, one in SimpleCookie(line).items()
    }
    assert "_xsrf" in cookies, "the cookie that is meant"
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    for door in doors:
        if door.method in READS:
            continue
        asked.clear()
        answer = await knock(door, Cookie=cookie)
        assert (answer.code, asked) == (403, []), f"{door}: {answer.code}"
        answer = await knock(door, Cookie=cookie, **{"X-XSRFToken": cookies["_xsrf"]})
        assert (answer.code, len(asked)) == (403, 1), f"{door} does not know the user's own page"
    assert {path for _, path in connected.calls} <= {"/images"}
