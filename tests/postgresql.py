"""A PostgreSQL server of the test run's own, and an empty database in it for each test that asks."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 30


class PostgreSQL:
    """A server on a Unix socket in a folder of its own. Data is not safe from a power cut, and quick."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="bai-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "--pgdata", str(self._folder / "data"), "--auth=trust", "--username=bai", "--no-sync")
        self.start()

    def start(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)]
        command += ["-c", "listen_addresses=", "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd=self._folder, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while self._ask("pg_isready", "-q", "-h", str(self._folder)) != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # its "fast shutdown": connections are ended
        self._process.wait(PATIENCE_S)

    def new_database(self) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        self._run("createdb", "-h", str(self._folder), "-U", "bai", name)
        return f"postgresql://bai@/{name}?host={self._folder}"

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], user=self._user, cwd="/", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def _ask(self, program: str, *arguments: str) -> int:
        return subprocess.run([self._programs / program, *arguments], cwd="/").returncode


@contextmanager
def _server(missing) -> Iterator[PostgreSQL]:
    found = shutil.which("postgres")
    programs = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        missing("postgres", "no PostgreSQL is installed")
    server = PostgreSQL(programs[-1])
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgresql(missing) -> Iterator[PostgreSQL]:
    """The server that all tests share."""
    with _server(missing) as server:
        yield server


@pytest.fixture
def own_postgresql(missing) -> Iterator[PostgreSQL]:
    """A server to stop and start again."""
    with _server(missing) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> str:
    """The URL of an empty database."""
    return postgresql.new_database()
