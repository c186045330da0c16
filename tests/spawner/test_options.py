import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.spawner.options import Options, options_of_form, read_options


def test_what_was_chosen():
    assert read_options({}) == Options()
    given = {"image": "bai/hub:1", "preset": "small", "folders": {"data": "ro"}, "group": "gpu", "project": "vision"}
    assert read_options(given) == Options("bai/hub:1", "small", {"data": "ro"}, "gpu", "vision")


@pytest.mark.parametrize(
    ("forged", "sentence"),
    [
        ({"cmd": "sh"}, "user_options: 'cmd' is not image, preset, folders, group or project."),
        ({"image": ["a"]}, "image: ['a'] is not a text."),
        ({"folders": ["data"]}, "folders: ['data'] is not"),
        ({"folders": {"data": "wd"}}, "folders: 'wd' is not ro or rw."),
    ],
)
def test_what_is_no_option_is_refused(forged, sentence):
    with pytest.raises(BadRequest) as caught:
        read_options(forged)
    assert sentence in caught.value.message


def test_a_form_is_read_as_options():
    fields = {
        "image": ["bai/hub:1"],
        "preset": [""],
        "group": ["gpu"],
        "project": [""],
        "folder:data": ["ro"],
        "folder:old": [""],
        "_xsrf": ["x"],
    }
    assert options_of_form(fields) == {"image": "bai/hub:1", "group": "gpu", "folders": {"data": "ro"}}
    assert options_of_form({}) == {}


def test_again_is_what_was_chosen_last_whatever_else_the_form_says():
    assert options_of_form({"image": ["other"], "again": ['{"image": "bai/hub:1"}']}) == {"image": "bai/hub:1"}
    for forged in ("{", "[]", "[" * 100_000):
        with pytest.raises(BadRequest, match="options as JSON"):
            options_of_form({"again": [forged]})
