"""Frames to and from a process inside."""

import pytest

from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind


def test_round_trips():
    assert stdio.unpack(stdio.pack(Kind.INPUT, b"typed")) == (Kind.INPUT, b"typed")
    assert stdio.unpack(stdio.pack(Kind.INPUT_ENDS)) == (Kind.INPUT_ENDS, b"")
    kind, payload = stdio.unpack(stdio.pack_size(50, 200))
    assert (kind, stdio.read_size(payload)) == (Kind.RESIZE, (50, 200))
    kind, payload = stdio.unpack(stdio.pack_ended(-1))
    assert (kind, stdio.read_ended(payload)) == (Kind.ENDED, -1)
    kind, payload = stdio.unpack(stdio.pack_signal(2))
    assert (kind, stdio.read_signal(payload)) == (Kind.SIGNAL, 2)


def test_on_the_wire():
    assert stdio.pack(Kind.OUTPUT, b"x") == b"\x01x"
    assert stdio.pack_ended(3) == b"\x07\x03\x00\x00\x00"


@pytest.mark.parametrize("frame", [b"", b"\xff", b"\x08x"])
def test_what_is_not_a_frame(frame):
    with pytest.raises(ValueError, match=r"empty|valid"):
        stdio.unpack(frame)


def test_what_is_not_a_size_or_code():
    for read in (stdio.read_size, stdio.read_ended, stdio.read_signal):
        with pytest.raises(ValueError, match="expected"):
            read(b"123")
