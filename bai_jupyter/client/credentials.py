"""Where the manager is and who asks: found in the environment or in a file."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.trust import BY_SYSTEM, Trust

DEFAULT_PORTS = {"http": 80, "https": 443}


class ConfigError(BaiError):
    """Credentials were found but cannot be used; the message says which and what to do."""

    code = "credentials"


@dataclass(frozen=True)
class ClientConfig:
    """Where the manager is and who asks. ``endpoint`` is ``http(s)://host[:port][/prefix]``; ``trust`` says whose
    certificate is right there.

    A session that was granted access has no keys: ``token_file`` holds its token, exchanged for a fresh one every few
    minutes, and ``socket`` leads to the manager, where the network does not. What goes through it is HTTP: it ends at
    the agent, which sees to TLS.
    """

    endpoint: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    user: str = ""
    token_file: Path | None = None
    socket: Path | None = None
    on_behalf_of: str = ""  # the user for whom a service acts, with its own keys
    trust: Trust = BY_SYSTEM

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if url.scheme not in DEFAULT_PORTS or not url.hostname or url.username or url.query or url.fragment:
            raise ConfigError(f"{self.endpoint!r} is not an address such as http://127.0.0.1:8090.")
        if self.token_file is None and not (self.access_key and self.secret_key):
            raise ConfigError(f"The access key or the secret key for {self.endpoint} is empty.")
        object.__setattr__(self, "endpoint", self.endpoint.rstrip("/"))

    @classmethod
    def of_nobody(cls, endpoint: str, trust: Trust = BY_SYSTEM) -> "ClientConfig":
        """For calls that need no keypair, as ``log_in``: the manager does not look at the signature of these."""
        return cls(endpoint, "nobody", "nobody", trust=trust)


def load_config(environ: Mapping[str, str], start_dir: str | Path) -> ClientConfig | None:
    """Find credentials, or ``None`` if there are none. The first of these that exists decides:

    1. ``BACKEND_ENDPOINT``, ``BACKEND_ACCESS_KEY``, ``BACKEND_SECRET_KEY`` (all three; of several endpoints the first),
       with ``BAI_MANAGER_FINGERPRINT`` or ``BAI_MANAGER_CA`` where no CA of the system vouches for its certificate;
       or in a session with access to the manager ``BACKEND_ENDPOINT``, ``BAI_TOKEN_FILE``, ``BAI_MANAGER_SOCKET``
    2. the file named by ``BAI_CREDENTIALS``
    3. ``.bai/credentials.json`` in ``start_dir`` or the nearest folder above it
    4. ``~/.config/bai/credentials.json``

    The file is ``{"endpoint", "access_key", "secret_key", "user", "fingerprint", "ca_file"}``, of which the first three
    are needed. Raises ``ConfigError`` for half a configuration, for a file that other users can read, and for a file
    found upward (3) that belongs to somebody else.
    """
    if environ.get("BACKEND_ENDPOINT"):
        return _from_environment(environ)
    if named := environ.get("BAI_CREDENTIALS"):
        return read_credentials(Path(named))
    start = Path(start_dir).absolute()
    for folder in (start, *start.parents):
        path = folder / ".bai" / "credentials.json"
        if path.exists():
            _check_owner(path)
            return read_credentials(path)
    path = credentials_path(environ)
    return read_credentials(path) if path.exists() else None


def credentials_path(environ: Mapping[str, str]) -> Path:
    """One's own file, which ``bai login`` writes."""
    return Path(environ.get("HOME") or Path.home()) / ".config" / "bai" / "credentials.json"


def read_credentials(path: Path) -> ClientConfig:
    """Read one credentials file. Raises ``ConfigError`` if it is missing, malformed or readable for others."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(f"Others can use {path} (mode {mode:04o}). Run: chmod 600 {path}")
            raw = json.load(file)
        trust = _trust(raw.get("fingerprint"), raw.get("ca_file"), path.parent)
        return ClientConfig(raw["endpoint"], raw["access_key"], raw["secret_key"], raw.get("user") or "", trust=trust)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        keys = "endpoint, access_key, secret_key"
        raise ConfigError(f"{path} is not a credentials file: it needs {keys} as JSON text.") from error


def _from_environment(environ: Mapping[str, str]) -> ClientConfig:
    endpoint = environ["BACKEND_ENDPOINT"].split(",")[0].strip()
    missing = [name for name in ("BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY") if not environ.get(name)]
    if missing and environ.get("BAI_TOKEN_FILE"):
        path = environ.get("BAI_MANAGER_SOCKET")
        return ClientConfig(endpoint, token_file=Path(environ["BAI_TOKEN_FILE"]), socket=Path(path) if path else None)
    if missing:
        raise ConfigError(f"BACKEND_ENDPOINT is set, but {' and '.join(missing)} is not.")
    trust = _trust(environ.get("BAI_MANAGER_FINGERPRINT"), environ.get("BAI_MANAGER_CA"), Path.cwd())
    return ClientConfig(endpoint, environ["BACKEND_ACCESS_KEY"], environ["BACKEND_SECRET_KEY"], trust=trust)


def _trust(fingerprint: str | None, ca_file: str | None, folder: Path) -> Trust:
    """``ca_file`` is relative to ``folder``. Raises ``ConfigError``."""
    try:
        return Trust(fingerprint or "", str(folder.absolute() / ca_file) if ca_file else "")
    except ValueError as error:
        raise ConfigError(f"The fingerprint of the manager's certificate: {error}.") from error


def read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"The session's token cannot be read at {path}: {error.strerror}.") from error


def _check_owner(path: Path) -> None:
    # A folder above may be anybody's (/tmp): their file would send our work to their manager.
    if path.stat().st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user. If you trust it, name it in BAI_CREDENTIALS.")
