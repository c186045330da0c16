"""A user in a real browser: log in, choose, wait, work on a GPU from a server without one, stop, and start again."""

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.hubs import PRINTING, JupyterHub, Visitor, kill, let_agents_take, sessions, tells_why
from playwright.async_api import Locator, Page, async_playwright, expect

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.browser, pytest.mark.timeout(400)]

LONG_MS = 120_000
NO_ROOM = "in group default: 0 of"
NO_AGENT = "No agent of group empty is connected."
GPUS = [{"id": "gpu", "count": 1, "slots": {"cuda.device": 1}, "mem": "80g"}]
CALL = """async ([method, path, body]) => {
    const token = document.cookie.match(/_xsrf=([^;]+)/)[1];
    const headers = {'X-XSRFToken': token, 'Content-Type': 'application/json'};
    const answer = await fetch('/user/kim/' + path, {method, headers, body: JSON.stringify(body)});
    return [answer.status, await answer.text()];
}"""
NOTEBOOK: dict[str, Any] = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
BESIDE = {**NOTEBOOK, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}}}


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}, "mock_devices": GPUS}


@pytest_asyncio.fixture
async def page(chromium: str, folder: Any) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        options = {"executable_path": chromium, "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
        browser = await playwright.chromium.launch(**options)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        yield page
        await page.screenshot(path=folder / "last.png")  # for whoever looks for the cause of a failure
        await browser.close()


async def test_who_waits_sees_the_hub_end_and_start_again(hub: JupyterHub, cluster: Any, page: Page) -> None:
    """The page is touched no more until the server is there."""
    hub.configure(service=True)
    await hub.start()
    await log_in(page, hub)
    await page.get_by_role("button", name="Start", exact=True).wait_for()
    await let_agents_take(cluster, new_sessions=False)
    await page.get_by_role("button", name="Start", exact=True).click()
    told = page.locator("#progress-message")
    await expect(told).to_contain_text(re.compile("Place 1 of 1 .* takes new sessions now"), timeout=LONG_MS)
    hub.kill()
    await expect(told).to_contain_text("The Hub does not answer.", timeout=LONG_MS)
    await hub.start()
    await expect(told).to_contain_text(re.compile("Place 1 of 1 .* takes new sessions now"), timeout=LONG_MS)
    await let_agents_take(cluster, new_sessions=True)
    await page.locator(".jp-Launcher").wait_for(timeout=LONG_MS)

    await page.goto(f"{hub.url}/services/bai/")
    (row,) = await page.locator("tbody tr").all()
    await expect(row).to_contain_text("1 CPU, 512 MiB")
    await expect(row).to_contain_text("Running on local.")
    await expect(row.locator("td").first).to_have_css("vertical-align", "top")  # its policy lets it have its style


async def test_a_cell_of_a_kernel_beside_the_server_shows_every_line(hub: JupyterHub, cluster: Any, page: Page) -> None:
    """All that lies between page and server is killed in turn while it prints."""
    await hub.start()
    await log_in(page, hub)
    await page.get_by_role("button", name="Start", exact=True).click()
    await page.locator(".jp-Launcher").wait_for(timeout=LONG_MS)
    await call(page, "PUT", "api/contents/print.ipynb", {"type": "notebook", "content": BESIDE})
    await page.goto(f"{hub.url}/user/kim/lab/tree/print.ipynb")
    await expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=LONG_MS)
    cell = page.locator(".jp-Notebook .jp-Cell").first
    await cell.locator(".cm-content").click()
    await page.keyboard.insert_text(PRINTING)
    await page.keyboard.press("Shift+Enter")
    printed = cell.locator(".jp-OutputArea-output pre")
    for victim in ("proxy", "manager", "agent"):
        await prints_more(printed)
        await kill(victim, hub, cluster)
        await prints_more(printed)
    await call(page, "PUT", "api/contents/go", {"type": "file", "format": "text", "content": ""})
    await expect(cell.locator(".jp-InputPrompt")).to_have_text("[1]:", timeout=LONG_MS)
    lines = (await printed.inner_text()).split()
    assert lines == [str(n) for n in range(len(lines))]


