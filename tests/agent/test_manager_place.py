"""Which manager an agent dials, and what it trusts there: the whole table."""

import json

import pytest
from bai_agent.manager_place import DEFAULT_URL, ManagerPlace, settle
from bai_agent.state import StateFolder

from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.trust import BY_SYSTEM, Trust

A, B = Trust("aa" * 32), Trust("bb" * 32)
BARE = JoinToken("secret")
FULL = JoinToken("secret", "https://token", A.fingerprint)
VOUCHED = JoinToken("secret", "https://token")  # by a CA
KEPT = ManagerPlace("https://kept", B)


@pytest.mark.parametrize(
    ("url", "trust", "token", "kept", "settled"),
    [
        ("", BY_SYSTEM, BARE, None, (DEFAULT_URL, BY_SYSTEM)),
        ("", BY_SYSTEM, BARE, KEPT, ("https://kept", B)),
        ("", BY_SYSTEM, FULL, None, ("https://token", A)),
        ("", BY_SYSTEM, FULL, KEPT, ("https://token", A)),
        ("", BY_SYSTEM, VOUCHED, ManagerPlace("https://token", B), ("https://token", BY_SYSTEM)),
        ("https://given", BY_SYSTEM, BARE, KEPT, ("https://given", BY_SYSTEM)),
        ("https://kept", BY_SYSTEM, BARE, KEPT, ("https://kept", B)),
        ("https://given", BY_SYSTEM, FULL, KEPT, ("https://given", A)),
        ("", B, FULL, None, ("https://token", B)),
        ("", A, BARE, KEPT, ("https://kept", A)),
    ],
)
def test_options_before_the_token_before_what_was_kept(url, trust, token, kept, settled) -> None:
    assert settle(url, trust, token, kept) == ManagerPlace(*settled)


def test_nothing_is_encrypted_where_the_address_says_so() -> None:
    assert ManagerPlace("http://m", A).tls() is None
    assert ManagerPlace("https://m", A).tls() is not None


def test_it_is_kept_in_the_state_folder(tmp_path) -> None:
    folder = StateFolder(tmp_path)
    assert folder.manager() is None
    folder.keep_manager(KEPT)
    assert StateFolder(tmp_path).manager() == KEPT
    assert json.loads((tmp_path / "manager").read_text())["url"] == "https://kept"
    for spoilt in ('{"url": "https://kept", "trust": {"fingerprint": "ab"}}', '{"url'):
        (tmp_path / "manager").write_text(spoilt)
        assert folder.manager() is None
