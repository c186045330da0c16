from bai_jupyter.spawner.service_page import page_of

PLACES = {"prefix": "/services/bai/", "hub": "/hub/", "scope": "custom:bai:use"}
VIEW = {
    "id": "s1",
    "name": "jupyterhub",
    "image": "bai/hub:6",
    "status": "PENDING",
    "slots": {"cpu": "1", "mem": "536870912"},
    "reason": {"text": "Waiting for <b>1 GPU</b>."},
}


def test_sessions_with_what_they_wait_for_and_a_way_to_end_them():
    page = page_of("kim", [VIEW], **PLACES, xsrf="token")
    assert "<td>jupyterhub</td><td>bai/hub:6</td><td>1 CPU, 512 MiB</td>" in page
    assert "<td>Queued. Waiting for &lt;b&gt;1 GPU&lt;/b&gt;.</td>" in page
    assert 'action="/services/bai/end"' in page
    assert 'name="session" value="s1"' in page
    assert 'aria-label="End jupyterhub"' in page


def test_a_state_is_not_said_twice():
    page = page_of("kim", [{**VIEW, "status": "RUNNING", "reason": {"text": "Running on local."}}], **PLACES, xsrf=None)
    assert "<td>Running on local.</td>" in page


def test_who_may_only_look_finds_no_button():
    page = page_of("kim", [VIEW], **PLACES, xsrf=None)
    assert "<form" not in page
    assert "not change anything" in page


def test_nobody_s_name_becomes_markup():
    page = page_of("<i>kim</i>", [{**VIEW, "name": "<i>"}], **PLACES, xsrf='"')
    assert "<i>" not in page
    assert 'value="""' not in page


def test_no_sessions():
    assert "You have none." in page_of("kim", [], **PLACES, xsrf="token")
