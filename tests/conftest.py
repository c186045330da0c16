"""What every test may use, and what no test may leave behind.

Fixtures: ``docker_client``, ``python_image``, ``chromium``, ``postgresql_url`` (see ``postgresql.py``), ``free_port``,
``small_disk``, ``missing``, ``test_run``. After each test it is checked that no process, thread, asyncio task or
container of it is left (see ``leaks.py``).

Two async plugins live here side by side. Tests that use ``jp_*`` fixtures carry no marker and have sync fixtures on
``jp_asyncio_loop``; all other async tests carry ``pytest.mark.asyncio``. Playwright keeps a loop running in the main
thread, so a folder of browser tests overrides the autouse fixtures ``jp_asyncio_loop`` and ``jp_server_cleanup`` with
ones that do nothing, keeps its browser module-scoped, and starts JupyterLab as a subprocess.
"""

import fcntl
import gc
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["pytest_jupyter.jupyter_server", "leaks", "postgresql"]

WHOLE_SYSTEMS = ("tests/end_to_end/", "tests/images/", "tests/cli/test_up.py", "tests/extension/ui/test_terminal.py")

MissingTool = Callable[[str, str], NoReturn]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``soak`` run only when asked for by name: ``-m soak``."""
    if "soak" in (config.option.markexpr or ""):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when != "teardown":
        item.stash[FAILED] = report.failed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A test that failed takes its module's fixtures with it: a page with a dialog open would fail those after it too.

    pytest has no public word for it; this is what it does itself after a module's last test.
    """
    _limit_again(item)
    module = item.getparent(pytest.Module)
    if item.stash.get(FAILED, False) and module is not None:
        item.session._setupstate.teardown_exact(module.parent)  # type: ignore[arg-type]


LIMIT = pytest.StashKey[Any]()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, Any, Any]:
    """A test's time is up as often as it takes: an event loop may take the failure for a callback's and go on."""
    result = yield
    item.stash[LIMIT] = settings
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, settings.timeout)
    return result


def _limit_again(item: pytest.Item) -> None:
    """pytest-timeout ends its timer with the first failure: the teardown and the second try would have no limit."""
    if LIMIT in item.stash and not signal.getitimer(signal.ITIMER_REAL)[0]:
        item.config.hook.pytest_timeout_set_timer(item=item, settings=item.stash[LIMIT])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _limit_again(item)


class SaysWhatFailed:
    """Names a test when its try fails, not at the end: a run that is cut short has said what it knows."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.outcome == "rerun":  # type: ignore[comparison-overlap]
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{report.outcome}: {report.nodeid} ({report.when})")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and config.option.verbose <= 0:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        config.pluginmanager.register(SaysWhatFailed(terminal))


class FilesApart(LoadScopeScheduling):
    """With ``-n 2``: one worker starts ``WHOLE_SYSTEMS``, one after another, the other runs the rest, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return WHOLE_SYSTEMS[0] if nodeid.startswith(WHOLE_SYSTEMS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesApart:
    return FilesApart(config, log)


@pytest.fixture(scope="session")
def missing() -> MissingTool:
    """``missing("docker", why)``: skip, or fail if ``BAI_TEST_REQUIRE`` (blank-separated) names that tool."""

    def missing(tool: str, why: str) -> NoReturn:
        if tool in os.environ.get("BAI_TEST_REQUIRE", "").split():
            pytest.fail(f"{tool} is required here, but {why}", pytrace=False)
        pytest.skip(f"no {tool}: {why}")

    return missing


@pytest.fixture
def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SmallDisk:
    """A disk of a few MiB, mounted on ``folder``."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", folder], check=True)

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def fill(self, leave: int = 0) -> None:
        with self._ballast.open("wb") as file:
            file.write(bytes(max(0, self.free_bytes - leave)))

    def make_room(self) -> None:
        self._ballast.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)


@pytest.fixture
def small_disk(missing: MissingTool) -> Iterator[Callable[[Path, str], SmallDisk]]:
    """``small_disk(folder, "4m")``. Ask for it before what uses the folder."""
    if os.geteuid() != 0:
        missing("mount", "only root may mount")
    made: list[SmallDisk] = []

    def make(folder: Path, size: str) -> SmallDisk:
        made.append(SmallDisk(folder, size))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()


@pytest.fixture
def limited_disk(missing: MissingTool, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """``limited_disk(folder)`` mounts a btrfs with simple quotas there. Ask for it before what uses the folder."""
    if os.geteuid() != 0:
        missing("btrfs", "only root may mount")
    if shutil.which("mkfs.btrfs") is None:
        missing("btrfs", "there is no mkfs.btrfs; Debian's package is btrfs-progs")
    made: list[Path] = []

    def make(folder: Path) -> None:
        image = tmp_path / f"btrfs-{len(made)}.img"
        with image.open("wb") as file:
            file.truncate(256 * 1024**2)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
        mounting = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
        if mounting.returncode:
            missing("btrfs", f"this Linux does not mount it: {mounting.stderr.strip()}")
        made.append(folder)
        folder.chmod(0o711)
        root = os.open(folder, os.O_RDONLY)
        try:
            fcntl.ioctl(root, 0xC0109428, struct.pack("QQ", 4, 0))  # `btrfs quota enable --simple` of later btrfs-progs
        except OSError as error:
            missing("btrfs", f"this Linux has no simple quotas: {error.strerror}")
        finally:
            os.close(root)

    yield make
    for folder in made:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def docker_client(missing: MissingTool) -> Iterator[Any]:
    """A client of the engine. Give all that you create the labels of ``test_run``, and remove it."""
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker-py forgets a socket that it could not connect
        try:
            client, why = docker.from_env(), ""
        except DockerException as error:
            client, why = None, str(error)
        gc.collect()
    if client is None:
        missing("docker", f"no engine answers ({why})")
    yield client
    client.close()


@pytest.fixture(scope="session")
def python_image(docker_client: Any) -> str:
    """The name of a small image with ipykernel and ipywidgets; built if there is none (under a minute, or two)."""
    from bai_jupyter.cli import images

    with Path(tempfile.gettempdir(), "bai-test-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other worker may be building it
        found = images.local("bai/python-minimal:")
        return found[-1] if found else images.build(["python-minimal"])[0]


@pytest.fixture(scope="session")
def chromium(missing: MissingTool) -> str:
    """The path of a Chromium: ``$CHROMIUM``, or the first on PATH."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        missing("browser", "neither chromium nor google-chrome is on PATH")
    return found
