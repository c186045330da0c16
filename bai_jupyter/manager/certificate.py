"""The certificate with which a manager speaks TLS: the one it was given, or one that it makes and keeps.

Its own one is signed by nobody. Agents and clients know it by its fingerprint, so it need not be renewed.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.trust import fingerprint_of
from bai_jupyter.manager.auth.vault import write_private

CERTIFICATE, KEY = "certificate.pem", "certificate-key.pem"
_LIFE = timedelta(days=3650)
_CLOCKS_APART = timedelta(days=1)
_TURNS = 4  # of each side; a handshake takes two, and one more in TLS 1.2
_ELSEWHERE = ("192.0.2.1", 9)  # RFC 5737: nobody's; connecting a UDP socket sends nothing


class CertificateError(BaiError):
    """Certificate or key cannot be used; the message says which file and why."""


@dataclass(frozen=True)
class Certificate:
    """``context`` is for a server, TLS 1.2 or newer; ``fingerprint`` is as in ``common.trust``."""

    path: Path
    fingerprint: str
    expires_at: datetime
    context: ssl.SSLContext = field(repr=False)

    def is_vouched_for(self, host: str) -> bool:
        """Whether one of the system's CAs vouches for it under this name: what a client would find that knows no more.

        Client and server shake hands in memory.
        """
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(to_client, to_server, server_hostname=host)
        server = self.context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server) * _TURNS:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
            if side is client:
                return True
        return False


def load(certfile: Path, keyfile: Path | None) -> Certificate:
    """``keyfile`` may be left out if the key is in ``certfile`` too. Raises ``CertificateError``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        pem = certfile.read_text()
        fingerprint = fingerprint_of(pem)
        expires_at = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
        # Without a password of ours, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certfile, keyfile, password=lambda: b"")
    except (OSError, ValueError) as error:
        key = f" with the key {keyfile}" if keyfile else ""
        raise CertificateError(
            f"The certificate {certfile}{key} cannot be used: {error}. It needs PEM files, certificate first and then "
            "those of its CA, and the key without a password."
        ) from error
    return Certificate(certfile, fingerprint, expires_at, context)


def own(folder: Path, names: Iterable[str]) -> Certificate:
    """The one of this folder, made for host names and addresses if there is none. Raises ``CertificateError``."""
    certfile, keyfile = folder / CERTIFICATE, folder / KEY
    if not certfile.exists():  # written last: without it the key is of no use
        certificate, key = _make(sorted(set(names)))
        write_private(keyfile, key)
        write_private(certfile, certificate)
        certfile.chmod(0o644)
    return load(certfile, keyfile)


def outgoing_address() -> str:
    """This host's address towards other networks, else its name."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def is_loopback(host: str) -> bool:
    """Of an address, or of the name that each machine has for itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _make(names: list[str]) -> tuple[bytes, bytes]:
    """Certificate and key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bai-manager")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([_alternative(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
