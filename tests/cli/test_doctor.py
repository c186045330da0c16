"""What `bai doctor` says of a manager's certificate."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from certificates import Authority

from bai_jupyter.cli.doctor import Finding, certificate_of
from bai_jupyter.client import ClientConfig
from bai_jupyter.common.trust import Trust
from bai_jupyter.manager.certificate import Certificate, load


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificate(authority: Authority, request: pytest.FixtureRequest) -> Certificate:
    return load(authority.sign("127.0.0.1", request.param), None)


@pytest.fixture
def endpoint(certificate: Certificate) -> Iterator[str]:
    """Shakes hands with one caller."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as plain:
                certificate.context.wrap_socket(plain, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        thread.join(60)


def ask(endpoint: str, trust: Trust) -> Finding:
    return certificate_of(ClientConfig(endpoint, "a", "b", trust=trust))


@pytest.mark.parametrize("certificate", [30], indirect=True)
def test_a_certificate_that_is_good_for_long(endpoint, authority) -> None:
    found = ask(endpoint, Trust(ca_file=str(authority.ca_file)))
    assert (found.kind, found.what, found.advice) == ("done", "Certificate: 30 days left", "")


@pytest.mark.parametrize("certificate", [3], indirect=True)
def test_one_that_ends_soon(endpoint, authority) -> None:
    found = ask(endpoint, Trust(ca_file=str(authority.ca_file)))
    assert (found.kind, found.what) == ("note", "Certificate: 3 days left")
    assert "start the manager again" in found.advice


@pytest.mark.parametrize("certificate", [3], indirect=True)
def test_one_that_is_known_by_its_fingerprint(endpoint, certificate) -> None:
    assert ask(endpoint, Trust(certificate.fingerprint)).kind == "done"


@pytest.mark.parametrize("certificate", [30], indirect=True)
def test_one_that_is_not_trusted(endpoint) -> None:
    found = ask(endpoint, Trust("ab" * 32))
    assert found.kind == "failed"
    assert f"certificate of {endpoint} should have" in found.advice


def test_nobody_there(free_port) -> None:
    found = ask(f"https://127.0.0.1:{free_port}", Trust())
    assert (found.kind, found.what) == ("note", "No manager")
