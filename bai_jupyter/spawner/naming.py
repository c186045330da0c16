"""What a user's servers are called as sessions. Pure."""

import hashlib
import re

_PREFIX = "jupyterhub"
_LONGEST = 64  # of a session's name
_DIGITS = 10


def session_name_of(server: str) -> str:
    """One's own for each of a user's servers: ``jupyterhub``, ``jupyterhub-exam``.

    JupyterHub before version 6 took names that no session may have (``exam, 2nd``), and its servers keep them. Then the
    session has what there is of it, and a part of its digest, which no other one has: ``jupyterhub-exam-2nd-6f0e…``.
    """
    if not server:
        return _PREFIX
    name = f"{_PREFIX}-{server}"
    if len(name) <= _LONGEST and re.fullmatch(r"[\w.-]*\w", server, re.ASCII):
        return name
    digest = hashlib.sha256(server.encode()).hexdigest()[:_DIGITS]
    words = re.sub(r"[^\w.]+", "-", server, flags=re.ASCII).strip("-.")
    kept = words[: _LONGEST - len(f"{_PREFIX}--{digest}")]
    return "-".join(filter(None, [_PREFIX, kept, digest]))
