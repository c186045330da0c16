"""Whether who answers is the manager that was meant: its certificate is the one that is known, or a CA vouches for it.

One rule for agents and clients. There is no way to verify nothing.
"""

import hashlib
import re
import ssl
from dataclasses import dataclass
from typing import Any

from bai_jupyter.common.reasons import Reason

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Trust:
    """``fingerprint`` is the SHA-256 of the one certificate that is trusted, whatever its names and its age; as
    ``openssl x509 -fingerprint -sha256`` prints it, or as plain hex, which is how it is kept. Without one a CA must
    vouch for certificate and host name: one of the file ``ca_file`` (PEM), else one of the system's.

    Raises ``ValueError`` for what cannot be a fingerprint.
    """

    fingerprint: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        plain = self.fingerprint.lower().removeprefix("sha256:").replace(":", "")
        if plain and not re.fullmatch("[0-9a-f]{64}", plain):
            raise ValueError(f"{self.fingerprint!r} is not a SHA-256 fingerprint, which has 64 hexadecimal digits")
        object.__setattr__(self, "fingerprint", plain)

    def context(self) -> ssl.SSLContext:
        """For sockets of tornado, asyncio and the standard library. Raises ``OSError`` if ``ca_file`` is of no use."""
        if not self.fingerprint:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        else:
            context = _Pinned(ssl.PROTOCOL_TLS_CLIENT)
            context.fingerprint = self.fingerprint
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.sslsocket_class, context.sslobject_class = _PinnedSocket, _PinnedObject
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


BY_SYSTEM = Trust()


class OtherCertificate(ssl.SSLCertVerificationError):
    """Who answered has a certificate with the fingerprint ``found`` instead of ``asked``. Nothing was sent to it."""

    def __init__(self, asked: str, found: str) -> None:
        # By this number tornado just closes the connection; by others it would log each try besides.
        super().__init__(ssl.SSL_ERROR_ZERO_RETURN, f"certificate {found} instead of {asked}")
        self.asked, self.found = asked, found


def fingerprint_of(pem: str) -> str:
    """Of the first certificate in a PEM text, which is the server's own. Raises ``ValueError`` if there is none."""
    first = _CERTIFICATE.search(pem)
    if first is None:
        raise ValueError("no certificate in it")
    return _digest(ssl.PEM_cert_to_DER_cert(first[0]))


def refusal(url: str, error: ssl.SSLCertVerificationError) -> Reason:
    """Why the manager at ``url`` was not trusted, and what to do."""
    if isinstance(error, OtherCertificate):
        return Reason.of("certificate-other", url=url, asked=error.asked, found=error.found)
    return Reason.of("certificate-unknown", url=url, cause=error.verify_message.rstrip("."))


# A context's classes are what its sockets (tornado) and objects without a socket (asyncio) are made of.


class _Pinned(ssl.SSLContext):
    fingerprint: str


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


def _check(connection: Any) -> None:
    asked, found = connection.context.fingerprint, _digest(connection.getpeercert(binary_form=True))
    if found != asked:
        raise OtherCertificate(asked, found)


def _digest(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()
