"""What a kernel publishes tells whether it is busy; only what somebody does counts."""

import json
import os
from pathlib import Path

import pytest
from bai_agent.listener import SAVER, Listener

from bai_jupyter.common.records import pack_frames

LONG_AGO = 1_000_000_000


def status(state: str, asked: str = "execute_request", by: str = "alice") -> bytes:
    parent = json.dumps({"msg_type": asked, "username": by}).encode()
    parts = [b"sig", b'{"msg_type": "status"}', parent, b"{}"]
    return pack_frames([b"topic", b"<IDS|MSG>", *parts, b'{"execution_state": "%s"}' % state.encode()])


def output(size: int) -> bytes:
    """One that holds, in its text, what a status looks like."""
    text = b'{"execution_state": "idle"}' + b"x" * size
    parts = [b"sig", b'{"msg_type": "stream"}', b'{"msg_type": "execute_request"}', b"{}", text]
    return pack_frames([b"topic", b"<IDS|MSG>", *parts])


class Tape:
    """IOPub's files as a relay writes them, in segments as long as is said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.start = folder, b"", 0
        self.listener = Listener(folder)
        (folder / "iopub.start").write_text("0")

    def write(self, data: bytes, segment: int = 1 << 20) -> "Tape":
        self.data += data
        for begin in range(0, len(self.data), segment):
            (self.folder / f"iopub-{begin:020d}.tape").write_bytes(self.data[begin : begin + segment])
        return self

    def drop_before(self, offset: int) -> None:
        (self.folder / "iopub.start").write_text(f"{offset:020d}")

    @property
    def is_busy(self) -> bool:
        self.listener.look()
        return self.listener.is_busy


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path)


def test_saving_variables_is_nobodys_use(tape: Tape) -> None:
    tape.write(status("busy") + status("idle"))
    assert not tape.is_busy
    active_at = tape.listener.active_at
    tape.write(status("busy", by=SAVER))
    assert not tape.is_busy
    tape.write(status("idle", by=SAVER))
    assert not tape.is_busy
    assert tape.listener.active_at == active_at
    tape.write(status("busy"))
    assert tape.is_busy


def test_without_a_tape_nothing_is_known(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "nowhere")
    listener.look()
    assert (listener.is_busy, listener.active_at) == (False, None)


def test_busy_and_idle(tape: Tape) -> None:
    assert tape.write(status("busy")).is_busy
    assert tape.write(output(10)).is_busy
    assert tape.write(output(200_000)).is_busy
    assert not tape.write(status("idle")).is_busy


def test_a_look_at_the_kernel_is_no_use_of_it(tape: Tape) -> None:
    for asked in ("kernel_info_request", "history_request", "comm_info_request", "debug_request", "usage_request"):
        assert not tape.write(status("busy", asked)).is_busy
    assert tape.listener.active_at is None
    assert tape.write(status("busy")).is_busy
    assert tape.write(status("idle", "kernel_info_request")).is_busy


def test_a_message_that_is_not_whole_is_waited_for(tape: Tape) -> None:
    busy = status("busy")
    for end in range(1, len(busy)):
        assert not Tape(tape.folder).write(busy[:end]).is_busy
    assert tape.write(busy[:30]).is_busy is False
    assert tape.write(busy[30:]).is_busy


def test_messages_across_segments(tape: Tape) -> None:
    messages = [status("busy"), output(500), status("idle"), output(70_000), status("busy")]
    assert tape.write(b"".join(messages), segment=301).is_busy


def test_what_was_dropped_is_passed_over(tape: Tape) -> None:
    tape.write(status("busy"))
    assert tape.is_busy
    old = len(tape.data) + len(output(50))
    tape.write(output(50) + status("idle"))
    tape.drop_before(old)
    assert not tape.is_busy


def test_after_a_restart_the_last_use_is_when_the_tape_was_written(tape: Tape) -> None:
    tape.write(status("busy") + status("idle"))
    (path,) = tape.folder.glob("iopub-*.tape")
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert not tape.is_busy
    assert tape.listener.active_at == LONG_AGO
    assert tape.write(status("busy")).is_busy
    assert tape.listener.active_at is not None
    assert tape.listener.active_at > LONG_AGO


def test_a_flood_takes_several_looks_and_is_work_meanwhile(tape: Tape) -> None:
    flood = pack_frames([b""] * 150_000)
    tape.write(flood + status("idle"))
    assert tape.is_busy
    tape.drop_before(len(flood))
    assert not tape.is_busy
    tape.write(pack_frames([b""]) * 150_000 + status("idle"))
    assert [tape.is_busy for _ in range(3)] == [True, False, False]


def test_what_is_no_message_at_all_does_no_harm(tape: Tape) -> None:
    tape.write(pack_frames([b"<IDS|MSG>", b"", b"[1]", b"not json", b"", b""]) + status("busy"))
    assert tape.is_busy
