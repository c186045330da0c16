"""The pure parts: forms, figures, places."""

import pytest

from bai_jupyter.widgets.asking import BY_AMOUNTS, BY_POLICY, Form, describe_folder, offer_of, request_of
from bai_jupyter.widgets.figures import CpuSample, Figure, add_sample, figures_of
from bai_jupyter.widgets.places import above, count, describe_place, entries_of, inside

GIB = 1024**3
MINE = {"name": "data", "status": "ready", "permission": "wd", "ownership_type": "user", "user": "u-1"}
KIMS = {**MINE, "name": "corpus", "permission": "ro", "user": "u-2", "user_email": "kim@lab.org"}
OURS = {**MINE, "name": "shared", "permission": "rw", "ownership_type": "group", "group_name": "vision"}
CAPACITY = {
    "presets": [{"name": "gpu", "resource_slots": {"cpu": "2", "mem": "4294967296", "cuda.shares": "0.5"}}],
    "scaling_groups": {
        "default": {"using": {"cuda.shares": "2"}, "remaining": {"cpu": "8", "cuda.shares": "0", "rocm.device": "0"}}
    },
}


def test_what_there_is_to_choose_from():
    hidden = [{**MINE, "name": name} for name in ("home", ".local")] + [{**MINE, "status": "delete-pending"}]
    offer = offer_of([{"name": "b"}, {"name": "a"}], CAPACITY, [MINE, KIMS, OURS, *hidden], "u-1")
    assert offer.images == ["a", "b"]
    assert list(offer.resources) == ["As your policy says", "gpu: 2 CPU, 4 GiB, 0.5 GPU", "Amounts of my own"]
    assert [(one.slot, one.label) for one in offer.amounts] == [
        ("cpu", "CPU"),
        ("mem", "Memory (GiB)"),
        ("cuda.shares", "GPU"),  # all in use, and still there to wait for
    ]
    assert list(offer.folders.values()) == ["corpus", "data", "shared"]


@pytest.mark.parametrize(
    ("folder", "described"),
    [
        (MINE, "data (read and write)"),
        (KIMS, "corpus (read only, from kim@lab.org)"),
        (OURS, "shared (read and write, project vision)"),
    ],
)
def test_a_folder_says_whose_it_is_and_what_one_may(folder, described):
    assert describe_folder(folder, "u-1") == described


def test_a_form_becomes_a_request():
    amounts = {"cpu": 2.0, "mem": 1.5, "cuda.shares": 0.5, "rocm.device": 0.0}
    request = request_of(Form(" demo ", "python:3.11", BY_AMOUNTS, amounts, ("data",)))
    assert (request.name, request.image, request.preset, request.mounts) == ("demo", "python:3.11", None, ("data",))
    assert request.resources == {"cpu": "2", "mem": "1536m", "cuda.shares": "0.5"}
    assert request.reuse_if_exists is False


def test_amounts_count_only_where_they_are_chosen():
    by_preset = request_of(Form("demo", "python:3.11", ("preset", "gpu"), {"cpu": 9.0}))
    assert (by_preset.preset, by_preset.resources) == ("gpu", None)
    by_policy = request_of(Form("demo", "python:3.11", BY_POLICY, {"cpu": 9.0}))
    assert (by_policy.preset, by_policy.resources) == (None, None)


def view(status="RUNNING", **measured):
    return {"status": status, "slots": {"cpu": "2", "mem": str(8 * GIB)}, "liveStat": measured or None}


def test_figures_of_a_running_session():
    samples = [CpuSample(0.0, 10.0), CpuSample(4.0, 14.0)]
    seen = view(
        cpu_used_s=14.0,
        mem_used_bytes=2.0 * GIB,
        mem_limit_bytes=4.0 * GIB,
        cuda_util_pct=42.4,
        cuda_power_w=250.0,
        cuda_mem_used_bytes=1.0 * GIB,
        cuda_mem_total_bytes=8.0 * GIB,
    )
    assert figures_of(seen, samples) == [
        Figure("CPU", 0.5, "1.0 of 2 CPU"),
        Figure("Memory", 0.5, "2 GiB of 4 GiB"),
        Figure("GPU", 0.424, "42 %, 250 W"),
        Figure("GPU memory", 0.125, "1 GiB of 8 GiB"),
    ]


def test_what_is_not_measured_is_not_shown():
    assert figures_of(view(), []) == []
    assert figures_of(view(mem_used_bytes=2.0 * GIB, mem_limit_bytes=None), []) == [
        Figure("Memory", 0.25, "2 GiB of 8 GiB")
    ]
    assert figures_of(view("TERMINATED", mem_used_bytes=2.0 * GIB), []) == []


def test_cpu_is_the_mean_of_the_last_seconds():
    samples = []
    for at_s in range(0, 30, 2):
        samples = add_sample(samples, view(cpu_used_s=at_s / 2), at_s)
    assert [sample.at_s for sample in samples] == [18, 20, 22, 24, 26, 28]
    assert figures_of(view(cpu_used_s=14), samples)[0].text == "0.5 of 2 CPU"


def test_a_container_that_began_anew_counts_anew():
    samples = add_sample([CpuSample(0.0, 100.0)], view(cpu_used_s=1.0), 2.0)
    assert samples == [CpuSample(2.0, 1.0)]
    assert add_sample(samples, view(), 4.0) == []


def test_entries_and_paths():
    items = [
        {"name": "runs", "type": "DIRECTORY", "size": 4096},
        {"name": "train.csv", "type": "FILE", "size": 2048},
    ]
    assert [(one.label, one.is_directory) for one in entries_of(items)] == [
        ("runs/", True),
        ("train.csv  (2 KiB)", False),
    ]
    assert (inside("", "a"), inside("a", "b"), above("a/b"), above("a")) == ("a", "a/b", "a", "")
    assert describe_place("data", "runs/7") == "data / runs / 7"
    counts = ("empty", "1 entry", "3 entries", "the first 1,000 of 5,000 entries")
    assert tuple(count(*pair) for pair in ((0, 0), (1, 1), (3, 3), (1000, 5000))) == counts
