"""`bai session` against a manager that answers as told: tables, refusals, exit codes, waiting."""

import io
from typing import Any

import pytest

from bai_jupyter.cli.terminal import Exit
from bai_jupyter.common.errors import (
    AlreadyExists,
    AuthFailed,
    BadRequest,
    Forbidden,
    NotFound,
    PublicError,
    QuotaExceeded,
    RateLimited,
    Unavailable,
)
from bai_jupyter.common.reasons import Reason


def view(name: str = "demo", status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    reason = {"code": "running", "params": {"agent": "lab-1"}, "text": "Running on lab-1."}
    return {
        "id": f"id-{name}",
        "name": name,
        "status": status,
        "image": "python:3.11",
        "slots": {"cpu": "2", "mem": "8589934592", "cuda.shares": "0.5"},
        "age": 42 * 60 * 1000,
        "agent": "lab-1",
        "isolated": True,
        "runtime": "docker",
        "reason": reason,
        "queue": None,
        "mounts": [],
        "jupyterKernels": [],
        **more,
    }


def reason(code: str, **params: str) -> dict[str, object]:
    return Reason.of(code, **params).to_json()


@pytest.fixture
def creates(logged_in):
    logged_in.answers["POST /session"] = {"sessionId": "id-demo", "sessionName": "demo", "created": True}
    logged_in.answers["GET /session/id-demo"] = view(status="PENDING", reason=reason("starting-kernel"))
    return logged_in


# Who asks


def test_without_credentials_it_says_how_to_get_some(bai) -> None:
    ran = bai("session", "list")
    assert ran.code == Exit.NOT_LOGGED_IN
    assert "bai up" in ran.err


def test_a_credentials_file_that_others_can_read(bai, empty_shell) -> None:
    path = empty_shell / ".bai" / "credentials.json"
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    ran = bai("session", "list")
    assert ran.code == Exit.NOT_LOGGED_IN
    assert f"chmod 600 {path}" in ran.err


def test_nobody_answers(bai, monkeypatch) -> None:
    for name, value in {"ENDPOINT": "http://127.0.0.1:1", "ACCESS_KEY": "a", "SECRET_KEY": "b"}.items():
        monkeypatch.setenv(f"BACKEND_{name}", value)
    ran = bai("session", "list", "--json")
    assert ran.code == Exit.AWAY
    assert ran.json["reason"]["code"] == "manager-away"
    assert ran.json["exitCode"] == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthFailed(Reason.of("signature")), Exit.NOT_LOGGED_IN),
        (NotFound(Reason.of("not-found", kind="session", name="x")), Exit.NOT_FOUND),
        (BadRequest(Reason.of("image-unknown", image="r", names="python")), Exit.NOT_FOUND),
        (QuotaExceeded("policy"), Exit.REFUSED),
        (Forbidden(Reason.of("forbidden", role="an admin")), Exit.REFUSED),
        (RateLimited("slow down"), Exit.REFUSED),
        (AlreadyExists(Reason.of("name-taken", name="demo")), Exit.REFUSED),
        (BadRequest(Reason.of("too-big", asked="4 GPU", group="default", max="1 GPU")), Exit.REFUSED),
        (BadRequest(Reason.of("bad-value", field="mem", given="x", expected="a size")), Exit.USAGE),
        (BadRequest("no such parameter"), Exit.USAGE),
        (Unavailable("being upgraded"), Exit.FAILED),
    ],
)
def test_every_refusal_has_its_exit_code_and_its_sentence(bai, logged_in, error: PublicError, code: Exit) -> None:
    logged_in.answers["POST /session"] = error
    ran = bai("session", "start", "python:3.11")
    assert ran.code == code
    assert error.message in ran.err
    assert ran.out == ""
    assert ran.err.startswith("Refused: ") == (code is Exit.REFUSED)


def test_a_refusal_in_json_carries_the_reason(bai, logged_in) -> None:
    over = Reason.of(
        "over-quota", level="policy", name="student", limit="1", slot="GPU", used="0.5", asked="4", excess="3.5"
    )
    logged_in.answers["POST /session"] = QuotaExceeded(over)
    ran = bai("session", "start", "python:3.11", "--json")
    assert ran.json == {"reason": over.to_json(), "exitCode": 3}


# Start


