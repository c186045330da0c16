"""Saving and restoring variables of R, in plain R processes that know nothing of it."""

import json
import os
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from bai_agent.variables.languages import LANGUAGES, SAVE_TO, WAKE_FROM

R = LANGUAGES["R"]
NEEDS_R = pytest.mark.soak
POINTER = "it holds a connection, or another pointer out of R"


def test_what_is_read_at_the_start_ends_its_line() -> None:
    """R ignores a last line that does not, without a word."""
    assert R.wake("/run/bai/it's", 'a"b').endswith("\n")
    assert '"/run/bai/it\'s"' in R.wake("/run/bai/it's", "")


class Bench:
    """``save`` runs code before, ``wake`` behind; each is a process of its own in ``here``."""

    def __init__(self, folder: Path, missing: Any) -> None:
        if shutil.which("R") is None:
            missing("R", "R is not on PATH")
        self.here = folder / "here"
        self.here.mkdir()
        (folder / "home").mkdir()
        self.folder = folder / "home" / ".bai" / "variables" / "session" / "kernel"
        self._program, self._report, self._startup = folder / R.file, folder / "report.json", folder / "startup"
        self._program.write_bytes(R.program())

    def save(self, code: str, seconds: float = 60) -> dict[str, Any]:
        call = R.save(str(self._program), str(self._report), "mine", seconds)
        return self._run(f"{textwrap.dedent(code)}\n{call}\n", {SAVE_TO: str(self.folder)})

    def wake(self, code: str) -> dict[str, Any]:
        """As a kernel does it: its profile waits for the package IRkernel, which a hook stands for here."""
        self._startup.write_text(R.wake(str(self._program), str(self._report)))
        loaded = 'invisible(lapply(getHook(packageEvent("IRkernel", "onLoad")), function(hook) hook()))'
        env = {WAKE_FROM: str(self.folder), R.startup: str(self._startup)}
        return self._run(f"{loaded}\n{textwrap.dedent(code)}\n", env)

    def _run(self, code: str, env: dict[str, str]) -> dict[str, Any]:
        self._report.unlink(missing_ok=True)
        argv = ["R", "--no-echo", "--no-save", "-f", "-"]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.here), "LC_ALL": "C.UTF-8", **env}
        ran = subprocess.run(argv, cwd=self.here, env=env, input=code, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        return dict(json.loads(self._report.read_text()))


@pytest.fixture
def bench(tmp_path: Path, missing: Any) -> Bench:
    return Bench(tmp_path, missing)


def why(said: list[dict[str, str]]) -> dict[str, str]:
    return {one["name"]: one["why"] for one in said}


@NEEDS_R
def test_everything_is_as_it_was(bench: Bench) -> None:
    (bench.here / ".Rprofile").write_text("of_profile <- 7; n <- 3\n")
    saved = bench.save("""
        n <- 5; nothing <- NULL; .hidden <- 1; `odd "name"` <- "\\u00fc\\"\\\\"
        count <- function() n
        make <- function() { k <- 0; function() { k <<- k + 1; k } }
        more <- make(); invisible(more())
        shared <- new.env(); both <- list(shared, shared)
        setClass("Square", representation(side = "numeric"))
        invisible(setGeneric("area", function(of) standardGeneric("area")))
        setMethod("area", "Square", function(of) of@side^2)
        square <- new("Square", side = 3)
        fit <- lm(mpg ~ wt, mtcars)
        set.seed(1)
        library(splines); options(digits = 4)
        dir.create("there"); setwd("there")
        """)
    assert ("error" in saved, saved["left_out"]) == (False, [])
    assert {path.stat().st_mode & 0o777 for path in bench.folder.iterdir()} == {0o600}
    woken = bench.wake("""
        stopifnot(of_profile == 7, n == 5, is.null(nothing), exists("nothing"), .hidden == 1, count() == 5)
        n <- 9
        stopifnot(count() == 9, more() == 2, identical(both[[1]], shared), identical(both[[2]], shared))
        stopifnot(`odd "name"` == "\\u00fc\\"\\\\", area(square) == 9, is(square, "Square"))
        stopifnot(abs(coef(fit)[["wt"]] + 5.344) < 0.01, is.numeric(predict(fit, data.frame(wt = 3))))
        stopifnot(search()[[2]] == "package:splines", getOption("digits") == 4, basename(getwd()) == "there")
        first <- runif(1); set.seed(1); stopifnot(first == runif(1), Sys.getenv("R_PROFILE_USER") == "")
        """)
    assert (woken["missing"], woken["variables"]) == ([], saved["variables"])


@NEEDS_R
def test_what_cannot_be_saved_is_named_and_takes_nothing_along(bench: Bench) -> None:
    saved = bench.save("""
        opened <- file("/dev/null", "r"); holder <- list(1, list(opened)); kept <- 1
        hidden <- new.env(); hidden$deep <- list(opened)
        reads <- local({ from <- opened; function() readLines(from) })
        makeActiveBinding("active", function() 1, globalenv())
        delayedAssign("never", stop("no such thing"))
        of_itself <- structure(list(a = 1), class = c("data.table", "data.frame"),
                               .internal.selfref = attr(opened, "conn_id"))
        tables <- list(of_itself, deep = list(of_itself))
        empty <- methods::new("externalptr")
        attach(mtcars)
        """)
    assert why(saved["left_out"]) == {
        "opened": "a connection",
        "holder": POINTER,
        "hidden": POINTER,
        "reads": POINTER,
        "active": "an active binding",
        "never": "no such thing",
        "mtcars": "only packages are attached again",
    }
    woken = bench.wake('stopifnot(identical(ls(), c("empty", "kept", "of_itself", "tables")))')
    assert (woken["variables"], woken["left_out"]) == (4, saved["left_out"])


@NEEDS_R
def test_what_has_no_time_and_what_is_not_there_is_named(bench: Bench) -> None:
    saved = bench.save("x <- 1; y <- 2", seconds=-1)
    assert (saved["variables"], why(saved["left_out"])["x"]) == (0, "there was no time left for it")
    bench.save("x <- 1; dir.create('gone'); setwd('gone'); library(splines)")
    (bench.here / "gone").rmdir()
    assert [one["name"] for one in bench.wake("stopifnot(x == 1)")["missing"]] == [str(bench.here / "gone")]
    (bench.folder / "variables.rds").unlink()
    assert bench.wake("")["error"] == "it was not saved by a kernel of R"


@NEEDS_R
def test_a_save_is_replaced_as_a_whole_and_old_ones_go(bench: Bench) -> None:
    bench.save("x <- 1")
    others = [bench.folder.parents[1] / session / "k" for session in ("old", "new")]
    for other, age_s in zip(others, (31 * 24 * 3600, 60), strict=True):
        other.mkdir(parents=True)
        (other / "manifest.json").touch()
        at = (bench.folder / "manifest.json").stat().st_mtime - age_s
        os.utime(other / "manifest.json", (at, at))
    (bench.folder / "draft-of-a-killed-one").touch()
    bench.save("x <- 2")
    assert sorted(path.name for path in bench.folder.iterdir()) == ["manifest.json", "variables.rds"]
    assert [other.parent.exists() for other in others] == [False, True]
    bench.wake("stopifnot(x == 2)")
