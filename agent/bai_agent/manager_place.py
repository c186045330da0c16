"""Which manager this agent is of: where it answers, and what its certificate is known by. Decided once, at start."""

import ssl
from dataclasses import dataclass

from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.trust import BY_SYSTEM, Trust

DEFAULT_URL = "http://127.0.0.1:8090"


@dataclass(frozen=True)
class ManagerPlace:
    """What is kept once that manager has taken the agent."""

    url: str = DEFAULT_URL
    trust: Trust = BY_SYSTEM

    def tls(self) -> ssl.SSLContext | None:
        """None where nothing is encrypted. Raises ``OSError`` for a file of CAs that is of no use."""
        return self.trust.context() if self.url.startswith("https:") else None


def settle(url: str, trust: Trust, token: JoinToken, kept: ManagerPlace | None) -> ManagerPlace:
    """``url`` and ``trust`` are options, and go before what the join token says; that goes before what was kept, which
    is still true of the same address. A token is of the manager that it was made by, at whatever address."""
    place = ManagerPlace(url or token.url or (kept.url if kept else DEFAULT_URL))
    if trust != BY_SYSTEM:
        return ManagerPlace(place.url, trust)
    if token.url:
        return ManagerPlace(place.url, Trust(token.fingerprint))
    return kept if kept is not None and kept.url == place.url else place