def test_start_sends_what_was_asked_and_waits(bai, creates) -> None:
    creates.answers["GET /agents"] = {"agents": [{"slots": {"cpu": "8", "cuda.shares": "2"}}]}
    creates.events = [view(status="CREATING", reason=reason("creating", agent="lab-1")), view()]
    words = "python:3.11 --name demo --cpu 2 --mem 8g --gpu 0.5 --mount data:/home/work/d --mount x -e A=1=2 --shm 64m"
    ran = bai(
        "session", "start", *words.split(), "--group", "gpu", "--slot", "mock.device=1", "--manager-access", "user"
    )
    assert ran.code == Exit.DONE
    assert ran.lines == ["demo: Running, 2 CPU 8 GiB 0.5 GPU. Running on lab-1."]
    assert "demo: Starting the container on lab-1." in ran.err.splitlines()
    [body] = creates.bodies("POST /session")
    assert body["config"] == {
        "resources": {"cpu": "2", "mem": "8g", "cuda.shares": "0.5", "mock.device": "1"},
        "resource_opts": {"shmem": "64m"},
        "mounts": ["data", "x"],
        "mount_map": {"data": "/home/work/d"},
        "environ": {"A": "1=2"},
        "scalingGroup": "gpu",
        "manager_access": "user",
    }


def test_start_of_a_batch_session_that_waits_for_another_one(bai, creates) -> None:
    creates.events = [view(status="TERMINATED", result="failure", reason=reason("cancelled-by", who="kim"))]
    words = "python:3.11 --project vision --depends fetch --depends sort --starts-at 30m --tag night"
    ran = bai("session", "start", *words.split(), "--batch", "python train.py")
    assert ran.code == Exit.FAILED
    [body] = creates.bodies("POST /session")
    sent = {"type", "startupCommand", "group", "dependencies", "starts_at", "tag"}
    assert {name: body[name] for name in sent} == {
        "type": "batch",
        "startupCommand": "python train.py",
        "group": "vision",
        "dependencies": ["fetch", "sort"],
        "starts_at": "30m",
        "tag": "night",
    }


def test_gpu_means_whole_devices_where_nothing_is_shared(bai, creates) -> None:
    creates.answers["GET /agents"] = {"agents": [{"slots": {"cuda.device": "2"}}]}
    bai("session", "start", "python:3.11", "--gpu", "1", "--no-wait")
    assert creates.bodies("POST /session")[0]["config"]["resources"] == {"cuda.device": "1"}


def test_start_without_waiting(bai, creates) -> None:
    ran = bai("session", "start", "python:3.11", "--no-wait", "-q")
    assert (ran.code, ran.out, ran.err) == (Exit.DONE, "demo\n", "")


def test_a_session_that_does_not_start_says_why(bai, creates) -> None:
    creates.events = [view(status="ERROR", reason=reason("create-failed", agent="lab-1", cause="no space"))]
    ran = bai("session", "start", "python:3.11")
    assert ran.code == Exit.FAILED
    assert "lab-1 could not create the container: no space." in ran.err


def test_waiting_ends_and_the_session_goes_on(bai, creates) -> None:
    creates.events = [view(status="PENDING", reason=reason("queued", place="3rd", group="default"))]
    ran = bai("session", "start", "python:3.11", "--timeout", "0.3s")
    assert ran.code == Exit.TIMED_OUT
    assert "bai session info demo" in ran.err
    assert not creates.bodies("DELETE /session/id-demo")


@pytest.mark.parametrize("words", [["--slot", "cpu"], ["--cpu", "many"], ["-e", "A"], ["--timeout", "soon"], ["--bad"]])
def test_wrong_usage(bai, creates, words: list[str]) -> None:
    ran = bai("session", "start", "python:3.11", *words)
    assert ran.code == Exit.USAGE
    assert ran.err
    assert not creates.bodies("POST /session")


# List, info, logs


def test_the_table(bai, logged_in) -> None:
    waits = reason("no-room", asked="1 GPU", group="default", free="0", total="4", estimate="About 12 min.")
    queue = {"position": 3, "of": 5, "estimate_s": 700}
    pending = view("train-7", "PENDING", agent=None, isolated=None, queue=queue, reason=waits, age=5 * 60 * 1000)
    process = view("local-1", agent="local", isolated=False, slots={"cpu": "1"})
    logged_in.answers["GET /sessions"] = {"sessions": [view(), pending, process]}
    ran = bai("session", "list")
    assert ran.code == Exit.DONE
    assert [line.split("  ")[0] for line in ran.lines] == [
        "NAME",
        "demo",
        "train-7",
        "local-1",
        "3 sessions, 2 running. In use: 3 CPU, 8 GiB, 0.5 GPU.",
    ]
    header, demo, train, local, _ = ran.lines
    column = header.index("RESOURCES")
    assert demo[column:].startswith("2 CPU 8 GiB 0.5 GPU  42 min  lab-1")
    assert "Queued, 3rd" in train
    assert train.endswith("Waits for 1 GPU in group default: 0 of 4 free. About 12 min.")
    assert "local (not isolated)" in local
    assert "Running on lab-1" not in demo


