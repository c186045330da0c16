"""The agent of these tests holds real volumes."""

from typing import Any

import pytest


@pytest.fixture
def agent(holder: Any) -> Any:
    return holder
