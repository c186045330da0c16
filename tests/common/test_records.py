"""Records and tapes: however the bytes are cut, the same messages come out, once each."""

import itertools
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_jupyter.common import records
from bai_jupyter.common.records import (
    HEADER,
    MAX_PIECE,
    MAX_RECORD,
    MORE,
    Channel,
    Envelope,
    FrameReader,
    Hello,
    Kind,
    Record,
    RecordReader,
    Welcome,
    message_end,
    pack,
    pack_frames,
    pack_request,
)

FUZZ = settings(deadline=None, max_examples=100)
PING = b"\x04\x07\x04PING\x00\x00"  # command flag, length, name
BODIES = st.binary(max_size=20) | st.sampled_from([b"x" * 255, b"x" * 256, b"y" * 70_000])
MESSAGES = st.lists(st.lists(BODIES, min_size=1, max_size=4), max_size=5)
RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from([int(kind) for kind in Kind]),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=50) | st.just(b"z" * MAX_PIECE),
    ),
    max_size=6,
)


def cuts(data, total: int) -> list[int]:
    """Some ways to cut ``total`` bytes: places, with 0 and the end."""
    inner = data.draw(st.lists(st.integers(0, total), max_size=8))
    return [0, *sorted(inner), total]


# Records


def test_record_layout():
    assert pack(Kind.DATA, Channel.IOPUB, 5, b"abc") == struct.pack("<IBBQ", 13, 3, 1, 5) + b"abc"


@FUZZ
@given(RECORDS, st.data())
def test_any_cut_gives_the_same_records(expected, data):
    stream = b"".join(pack(Kind(item.kind), item.channel, item.offset, item.payload) for item in expected)
    places = cuts(data, len(stream))
    reader = RecordReader()
    found = [record for start, end in itertools.pairwise(places) for record in reader.feed(stream[start:end])]
    assert found == expected


def test_one_byte_at_a_time():
    stream = pack(Kind.TAKEN, 0, 7) + pack(Kind.DATA, 1, 2, b"ab")
    reader = RecordReader()
    found = [record for byte in stream for record in reader.feed(bytes([byte]))]
    assert found == [Record(Kind.TAKEN, 0, 7, b""), Record(Kind.DATA, 1, 2, b"ab")]


@pytest.mark.parametrize("length", [0, HEADER.size - 5, MAX_RECORD + 1, 2**32 - 1])
def test_impossible_length_is_refused_before_the_body_comes(length):
    good = pack(Kind.ENDED)
    reader, found = RecordReader(), []
    with pytest.raises(ValueError, match=f"record of {length} bytes"):
        found.extend(reader.feed(good + struct.pack("<IBBQ", length, 3, 0, 0)))
    with pytest.raises(ValueError, match=f"record of {length} bytes"):
        list(reader.feed(b""))


def test_largest_piece_is_accepted():
    (record,) = RecordReader().feed(pack(Kind.DATA, payload=b"x" * MAX_PIECE))
    assert len(record.payload) == MAX_PIECE


def test_caller_who_stops_halfway_gets_the_rest_later():
    reader = RecordReader()
    for record in reader.feed(b"".join(pack(Kind.TAKEN, offset=number) for number in range(3))):
        assert record.offset == 0
        break
    assert [record.offset for record in reader.feed(pack(Kind.TAKEN, offset=3))] == [1, 2, 3]


@pytest.mark.parametrize("size", [1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE])
def test_request_in_pieces(size):
    message = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    found = list(RecordReader().feed(b"".join(pack_request(Channel.SHELL, 9, message))))
    assert b"".join(record.payload for record in found) == message
    assert {record.offset for record in found} == {9}
    assert [bool(record.channel & MORE) for record in found] == [True] * (len(found) - 1) + [False]
    assert {record.channel & ~MORE for record in found} == {Channel.SHELL}


# Hello and welcome


def test_hello_round_trip():
    hello = Hello("00112233aabbccdd", {"shell": 5, "iopub": 2**40})
    (record,) = RecordReader().feed(records.pack_hello(hello))
    assert record.kind == Kind.HELLO
    assert records.read_hello(record.payload) == hello


def test_welcome_round_trip():
    welcome = Welcome({"shell": 1}, {"shell": 9}, 4)
    (record,) = RecordReader().feed(records.pack_welcome(welcome))
    assert records.read_welcome(record.payload) == welcome


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"reader": "00112233aabbccdd"},
        {"reader": "00112233aabbccdd", "positions": []},
        {"reader": "00112233aabbccdd", "positions": {"shell": "x"}},
        {"reader": "00112233aabbccdd", "positions": {"shell": None}},
        {"reader": "00112233aabbccdd", "positions": {"shell": float("inf")}},
        {"reader": "00112233aabbccdd", "positions": {"shell": -1}},
        {"reader": "../../etc/passwd", "positions": {}},
        {"reader": "0011", "positions": {}},
        {"reader": "", "positions": {}},
        {"reader": 12, "positions": {}},
    ],
)
def test_what_is_not_a_hello(raw):
    with pytest.raises(ValueError, match="not a hello"):
        records.read_hello(json.dumps(raw).encode())


