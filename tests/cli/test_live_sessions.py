"""`bai session resize`, `suspend`, `resume`, `save`, `wake` and `extend`, and limits of low use in `bai policy`."""

import json
from typing import Any

import pytest

from bai_jupyter.cli.terminal import Exit
from bai_jupyter.common.errors import QuotaExceeded
from bai_jupyter.common.reasons import Reason

CHECK = {
    "remaining": 2700,
    "remaining_time_type": "expire_after",
    "extra": {"limit": 3600, "policy": "user alice", "running": False, "extensions_left": 2},
}


def view(**more: Any) -> dict[str, Any]:
    reason = {"code": "running", "params": {"agent": "lab-1"}, "text": "Running on lab-1."}
    slots = {"cpu": "2", "mem": "8589934592"}
    known = {"id": "id-demo", "name": "demo", "status": "RUNNING", "slots": slots, "reason": reason, "mounts": []}
    return {**known, "agent": "lab-1", "age": 1000, **more}


def test_resize(bai, logged_in) -> None:
    logged_in.answers["POST /session/demo/resize"] = view()
    ran = bai("session", "resize", "demo", "--cpu", "2", "--mem", "8g")
    assert ran.lines == ["demo has 2 CPU 8 GiB now. What runs in it goes on."]
    assert logged_in.bodies("POST /session/demo/resize") == [{"resources": {"cpu": "2", "mem": "8g"}}]
    assert bai("session", "resize", "demo").code == Exit.USAGE
    assert bai("session", "resize", "demo", "--mem", "much").code == Exit.USAGE


def test_a_refused_resize_says_why(bai, logged_in) -> None:
    figures = {"level": "user", "name": "alice", "slot": "cpu", "limit": 4, "used": 2, "asked": 3, "excess": 1}
    logged_in.answers["POST /session/demo/resize"] = QuotaExceeded(Reason.of("over-quota", **figures))
    ran = bai("session", "resize", "demo", "--cpu", "5")
    assert ran.code == Exit.REFUSED
    assert "allows 4 CPU" in ran.err


@pytest.mark.parametrize("noun", ["vfolder", "session"])
def test_attach_and_detach_a_folder(bai, logged_in, noun) -> None:
    def run(verb, folder, *more):
        names = [folder, "demo"] if noun == "vfolder" else ["demo", folder]
        return bai(noun, verb, *names, *more)

    home, data = (
        {"name": name, "target": f"/home/work/{name}", "read_only": name == "data"} for name in ("home", "data")
    )
    logged_in.answers["POST /session/demo/attach-folder"] = view(mounts=[home, data])
    logged_in.answers["POST /session/demo/detach-folder"] = view(mounts=[home])
    ran = run("attach", "data", "--read-only")
    assert ran.lines == ["data: attached to demo, read only, at /home/work/data"]
    run("attach", "data:d/e")
    assert logged_in.bodies("POST /session/demo/attach-folder") == [
        {"folder": "data", "permission": "ro"},
        {"folder": "data", "path": "d/e"},
    ]
    assert run("detach", "data").lines == ["data: detached from demo"]
    assert run("detach", "data", "--force", "--yes").lines == ["data: detached from demo"]
    forced = [body["force"] for body in logged_in.bodies("POST /session/demo/detach-folder")]
    assert forced == [False, True]


def test_suspend_and_resume(bai, logged_in) -> None:
    reason = Reason.of("suspended", agent="lab-1").to_json()
    logged_in.answers["POST /session/demo/suspend"] = view(suspended=True, reason=reason)
    logged_in.answers["POST /session/demo/resume"] = view()
    assert bai("session", "suspend", "demo").lines[0].startswith("demo: Suspended. Suspended on lab-1: it keeps")
    assert bai("session", "resume", "demo").lines == ["demo: Running. Running on lab-1."]


