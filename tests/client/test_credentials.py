"""Where credentials are looked for, in which order, and what is refused."""

import json
import os
from pathlib import Path

import pytest
from client.signed_server import ACCESS_KEY, SECRET_KEY

from bai_jupyter.client import (
    ClientConfig,
    ConfigError,
    load_config,
)


def write(path: Path, endpoint: str = "http://file:1", mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"endpoint": endpoint, "access_key": "a", "secret_key": "b", "user": "kim"}))
    path.chmod(mode)
    return path


def test_credentials_are_found_in_their_order(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    environ = {"HOME": str(home)}
    assert load_config(environ, work) is None

    write(home / ".config" / "bai" / "credentials.json", "http://config:1")
    assert load_config(environ, work).endpoint == "http://config:1"
    write(tmp_path / "work" / ".bai" / "credentials.json", "http://above:1")
    assert load_config(environ, work) == ClientConfig("http://above:1", "a", "b", "kim")
    environ["BAI_CREDENTIALS"] = str(write(tmp_path / "named.json", "http://named:1"))
    assert load_config(environ, work).endpoint == "http://named:1"
    environ |= {"BACKEND_ENDPOINT": "http://one:1,http://two:2", "BACKEND_ACCESS_KEY": "x", "BACKEND_SECRET_KEY": "y"}
    assert load_config(environ, work) == ClientConfig("http://one:1", "x", "y")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "c.json", mode=mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_config({"BAI_CREDENTIALS": str(path)}, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_above_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / ".bai" / "credentials.json")
    os.chown(path, 4242, 4242)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_config({}, tmp_path)
    assert load_config({"BAI_CREDENTIALS": str(path)}, tmp_path).user == "kim"


def test_half_a_configuration_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BACKEND_SECRET_KEY is not"):
        load_config({"BACKEND_ENDPOINT": "http://h", "BACKEND_ACCESS_KEY": "a"}, tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config({"BAI_CREDENTIALS": str(tmp_path / "none.json")}, tmp_path)
    broken = write(tmp_path / "c.json")
    broken.write_text("[]")
    with pytest.raises(ConfigError, match="is not a credentials file"):
        load_config({"BAI_CREDENTIALS": str(broken)}, tmp_path)
    with pytest.raises(ConfigError, match="is not an address"):
        ClientConfig("127.0.0.1:8090", "a", "b")


async def test_keys_that_a_session_was_given_come_before_its_own_token(tmp_path: Path) -> None:
    environ = {"BACKEND_ENDPOINT": "http://m:1", "BAI_TOKEN_FILE": "/run/bai/token"}
    config = load_config({**environ, "BACKEND_ACCESS_KEY": "AK", "BACKEND_SECRET_KEY": "SK"}, tmp_path)
    assert config == ClientConfig("http://m:1", "AK", "SK")


def test_the_secret_is_not_in_the_repr() -> None:
    assert SECRET_KEY not in repr(ClientConfig("http://h", ACCESS_KEY, SECRET_KEY))
