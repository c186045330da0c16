"""What the reverse proxy changes in requests and answers, and who gets through it: without a session's app."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet
from tornado.httputil import HTTPHeaders

from bai_jupyter.common.errors import AuthFailed, Forbidden
from bai_jupyter.manager.api.app_proxy import answer_headers, at_home, confined_cookie, target_of, without_cookie
from bai_jupyter.manager.auth.app_tokens import COOKIE_S, LINK_S, AppTokens
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.sessions.ports import App

PLAIN = App("web", "http", (8000,))
KNOWING = replace(PLAIN, command="serve {base_url}")
PREFIX = "/apps/s/web/"


@pytest.mark.parametrize(
    ("app", "uri", "target"),
    [
        (PLAIN, "/apps/s/web", "/"),
        (PLAIN, "/apps/s/web/", "/"),
        (PLAIN, "/apps/s/web?a=1", "/?a=1"),
        (PLAIN, "/apps/s/web/a%2Fb?x=%20", "/a%2Fb?x=%20"),
        (KNOWING, "/apps/s/web/lab?x", "/apps/id/web/lab?x"),
    ],
)
def test_the_apps_own_path(app, uri, target):
    assert target_of(uri, ("s", "web"), app, "id") == target


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("a=1", "a=1; Path=/apps/s/web/"),
        ("a=1; Path=/; Domain=example.org; HttpOnly", "a=1; HttpOnly; Path=/apps/s/web/"),
        ("a=1; Path=/apps/s/web/lab; Secure", "a=1; Secure; Path=/apps/s/web/lab"),
        ("a=1; path=/apps/other/", "a=1; Path=/apps/s/web/"),
        ("bai-app=mine; Path=/", None),
        ("", None),
    ],
)
def test_an_apps_cookies_stay_with_it(cookie, kept):
    assert confined_cookie(cookie, PREFIX) == kept


def test_our_cookie_is_not_shown_to_apps():
    assert without_cookie("a=1; bai-app=secret; b=2") == "a=1; b=2"
    assert without_cookie("bai-app=secret") == ""


def test_who_knows_its_base_is_asked_at_home():
    ours, place = {"bai.example.org", ""}, "localhost:8888"
    headers = HTTPHeaders(
        {
            "Host": "bai.example.org",
            "Origin": "https://bai.example.org",
            "Referer": "https://bai.example.org/apps/s/a/?x",
        }
    )
    at_home(headers, ours, place)
    assert [headers[name] for name in ("Host", "Origin", "Referer")] == [
        place,
        "http://localhost:8888",
        "http://localhost:8888/apps/s/a/?x",
    ]
    stranger = {"Origin": "https://example.com", "Referer": "https://example.com/bai.example.org"}
    headers = HTTPHeaders({"Host": "bai.example.org", **stranger})
    at_home(headers, ours, place)
    assert dict(headers) == {"Host": place, **stranger}
    nowhere = HTTPHeaders({"Host": "bai.example.org", "Origin": "null"})
    at_home(nowhere, ours, place)
    assert dict(nowhere) == {"Host": place, "Origin": "null"}


def test_answers():
    given = HTTPHeaders()
    for name, value in (
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Location", "/login"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "bai-app=x"),
        ("X-Own", "1"),
    ):
        given.add(name, value)
    kept = [("Location", "/apps/s/web/login"), ("Set-Cookie", "a=1; Path=/apps/s/web/"), ("X-Own", "1")]
    assert list(answer_headers(given, PREFIX, "/apps/s/web").get_all()) == kept
    elsewhere = HTTPHeaders({"Location": "https://example.org/x"})
    assert answer_headers(elsewhere, PREFIX, "/apps/s/web")["Location"] == "https://example.org/x"


def test_tokens():
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    vault = Vault(Fernet.generate_key())
    tokens = AppTokens(vault, lambda: now[0])
    owner, session = SimpleNamespace(user_id="u"), SimpleNamespace(id="s", user_id="u")
    link = tokens.issue(owner, session, "web")
    claims = tokens.read(link)
    assert (claims.session_id, claims.app) == ("s", "web")
    cookie = tokens.extend(claims)
    with pytest.raises(Forbidden):
        tokens.issue(SimpleNamespace(user_id="admin"), session, "web")
    odd = ["", "x", link[:-4] + "AAAA", vault.seal("{}"), vault.seal('{"kind": "other"}'), vault.seal("7")]
    for token in [*odd, AppTokens(Vault(Fernet.generate_key()), lambda: now[0]).issue(owner, session, "web")]:
        with pytest.raises(AuthFailed):
            tokens.read(token)
    now[0] += timedelta(seconds=LINK_S)
    with pytest.raises(AuthFailed):
        tokens.read(link)
    assert tokens.read(cookie).app == "web"
    now[0] += timedelta(seconds=COOKIE_S)
    with pytest.raises(AuthFailed):
        tokens.read(cookie)
