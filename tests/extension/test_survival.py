"""A kernel of ours outlives its Jupyter server, whichever way that ends, and nothing about it changes."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

import pytest

pytestmark = pytest.mark.timeout(180)

NOTEBOOK = {"path": "demo.ipynb", "name": "demo.ipynb", "type": "notebook", "kernel": {"name": "survivor"}}


def start_notebook(server: Any, wait_until: Callable[..., Any], kernel_name: str = "survivor") -> dict[str, Any]:
    session = server.ask("POST", "/api/sessions", NOTEBOOK | {"kernel": {"name": kernel_name}})
    wait_until(lambda: is_started(server, session["kernel"]["id"]), "the kernel")
    return session


def is_started(server: Any, kernel_id: str) -> bool:
    record = record_of(server, kernel_id)
    return record is not None and record["is_launched"]


def record_of(server: Any, kernel_id: str) -> dict[str, Any] | None:
    folder = server.home / "data" / "bai_jupyter" / "servers"
    records = [json.loads(path.read_text()) for path in folder.glob(f"*/kernels/{kernel_id}.json")]
    return records[0] if records else None


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_same_kernel_session_and_variables(server: Any, wait_until: Callable[..., Any], end: int) -> None:
    server.start()
    before = start_notebook(server, wait_until)
    kernel_id = before["kernel"]["id"]
    server.run(kernel_id, "x = 41")

    server.stop(end)
    server.start()

    [after] = server.ask("GET", "/api/sessions")
    assert (after["id"], after["path"], after["kernel"]["id"]) == (before["id"], "demo.ipynb", kernel_id)
    wait_until(lambda: server.ask("GET", f"/api/kernels/{kernel_id}")["execution_state"] == "idle", "an idle kernel")
    assert server.run(kernel_id, "print(x + 1)") == "42\n"
    assert [what for what, *_ in server.survivors if what == "launched"] == ["launched"]

    server.ask("POST", f"/api/kernels/{kernel_id}/interrupt")
    server.ask("POST", f"/api/kernels/{kernel_id}/restart")
    assert server.run(kernel_id, "print('x' in globals())") == "False\n"
    told = server.run(kernel_id, "import os; print(os.environ['TENSORBOARD_PROXY_URL'])")
    assert told == "/bai/proxy/%PORT%/\n"

    server.ask("DELETE", f"/api/sessions/{after['id']}")
    assert server.ask("GET", "/api/kernels") == []
    server.stop()
    server.start()
    assert server.ask("GET", "/api/sessions") == []


SILENT = """
import os, time
open("begun", "w").close()
while not os.path.exists("done"):
    time.sleep(0.05)
"""


def test_a_silent_cell_is_no_idleness_for_the_next_server_either(server: Any, wait_until: Callable[..., Any]) -> None:
    """A Hub's culler goes by the activity that the server tells."""

    def state() -> str:
        return str(server.ask("GET", f"/api/kernels/{kernel_id}")["execution_state"])

    server.start()
    kernel_id = start_notebook(server, wait_until)["kernel"]["id"]
    with ThreadPoolExecutor() as threads:
        cell = threads.submit(server.run, kernel_id, SILENT)
        wait_until((server.home / "work" / "begun").exists, "the cell")
        server.stop(signal.SIGKILL)
        server.start()
        wait_until(lambda: state() == "busy", "a busy kernel")
        before = server.ask("GET", "/api/status")["last_activity"]
        wait_until(lambda: server.ask("GET", "/api/status")["last_activity"] > before, "some activity")
        (server.home / "work" / "done").touch()
        cell.result()
    wait_until(lambda: state() == "idle", "an idle kernel")


def test_a_stop_only_lets_go(server: Any, wait_until: Callable[..., Any]) -> None:
    server.start()
    start_notebook(server, wait_until)
    server.stop()
    assert [what for what, *_ in server.survivors] == ["launched", "detached"]
    assert "InvalidState" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_queued_kernel_keeps_its_wish(server: Any, wait_until: Callable[..., Any], end: int) -> None:
    gate = server.home / "gate"
    gate.touch()
    server.start()
    session = server.ask("POST", "/api/sessions", NOTEBOOK)
    kernel_id = session["kernel"]["id"]

    model = wait_until(lambda: queued(server, kernel_id), "the place in the queue")
    assert model["execution_state"] == "starting"
    assert model["reason"] == "3rd in the queue of group gpu."
    assert model["bai"]["queue"] == {"position": 3, "of": 3, "estimate_s": 60}

    key = record_of(server, kernel_id)["connection_info"]["key"]
    server.stop(end)
    assert "InvalidState" not in server.log
    server.start()
    [after] = server.ask("GET", "/api/sessions")
    assert after["kernel"]["id"] == kernel_id
    wait_until(lambda: queued(server, kernel_id), "the queue again")
    gate.unlink()
    wait_until(lambda: is_started(server, kernel_id), "the kernel")
    assert record_of(server, kernel_id)["connection_info"]["key"] == key
    assert server.run(kernel_id, "print(1)") == "1\n"


