"""Variables are saved and woken by their owners' word; what is another's is not there."""

import pytest

from bai_jupyter.common.reasons import Reason

pytestmark = pytest.mark.asyncio
SAVED = {"refused": None, "variables": 3, "bytes": 10, "left_out": [{"name": "l", "type": "x", "why": "a lock"}]}


async def start(signed, name, **more):
    """A running session with one Jupyter kernel: their ids."""
    await signed.create(name)
    view = await signed.until_status(name, "RUNNING")
    process = await signed.post(f"/session/{name}/jupyter-kernels", {"kernelspec": "python3", "key": "k", **more})
    return view["id"], process["id"]


async def save(signed, agent, name, *processes, **body):
    agent.call_results["save"] = {"kernels": [{"jupyter_kernel_id": one, "doubtful": [], **SAVED} for one in processes]}
    return (await signed.post(f"/session/{name}/save", body, status=200))["kernels"]


def want_of(agent, jupyter_kernel_id):
    return next(
        one
        for want in agent.wants.values()
        for one in want.jupyter_kernels
        if one.jupyter_kernel_id == jupyter_kernel_id
    )


async def refused(signed, path, body=None, status=400):
    answer = await signed.call("POST", path, body or {})
    assert answer.status == status, answer.body
    return answer.json.get("data", {}).get("reason", answer.json)


async def test_a_kernel_wakes_with_what_was_saved(manager, admin, agent, make_user, helpers):
    alice = await make_user("alice")
    session_id, process_id = await start(alice, "work")
    await helpers.wait_until(lambda: agent.wants and any(want.jupyter_kernels for want in agent.wants.values()))
    place = f"/home/work/home/.bai/variables/{session_id}/{process_id}"
    assert (want_of(agent, process_id).save_to, want_of(agent, process_id).wake_from) == (place, None)
    assert (await refused(alice, "/session/work/wake", status=404))["code"] == "saved-none"
    assert [one["variables"] for one in await save(alice, agent, "work", process_id, seconds=5)] == [3]
    assert agent.calls[-1].params["seconds"] == 5
    (kernel,) = (await alice.session("work"))["jupyterKernels"]
    assert kernel["saved"].items() >= {"variables": 3, "bytes": 10, "left_out": SAVED["left_out"]}.items()
    woken = await alice.post("/session/work/wake", {}, status=200)
    assert woken["jupyterKernels"][0]["generation"] == 2
    await helpers.wait_until(lambda: want_of(agent, process_id).generation == 2)
    assert want_of(agent, process_id).wake_from == place
    await alice.post(f"/session/work/jupyter-kernels/{process_id}/restart", status=200)  # begins with nothing
    await helpers.wait_until(lambda: want_of(agent, process_id).generation == 3)
    assert want_of(agent, process_id).wake_from is None

    await alice.post("/session/work/wake", {}, status=200)
    await helpers.wait_until(lambda: want_of(agent, process_id).wake_from == place)
    await alice.call("PATCH", "/session/work")  # so does one of the whole session
    await helpers.wait_until(lambda: want_of(agent, process_id).generation == 5)
    assert want_of(agent, process_id).wake_from is None


async def test_another_session_of_the_same_owner_takes_them(manager, admin, agent, make_user, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    old_id, saved_id = await start(alice, "older")
    await save(alice, agent, "older", saved_id)
    await alice.call("DELETE", "/session/older")
    await alice.until_status(old_id, "TERMINATED")
    new_id, process_id = await start(alice, "newer")
    place = f"/home/work/home/.bai/variables/{old_id}/{saved_id}"
    await alice.post("/session/newer/wake", {"source": old_id}, status=200)
    await helpers.wait_until(lambda: want_of(agent, process_id).generation == 2)
    assert want_of(agent, process_id).wake_from == place
    second = await alice.post(
        "/session/newer/jupyter-kernels",
        {"kernelspec": "python3", "key": "k", "wake": "older", "wake_kernel": saved_id},
    )
    await helpers.wait_until(lambda: len(agent.wants[_kernel_of(agent, new_id)].jupyter_kernels) == 2)
    assert want_of(agent, second["id"]).wake_from == place
    which = await refused(alice, "/session/newer/wake", {"source": "older"})
    assert which["code"] == "wake-which"
    assert second["id"] in which["text"]
    await alice.post("/session/newer/wake", {"source": "older", "into": second["id"]}, status=200)

    # Bob's own session, with what is Alice's, by her id or a kernel's; and an admin who may see it, with theirs.
    await start(bob, "mine")
    await start(admin, "theirs")
    for body in ({"source": old_id}, {"source": "older"}, {"source": "never-was"}):
        answers = [await bob.call("POST", "/session/mine/wake", body)]
        answers.append(await bob.call("POST", "/session/mine/jupyter-kernels", {**_PLAIN, "wake": body["source"]}))
        assert [answer.status for answer in answers] == [404, 404]
        assert {answer.json["title"] for answer in answers} == {"No such session."}
    for path in (
        f"/session/{new_id}/wake",
        f"/session/{new_id}/save",
        "/session/newer/save",
        "/session/never-was/save",
    ):
        assert (await bob.call("POST", path, {})).status == 404
    assert (await admin.call("POST", "/session/theirs/wake", {"source": old_id})).status == 404


async def test_what_is_not_saved_says_why(manager, admin, agent):
    _, process_id = await start(admin, "work")
    agent.call_results["save"] = {"kernels": []}
    assert (await refused(admin, "/session/work/save"))["code"] == "save-nothing"
    busy = Reason.of("save-busy").to_json()
    agent.call_results["save"] = {"kernels": [{"jupyter_kernel_id": process_id, **SAVED, "refused": busy}]}
    assert (await refused(admin, "/session/work/save"))["code"] == "save-busy"
    for seconds in (0, 601, "x", True, float("inf")):
        answer = await admin.call("POST", "/session/work/save", {"seconds": seconds})
        assert answer.status == 400, seconds
    assert (await refused(admin, "/session/work/wake", status=404))["code"] == "saved-none"
    (kernel,) = (await admin.session("work"))["jupyterKernels"]
    assert kernel["saved"] is None


async def test_only_of_a_running_session(manager, admin, agent):
    agent.hold_at = None
    await admin.create("work")
    assert (await refused(admin, "/session/work/save"))["code"] == "not-running"
    assert (await refused(admin, "/session/work/wake"))["code"] == "not-running"


_PLAIN = {"kernelspec": "python3", "key": "k"}


def _kernel_of(agent, session_id):
    return next(want.kernel_id for want in agent.wants.values() if want.session_id == session_id)
