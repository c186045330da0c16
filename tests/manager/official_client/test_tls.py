"""The official client and a manager's own certificate."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio


@pytest.fixture
def manager_options() -> dict[str, Any]:
    return {"ip": "0.0.0.0"}  # noqa: S104 - so that it makes a certificate


async def test_it_trusts_a_certificate_that_it_was_given(
    make_client: Any, manager: Any, admin: Any, monkeypatch
) -> None:
    ask = "result = api.System.get_manager_version()"
    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        await make_client(admin).sdk(ask)
    monkeypatch.setenv("SSL_CERT_FILE", str(manager.certificate.path))
    trusting = make_client(admin)
    assert await trusting.sdk(ask) == manager.version
