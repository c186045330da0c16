"""What may hold how much, and the refusal with its figures."""

from typing import Any

import pytest
from bai_agent.files import FileFault
from bai_agent.quotas import full, limits_of, refuse_excess

KIB = 1024
FOLDER = {"name": "data", "quota_bytes": 10 * KIB}
OWNER = {"scope": {"name": "kim", "limit_bytes": 12 * KIB}}


@pytest.mark.parametrize(
    ("params", "limits"),
    [
        ({"quota_bytes": None}, []),
        (FOLDER, [("data", 10 * KIB, 1 * KIB)]),
        ({"quota_bytes": None, **OWNER}, [("kim", 12 * KIB, 3 * KIB)]),
        ({**FOLDER, **OWNER}, [("data", 10 * KIB, 1 * KIB), ("kim", 12 * KIB, 3 * KIB)]),
    ],
)
def test_a_folder_and_all_of_its_owner_may_have_limits(
    params: dict[str, Any], limits: list[tuple[str, int, int]]
) -> None:
    assert list(limits_of(params, 1 * KIB, 2 * KIB)) == limits


def test_what_fits_exactly_is_let_in_and_what_is_replaced_counts_for_it() -> None:
    refuse_excess([("data", 10 * KIB, 8 * KIB)], "x", 2 * KIB)
    refuse_excess([("data", 10 * KIB, 8 * KIB)], "x", 5 * KIB, replaced=3 * KIB)


def test_the_first_limit_that_is_exceeded_is_told_with_its_figures() -> None:
    with pytest.raises(FileFault) as caught:
        refuse_excess([("data", 10 * KIB, 1 * KIB), ("kim", 12 * KIB, 11 * KIB)], "x", 3 * KIB)
    assert caught.value.reason.code == "quota-reached"
    figures = {"limit": "12 KiB", "used": "11 KiB", "need": "3 KiB", "excess": "2 KiB"}
    assert caught.value.reason.params == {"folder": "kim", "file": "x", **figures}


def test_a_full_file_system_is_told_by_the_limit_with_the_least_room() -> None:
    fault = full({"path": "x"}, [("data", 10 * KIB, 1 * KIB), ("kim", 12 * KIB, 11 * KIB)])
    assert fault.reason.params == {"folder": "kim", "file": "x", "limit": "12 KiB"}
