"""What an admin carries to a host so that its agent joins: a secret, and which manager it is for."""

import base64
import json
from dataclasses import asdict, dataclass, field

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.trust import Trust

_MARK = "bai1."


class BadJoinToken(BaiError, ValueError):
    """It was cut or changed. What is left of it is not shown."""


@dataclass(frozen=True)
class JoinToken:
    """``secret`` is what the manager knows; only to the manager at ``url`` is it told. ``fingerprint`` is of that one's
    certificate, empty if a CA vouches for it. A bare secret, of a manager whose address is known, is a token too."""

    secret: str = field(repr=False)
    url: str = ""
    fingerprint: str = ""

    def format(self) -> str:
        """One word, also for a shell."""
        if not self.url:
            return self.secret
        return _MARK + base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Raises ``BadJoinToken``."""
        if not text.startswith(_MARK):
            return cls(text)
        word = text.removeprefix(_MARK)
        try:
            raw = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
            return cls(str(raw["secret"]), str(raw["url"]), Trust(str(raw["fingerprint"])).fingerprint)
        except (ValueError, KeyError, TypeError):
            raise BadJoinToken(
                "The join token is not complete. Copy it as a whole, or make a new one: bai agent join-token"
            ) from None