def test_save(bai, logged_in) -> None:
    said = {"variables": 12, "bytes": 10 << 20, "left_out": [{"name": "lock", "type": "lock", "why": "a lock"}]}
    doubtful = [{"name": "t", "type": "torch.Tensor", "why": "it was copied"}]
    kernel = {"jupyter_kernel_id": "0123456789abcdef", "refused": None, "doubtful": doubtful, **said}
    other = {**kernel, "jupyter_kernel_id": "fedcba9876543210", "refused": Reason.of("save-language").to_json()}
    logged_in.answers["POST /session/demo/save"] = {"kernels": [kernel, other]}
    ran = bai("session", "save", "demo", "--within", "2m")
    assert ran.lines[:3] == [
        "Kernel 01234567: saved 12 variables, 10 MiB.",
        "  not saved: lock (a lock)",
        "  doubtful: t (it was copied)",
    ]
    assert ran.lines[3].startswith("Kernel fedcba98: Only kernels of Python and R can save their variables")
    assert logged_in.bodies("POST /session/demo/save") == [{"seconds": 120}]
    assert json.loads(bai("session", "save", "demo", "--json").out) == {"kernels": [kernel, other]}


def test_wake(bai, logged_in) -> None:
    kernel = {"id": "0123456789abcdef", "status": "starting", "reason": None}
    woken = {**kernel, "status": "running", "reason": Reason.of("woken", variables=3).to_json()}
    logged_in.answers["POST /session/demo/wake"] = view(jupyterKernels=[kernel])
    logged_in.answers["GET /session/id-demo"] = view(jupyterKernels=[woken])
    ran = bai("session", "wake", "demo", "--from", "past", "--yes")
    assert ran.lines == ["Kernel 01234567: Restored: 3 variables, imports and outputs."]
    assert logged_in.bodies("POST /session/demo/wake") == [{"source": "past"}]
    assert bai("session", "wake", "demo").code == Exit.USAGE  # without a terminal it is not asked
    saved = {**kernel, "kernelspec": "python3", "saved": {"variables": 3}}
    logged_in.answers["GET /session/demo"] = view(jupyterKernels=[saved])
    assert "Saved           3 variables of 0123456789abcdef" in bai("session", "info", "demo").lines


def test_extend_and_what_would_stop_it(bai, logged_in) -> None:
    logged_in.answers["POST /session/demo/extend"] = {"idleChecks": {"network_timeout": CHECK}}
    stop = "it is idle: in 45 min (1 h of user alice, may be kept 2 times more)"
    assert bai("session", "extend", "demo").lines == ["demo is kept.", stop]
    busy = {**CHECK, "extra": {**CHECK["extra"], "running": True}}
    lifetime = {**CHECK, "extra": {"limit": 43200, "policy": "project vision"}}
    suspension = {**CHECK, "extra": {"limit": 1200, "policy": "user alice", "running": False}}
    drained = {"remaining": 1200, "extra": {"agent": "lab-1"}}
    checks = {"network_timeout": busy, "session_lifetime": lifetime, "suspension": suspension, "drain": drained}
    logged_in.answers["GET /session/demo"] = view(idleChecks=checks)
    lines = [line.removeprefix("Stops if").strip() for line in bai("session", "info", "demo").lines if "Stops" in line]
    assert lines == [
        "it is idle: not while something runs in it",
        "its time is over: in 45 min (12 h of project vision)",
        "its agent is emptied: in 20 min (maintenance of lab-1)",
    ]
    suspends = next(line for line in bai("session", "info", "demo").lines if line.startswith("Suspends if"))
    assert suspends.endswith("it is idle: in 45 min (20 min of user alice)")


def test_a_policy_s_limit_of_low_use(bai, logged_in) -> None:
    logged_in.answers["POST /admin/gql"] = {"data": {"modify_keypair_resource_policy": {"ok": True, "msg": ""}}}
    words = ("policy", "set", "student", "--low-use")
    assert bai(*words, "cuda_util=5", "--low-use", "cpu_util=2.5", "--low-use-for", "30m").code == Exit.DONE
    assert bai(*words, "none").code == Exit.DONE
    sent = [body["variables"]["props"]["utilization"] for body in logged_in.bodies("POST /admin/gql")]
    wanted = {"time-window": 1800, "resource-thresholds": {"cuda_util": 5.0, "cpu_util": 2.5}}
    assert [json.loads(one) for one in sent] == [wanted, {}]
    assert bai(*words, "much").code == Exit.USAGE
