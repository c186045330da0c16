"""What is a choice, and what is refused with which words."""

import pytest

from bai_jupyter.choice import read_choice, request_of
from bai_jupyter.common.errors import BadRequest


def test_what_is_left_open_is_left_out():
    raw = {"image": "r:4", "preset": None, "mounts": [], "resources": {"cpu": 2, "mem": "4g"}}
    assert read_choice(raw) == {"image": "r:4", "resources": {"cpu": "2", "mem": "4g"}}


def test_a_folder_may_be_asked_for_to_be_read_only():
    choice = read_choice({"image": "r:4", "mounts": ["data", "papers:ro"]})
    assert choice["mounts"] == ["data", "papers:ro"]
    config = request_of(choice, "demo").to_json()["config"]
    assert config == {"mounts": ["data", "papers"], "mount_options": {"papers": {"permission": "ro"}}}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([], "bai: [] is not an object."),
        ({"environ": {"TOKEN": "x"}}, 'bai: "environ" is not one of image, kernelspec, preset, '),
        ({"image": 3}, "bai.image: 3 is not a text."),
        ({"mounts": "data"}, 'bai.mounts: "data" is not a list of folder names.'),
        ({"mounts": [1]}, "bai.mounts: [1] is not a list of folder names."),
        (
            {"mounts": ["data:rx"]},
            'bai.mounts: ["data:rx"] is not a list of folder names, each alone or with :ro behind it.',
        ),
        ({"mounts": [":ro"]}, 'bai.mounts: [":ro"] is not a list of folder names, '),
        ({"resources": "cpu=2"}, 'bai.resources: "cpu=2" is not an object of amounts, '),
        ({"resources": {"cpu": "two"}}, 'bai.resources: {"cpu": "two"} is not an object of amounts, '),
        ({"resources": {"cpu": True}}, 'bai.resources: {"cpu": true} is not an object of amounts, '),
    ],
)
def test_what_cannot_be_read_is_named(raw, sentence):
    with pytest.raises(BadRequest) as refused:
        read_choice(raw)
    assert refused.value.message.startswith(sentence)
