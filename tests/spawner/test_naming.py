import re

import pytest

from bai_jupyter.spawner.naming import session_name_of

NAME = re.compile(r"(?=.{4,64}\Z)\w[\w.-]*\w", re.ASCII)  # as the manager has it


def test_plain_names_stay():
    assert session_name_of("") == "jupyterhub"
    assert session_name_of("exam-2.b") == "jupyterhub-exam-2.b"


@pytest.mark.parametrize("server", ["Kim's exam", "실험", "$p~c|a! ch@rs", "x" * 200, "-", "a-", "~", "a b"])
def test_any_other_becomes_one_of_its_own(server):
    name = session_name_of(server)
    assert NAME.fullmatch(name)
    assert name != session_name_of(f"{server} ")
