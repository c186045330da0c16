"""``/bai/api`` for sessions that run: a user's own are suspended, saved and woken; another's are not there."""

from collections.abc import Callable
from typing import Any

import pytest
from fakes_agent import IMAGE
from real_manager import RealManager, environ_of

from bai_jupyter.client import ClientConfig
from bai_jupyter.common.reasons import Reason

SAVED: dict[str, Any] = {"refused": None, "variables": 3, "bytes": 10, "doubtful": []}
LOCK = {"name": "lock", "type": "lock", "why": "a lock"}


@pytest.fixture(scope="module")
def mia(cluster: RealManager) -> ClientConfig:
    return cluster.add_user("mia")


@pytest.fixture
def account(mia: ClientConfig) -> dict[str, str]:
    """No superadmin's: those see the sessions of all."""
    return environ_of(mia)


@pytest.fixture
def start(cluster: RealManager, mia: ClientConfig) -> Callable[[str], tuple[str, str]]:
    """A running session of hers with one kernel: their ids."""

    def start(name: str) -> tuple[str, str]:
        config = {"resources": {"cpu": "1", "mem": "1g"}}
        body = {"name": name, "image": IMAGE.name, "enqueueOnly": False, "maxWaitSeconds": 20, "config": config}
        session = cluster.ask("POST", "/session", body, mia)["sessionId"]
        given = {"kernelspec": "python3", "key": "k"}
        return session, cluster.ask("POST", f"/session/{session}/jupyter-kernels", given, mia)["id"]

    return start


async def test_a_session_is_suspended_and_goes_on(bai: Callable[..., Any], start: Any) -> None:
    session, _ = start("frozen")
    status, answer = await bai("POST", f"sessions/{session}/suspend")
    assert (status, answer["reason"]["code"]) == (200, "suspended")
    assert "uses no CPU" in answer["reason"]["text"]
    status, answer = await bai("POST", f"sessions/{session}/resume")
    assert (status, answer["reason"]["code"]) == (200, "running")
    await bai("DELETE", f"sessions/{session}")


async def test_variables_are_saved_and_wake_a_kernel_of_another_session(
    bai: Callable[..., Any], cluster: RealManager, mia: ClientConfig, start: Any
) -> None:
    assert await bai("GET", "saved") == (200, {"saved": []})
    old, saved = start("older")
    one = {"jupyter_kernel_id": saved, **SAVED, "left_out": [LOCK]}
    cluster.answer_calls(save={"kernels": [one]})
    assert await bai("POST", f"sessions/{old}/save") == (200, {"kernels": [one]})
    new, kernel = start("newer")
    await bai("DELETE", f"sessions/{old}")
    _, answer = await bai("GET", "saved")
    (found,) = answer["saved"]
    assert {**found, "at": ""} == {
        "session": old, "name": "older", "kernel": saved, "at": "", "variables": 3, "bytes": 10
    }  # fmt: skip
    assert await bai("POST", f"sessions/{new}/wake", {"source": old, "kernel": saved, "into": kernel}) == (202, None)
    (woken,) = cluster.ask("GET", f"/session/{new}", config=mia)["jupyterKernels"]
    assert (woken["id"], woken["generation"]) == (kernel, 2)
    await bai("DELETE", f"sessions/{new}")


async def test_why_nothing_is_saved_or_woken_or_suspended(
    bai: Callable[..., Any], cluster: RealManager, start: Any
) -> None:
    session, kernel = start("busy")
    busy = Reason.of("save-busy")
    nothing: dict[str, Any] = {"variables": None, "bytes": None, "left_out": [], "doubtful": []}
    refused = {"jupyter_kernel_id": kernel, "refused": busy.to_json(), **nothing}
    cluster.answer_calls(save={"kernels": [refused]})
    assert await bai("POST", f"sessions/{session}/save") == (400, {"code": "save-busy", "message": busy.text})
    status, answer = await bai("POST", f"sessions/{session}/wake", {})
    assert (status, answer["code"]) == (404, "saved-none")
    status, answer = await bai("POST", f"sessions/{session}/wake", {"source": 3})
    assert (status, answer["message"]) == (400, "source: 3 is not a text.")
    cluster.fail_calls(suspend=Reason.of("suspend-busy"))
    try:
        status, answer = await bai("POST", f"sessions/{session}/suspend")
        assert (status, answer["code"]) == (400, "suspend-busy")
    finally:
        cluster.fail_calls()
    await bai("DELETE", f"sessions/{session}")


@pytest.mark.parametrize("action", ["suspend", "resume", "save", "wake", "resize", "extend"])
async def test_anothers_session_is_not_there(bai: Callable[..., Any], cluster: RealManager, action: str) -> None:
    foreign = cluster.start_session("theirs")
    body = {"resources": {"mem": "1g"}} if action == "resize" else {}
    answers = [await bai("POST", f"sessions/{one}/{action}", body) for one in (foreign, "never-was")]
    assert [(status, said["code"]) for status, said in answers] == [(404, "not-found")] * 2
    assert answers[0][1]["message"].replace(foreign, "never-was") == answers[1][1]["message"]
    cluster.ask("DELETE", f"/session/{foreign}")