def queued(server: Any, kernel_id: str) -> dict[str, Any] | None:
    model = server.ask("GET", f"/api/kernels/{kernel_id}")
    return model if (model["bai"]["status"], model["bai"]["queue"] is None) == ("PENDING", False) else None


def test_cancel_leaves_the_queue_at_once(server: Any, wait_until: Callable[..., Any]) -> None:
    (server.home / "gate").touch()
    server.start()
    session = server.ask("POST", "/api/sessions", NOTEBOOK)
    wait_until(lambda: queued(server, session["kernel"]["id"]), "the queue")
    with pytest.raises(HTTPError) as refused:
        server.ask("POST", f"/api/kernels/{session['kernel']['id']}/interrupt")
    assert refused.value.code == 409

    server.ask("DELETE", f"/api/sessions/{session['id']}")
    assert server.ask("GET", "/api/kernels") == []
    assert [what for what, *_ in server.survivors] == ["queued", "withdrawn"]
    server.stop()
    server.start()
    assert server.ask("GET", "/api/kernels") == []


def test_a_kernel_that_died_meanwhile_says_so_and_restarts(server: Any, wait_until: Callable[..., Any]) -> None:
    server.start()
    kernel_id = start_notebook(server, wait_until)["kernel"]["id"]
    server.stop(signal.SIGKILL)
    server.kill_kernels()
    server.start()
    model = wait_until(lambda: dead(server, kernel_id), "a dead kernel")
    assert model["reason"] == "The kernel ended (code 1) while this server was away. Restart it."
    server.ask("POST", f"/api/kernels/{kernel_id}/restart")
    assert server.run(kernel_id, "print(7)") == "7\n"


def dead(server: Any, kernel_id: str) -> dict[str, Any] | None:
    model = server.ask("GET", f"/api/kernels/{kernel_id}")
    return model if model["execution_state"] == "dead" else None


def test_local_kernels_end_with_the_server(server: Any) -> None:
    server.start()
    session = server.ask("POST", "/api/sessions", NOTEBOOK | {"kernel": {"name": "python3"}})
    assert "bai" not in session["kernel"]
    server.stop()
    server.start()
    assert server.ask("GET", "/api/sessions") == []
    assert server.ask("GET", "/api/kernels") == []


def test_two_servers_in_one_folder_do_not_share_kernels(
    server: Any, make_server: Callable[..., Any], manager: Any, wait_until: Callable[..., Any]
) -> None:
    server.start()
    kernel_id = start_notebook(server, wait_until)["kernel"]["id"]
    other = type(server)(server.home, server.environ)
    other.start()
    try:
        assert other.ask("GET", "/api/kernels") == []
    finally:
        other.stop()
    assert server.ask("GET", f"/api/kernels/{kernel_id}")["id"] == kernel_id


def test_secrets_stay_with_the_user(server: Any, wait_until: Callable[..., Any]) -> None:
    server.start()
    start_notebook(server, wait_until)
    folder = server.home / "data" / "bai_jupyter" / "servers"
    files = list(folder.rglob("*.json"))
    assert files
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    assert server.environ["BACKEND_SECRET_KEY"] not in "".join(path.read_text() for path in files) + server.log


def test_a_start_that_fails_says_why_and_can_be_tried_again(server: Any, wait_until: Callable[..., Any]) -> None:
    (server.home / "no-image").touch()
    server.start()
    kernel_id = server.ask("POST", "/api/sessions", NOTEBOOK)["kernel"]["id"]
    model = wait_until(lambda: dead(server, kernel_id), "the failure")
    assert model["reason"] == "Could not pull r:4 on lab-3: not found."
    assert (model["bai"]["status"], model["bai"]["is_dead"]) == ("ERROR", True)

    (server.home / "no-image").unlink()
    server.ask("POST", f"/api/kernels/{kernel_id}/restart")
    wait_until(lambda: is_started(server, kernel_id), "the second start")
    assert server.run(kernel_id, "print(3)") == "3\n"


def test_a_kernel_that_dies_is_started_again(server: Any, wait_until: Callable[..., Any]) -> None:
    server.start()
    kernel_id = start_notebook(server, wait_until)["kernel"]["id"]
    server.kill_kernels()
    wait_until(lambda: [what for what, *_ in server.survivors].count("launched") == 2, "the automatic restart")
    assert server.run(kernel_id, "print(4)") == "4\n"
    server.stop(signal.SIGKILL)
    server.start()
    wait_until(lambda: server.ask("GET", f"/api/kernels/{kernel_id}")["execution_state"] == "idle", "the second one")


def test_a_session_that_was_ended_stays_ended(server: Any, wait_until: Callable[..., Any]) -> None:
    server.start()
    kernel_id = start_notebook(server, wait_until)["kernel"]["id"]
    (server.home / "ended").touch()
    server.kill_kernels()
    model = wait_until(lambda: dead(server, kernel_id), "its end")
    assert model["reason"] == "Ended by kim."
    assert [what for what, *_ in server.survivors].count("launched") == 1
