"""Names and contents of the kernelspecs made from images."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.provisioner.kernelspecs import kernelspecs_of


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
        "display_name": "Ir · bai/python:3.11",
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
