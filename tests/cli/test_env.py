"""`bai env` with a manager that is there, and an agent that says that it makes images."""

import re

import pytest
from fakes_agent import IMAGE
from real_manager import RealManager, environ_of

from bai_jupyter.cli.terminal import Exit
from bai_jupyter.common.reasons import Reason


@pytest.fixture
def real(bai, tmp_path, monkeypatch):
    """One session, ``demo``, that runs; this shell is its owner's."""
    with RealManager(tmp_path / "real") as manager:
        for name, value in environ_of(manager.config).items():
            monkeypatch.setenv(name, value)
        manager.start_session("demo")
        yield manager


def test_a_session_is_saved_listed_and_deleted(bai, real) -> None:
    assert bai("env", "list").lines == [
        "No environments of yours. Make one of what a session's container has become: bai env save SESSION"
    ]
    ran = bai("env", "save", "demo", "--name", "With torch")
    (line,) = ran.lines
    name = re.fullmatch(r"demo is saved as (bai-user/[^ ,]+), 1000 B\.", line)[1]
    assert (ran.code, "/with-torch:" in name) == (Exit.DONE, True)
    assert ran.err.splitlines() == [
        "Included: what was written outside /home/work, and packages that pip or R put into ~/.local.",
        "Not included: running programs, variables, all else below /home/work, and mounted folders (/home/work/home).",
        f"demo is being saved as {name}",
        f"To start one of it: bai session start {name}",
    ]
    header, row, count = bai("env", "list").lines
    assert header.split() == ["NAME", "SIZE", "FROM", "MADE"]
    assert row.split()[::3] == [name, IMAGE.name, "ago"]
    assert count == "1 environment."
    (told,) = bai("env", "list", "--json").json["images"]
    assert (told["name"], told["base"], bai("env", "list", "-q").lines) == (name, IMAGE.name, [name])

    other = bai("env", "save", "demo", "-q", "--name", "other")
    assert (other.code, other.err, len(other.lines)) == (Exit.DONE, "", 1)
    assert bai("env", "rm", name).code == Exit.USAGE  # nobody to ask
    assert bai("session", "start", other.lines[0], "--name", "again", "--cpu", "1", "--mem", "1g").code == Exit.DONE
    ran = bai("env", "rm", other.lines[0], "nothing", IMAGE.name, name, "--yes")
    assert (ran.code, ran.lines) == (Exit.NOT_FOUND, [f"{name}: deleted"])
    assert ran.err.splitlines() == [
        f"{other.lines[0]} is in use by again. End what uses it, then delete it.",
        *(f"You have no environment {one}. Yours: {other.lines[0]}, {name}." for one in ("nothing", IMAGE.name)),
    ]
    assert IMAGE.name in bai("image", "list", "-q").lines


def test_saving_as_json_and_without_waiting(bai, real) -> None:
    told = bai("env", "save", "demo", "--json").json
    assert (told["base"], "/demo:" in told["name"]) == (IMAGE.name, True)
    begun = bai("env", "save", "demo", "--json", "--no-wait").json
    assert set(begun) == {"image", "bgtask_id"}
    ran = bai("env", "save", "demo", "--no-wait")
    assert (ran.code, len(ran.lines)) == (Exit.DONE, 1)
    assert ran.err.endswith("It is being made. When it is there, this shows it: bai env list\n")


def test_why_a_session_was_not_saved(bai, real) -> None:
    ran = bai("env", "save", "nobody")
    assert (ran.code, "no session nobody" in ran.err) == (Exit.NOT_FOUND, True), ran.err
    real.fail_calls(commit=Reason.of("commit-failed", agent="lab-1", cause="no space left on device"))
    ran = bai("env", "save", "demo")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert ran.err.endswith("demo was not saved. lab-1 could not make the image: no space left on device.\n")
    ran = bai("env", "save", "demo", "--timeout", "0")
    assert (ran.code, "It is still being made; see: bai env list" in ran.err) == (Exit.TIMED_OUT, True), ran.err
    assert bai("session", "rm", "demo", "--yes").code == Exit.DONE
    ran = bai("env", "save", "demo")
    assert (ran.code, ran.out, "demo" in ran.err) == (Exit.REFUSED, "", True), ran.err
