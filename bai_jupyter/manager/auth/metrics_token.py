"""The token with which a monitoring system reads metrics: it can send a fixed header, and cannot sign.

It lies in a file that an admin writes. The file is read at each use, so a token can be exchanged at any time.
"""

import hmac
import logging
from pathlib import Path

from bai_jupyter.common.ids import AccessKey, UserId
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller

log = logging.getLogger(__name__)

_SHORTEST = 16


class MetricsToken:
    """Without ``file`` no token is right. Raises ``ValueError`` for one that is missing, or holds too short a token."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        if file is not None and self._token() is None:
            raise ValueError(f"metrics_token_file: {file} holds no token of {_SHORTEST} characters or more")

    def caller(self, token: str) -> Caller | None:
        """Who reads metrics with this token; ``None`` if it is not the one."""
        right = self._token()
        if right is None or not hmac.compare_digest(right.encode(), token.encode()):
            return None
        return Caller(UserId(""), "metrics", policy.SCRAPER, AccessKey("metrics"), domain="", project_id="")

    def _token(self) -> str | None:
        if self._file is None:
            return None
        try:
            token = self._file.read_text().strip()
        except (OSError, ValueError) as error:
            log.warning("metrics_token_file: %s cannot be read: %s", self._file, error)
            return None
        return token if len(token) >= _SHORTEST else None
