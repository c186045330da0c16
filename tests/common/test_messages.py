"""The protocol between manager and agent, held still by ``golden_messages.json``.

That file has one message of every type with every field set, as a peer of this protocol version writes it. A change
that makes a test here fail breaks running agents: raise ``PROTOCOL_VERSION`` or find another way.
"""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_jupyter.common import messages
from bai_jupyter.common.errors import ProtocolError
from bai_jupyter.common.messages import Hello, KernelReport, Wanted, decode, encode, to_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

GOLDEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden_messages.json").read_text())
TYPES = {cls.__name__: cls for cls in get_args(messages.Message)}
FUZZ = settings(deadline=None, max_examples=200)


def golden(name: str) -> dict[str, Any]:
    return next(json.loads(json.dumps(message)) for message in GOLDEN if message["type"] == name)


def test_every_type_is_in_the_file():
    assert [message["type"] for message in GOLDEN] == sorted(TYPES)


@pytest.mark.parametrize("raw", GOLDEN, ids=lambda raw: raw["type"])
def test_every_field_is_in_the_file(raw):
    assert raw.keys() - {"type"} == {item.name for item in fields(TYPES[raw["type"]])}


@pytest.mark.parametrize("raw", GOLDEN, ids=lambda raw: raw["type"])
def test_golden_round_trip(raw):
    message = decode(json.dumps(raw))
    assert type(message).__name__ == raw["type"]
    assert json.loads(encode(message)) == raw
    assert decode(encode(message).encode()) == message


def test_values_arrive_as_their_types():
    kernel = decode(json.dumps(golden("Wanted"))).kernels[0]
    assert kernel.slots == ResourceSlots.parse({"cpu": 2, "mem": "4g", "cuda.shares": "0.5"})
    assert kernel.target is Target.RUNNING
    assert kernel.jupyter_kernels[0].target is Target.TERMINATED
    report = decode(json.dumps(golden("KernelReport")))
    assert report.status is KernelStatus.TERMINATED
    assert report.reason == Reason.of("killed-outside", code=137)
    assert report.jupyter_kernels[0].status is JupyterKernelStatus.DEAD
    assert decode(json.dumps(golden("Welcome"))).heartbeat_s == 3.0


def add_everywhere(value: Any) -> Any:
    """The same JSON with one more field in each object that stands for a dataclass or a free mapping of objects."""
    if isinstance(value, list):
        return [add_everywhere(item) for item in value]
    if isinstance(value, dict) and "kernel_id" in value:
        return {name: add_everywhere(item) for name, item in value.items()} | {"from_the_future": [1]}
    return value


@pytest.mark.parametrize("raw", GOLDEN, ids=lambda raw: raw["type"])
def test_unknown_fields_are_ignored(raw):
    newer = add_everywhere(raw) | {"from_the_future": {"deep": True}}
    assert decode(json.dumps(newer)) == decode(json.dumps(raw))


@pytest.mark.parametrize(
    ("name", "path", "default"),
    [
        ("KernelReport", ("jupyter_kernels",), []),
        ("KernelReport", ("reason",), None),
        ("Wanted", ("kernels", 0, "jupyter_kernels"), []),
        ("Hello", ("devices", 0, "health"), "ok"),
        ("Heartbeat", ("devices",), {}),
        ("Heartbeat", ("engine_trouble",), ""),
        ("Hello", ("images", 0, "builtin"), False),
    ],
)
def test_optional_fields_may_be_left_out(name, path, default):
    raw = golden(name)
    *parents, last = path
    place = raw
    for step in parents:
        place = place[step]
    del place[last]
    found = decode(json.dumps(raw))
    for step in path:
        found = found[step] if isinstance(step, int) else getattr(found, step)
    assert found == default


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"Hello"',
        "{}",
        "{",
        "NaN",
        '{"type": "Nonsense"}',
        '{"type": 3}',
        '{"type": null}',
        '{"type": []}',
        '{"type": {}}',
        '{"type": "Message"}',
        '{"type": "Forget"}',
        '{"type": "Forget", "kernel_ids": 3}',
        '{"type": "Forget", "kernel_ids": null}',
        '{"type": "Forget", "kernel_ids": [3]}',
        '{"type": "Forget", "kernel_ids": {"a": "b"}}',
        '{"type": "Forget", "kernel_ids": "abc"}',
        '{"type": "Wanted", "kernels": [], "complete": 1}',
        '{"type": "Wanted", "kernels": [3], "complete": true}',
        '{"type": "Wanted", "kernels": [null], "complete": true}',
        '{"type": "Wanted", "kernels": ["kernel_id"], "complete": true}',
        '{"type": "Heartbeat", "stats": []}',
        '{"type": "Heartbeat", "stats": {"k": {"cpu_used_s": "1"}}}',
        '{"type": "Heartbeat", "stats": {"k": {"cpu_used_s": true}}}',
        '{"type": "Reply", "call_id": "1", "result": [], "error": null}',
        '{"type": "Reply", "call_id": "1", "result": null, "error": "bad"}',
        '{"type": "Reply", "call_id": "1", "result": null, "error": {}}',
        '{"type": "Reply", "call_id": "1", "result": null, "error": {"code": "other", "params": [1]}}',
        '{"type": "Welcome", "agent_id": "a", "credential": null, "heartbeat_s": "3"}',
        b"\xff\xfe\x00",
        b"\x80",
        "[" * 100_000,
        '{"type": "Reply", "call_id": "1", "error": null, "result": {"a":' + "[" * 100_000,
    ],
    ids=range(36),
)
def test_bad_input_is_a_protocol_error(text):
    with pytest.raises(ProtocolError, match="protocol 1"):
        decode(text)


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e999999999", [], {}, None, "lots"])
def test_bad_amounts_are_a_protocol_error(amount):
    raw = golden("Hello") | {"slots": {"cpu": amount}}
    with pytest.raises(ProtocolError):
        decode(json.dumps(raw))


def decodes_or_refuses(text: str | bytes) -> None:
    try:
        message = decode(text)
    except ProtocolError:
        return
    assert decode(encode(message)) == message


@FUZZ
@given(st.binary() | st.text())
def test_fuzz_bytes(text):
    decodes_or_refuses(text)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(st.sampled_from(sorted(TYPES)), st.data())
def test_fuzz_fields(name, data):
    """The right field names with any JSON in them."""
    raw = {item.name: data.draw(ANY_JSON) for item in fields(TYPES[name])}
    decodes_or_refuses(json.dumps({"type": name, **raw}))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@FUZZ
@given(st.sampled_from(sorted(TYPES)), st.data())
def test_fuzz_one_place_of_a_good_message(name, data):
    raw = golden(name)
    container, key = data.draw(st.sampled_from(places(raw)))
    container[key] = data.draw(ANY_JSON)
    decodes_or_refuses(json.dumps(raw))


def test_to_json_leaves_no_objects():
    hello = decode(json.dumps(golden("Hello")))
    assert isinstance(hello, Hello)

    def check(value: Any) -> None:
        assert not is_dataclass(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(to_json(hello))


def test_messages_are_values():
    assert Wanted([], complete=True) == Wanted([], complete=True)
    with pytest.raises(AttributeError):
        KernelReport("k", "s", KernelStatus.RUNNING, 1).revision = 2  # type: ignore[misc]