@FUZZ
@given(st.binary(max_size=60))
def test_hello_fuzz(payload):
    with pytest.raises(ValueError, match="not a hello"):
        records.read_hello(payload)


# Frames


def test_frame_layout():
    assert pack_frames([b"a", b""]) == b"\x01\x01a" + b"\x00\x00"
    assert pack_frames([b"x" * 256]) == b"\x02" + (256).to_bytes(8, "big") + b"x" * 256


@FUZZ
@given(MESSAGES, st.integers(0, 2**50), st.data())
def test_any_cut_gives_the_same_messages(expected, begin, data):
    tape = b"".join(pack_frames(message) + (PING if data.draw(st.booleans()) else b"") for message in expected)
    places = cuts(data, len(tape))
    reader = FrameReader(begin)
    found = [
        message for start, end in itertools.pairwise(places) for message in reader.feed(begin + start, tape[start:end])
    ]
    assert found == expected
    assert reader.position == begin + len(tape)


@FUZZ
@given(MESSAGES, st.data())
def test_a_replay_is_skipped(expected, data):
    """Pieces that begin anywhere before what was read, as after a redial."""
    tape = b"".join(map(pack_frames, expected))
    reader, found, read = FrameReader(0), [], 0
    while read < len(tape):
        start = data.draw(st.integers(0, read))
        end = data.draw(st.integers(start, len(tape)))
        found += reader.feed(start, tape[start:end])
        read = max(read, end)
        if not data.draw(st.integers(0, 9)):
            found += reader.feed(read, tape[read:])
            read = len(tape)
    assert found == expected


@FUZZ
@given(MESSAGES, st.data())
def test_a_new_reader_goes_on_at_position(expected, data):
    """``position`` is enough to resume: what a killed reader had of an unfinished message comes again."""
    tape = b"".join(map(pack_frames, expected))
    cut = data.draw(st.integers(0, len(tape)))
    first = FrameReader(0)
    found = list(first.feed(0, tape[:cut]))
    second = FrameReader(first.position)
    found += second.feed(first.position, tape[first.position :])
    assert found == expected


def test_missing_bytes_are_an_error():
    reader = FrameReader(10)
    assert list(reader.feed(10, b"\x00\x05ab")) == []
    with pytest.raises(ValueError, match="jumps from 14 to 15"):
        list(reader.feed(15, b"e"))
    assert list(reader.feed(14, b"cde")) == [[b"abcde"]]


def test_jump_forgets_the_unfinished_message():
    reader = FrameReader(0)
    assert list(reader.feed(0, pack_frames([b"old"]) + b"\x01\x03one\x00\x09half")) == [[b"old"]]
    reader.jump(1000)
    assert list(reader.feed(1000, pack_frames([b"new"]))) == [[b"new"]]
    assert reader.position == 1005


def test_commands_are_dropped_and_counted():
    reader = FrameReader(0)
    assert list(reader.feed(0, PING + pack_frames([b"", b"a"]) + PING)) == [[b"", b"a"]]
    assert reader.position == 2 * len(PING) + 5


def test_caller_who_stops_halfway_loses_no_message():
    reader = FrameReader(0)
    tape = b"".join(pack_frames([bytes([number])]) for number in range(3))
    for message in reader.feed(0, tape):
        assert message == [b"\x00"]
        break
    assert reader.position == 3
    assert list(reader.feed(3, tape[3:])) == [[b"\x01"], [b"\x02"]]


@FUZZ
@given(st.lists(BODIES, min_size=1, max_size=4), st.binary(max_size=20), st.data())
def test_message_end(frames, rest, data):
    message = pack_frames(frames)
    assert message_end(rest + message + rest, len(rest)) == len(rest) + len(message)
    cut = data.draw(st.integers(0, len(message) - 1))
    assert message_end(message[:cut], 0) is None


# Envelopes


@FUZZ
@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**64 - 1), st.binary(max_size=20))
def test_envelope_round_trip(reader, counter, client):
    envelope = Envelope(reader, counter, client)
    assert Envelope.read(envelope.pack()) == envelope


@pytest.mark.parametrize(
    "frame", [b"", b"bj", b"\x00" * 18, b"xx" + b"\x00" * 16, Envelope(b"r" * 8, 1, b"").pack()[:-1]]
)
def test_what_is_not_an_envelope(frame):
    assert Envelope.read(frame) is None
