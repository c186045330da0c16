"""What people read of an image."""

import pytest

from bai_jupyter.common.environments import title_of


@pytest.mark.parametrize(
    ("image", "title"),
    [
        ("bai/python:3.11", "bai/python 3.11"),
        ("registry.example.org:5000/lab/torch:2.3-cuda12", "registry.example.org:5000/lab/torch 2.3-cuda12"),
        ("registry.example.org:5000/lab/torch", "registry.example.org:5000/lab/torch"),
        ("lab/torch@sha256:0123", "lab/torch@sha256:0123"),
        ("bai-user/alice-1b2c3d4e/my-work:20260131-120059", "my-work (2026-01-31 12:00)"),
    ],
)
def test_title_has_spaces_where_lines_may_break(image: str, title: str) -> None:
    assert title_of(image) == title
