"""`bai queue`, `bai usage`, `bai app`, and `bai session exec` used wrongly."""

import pytest

from bai_jupyter.cli.terminal import Exit
from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.reasons import Reason


def waiting(name: str, position: int | None, estimate_s: float | None = None):
    reason = Reason.of("queued", place="Waiting", group="default")
    queue = None if position is None else {"position": position, "of": 7, "estimate_s": estimate_s}
    return {
        "name": name,
        "status": "PENDING",
        "resourceGroup": "default",
        "queue": queue,
        "age": 5 * 60 * 1000,
        "slots": {"cpu": "2", "mem": str(4 * 1024**3)},
        "reason": reason.to_json(),
    }


def test_the_queue_in_the_order_of_places(bai, logged_in) -> None:
    views = [waiting("third", 3), waiting("later", None), waiting("first", 1, 700)]
    logged_in.answers["GET /sessions?status=PENDING"] = {"sessions": views}
    ran = bai("queue")
    header, first, third, later, summary = ran.lines
    assert header.split() == ["NAME", "GROUP", "PLACE", "WAITS", "RESOURCES", "STARTS", "WHY"]
    assert first.split("  ")[0] == "first"
    assert "1st of 7  5 min  2 CPU 4 GiB  in about 11 min  Waiting in the queue of group default." in first
    assert "3rd of 7" in third
    assert later.startswith("later")
    assert summary == "3 sessions in the queue. To take one out: bai session rm NAME"
    assert bai("queue", "-q").lines == ["first", "third", "later"]
    assert [one["name"] for one in bai("queue", "--json").json["sessions"]] == ["first", "third", "later"]


def test_an_empty_queue(bai, logged_in) -> None:
    logged_in.answers["GET /sessions?status=PENDING"] = {"sessions": []}
    assert bai("queue").lines == ["None of your sessions waits. What runs: bai session list"]


def presets(**levels):
    none = {"cpu": "Infinity", "mem": "Infinity"}
    using = {"cpu": "3", "mem": str(2 * 1024**3)}
    found = {}
    for level in ("keypair", "user", "group", "domain"):
        limits, remaining = levels.get(level, (none, none))
        found |= {f"{level}_limits": limits, f"{level}_using": using, f"{level}_remaining": remaining}
    return {
        **found,
        "budgets": [],
        "scaling_groups": {"default": {"using": using, "remaining": {"cpu": "5", "mem": "0"}}},
    }


def test_usage_shows_limits_that_bind_and_what_is_free(bai, logged_in) -> None:
    limits = {"cpu": "2", "mem": "Infinity"}
    logged_in.answers["POST /resource/check-presets"] = presets(user=(limits, {"cpu": "-1", "mem": "Infinity"}))
    assert bai("usage").lines == [
        "You use 3 CPU, 2 GiB.",
        "LIMIT OF  AT MOST  IN USE  LEFT",
        "you       2 CPU    3 CPU   0 CPU",
        "GROUP    IN USE       FREE",
        "default  3 CPU 2 GiB  5 CPU 0 B",
    ]


def test_usage_shows_budgets(bai, logged_in) -> None:
    resets_at = "2026-01-19T00:00:00+00:00"
    budgets = [
        {"level": level, "name": "n", "gpu_hours_limit": limit, "gpu_hours_used": used, "resets_at": resets_at}
        for level, limit, used in (("user", 10.0, 3.514), ("group", 2.5, 2.52))
    ]
    logged_in.answers["POST /resource/check-presets"] = {**presets(), "budgets": budgets}
    assert bai("usage").lines[1:5] == [
        "LIMIT OF  AT MOST               IN USE  LEFT",
        "you       10 GPU-hours a week   3.51    6.49",
        "project   2.5 GPU-hours a week  2.52    0.00",
        "GPU-hours begin anew at 2026-01-19 00:00 UTC.",
    ]


def test_usage_without_limits_and_groups(bai, logged_in) -> None:
    logged_in.answers["POST /resource/check-presets"] = {**presets(), "scaling_groups": {}}
    assert bai("usage").lines[1:] == [
        "No limit binds you.",
        "There is no resource group for you. Ask your admin for one.",
    ]


@pytest.fixture
def apps(logged_in):
    http, tcp = (
        {"name": name, "protocol": protocol, "ports": [8080]} for name, protocol in (("web", "http"), ("db", "tcp"))
    )
    logged_in.answers["GET /stream/session/demo/apps"] = [http, tcp]
    return logged_in


def test_apps_of_a_session(bai, apps) -> None:
    assert bai("app", "list", "demo").lines == [
        "NAME  PROTOCOL  PORTS",
        "web   http      8080",
        "db    tcp       8080",
        "2 apps.",
    ]
    apps.answers["GET /stream/session/demo/apps"] = [{"name": "ttyd", "protocol": "http", "ports": [7681]}]
    assert bai("app", "list", "demo").lines[1] == "ttyd (terminal)  http      7681"
    apps.answers["GET /stream/session/demo/apps"] = []
    assert "names none" in bai("app", "list", "demo").lines[0]


def test_the_link_of_an_app(bai, apps, monkeypatch) -> None:
    monkeypatch.setattr("webbrowser.open", pytest.fail)  # there is no terminal
    apps.answers["POST /session/demo/start-service"] = {"token": "t", "wsproxy_addr": "http://m/apps/s/web/"}
    ran = bai("app", "open", "demo", "web")
    assert ran.lines == ["http://m/apps/s/web/?bai-token=t"]
    assert "within a minute" in ran.err
    assert bai("app", "open", "demo", "web", "--json").json == {"link": "http://m/apps/s/web/?bai-token=t"}


def test_apps_that_cannot_be_opened(bai, apps) -> None:
    ran = bai("app", "open", "demo", "db")
    assert (ran.code, "bai app forward demo db" in ran.err) == (Exit.FAILED, True)
    apps.answers["POST /session/demo/start-service"] = NotFound(Reason.of("app-unknown", app="x", names="web, db"))
    ran = bai("app", "open", "demo", "x")
    assert (ran.code, "web, db" in ran.err) == (Exit.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exec", "demo"], "bai session exec demo -- ls -l"),
        (["exec", "demo", "ls", "-l"], "Put what is to run after --"),
        (["exec", "-e", "A", "demo", "--", "ls"], "--env A: give NAME=VALUE."),
        (["exec", "-t", "demo", "--", "ls"], "--tty"),
        (["attach"], "session"),
    ],
)
def test_wrong_usage_says_what_to_do(bai, logged_in, words, told, monkeypatch) -> None:
    ran = bai("session", *words)
    assert ran.code == Exit.USAGE
    assert told in ran.err
    assert not logged_in.asked
