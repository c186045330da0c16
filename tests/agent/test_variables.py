"""Saving and restoring variables as the agent does it, in plain Python processes that know nothing of it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from bai_agent.jupyter_kernels import language_of
from bai_agent.variables import outside
from bai_agent.variables.languages import LANGUAGES, SAVE_TO, WAKE_FROM

PYTHON = LANGUAGES["python"]


class Bench:
    """``save`` and ``wake`` run code before and after, each in a process of its own in ``here``."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        self.here.mkdir()
        self.folder = folder / "home" / ".bai" / "variables" / "session" / "kernel"
        (folder / "home").mkdir()
        self._program = folder / PYTHON.file
        self._program.write_bytes(PYTHON.program())
        self._report = folder / "report.json"

    def save(self, code: str, seconds: float = 60, before: str = "") -> dict[str, Any]:
        call = PYTHON.save(str(self._program), str(self._report), "mine", seconds)
        return self._run(f"{before}\n{textwrap.dedent(code)}\n{call}", {SAVE_TO: str(self.folder)})

    def wake(self, code: str, before: str = "") -> dict[str, Any]:
        call = PYTHON.wake(str(self._program), str(self._report))
        return self._run(f"{before}\n{call}\n{textwrap.dedent(code)}", {WAKE_FROM: str(self.folder)})

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text())

    def _run(self, code: str, env: dict[str, str]) -> dict[str, Any]:
        self._report.unlink(missing_ok=True)
        ran = subprocess.run([sys.executable, "-c", code], cwd=self.here, env=env, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        assert ran.stderr == ""
        return json.loads(self._report.read_text())


SHELL = """
import contextlib, os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(user_module=sys.modules["__main__"])
shell.history_manager.enabled = False
def run(*cells):
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        for cell in cells: shell.run_cell(cell, store_history=True)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def why(said: list[dict[str, str]]) -> dict[str, str]:
    return {one["name"]: one["why"] for one in said}


def test_everything_is_as_it_was(bench: Bench) -> None:
    saved = bench.save("""
        import collections, dataclasses, enum, os.path as paths, decimal
        from fractions import Fraction
        first = ['shared']; second = {'of': first}; first.append(second)
        counter = 5
        def count(): return counter
        def make():
            n = 0
            def more():
                nonlocal n
                n += 1
                return n
            return more
        more = make(); more()
        class Base:
            def __init__(self, a): self.a = a
            def seen(self): return self.a, counter
        class Child(Base):
            def seen(self): return super().seen() + ('child',)
        child = Child(1); children = [child, Child(2)]
        @dataclasses.dataclass
        class Data:
            a: int = 1
        data = Data(4)
        class Colour(enum.Enum):
            RED = 1
        red = Colour.RED
        Pair = collections.namedtuple('Pair', 'a b')
        pair = Pair(1, half := Fraction(1, 2))
        big = bytearray(b'x') * 1_000_000
        _own = 7
        out = __import__('sys').stdout
        """)
    assert (saved["error"], saved["left_out"], saved["doubtful"]) == (None, [], [])
    woken = bench.wake("""
        assert first == ['shared', second] and second['of'] is first
        assert count() == 5 and child.seen() == (1, 5, 'child')
        counter = 9
        assert count() == 9 and child.seen() == (1, 9, 'child')
        assert more() == 2
        assert children[0] is child and type(child) is Child and isinstance(child, Base)
        assert data == Data(4) and Colour.RED is red
        assert pair == Pair(1, half) and half == Fraction(1, 2) and decimal.Decimal(1)
        assert big == b'x' * 1_000_000 and type(big) is bytearray
        assert paths.join('a', 'b') and collections.deque([1])
        assert _own == 7 and out is __import__('sys').stdout
        assert type(__builtins__).__name__ == 'module'
        assert not [path for path in __import__('sys').path if 'variables' in path]
        """)
    assert (woken["error"], woken["missing"], woken["variables"]) == (None, [], saved["variables"])


def test_outputs_and_the_numbers_of_cells_are_as_they_were(bench: Bench) -> None:
    """The disk is full for the largest: outputs come last, so it takes nothing along."""
    saved = bench.save(
        """
        import resource
        run("x = ['mine']", "x", "%pwd", "open(os.devnull)", "sys", "bytes(1_000_000)", "'last'", "nothing")
        for name in ("shell", "run", "InteractiveShell"): del globals()[name]
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))
        """,
        before=SHELL,
    )
    assert saved["error"] is None
    left_out = why(saved["left_out"])
    assert left_out == {"Out[4]": "an open file", "Out[6]": "[Errno 27] File too large"}
    woken = bench.wake(
        """
        assert x == ['mine'] and Out[2] is x and _2 is x and Out[5] is sys and _7 == 'last'
        assert 4 not in Out and 6 not in Out and len(Out) == 4
        assert In[2] == 'x' and _i3 == '%pwd' and 'pwd' in In[3] != _i3 and len(In) == 9
        run("[x, _7]")
        assert Out[9] == [x, 'last'] and In[9] == '[x, _7]' and shell.execution_count == 10
        """,
        before=SHELL,
    )
    assert (woken["error"], woken["missing"], why(woken["left_out"])) == (None, [], left_out)
    assert bench.wake("assert x == ['mine'] and '_2' not in globals()")["error"] is None  # in a Python without IPython


def test_what_cannot_be_saved_is_named_and_takes_nothing_along(bench: Bench) -> None:
    saved = bench.save("""
        import io, socket, threading
        shared = ['whole']
        lock = threading.Lock()
        holder = [shared, ['new'], {'deep': (1, lock)}]
        after = [shared, holder[1]]
        opened = open(__import__('os').devnull)
        buffer = io.BytesIO(b'kept')
        sock = socket.socket()
        going = (n for n in 'abc')
        thread = threading.Thread()
        class Loud:
            def __reduce__(self):
                print('heard by nobody')
                raise RuntimeError('it does not want to')
        loud = Loud()
        made = type(io)('made')
        nested = []
        for _ in range(100_000): nested = [nested]
        class Array: __module__ = 'cupy._core'
        Array.__reduce__ = lambda self: (list, ())
        on_gpu = Array()
        opened.close(); sock.close()
        """)
    left_out = why(saved["left_out"])
    assert left_out.pop("nested") == "Could not pickle object as excessively deep recursion required."
    assert left_out == {
        "lock": "a lock",
        "holder": "it holds a lock",
        "opened": "an open file",
        "sock": "a socket",
        "going": "a generator or coroutine under way",
        "thread": "a thread",
        "loud": "it does not want to",
        "made": "a module made by hand",
    }
    assert why(saved["doubtful"]) == {"on_gpu": "what it held on a GPU was copied to host memory"}
    woken = bench.wake("""
        assert after == [['whole'], ['new']] and after[0] is shared and buffer.read() == b'kept'
        assert on_gpu == [] and 'holder' not in globals()
        """)
    assert woken["missing"] == []
    assert why(woken["left_out"]).keys() == {*left_out, "nested"}


def test_what_cannot_be_restored_is_named_and_takes_nothing_along(bench: Bench) -> None:
    """A module that is there no more, objects that raise: those that share something with them are named too."""
    (bench.here / "gone.py").write_text("class Thing:\n    def __init__(self): self.a = 1\n")
    saved = bench.save("""
        import gone, collections
        shared = ['mine']
        things = [gone.Thing(), shared, collections.Counter('a'), ['theirs']]
        same = [things[3]]
        counter = collections.Counter('b')
        class Raises:
            def __setstate__(self, state): raise RuntimeError('it does not want to')
        raises = Raises(); raises.a = 1
        both = [shared, raises]
        last = [shared, counter, 'last']
        """)
    assert saved["left_out"] == []
    (bench.here / "gone.py").unlink()
    woken = bench.wake("""
        assert counter == collections.Counter('b') and last == [['mine'], counter, 'last']
        assert last[0] is shared and last[1] is counter
        assert not {'things', 'same', 'raises', 'both', 'gone'} & set(globals())
        """)
    missing = why(woken["missing"])
    assert missing.pop("things").startswith("there is no gone.Thing here")
    assert missing == {
        "gone": "No module named 'gone'",
        "same": "it shares something with a variable that could not be restored",
        "raises": "it does not want to",
        "both": "it shares something with a variable that could not be restored",
    }
    assert woken["variables"] == saved["variables"] - 5


def test_a_save_is_replaced_as_a_whole_or_not_at_all(bench: Bench) -> None:
    bench.save("x = 1")
    before = bench.manifest()
    failed = bench.save("""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        x = bytes(1_000_000)
        """)
    assert failed["error"] == "[Errno 27] File too large"
    assert bench.manifest() == before
    assert {path.name for path in bench.folder.iterdir()} == {"manifest.json", before["data"]}
    bench.save("x = 3")
    assert not (bench.folder / before["data"]).exists()
    assert bench.wake("assert x == 3")["missing"] == []
    assert {path.stat().st_mode & 0o777 for path in bench.folder.iterdir()} == {0o600}
    parents = [bench.folder, *list(bench.folder.parents)[:3]]
    assert {path.stat().st_mode & 0o777 for path in parents} == {0o700}


def test_when_the_time_is_up_what_was_saved_by_then_counts(bench: Bench) -> None:
    """The clock is one of ours: it is late as soon as the large one begins."""
    saved = bench.save(
        """
        import time
        small = [1]
        class Late:
            def __reduce__(self):
                time.monotonic = lambda: float('inf')
                return (bytes, (b'x' * 1_000_000,))
        late = Late()
        after = [small]
        """
    )
    assert why(saved["left_out"]) == dict.fromkeys(("late", "after"), "there was no time left for it")
    assert bench.wake("assert small == [1] and 'after' not in globals()")["missing"] == []


def test_an_interrupt_ends_it_and_leaves_the_one_before(bench: Bench) -> None:
    bench.save("x = 1")
    before = bench.manifest()
    said = bench.save("""
        class Interrupts:
            def __reduce__(self): raise KeyboardInterrupt
        x = Interrupts()
        """)
    assert said["error"] == "it was interrupted"
    assert bench.manifest() == before

    said = bench.save("""
        import os
        replace = os.replace
        def interrupted(source, target):
            replace(source, target)
            os.replace = replace
            raise KeyboardInterrupt
        x = 2
        os.replace = interrupted
        """)
    assert said["error"] == "it was interrupted"  # at the last moment: the new one is there
    assert bench.manifest() != before
    assert bench.wake("assert x == 2")["missing"] == []


def test_another_python_restores_nothing_and_says_so(bench: Bench) -> None:
    bench.save("x = 1")
    path = bench.folder / "manifest.json"
    path.write_text(json.dumps({**bench.manifest(), "python": "2.7.18"}))
    assert "it was saved by Python 2.7.18" in bench.wake("assert 'x' not in globals()")["error"]
    path.write_text('{"format": 1, "r": "4.2.2", "data": "variables.rds"}')
    assert bench.wake("assert 'x' not in globals()")["error"] == "it was not saved by a kernel of Python"
    path.unlink()
    assert "No such file" in bench.wake("assert 'x' not in globals()")["error"]


def test_place_and_imports(bench: Bench) -> None:
    (bench.here / "below").mkdir()
    (bench.here / "below" / "helper.py").write_text("value = 3")
    bench.save("import os, sys; os.chdir('below'); sys.path.append(os.getcwd()); import helper; from json import dumps")
    assert (
        bench.wake("""
        assert os.path.basename(os.getcwd()) == 'below' and helper.value == 3 and dumps([]) == '[]'
        """)["missing"]
        == []
    )
    for path in (bench.here / "below").rglob("*.py"):
        path.unlink()
    for path in sorted((bench.here / "below").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (bench.here / "below").rmdir()
    missing = why(bench.wake("assert dumps([]) == '[]'")["missing"])
    assert missing.keys() == {str(bench.here / "below"), "helper"}


def test_old_saves_of_other_kernels_are_removed(bench: Bench) -> None:
    import os

    root = bench.folder.parents[1]
    for name, age_days in (("old", 31), ("new", 29)):
        other = root / name / "kernel"
        other.mkdir(parents=True)
        (other / "manifest.json").touch()
        then = (other / "manifest.json").stat().st_mtime - age_days * 24 * 3600
        os.utime(other / "manifest.json", (then, then))
    bench.save("x = 1")
    assert {path.name for path in root.iterdir()} == {"new", "session"}


def test_a_report_is_cut_to_size_and_never_believed(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for text in ("", "[]", "{", "[" * 100_000):
        path.write_text(text)
        assert outside.read_report(tmp_path, "report.json") is None
    said = {"error": "x\n" * 500, "variables": "many", "left_out": [{"name": 5, "why": {}}] * 500 + ["x"], "missing": 3}
    path.write_text(json.dumps(said))
    report = outside.read_report(tmp_path, "report.json")
    assert report is not None
    assert len(report.error or "") == 200
    assert "\n" not in (report.error or "")
    assert (report.variables, len(report.left_out), report.missing) == (0, 100, [])
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert outside.read_report(tmp_path, "report.json") is None


def test_what_is_told_of_a_wake() -> None:
    report = outside.Report("", None, 3, 0, [], [], [])
    assert outside.woken(report).text == "Restored: 3 variables, imports and outputs."
    one = {"name": "lock", "type": "lock", "why": "a lock"}
    partly = outside.Report("", None, 3, 0, [one], [one] * 30, [one])
    assert "Not restored, or doubtful: lock (a lock)" in outside.woken(partly).text
    assert outside.woken(partly).text.endswith(" and 12 more.")
    assert outside.woken(outside.Report("", "no disk", 0, 0, [], [], [])).code == "wake-failed"


def test_kernels_that_an_earlier_agent_has_left_can_still_save() -> None:
    assert [language_of(saves) for saves in (True, "python", "R")] == [PYTHON, PYTHON, LANGUAGES["R"]]
    assert [language_of(saves) for saves in (False, None, "lua")] == [None] * 3