async def prints_more(printed: Locator) -> None:
    """A hundred lines."""
    await printed.wait_for(timeout=LONG_MS)
    last = int((await printed.inner_text()).split()[-1])
    await expect(printed).to_have_text(re.compile(rf"\b{last + 100}\b"), timeout=LONG_MS)


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_a_gpu_from_a_server_without_one(hub: JupyterHub, cluster: Any, python_image: str, page: Page) -> None:
    hub.configure("c.BackendAISpawner.cpu_limit = None\nc.BackendAISpawner.mem_limit = None")
    await hub.start()
    await log_in(page, hub)
    await page.get_by_role("radio", name="small").check()
    async with ManagerClient(cluster.config) as admin:
        await admin.set_schedulable(["local"], False)
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.locator("#progress-message")).to_contain_text("takes new sessions now", timeout=LONG_MS)
        await admin.set_schedulable(["local"], True)
    await page.locator(".jp-Launcher").wait_for(timeout=LONG_MS)
    await call(page, "PUT", "api/contents/train.ipynb", {"type": "notebook", "content": NOTEBOOK})
    choice = {"image": python_image, "preset": "gpu"}
    await call(page, "PUT", "bai/api/notebooks/train.ipynb/choice", choice)
    await page.goto(f"{hub.url}/user/kim/lab/tree/train.ipynb")
    assert await run(page, "import os, socket; print(os.environ['MOCK_VISIBLE_DEVICES'], os.getcwd())") == (
        "gpu-0 /home/work/home\n"
    )
    found = {one["name"].partition("-")[0]: one for one in await sessions(cluster)}
    assert found.keys() == {"jupyterhub", "train"}
    assert "cuda.device" not in found["jupyterhub"]["slots"]
    await page.keyboard.press("Control+S")
    await page.locator(".lm-TabBar-tab.jp-mod-current:not(.jp-mod-dirty)").wait_for()

    await page.goto(f"{hub.url}/hub/home")
    await page.locator("#stop").click()
    await expect(page.locator("#start")).to_have_text(re.compile("Start My Server"), timeout=LONG_MS)
    await page.locator("#start").click()
    await expect(page.get_by_role("radio", name="small")).to_be_checked()
    await page.get_by_role("button", name="Start again as last time").click()
    await page.locator(".jp-Launcher, .jp-Notebook").first.wait_for(timeout=LONG_MS)
    await page.goto(f"{hub.url}/user/kim/lab/tree/train.ipynb")
    assert await run(page, "print(socket.gethostname(), len(os.environ['MOCK_VISIBLE_DEVICES']))") == (
        f"{found['train']['name']} 5\n"  # as it was
    )
    await cluster.end_sessions()
    await two_at_once(hub, cluster, page)


async def two_at_once(hub: JupyterHub, cluster: Any, page: Page) -> None:
    """Named ones; each has its own Lab."""
    for name in ("left", "right"):
        await page.goto(f"{hub.url}/hub/home")
        await page.locator(".new-server-name").fill(name)
        await page.locator(".new-server-btn").click()
        await page.locator(f"[data-server-name={name}] .start-server").click()
        await page.get_by_role("radio", name="small").check()
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url(f"**/user/kim/{name}/lab**", timeout=LONG_MS)
        await page.locator(".jp-Launcher, .jp-Notebook").first.wait_for(timeout=LONG_MS)
    # Lab may have opened train.ipynb again, as it was left, and asked for its kernel.
    servers = {one["name"]: one["status"] for one in await sessions(cluster) if one["name"].startswith("jupyterhub-")}
    assert servers == {"jupyterhub-left": "RUNNING", "jupyterhub-right": "RUNNING"}
    await page.goto(f"{hub.url}/user/kim/left/lab")
    await page.locator(".jp-Launcher, .jp-Notebook").first.wait_for(timeout=LONG_MS)