def test_an_empty_list_says_what_to_do(bai, logged_in) -> None:
    logged_in.answers["GET /sessions"] = {"sessions": []}
    ran = bai("session", "list")
    assert ran.lines == ["No sessions. Start one: bai session start IMAGE (see `bai image list`), or from JupyterLab."]


def test_json_and_quiet_lists(bai, logged_in) -> None:
    logged_in.answers["GET /sessions"] = {"sessions": [view(), view("b")]}
    assert bai("session", "list", "--json").json == {"sessions": [view(), view("b")]}
    assert bai("session", "list", "-q").lines == ["demo", "b"]


def test_all_and_everyone_are_asked_for(bai, logged_in) -> None:
    bai("session", "list", "--all", "--everyone")
    [(call, _)] = logged_in.asked
    assert "TERMINATED" in call
    assert call.endswith("all=true")


def test_info_and_logs(bai, logged_in) -> None:
    mount = {"name": "data", "target": "/home/work/data", "read_only": True}
    kernel = {"kernelspec": "python3", "status": "running", "id": "k-1"}
    logged_in.answers["GET /session/demo"] = view(mounts=[mount], jupyterKernels=[kernel])
    shown = dict(line.split(None, 1) for line in bai("session", "info", "demo").lines)
    assert shown["Runtime"] == "docker, isolated"
    assert shown["Folder"] == "/home/work/data (data, read only)"
    logged_in.answers["GET /session/demo/logs"] = {"result": {"logs": "one\ntwo\n"}}
    assert bai("session", "logs", "demo").lines == ["one", "two"]
    assert bai("session", "info", "other").code == Exit.NOT_FOUND


def test_a_session_of_several_containers(bai, creates) -> None:
    several = [{"host": host, "id": f"k-{host}", "status": "RUNNING"} for host in ("main1", "sub1")]
    creates.answers["GET /session/id-demo"] = creates.answers["GET /session/demo"] = view(
        clusterSize=2, kernels=several
    )
    started = bai("session", "start", "python:3.11", "--cluster-size", "2").out
    assert "4 CPU 16 GiB 1 GPU = 2 x (2 CPU 8 GiB 0.5 GPU)" in started
    assert creates.asked[0][1]["clusterSize"] == 2
    assert "Container       sub1 running (k-sub1)" in bai("session", "info", "demo").lines
    creates.answers["GET /sessions"] = {"sessions": [view(clusterSize=2)]}
    assert "In use: 4 CPU, 16 GiB" in bai("session", "list").out
    creates.answers["GET /session/demo/logs?kernel_id=k-sub1"] = {"result": {"logs": "one\n"}}
    assert bai("session", "logs", "demo", "--container", "sub1").lines == ["one"]
    unknown = bai("session", "logs", "demo", "--container", "sub2")
    assert (unknown.code, "It has: main1, sub1." in unknown.err) == (Exit.USAGE, True)


# End


@pytest.fixture
def endable(logged_in):
    logged_in.answers["GET /session/demo"] = logged_in.answers["GET /session/id-demo"] = view()
    logged_in.answers["DELETE /session/id-demo"] = {"stats": {"status": "terminated"}}
    logged_in.events = [view(status="TERMINATED", reason=reason("user-requested", who="you"))]
    return logged_in


def test_rm_without_a_terminal_names_the_flag(bai, endable, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ran = bai("session", "rm", "demo")
    assert ran.code == Exit.USAGE
    assert "--yes" in ran.err
    assert not endable.asked


class Typist(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "is_ended"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_rm_asks_on_a_terminal(bai, endable, monkeypatch, typed: str, is_ended: bool) -> None:
    monkeypatch.setattr("sys.stdin", Typist(typed))
    ran = bai("session", "rm", "demo")
    assert "Variables are lost" in ran.err
    assert (ran.code == Exit.DONE) == is_ended
    assert bool(endable.bodies("DELETE /session/id-demo")) == is_ended


def test_rm_waits_for_the_end_and_goes_on_after_a_failure(bai, endable) -> None:
    ran = bai("session", "rm", "--yes", "nobody", "demo")
    assert ran.code == Exit.NOT_FOUND
    assert ran.lines == ["demo: Ended. Ended by you."]
    assert bai("session", "rm", "--yes", "--force", "--no-wait", "-q", "demo").code == Exit.NOT_FOUND
    endable.answers["DELETE /session/id-demo?forced=true"] = {}
    assert bai("session", "rm", "--yes", "--force", "--no-wait", "-q", "demo").lines == ["demo"]
