"""What is kept about kernels: whole or not at all, in one server's hands, and readable by nobody else."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.extension.kernel_records import (
    KernelRecord,
    KernelRecords,
    from_plain,
    pack_launch,
    to_plain,
    unpack_launch,
)

LOG = logging.getLogger("records")
RECORD = KernelRecord("0a-1", "python", {"argv": []}, {"cwd": "/tmp"}, connection_info={"key": b"\xff secret"})  # noqa: S108


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Callable[..., KernelRecords]]:
    claimed = []

    def make(root: str = "work") -> KernelRecords:
        claimed.append(KernelRecords.claim(tmp_path / "state", str(tmp_path / root), LOG))
        return claimed[-1]

    yield make
    for records in claimed:
        records.close()


def test_the_next_server_finds_them(claim: Callable[..., KernelRecords]) -> None:
    first = claim()
    first.add(RECORD)
    first.update(RECORD.kernel_id, is_launched=True, provisioner_info={"session": "s"})
    first.close()
    [found] = claim()
    assert found.is_launched
    assert found.connection_info == RECORD.connection_info
    assert found.provisioner_info == {"session": "s"}


def test_removed_is_removed(claim: Callable[..., KernelRecords]) -> None:
    first = claim()
    first.add(RECORD)
    first.remove(RECORD.kernel_id)
    first.update(RECORD.kernel_id, is_launched=True)
    assert RECORD.kernel_id not in first
    first.close()
    assert list(claim()) == []


def test_a_running_servers_kernels_are_not_taken(claim: Callable[..., KernelRecords]) -> None:
    first = claim()
    first.add(RECORD)
    second = claim()
    assert second.folder != first.folder
    assert list(second) == []
    first.close()
    assert [record.kernel_id for record in claim()] == [RECORD.kernel_id]


def test_each_root_has_its_own(claim: Callable[..., KernelRecords]) -> None:
    claim("one").add(RECORD)
    assert list(claim("two")) == []


@pytest.mark.parametrize("kernel_id", ["../x", "a/b", "", ".", "a" * 200, "a\0"])
def test_ids_that_are_paths_are_refused(claim: Callable[..., KernelRecords], kernel_id: str) -> None:
    records = claim()
    with pytest.raises(ValueError, match="not a kernel id"):
        records.add(KernelRecord(kernel_id, "python", {}, {}))
    assert list((records.folder / "kernels").iterdir()) == []


def test_only_the_user_can_read_them(claim: Callable[..., KernelRecords]) -> None:
    records = claim()
    records.add(RECORD)
    assert records.folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o777 for path in (records.folder / "kernels").iterdir()] == [0o600]


def test_a_broken_file_costs_only_its_own_kernel(
    claim: Callable[..., KernelRecords], caplog: pytest.LogCaptureFixture
) -> None:
    first = claim()
    first.add(RECORD)
    (first.folder / "kernels" / "broken.json").write_text("{")
    (first.folder / "kernels" / "draft.new").write_text("{")
    first.close()
    assert [record.kernel_id for record in claim()] == [RECORD.kernel_id]
    assert "broken.json" in caplog.text


def test_the_servers_environment_is_not_kept() -> None:
    server = {"BACKEND_SECRET_KEY": "secret", "PATH": "/bin"}
    launch = {"cwd": "/w", "kernel_id": "k", "env": {**server, "JPY_SESSION_NAME": "/w/a.ipynb"}, "odd": object()}
    kept = pack_launch(launch, server)
    assert kept == {"cwd": "/w", "env": {"JPY_SESSION_NAME": "/w/a.ipynb"}}
    later = {"BACKEND_SECRET_KEY": "new", "PATH": "/bin"}
    assert unpack_launch(kept, later) == {"cwd": "/w", "env": {**later, "JPY_SESSION_NAME": "/w/a.ipynb"}}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(plain)
def test_bytes_come_back_as_bytes(value: object) -> None:
    if value != {"$bytes": ""}:
        assert from_plain(to_plain(value)) == value