FULL = f"""
c.JupyterHub.tornado_settings = {{'slow_spawn_timeout': 0}}
c.BackendAISpawner.cpu_limit = {os.cpu_count()}
c.BackendAISpawner.resource_groups = ["default", "empty"]
"""
MAKE_GROUP = 'mutation {create_scaling_group(name: "empty", props: {driver: "static", scheduler: "fifo"}) {ok msg}}'
LET_USE = 'mutation {associate_scaling_group_with_domain(scaling_group: "empty", domain: "default") {ok msg}}'


async def test_a_full_cluster(hub: JupyterHub, cluster: Any, visit: Any, page: Page) -> None:
    """Each server takes all of it. Lee's page is touched once, and who does not wait any more leaves nothing."""
    cluster.kill("manager")
    cluster.manager["allow_unsafe_runtime"] = True  # for several people on one agent without containers
    cluster.start("manager")
    await cluster.ready()
    async with ManagerClient(cluster.config) as admin:
        for document in (MAKE_GROUP, LET_USE):
            (answer,) = (await admin.graphql(document)).values()
            assert answer["ok"], answer
    hub.configure(FULL)
    await hub.start()
    kim, eve = await visit("kim"), await visit("eve")
    assert (await kim.call("POST", "/users/kim/server", {}))[0] == 202
    await cluster.until(lambda: kim.is_ready("kim"))
    await log_in(page, hub, "lee")
    await expect(page.locator("#bai-preset-0-verdict")).to_contain_text(NO_ROOM, timeout=LONG_MS)
    assert (await eve.call("POST", "/users/eve/server", {}))[0] == 202
    await tells_why(eve, "", "eve", "Place 1 of 1 in the queue.")
    await page.get_by_role("button", name="Start", exact=True).click()
    told = page.locator("#progress-message")
    await expect(told).to_contain_text("Place 2 of 2 in the queue.", timeout=LONG_MS)

    assert (await eve.call("DELETE", "/users/eve/server", {}))[0] in (202, 204)
    await expect(told).to_contain_text(re.compile(f"Place 1 of 1 in the queue.*{NO_ROOM}"), timeout=LONG_MS)
    await cluster.until(lambda: is_gone(cluster, eve, others=2))
    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)
    await page.locator(".jp-Launcher").wait_for(timeout=LONG_MS)

    assert (await eve.call("POST", "/users/eve/server", {"group": "empty"}))[0] == 202
    await tells_why(eve, "", "eve", NO_AGENT)
    assert (await eve.call("DELETE", "/users/eve/server", {}))[0] in (202, 204)
    await cluster.until(lambda: is_gone(cluster, eve, others=1))
    assert NO_AGENT in (await eve.get("/hub/spawn"))[2]


async def is_gone(cluster: Any, eve: Visitor, others: int) -> bool:
    """No session, no container, and nothing that the Hub waits for."""
    there, of_hub = await sessions(cluster), (await eve.call("GET", "/users/eve"))[1]
    running = {one["containerId"] for one in there if one["status"] == "RUNNING"}
    at_hub = (of_hub["pending"], of_hub["servers"])
    return (len(there), at_hub, cluster.kernels_alive()) == (others, (None, {}), running)


async def log_in(page: Page, hub: JupyterHub, name: str = "kim") -> None:
    await page.goto(hub.url)
    await page.locator("#username_input").fill(name)
    await page.locator("#password_input").fill("any")
    await page.locator("#login_submit").click()


async def call(page: Page, method: str, path: str, body: Any) -> None:
    """The server's API, as its pages call it."""
    status, answer = await page.evaluate(CALL, [method, path, body])
    assert status < 300, answer


async def run(page: Page, code: str) -> str:
    """What a cell at the end of the notebook prints."""
    idle = page.locator("#jp-main-statusbar")
    await expect(idle).to_contain_text("| Idle", timeout=LONG_MS)
    cells = page.locator(".jp-Notebook .jp-Cell")
    count = await cells.count()
    await cells.last.locator(".cm-content").click()
    await page.keyboard.insert_text(code)
    await page.keyboard.press("Shift+Enter")
    cell = cells.nth(count - 1)
    await expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=LONG_MS)
    return "".join(await cell.locator(".jp-OutputArea-output pre").all_inner_texts())
