"""Jupyter kernels inside sessions."""

import pytest

from bai_jupyter.common.statuses import JupyterKernelStatus
from bai_jupyter.manager.db import tables as t

BODY = {
    "kernelspec": "python3",
    "key": "very-secret-key",
    "env": {"A": "secret-value"},
    "folder": "home",
    "path": "a/b",
}


async def until_kernel(admin, helpers, path, **wanted):
    async def is_so():
        view = await admin.get(path)
        return view if all(view[name] == value for name, value in wanted.items()) else None

    return await helpers.wait_until(is_so, f"{path} with {wanted}")


@pytest.mark.asyncio
async def test_life(agent, admin, helpers):
    await admin.create("my-work")
    view = await admin.post("/session/my-work/jupyter-kernels", BODY)
    assert (view["generation"], view["status"], view["cwd"]) == (1, "starting", "/home/work/home/a/b")
    assert (view["notice"], view["interrupt_mode"]) == (None, "signal")
    path = f"/session/my-work/jupyter-kernels/{view['id']}"
    await until_kernel(admin, helpers, path, status="running")
    want = next(iter(agent.wants.values())).jupyter_kernels[0]
    assert (want.key, want.env, want.cwd) == ("very-secret-key", {"A": "secret-value"}, "/home/work/home/a/b")

    assert (await admin.call("POST", path + "/interrupt")).status == 204
    assert agent.calls[-1].params["jupyter_kernel_id"] == view["id"]

    again = await admin.post(path + "/restart", status=200)
    assert (again["generation"], again["status"]) == (2, "starting")
    await until_kernel(admin, helpers, path, generation=2, status="running")

    assert (await admin.call("DELETE", path)).status == 204
    await until_kernel(admin, helpers, path, status="dead")
    assert (await admin.session("my-work"))["status"] == "RUNNING"


@pytest.mark.asyncio
async def test_it_may_be_asked_for_while_the_session_waits(agent, admin, helpers):
    await admin.create("big-one", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("big-one", "RUNNING")
    await admin.create("later")
    view = await admin.post("/session/later/jupyter-kernels", BODY)
    await admin.call("DELETE", "/session/big-one")
    await until_kernel(admin, helpers, f"/session/later/jupyter-kernels/{view['id']}", status="running")


@pytest.mark.asyncio
async def test_the_same_id_is_the_same_kernel(agent, admin):
    await admin.create("my-work")
    await admin.create("other-work")
    body = {**BODY, "id": "11111111-1111-4111-8111-111111111111"}
    first = await admin.post("/session/my-work/jupyter-kernels", body)
    second = await admin.post("/session/my-work/jupyter-kernels", body)
    assert (first["id"], first["generation"]) == (second["id"], second["generation"]) == (body["id"], 1)
    refused = await admin.call("POST", "/session/other-work/jupyter-kernels", body)
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (400, "bad-value")


@pytest.mark.asyncio
async def test_where_it_starts(agent, admin):
    await admin.create("my-work")
    elsewhere = await admin.post("/session/my-work/jupyter-kernels", {**BODY, "folder": "data"})
    assert elsewhere["cwd"] == "/home/work"
    assert "data/a/b is not in a folder that the session mounts" in elsewhere["notice"]
    for path in ("../x", "a/../../b"):
        answer = await admin.call("POST", "/session/my-work/jupyter-kernels", {**BODY, "path": path})
        assert answer.status == 400


@pytest.mark.asyncio
async def test_refusals(agent, admin):
    await admin.create("my-work")
    unknown = await admin.call("POST", "/session/my-work/jupyter-kernels", {**BODY, "kernelspec": "cobol"})
    assert unknown.json["data"]["reason"]["code"] == "no-kernelspec"
    no_key = await admin.call("POST", "/session/my-work/jupyter-kernels", {**BODY, "key": None})
    assert no_key.status == 400
    missing = "/session/my-work/jupyter-kernels/11111111-1111-4111-8111-111111111111"
    assert (await admin.call("GET", missing)).status == 404
    await admin.until_status("my-work", "RUNNING")
    await admin.call("DELETE", "/session/my-work")
    await admin.until_status("my-work", "TERMINATED")
    over = await admin.call("POST", "/session/my-work/jupyter-kernels", BODY)
    assert over.json["data"]["reason"]["code"] == "not-running"


@pytest.mark.asyncio
async def test_kernels_die_with_their_session(agent, admin):
    await admin.create("my-work")
    await admin.post("/session/my-work/jupyter-kernels", BODY)
    await admin.call("DELETE", "/session/my-work")
    view = await admin.until_status("my-work", "TERMINATED")
    assert [one["status"] for one in view["jupyterKernels"]] == [JupyterKernelStatus.DEAD]


@pytest.mark.asyncio
async def test_secrets_are_sealed_at_rest(manager, agent, admin, data_dir, helpers):
    await admin.create("my-work", environ={"TOKEN": "secret-value"})
    await admin.post("/session/my-work/jupyter-kernels", BODY)
    await admin.until_status("my-work", "RUNNING")
    everything = await manager.store.read(
        lambda conn: [conn.execute(table.select()).all() for table in t.metadata.sorted_tables]
    )
    for secret in ("very-secret-key", "secret-value", helpers.credentials(data_dir)["secret_key"]):
        assert secret not in repr(everything)
    assert next(iter(agent.wants.values())).environ["TOKEN"] == "secret-value"
