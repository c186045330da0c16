"""The filter and order language of lists, against real rows."""

from contextlib import suppress

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.manager.db.filters import Field, lower, moment, read_filter, read_order

TABLE = sa.table("things", *(sa.column(name) for name in ("name", "size", "status", "is_on", "note", "at")))
FIELDS = {
    "name": Field(TABLE.c.name),
    "size": Field(TABLE.c.size),
    "status": Field(TABLE.c.status, lower),
    "is_on": Field(TABLE.c.is_on),
    "note": Field(TABLE.c.note),
    "at": Field(sa.column("at", sa.DateTime), moment),
    "text": Field(sa.column("name", sa.String)),
    "count": Field(sa.column("size", sa.Integer)),
    "flag": Field(sa.column("is_on", sa.Boolean)),
}
ROWS = [
    {"name": "ant", "size": 1, "status": "active", "is_on": 1, "note": None},
    {"name": "Bee", "size": 2, "status": "inactive", "is_on": 0, "note": 'say "hi"'},
    {"name": "cat_%", "size": 30, "status": "before-verification", "is_on": 1, "note": "x"},
]


@pytest.fixture(scope="module")
def conn():
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name, size, status, is_on, note, at)")
        connection.execute(sa.insert(TABLE), ROWS)
        yield connection
    engine.dispose()


def names(conn, text):
    return "".join(conn.execute(sa.select(TABLE.c.name).where(read_filter(text, FIELDS))).scalars())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('name == "ant"', "ant"),
        ('name != "ant"', "Beecat_%"),
        ("size >= 2 & size < 30", "Bee"),
        ('status == "ACTIVE"', "ant"),
        ('status in ["ACTIVE", "before_verification"]', "antcat_%"),
        ("is_on == true", "antcat_%"),
        ("note is null", "ant"),
        ("note isnot null", "Beecat_%"),
        ("note == null", "ant"),
        (r'note == "say \"hi\""', "Bee"),
        ('name like "%e%"', "Bee"),
        ('name ilike "b%"', "Bee"),
        ('name contains "_%"', "cat_%"),
        ('name == "ant" | name == "Bee" & size == 7', "ant"),
        ('(name == "ant" | name == "Bee") & size == 2', "Bee"),
        ("!(size == 1)", "Beecat_%"),
        ("size == 1 | !size == 2", "antcat_%"),
        ("size in []", ""),
        (f"size == {'9' * 20}", ""),
        (f"size < -{'9' * 20} | size < {'9' * 4000} & size == 2", "Bee"),
        ('name == "\'; DROP TABLE things; --"', ""),
    ],
)
def test_what_is_found(conn, text, found):
    assert names(conn, text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a field was expected"),
        ("name", "an operator was expected|one of =="),
        ("name ==", "a value was expected"),
        ("secret == 1", "no field 'secret'"),
        ('name == "ant" "bee"', "& or |"),
        ('(name == "ant"', r"\) was expected"),
        ("size === 1", "cannot be read|value such as"),
        ("name == #", "from character 8"),
        ("size in 3", "a list in"),
        ("size == [3]", "a list in"),
        ('at > "yesterday"', "cannot be compared"),
        ("at > 3", "cannot be compared"),
        ("text == 3", "cannot be compared"),
        ('count in [1, "2"]', "cannot be compared"),
        ("count == true", "cannot be compared"),
        ("flag == 1", "cannot be compared"),
        ("!" * 100 + "size == 1", "40 deep"),
        ("x" * 5000, "4096 are allowed"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(BadRequest, match=message):
        read_filter(text, FIELDS)


@given(st.text(alphabet='nameszi =!<>&|()[],"\\ 1truel', max_size=40))
def test_nothing_else_than_a_refusal_comes_of_nonsense(text):
    with suppress(BadRequest):
        read_filter(text, FIELDS)


def test_order(conn):
    def ordered(text):
        return list(conn.execute(sa.select(TABLE.c.size).order_by(*read_order(text, FIELDS))).scalars())

    assert ordered("-size") == [30, 2, 1]
    assert ordered("is_on, +size") == [2, 1, 30]
    with pytest.raises(BadRequest, match="no field 'age'"):
        read_order("size,-age", FIELDS)
