from bai_jupyter.spawner.queued import Queued

ASKED = {"name": "jupyterhub", "image": "bai/hub:1", "config": {"preset": "small"}}
SECRET = b"of the hub"


def test_the_next_hub_has_the_token_and_its_database_has_not():
    queued = Queued.of("s-1", ASKED, "token-1", SECRET)
    kept = queued.to_json()
    assert "token-1" not in str(kept)
    found = Queued.from_json(kept)
    assert found is not None
    assert found.token("s-1", dict(ASKED), SECRET) == "token-1"


def test_something_else_is_not_gone_on_with():
    queued = Queued.of("s-1", ASKED, "token-1", SECRET)
    assert queued.token("s-2", ASKED, SECRET) is None
    assert queued.token("s-1", {**ASKED, "image": "other"}, SECRET) is None
    assert queued.token("s-1", ASKED, b"another secret") is None


def test_what_is_no_record_of_it_is_no_record():
    for raw in (None, "text", {}, {"session": "s-1"}, {"session": "s-1", "asked": "", "sealed_token": "", "more": ""}):
        assert Queued.from_json(raw) is None
    damaged = Queued("s-1", Queued.of("s-1", ASKED, "token-1", SECRET).asked, "damaged")
    assert damaged.token("s-1", ASKED, SECRET) is None
