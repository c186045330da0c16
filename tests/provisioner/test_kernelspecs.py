"""Names and contents of the kernelspecs made from images."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.common.errors import NotFound
from bai_jupyter.provisioner.kernelspecs import kernelspec_for, kernelspecs_of


def image(name: str, *kernelspecs: str, **facts: object) -> dict[str, object]:
    specs = [{"name": spec, "display_name": spec.title(), "language": "python", **facts} for spec in kernelspecs]
    return {"name": name, "kernelspecs": specs}


def test_one_kernelspec_for_each_jupyter_kernel_of_an_image() -> None:
    specs = kernelspecs_of([image("bai/python:3.11", "python3", "ir"), image("empty:1")])
    assert list(specs) == ["bai-python-3.11-python3", "bai-python-3.11-ir"]
    assert specs["bai-python-3.11-ir"] == {
        "argv": [
            "bai",
            "kernel",
            "launch",
            "-f",
            "{connection_file}",
            "--image",
            "bai/python:3.11",
            "--kernelspec",
            "ir",
        ],
        "display_name": "Ir · bai/python 3.11",
        "language": "python",
        "interrupt_mode": "signal",
        "env": {},
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "backendai-provisioner",
                "config": {"image": "bai/python:3.11", "kernelspec": "ir"},
            },
            "bai": {"image": "bai/python:3.11", "preset": None},
        },
    }


def test_an_environment_that_was_saved_is_called_as_its_user_called_it() -> None:
    [spec] = kernelspecs_of([image("bai-user/alice-1b2c3d4e/my-work:20260131-120059", "python3")]).values()
    assert spec["display_name"] == "Python3 · my-work (2026-01-31 12:00)"


def test_the_debugger_is_known() -> None:
    [spec] = kernelspecs_of([image("a", "python3", metadata={"debugger": True, "other": 1})]).values()
    assert spec["metadata"]["debugger"] is True
    assert "other" not in spec["metadata"]


def test_images_that_would_share_a_name_keep_their_own_in_any_order() -> None:
    images = [image("a/b", "python3"), image("a:b", "python3"), image("c", "python3")]
    names = {spec["metadata"]["bai"]["image"]: name for name, spec in kernelspecs_of(images).items()}
    again = {spec["metadata"]["bai"]["image"]: name for name, spec in kernelspecs_of(images[::-1]).items()}
    assert names == again
    assert len(set(names.values())) == 3
    assert names["c"] == "bai-c-python3"


@given(st.lists(st.text(min_size=1), unique=True, max_size=6))
def test_every_name_is_one_that_jupyter_takes_and_none_is_lost(names: list[str]) -> None:
    specs = kernelspecs_of([image(name, "Python 3") for name in names])
    assert len(specs) == len(names)
    assert all(re.fullmatch(r"[a-z0-9._-]+", name) for name in specs)


PYTHON, MIXED = image("bai/python:3.11", "python3"), image("mixed", "python3", "ir")


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"image": "bai/python:3.11"}, "bai-python-3.11-python3"),
        ({"image": "bai/python:3.11", "preset": "small"}, "bai-python-3.11-small"),
        ({"image": "bai/python:3.11", "resources": {"mem": "4g", "cpu": "2"}}, "bai-python-3.11-cpu-2-mem-4g"),
        ({"image": "bai/python:3.11", "preset": "gpu", "resources": {"cpu": "2"}}, "bai-python-3.11-gpu-cpu-2"),
        ({"image": "mixed", "kernelspec": "ir", "preset": "small"}, "bai-mixed-ir-small"),
        ({"image": "mixed", "preset": "small"}, "bai-mixed-python3-small"),
    ],
)
def test_a_choice_has_a_kernelspec_named_for_it(choice: dict[str, object], name: str) -> None:
    assert kernelspec_for([PYTHON, MIXED], choice)[0] == name


def test_a_choices_kernelspec_holds_what_it_is_named_for_and_no_more() -> None:
    choice = {"image": "bai/python:3.11", "preset": "gpu", "resources": {"mem": "4g"}, "mounts": ["data"]}
    _, spec = kernelspec_for([PYTHON], choice)
    wanted = {"image": "bai/python:3.11", "kernelspec": "python3", "preset": "gpu", "resources": {"mem": "4g"}}
    assert spec["metadata"]["kernel_provisioner"]["config"] == wanted
    assert spec["argv"][-4:] == ["--preset", "gpu", "--resources", "mem=4g"]
    assert spec["display_name"] == "Python3 · bai/python 3.11 · gpu · mem=4g"


def test_a_name_that_could_mean_something_else_gets_its_hash() -> None:
    twins = [image("a/b", "python3"), image("a:b", "python3")]
    names = {kernelspec_for(twins, {"image": one, "preset": "small"})[0] for one in ("a/b", "a:b")}
    names |= {kernelspec_for([image("a/b", "python3")], {"image": "a/b", "preset": preset})[0] for preset in ("S", "s")}
    names |= {kernelspec_for([image("a/b", "python3")], {"image": "a/b", "preset": "python3"})[0]}
    assert len(names) == 5
    assert "bai-a-b-python3" not in names


def test_what_is_not_there_has_no_kernelspec() -> None:
    with pytest.raises(NotFound, match=r"There is no environment r for you. Nearest: bai/python:3.11"):
        kernelspec_for([PYTHON], {"image": "r"})
    with pytest.raises(NotFound, match=r"mixed contains no Jupyter kernel julia. It has: python3, ir"):
        kernelspec_for([MIXED], {"image": "mixed", "kernelspec": "julia"})
