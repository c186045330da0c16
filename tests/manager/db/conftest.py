"""Each kind of database, empty."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path, postgresql):
    return f"sqlite:///{tmp_path / 'manager.db'}" if request.param == "sqlite" else postgresql.new_database()
