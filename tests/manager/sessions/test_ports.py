"""Which apps a session has, from its image's labels and the ports that were asked for."""

import pytest

from bai_jupyter.manager.sessions.ports import TERMINAL, App, app_at, apps_of, command_line

PORTS = "ai.backend.service-ports"

TABLE = {
    "none": ({}, [], []),
    "two": (
        {PORTS: "jupyter:http:8888, board:http:6006"},
        [],
        [("jupyter", "http", (8888,)), ("board", "http", (6006,))],
    ),
    "several ports": (
        {PORTS: "pair:tcp:[5000,5001],one:http:8080"},
        [],
        [("pair", "tcp", (5000, 5001)), ("one", "http", (8080,))],
    ),
    "what cannot be read": ({PORTS: "one:http:80,:http:8000,two:ftp:2121,three:http:x,four:tcp:70000,five"}, [], []),
    "asked for": ({PORTS: "one:http:8080"}, [9000, 8080], [("one", "http", (8080,)), ("9000", "preopen", (9000,))]),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    labels, preopen, expected = TABLE[name]
    apps = apps_of(labels, preopen)
    assert [(app.name, app.protocol, app.ports) for app in apps if not app.is_terminal] == expected
    assert [app for app in apps if app.is_terminal] == [TERMINAL]


def test_an_images_own_ttyd_is_served_instead_of_ours():
    (app,) = apps_of({PORTS: "ttyd:http:7682"}, [])
    assert (app.is_terminal, app.ports) == (False, (7682,))


def test_a_program_may_listen_at_the_port_that_the_terminal_is_listed_with():
    assert [app.name for app in apps_of({}, [7681])] == ["ttyd", "7681"]


def test_the_command_that_starts_one():
    labels = {PORTS: "web:http:8000,other:http:8001", "bai.app.web": "serve --port={port} --base={base_url} {args}"}
    web, other, _ = apps_of(labels, [])
    assert command_line(web, "id", 8000, {}) == "serve --port=8000 --base=/apps/id/web/ "
    assert (web.knows_base_url, other.knows_base_url) == (True, False)
    arguments = {"--name": "a {port}; rm", "--flag": None, "--many": ["x", "y"]}
    expected = "serve --port=8000 --base=/apps/id/web/ --name 'a {port}; rm' --flag --many x y"
    assert command_line(web, "id", 8000, arguments) == expected
    assert other.command is None


@pytest.mark.parametrize(
    ("name", "port"),
    [("80", 80), ("65535", 65535), ("65536", None), ("0", None), ("080", None), ("²", None), ("web", None)],
)
def test_any_port_is_an_app(name, port):
    expected = None if port is None else App(name, "discovered", (port,))
    assert app_at(name) == expected


def test_on_the_wire():
    assert App("web", "http", (8000,)).to_json() == {"name": "web", "protocol": "http", "ports": [8000]}
