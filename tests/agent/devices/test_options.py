"""Merging what devices need: nothing is lost, nothing silently overwritten."""

from typing import Any

import pytest
from bai_agent.devices.base import ContainerOptions, OptionConflict
from hypothesis import given, settings
from hypothesis import strategies as st

_paths = st.sampled_from(["/dev/a", "/dev/b", "/opt/c"])
_tuples: dict[str, st.SearchStrategy[Any]] = {
    "nodes": st.tuples(_paths, _paths, st.sampled_from(["rw", "rwm"])),
    "binds": st.tuples(_paths, _paths, st.booleans()),
    "gpu_ids": st.sampled_from(["GPU-1", "GPU-2"]),
    "groups": st.integers(1, 3),
    "cpus": st.integers(0, 3),
    "cdi": st.sampled_from(["a/b=0", "a/b=1"]),
    "caps": st.sampled_from(["IPC_LOCK", "SYS_NICE"]),
    "syscalls": st.sampled_from(["io_uring_enter", "mbind"]),
    "networks": st.sampled_from(["one", "two"]),
}
_flags = ("memlock", "host_ipc")


def _is_whole(options: ContainerOptions) -> bool:
    """No path inside is two things."""
    placed = {(host, inside, how) for host, inside, how in (*options.nodes, *options.binds)}
    return len({inside for _, inside, _ in placed}) == len(placed)


_options = st.builds(
    ContainerOptions,
    env=st.dictionaries(st.sampled_from("AB"), st.sampled_from("12")),
    **{name: st.lists(item, max_size=2, unique=True).map(tuple) for name, item in _tuples.items()},
    **dict.fromkeys(_flags, st.booleans()),
    shm_bytes=st.integers(0, 2),
).filter(_is_whole)


@settings(deadline=None)
@given(_options, _options)
def test_merging_keeps_everything_or_says_what_conflicts(one: ContainerOptions, other: ContainerOptions) -> None:
    fits = all(one.env[name] == other.env[name] for name in one.env.keys() & other.env.keys()) and _is_whole(
        ContainerOptions(nodes=(*one.nodes, *other.nodes), binds=(*one.binds, *other.binds))
    )
    if not fits:
        for pair in ((one, other), (other, one)):
            with pytest.raises(OptionConflict):
                pair[0].merge(pair[1])
        return
    both = one.merge(other)
    assert both.env == {**one.env, **other.env}
    for name in _tuples:
        assert set(getattr(both, name)) == {*getattr(one, name), *getattr(other, name)}
        assert len(set(getattr(both, name))) == len(getattr(both, name))
    for name in _flags:
        assert getattr(both, name) is (getattr(one, name) or getattr(other, name))
    assert both.shm_bytes == max(one.shm_bytes, other.shm_bytes)


@settings(deadline=None, max_examples=50)
@given(_options)
def test_merging_with_nothing_or_itself_changes_nothing(one: ContainerOptions) -> None:
    assert ContainerOptions().merge(one) == ContainerOptions().merge(one.merge(one))
