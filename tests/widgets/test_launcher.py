"""The launcher against a real manager, driven by its controls."""

import pytest
from fakes_agent import IMAGE
from fakes_extension import ACCESS_KEY, SECRET_KEY, StubManager
from ipywidgets import HTML, Box

from bai_jupyter.client import ClientConfig
from bai_jupyter.widgets import FolderPicker, SessionLauncher
from bai_jupyter.widgets.asking import BY_AMOUNTS
from bai_jupyter.widgets.panel import _parts
from bai_jupyter.widgets.work import NOT_CONNECTED


@pytest.mark.asyncio
async def test_from_the_form_to_the_end_of_a_session(cluster, shown, until):
    cluster.ask("POST", "/folders", {"name": "data"})
    launcher = shown(SessionLauncher(config=cluster.config))
    await until(lambda: launcher._verdict.text == "Starts now.")
    assert launcher._image.value == IMAGE.name
    assert launcher._folders._options_labels == ("data (read and write)",)
    launcher._name.value, launcher._folders.value = "demo", ("data",)
    launcher._resources.value = BY_AMOUNTS
    launcher._fields["cpu"].value, launcher._fields["mem"].value = 2, 1.5
    assert [field.description for field in launcher._amounts.children] == ["CPU", "Memory (GiB)"]
    await until(lambda: not launcher._start.disabled)
    launcher._start.click()
    assert launcher._start.disabled
    await until(lambda: launcher._state.text == "demo: Running. Running on lab-1.")
    view = cluster.ask("GET", f"/session/{launcher.session}")
    assert view["slots"] == {"cpu": "2", "mem": str(1536 * 1024**2)}
    assert "data" in [mount["name"] for mount in view["mounts"]]
    assert not launcher._end.disabled
    launcher._end.click()
    assert launcher._end.disabled
    await until(lambda: launcher._state.text.startswith("demo: Ended."))
    await until(lambda: not launcher._start.disabled)
    assert launcher._end.disabled


@pytest.mark.asyncio
async def test_what_would_be_refused_cannot_be_started(cluster, shown, until):
    launcher = shown(SessionLauncher(config=cluster.config))
    await until(lambda: launcher._verdict.text == "Starts now.")
    launcher._resources.value = BY_AMOUNTS
    launcher._fields["cpu"].value = 99
    await until(lambda: "Ask for at most" in launcher._verdict.text)
    assert launcher._start.disabled
    launcher._fields["cpu"].value = 1
    await until(lambda: launcher._verdict.text == "Starts now.")
    assert not launcher._start.disabled


@pytest.mark.asyncio
async def test_a_refusal_at_the_start_is_its_sentence(cluster, shown, until):
    session = cluster.start_session("taken")
    launcher = shown(SessionLauncher(config=cluster.config))
    await until(lambda: not launcher._start.disabled)
    launcher._name.value = "taken"
    launcher._start.click()  # before the manager has said what would happen
    await until(lambda: launcher._state.text.startswith("You already have a session taken"))
    assert (launcher.session, launcher._end.disabled) == (None, True)
    cluster.ask("DELETE", f"/session/{session}")


@pytest.mark.asyncio
async def test_closing_it_ends_no_session(cluster, shown, until):
    launcher = shown(SessionLauncher(config=cluster.config))
    await until(lambda: not launcher._start.disabled)
    launcher._start.click()
    await until(lambda: not launcher._end.disabled)
    launcher.close()
    assert cluster.ask("GET", f"/session/{launcher.session}")["terminationTime"] is None
    cluster.ask("DELETE", f"/session/{launcher.session}")


@pytest.mark.asyncio
async def test_a_manager_that_is_away_is_said(shown, until):
    with StubManager(is_away=True) as stub:
        launcher = shown(SessionLauncher(config=ClientConfig(stub.endpoint, ACCESS_KEY, SECRET_KEY)))
        await until(lambda: "does not answer" in launcher._verdict.text)
        assert launcher._start.disabled


@pytest.mark.asyncio
async def test_without_credentials_it_says_what_to_do(shown, until, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("BACKEND_ENDPOINT", "BAI_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    launcher = shown(SessionLauncher())
    await until(lambda: launcher._verdict.text == NOT_CONNECTED)


@pytest.mark.asyncio
async def test_every_control_has_a_name(cluster, shown, until):
    for panel in (shown(SessionLauncher(config=cluster.config)), shown(FolderPicker(config=cluster.config))):
        controls = [part for part in _parts(panel) if not isinstance(part, Box | HTML)]
        assert controls
        assert all(control.description for control in controls)


def test_outside_of_a_kernel_it_says_so():
    with pytest.raises(RuntimeError, match="in a notebook's cell"):
        SessionLauncher()
