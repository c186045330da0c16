"""Who is heard when several say what a kernel should run on."""

import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.provisioner.options import KernelOptions, resolve, sources_of

LAST = {"python": {"preset": "last", "mounts": ["last"]}, "r": {"preset": "other"}}


def options(keywords=None, environ=None, config=None) -> KernelOptions:
    return resolve(sources_of(keywords or {}, environ or {}, {"image": "python", **(config or {})}))


def test_the_highest_source_wins_and_each_is_heard_when_those_above_are_silent():
    keywords = {"bai_preset": "keyword", "bai_metadata": {"preset": "notebook"}, "bai_last_choices": LAST}
    environ, config = {"BAI_PRESET": "environ"}, {"preset": "kernelspec"}
    assert options(keywords, environ, config).preset == "keyword"
    del keywords["bai_preset"]
    assert options(keywords, environ, config).preset == "notebook"
    del keywords["bai_metadata"]
    assert options(keywords, environ, config).preset == "environ"
    assert options(keywords, {}, config).preset == "kernelspec"
    assert options(keywords).preset == "last"
    assert options().preset is None


def test_each_key_for_itself():
    found = options({"bai_metadata": {"preset": "notebook"}, "bai_last_choices": LAST}, {"BAI_MOUNTS": "a,b"})
    assert (found.image, found.preset, found.mounts) == ("python", "notebook", ("a", "b"))


def test_the_last_choice_is_that_of_the_image():
    assert options({"bai_image": "r", "bai_last_choices": LAST}).preset == "other"
    assert options({"bai_image": "julia", "bai_last_choices": LAST}).preset is None


def test_amounts_change_a_preset_of_their_own_or_a_lower_source_only():
    config = {"preset": "small", "resources": {"mem": "1g"}}
    assert options(config=config).resources == {"mem": "1g"}
    assert options({"bai_resources": "mem=4g"}, config=config).resources == {"mem": "4g"}
    assert options({"bai_resources": "mem=4g"}, config=config).preset == "small"
    assert options({"bai_metadata": {"preset": "large"}}, config=config).resources == {}


def test_what_nobody_knows_is_refused():
    with pytest.raises(ValueError, match=r"bai_colour: no such start option. There are bai_image"):
        options({"bai_colour": "red"})
    with pytest.raises(BadRequest, match=r"bai.preset: 3 is not a text"):
        options({"bai_metadata": {"preset": 3}})
    with pytest.raises(ValueError, match="'cpu' is not NAME=VALUE"):
        options({"bai_resources": "cpu"})


def test_the_notebooks_own_folder_is_mounted_once_and_as_asked():
    asked = options({}, {"BAI_MOUNTS": "data:ro,more"})
    assert asked.mounting("data").request("demo").to_json()["config"]["mounts"] == ["data", "more"]
    assert asked.mounting("own").mounts == ("data:ro", "more", "own")
    assert asked.request("demo").read_only == ("data",)
