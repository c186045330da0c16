"""*Run on cluster*: what is asked of the manager, what is refused, and what the session then does with the notebook."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes_agent import IMAGE
from nbformat import validate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from real_manager import RealManager
from tornado.web import HTTPError

from bai_jupyter.client import ManagerClient
from bai_jupyter.extension import run_inside
from bai_jupyter.extension.runs import command_of, copy_to_run, python_of, result_path

IMAGE_CHOICE = {"image": IMAGE.name, "kernelspec": "python3", "resources": {"cpu": "1", "mem": "1g"}}
CHOICE = {"choice": IMAGE_CHOICE}
PROGRAM = str(run_inside.__file__)
KERNELSPEC = {"name": "bai-python", "display_name": "Python", "language": "python"}


@pytest.fixture
def home(jp_root_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's folder is the home folder, with ``sub/train.ipynb`` in it."""
    monkeypatch.setenv("BAI_HOME_ROOT", str(jp_root_dir))
    (jp_root_dir / "sub").mkdir()
    ran = new_code_cell("1", execution_count=7, outputs=[new_output("stream", text="7")])
    notebook = new_notebook(
        cells=[new_markdown_cell("# Train"), ran], metadata={"kernelspec": KERNELSPEC, "bai": {"preset": "small"}}
    )
    (jp_root_dir / "sub" / "train.ipynb").write_text(json.dumps(notebook))
    return jp_root_dir


def files_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "sub").glob("*.ipynb"))


async def test_a_copy_beside_the_notebook_is_run_by_a_batch_session(
    bai: Callable[..., Any], home: Path, cluster: RealManager
) -> None:
    status, first = await bai("POST", "notebooks/sub/train.ipynb/runs", CHOICE)
    assert status == 201, first
    _, second = await bai("POST", "notebooks/sub/train.ipynb/runs", CHOICE)
    assert first["result"].startswith("sub/train-result-")
    assert files_in(home) == sorted(["train.ipynb", Path(first["result"]).name, Path(second["result"]).name])
    copy = json.loads((home / first["result"]).read_text())
    assert copy["metadata"]["kernelspec"] == KERNELSPEC
    assert "bai" not in copy["metadata"]
    assert [cell.get("outputs") for cell in copy["cells"]] == [None, []]
    view = cluster.ask("GET", f"/session/{first['session']}")
    assert (view["name"], view["type"]) == (first["name"], "batch")
    assert view["name"].startswith("train-")
    assert f"python - home/{first['result']} python3 <<" in view["startupCommand"]


async def test_runs_that_begin_together_have_a_copy_each(bai: Callable[..., Any], home: Path) -> None:
    answers = await asyncio.gather(*[bai("POST", "notebooks/sub/train.ipynb/runs", CHOICE) for _ in range(3)])
    assert [status for status, _ in answers] == [201] * 3
    assert len({answer["result"] for _, answer in answers}) == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("nothing.ipynb", CHOICE, 404, "nothing.ipynb"),
        ("50%.ipynb", CHOICE, 404, "50%.ipynb"),
        ("sub/train.ipynb", {"choice": {"image": IMAGE.name, "session": "demo"}}, 400, "a session of its own"),
        ("sub/train.ipynb", {"choice": {"preset": "small"}}, 400, "image"),
        ("sub/train.ipynb", {"choice": {**IMAGE_CHOICE, "image": "python:none"}}, 400, "python:none"),
        ("sub/train.ipynb", {"choice": {**IMAGE_CHOICE, "mounts": ["nothing"]}}, 400, "nothing"),
        ("sub/train.ipynb", {**CHOICE, "parameters": {"a b": 1}}, 400, "a name as Python has it"),
        ("sub/train.ipynb", {**CHOICE, "parameters": {"for": 1}}, 400, "a name as Python has it"),
        ("sub/train.ipynb", {**CHOICE, "parameters": {"a": float("nan")}}, 400, "a finite number"),
        ("sub/train.ipynb", {**CHOICE, "starts_at": "soon"}, 400, "soon"),
        ("bai:none/train.ipynb", CHOICE, 404, "none"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    bai: Callable[..., Any], home: Path, path: str, body: Any, status: int, sentence: str
) -> None:
    code, answer = await bai("POST", f"notebooks/{path}/runs", body)
    assert (code, sentence in answer["message"]) == (status, True), answer
    assert files_in(home) == ["train.ipynb"]


async def test_what_is_refused_only_when_it_is_asked_for_leaves_nothing(
    bai: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def still_fits(*_: Any) -> dict[str, Any]:
        return {"verdict": "now"}

    monkeypatch.setattr("bai_jupyter.client.ManagerClient.dry_run", still_fits)
    too_much = {"choice": {**IMAGE_CHOICE, "resources": {"cpu": "1000", "mem": "1g"}}}
    status, answer = await bai("POST", "notebooks/sub/train.ipynb/runs", too_much)
    assert (status, answer["code"]) == (400, "too-big"), answer
    assert files_in(home) == ["train.ipynb"]


async def test_a_notebook_outside_of_the_home_folder_is_refused(
    bai: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_HOME_ROOT", str(home / "elsewhere"))
    status, answer = await bai("POST", "notebooks/sub/train.ipynb/runs", CHOICE)
    assert (status, "home folder" in answer["message"]) == (400, True), answer
    assert files_in(home) == ["train.ipynb"]


async def test_a_notebook_in_a_folder_is_run_beside_it_by_a_session_that_has_the_folder(
    bai: Callable[..., Any], home: Path, cluster: RealManager
) -> None:
    await bai("POST", "folders", {"name": "runs"})
    content = json.loads((home / "sub" / "train.ipynb").read_text())
    await bai("PUT", "contents/runs/train.ipynb", {"type": "notebook", "format": "json", "content": content})
    status, answer = await bai("POST", "notebooks/bai:runs/train.ipynb/runs", CHOICE)
    assert status == 201, answer
    assert answer["result"].startswith("bai:runs/train-result-")
    (lying,) = cluster.folder.rglob("train-result-*.ipynb")
    assert lying.name == Path(answer["result"]).name
    view = cluster.ask("GET", f"/session/{answer['session']}")
    assert f"python - runs/{lying.name} python3 <<" in view["startupCommand"]
    assert "runs" in [one["name"] for one in view["mounts"]]
    read_only = {"choice": {**IMAGE_CHOICE, "mounts": ["runs:ro"]}}
    status, answer = await bai("POST", "notebooks/bai:runs/train.ipynb/runs", read_only)
    assert (status, "to read and write" in answer["message"]) == (400, True), answer


async def test_a_run_waits_for_its_time_and_has_its_parameters(
    bai: Callable[..., Any], home: Path, cluster: RealManager
) -> None:
    asked = {**CHOICE, "parameters": {"epochs": 3, "name": "it's"}, "starts_at": "30m"}
    status, answer = await bai("POST", "notebooks/sub/train.ipynb/runs", asked)
    assert status == 201, answer
    cell = json.loads((home / answer["result"]).read_text())["cells"][0]
    assert "".join(cell["source"]) == '# Parameters of this run\nepochs = 3\nname = "it\'s"'
    assert cluster.ask("GET", f"/session/{answer['session']}")["status"] == "PENDING"


async def test_a_run_whose_copy_cannot_be_saved_is_ended(
    bai: Callable[..., Any], home: Path, cluster: RealManager, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    create = ManagerClient.create_session

    async def listen(*args: Any) -> Any:
        answer = await create(*args)
        made.append(answer["sessionId"])
        return answer

    def refuse(*_: Any) -> None:
        raise HTTPError(507, "The disk is full.")

    monkeypatch.setattr(ManagerClient, "create_session", listen)
    monkeypatch.setattr(jp_serverapp.contents_manager, "save", refuse)
    status, _ = await bai("POST", "notebooks/sub/train.ipynb/runs", CHOICE)
    assert (status, files_in(home)) == (507, ["train.ipynb"])
    assert cluster.ask("GET", f"/session/{made[0]}")["status"] in ("TERMINATING", "TERMINATED", "CANCELLED")


def test_parameters_are_set_behind_the_cell_with_their_tag_and_only_once() -> None:
    cells = [new_code_cell("import os"), new_code_cell("n = 1", metadata={"tags": ["parameters"]}), new_code_cell("n")]
    once = copy_to_run(new_notebook(cells=cells), {"n": 2, "deep": {"a": [None, True, 1.5]}})
    again = copy_to_run(once, {"n": 3})
    assert [cell["source"].splitlines()[-1] for cell in once["cells"]] == [
        "import os",
        "n = 1",
        "deep = {'a': [None, True, 1.5]}",
        "n",
    ]
    assert [cell["source"].splitlines()[-1] for cell in again["cells"]] == ["import os", "n = 1", "n = 3", "n"]
    validate(again)
    old = new_notebook(cells=[])
    old["nbformat_minor"] = 4
    validate(copy_to_run(old, {"n": 3}))
    other = new_notebook(metadata={"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}})
    with pytest.raises(Exception, match="this is R"):
        copy_to_run(other, {"n": 3})


def test_an_image_without_ipykernel_cannot_run_notebooks() -> None:
    images = [{"name": "r", "kernelspecs": [{"name": "ir", "argv": ["R", "--slave"]}]}]
    with pytest.raises(Exception, match="has no Python kernel"):
        python_of("r", images)


def test_results_are_named_for_their_notebook_and_time() -> None:
    at = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
    assert str(result_path("a/b c.ipynb", at)) == "a/b c-result-20261130-1405.ipynb"


def run_in_shell(folder: Path, *sources: str) -> tuple[int, list[str], list[Any]]:
    """Exit code, what was printed, and the outputs of each cell, as a session's shell runs it."""
    content = copy_to_run(new_notebook(cells=[new_markdown_cell("# Text"), *map(new_code_cell, sources)]))
    (folder / "it's.ipynb").write_text(json.dumps(content))
    script = command_of(sys.executable, "it's.ipynb", "python3")
    done = subprocess.run(["/bin/sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)
    ran = json.loads((folder / "it's.ipynb").read_text())
    validate(ran)
    assert [path.name for path in folder.glob("*.new")] == []
    return done.returncode, done.stdout.splitlines(), [cell["outputs"] for cell in ran["cells"][1:]]


def test_all_cells_run_and_their_outputs_are_kept_as_a_page_keeps_them(tmp_path: Path) -> None:
    code, printed, outputs = run_in_shell(
        tmp_path,
        "print('one')\nprint('two')\n6 * 7",
        "shown = display('before', display_id=True)",
        "shown.update('after')",
        "from IPython.display import clear_output\nprint('gone')\nclear_output(wait=True)\nprint('here')",
    )
    assert (code, printed[-1]) == (0, "All cells ran: 4.")
    text, result = outputs[0]
    assert (text["text"], result["output_type"], result["data"]["text/plain"]) == ("one\ntwo\n", "execute_result", "42")
    assert outputs[1][0]["data"]["text/plain"] == "'after'"
    assert [one["text"] for one in outputs[3]] == ["here\n"]


def test_what_a_run_that_was_killed_in_a_save_has_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps(copy_to_run(new_notebook())))
    left = [".a-result-20261130-1405.ipynb.new", ".b c-result-20261130-1405-2.ipynb.new"]
    kept = [".a-result-20261130-1406.ipynb.new", "a-result-20261130-1405.ipynb", ".mine.ipynb.new", "mine.new"]
    for name in left + kept:
        (tmp_path / name).touch()
        if name != kept[0]:  # that one's run goes on
            os.utime(tmp_path / name, (0, 0))
    assert run_inside.run(str(tmp_path / "a.ipynb"), "no-such-kernel") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.ipynb", *kept])


def test_a_run_whose_notebook_never_comes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_inside, "COMES_S", 0)
    assert run_inside.run(str(tmp_path / "a.ipynb"), "python3") == 2
    assert "did not come" in capsys.readouterr().out


def test_the_cell_that_fails_is_the_last(tmp_path: Path) -> None:
    code, printed, outputs = run_in_shell(tmp_path, "1 / 0", "print('never')")
    assert (code, printed[-1]) == (1, "Cell 1 failed: ZeroDivisionError: division by zero")
    assert outputs[0][0]["ename"] == "ZeroDivisionError"
    assert outputs[1] == []


def test_a_cell_that_may_fail_is_not_the_last(tmp_path: Path) -> None:
    content = copy_to_run(new_notebook(cells=[new_code_cell("1 / 0"), new_code_cell("print('here')")]))
    content["cells"][0]["metadata"]["tags"] = ["raises-exception"]
    (tmp_path / "a.ipynb").write_text(json.dumps(content))
    done = subprocess.run([sys.executable, PROGRAM, "a.ipynb", "python3"], cwd=tmp_path, timeout=120, check=False)
    ran = json.loads((tmp_path / "a.ipynb").read_text())
    assert (done.returncode, ran["cells"][1]["outputs"][0]["text"]) == (0, "here\n")


def test_a_kernel_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    code, printed, _ = run_in_shell(tmp_path, "import os; os._exit(3)")
    assert (code, printed[-1]) == (2, "Cell 1: the kernel ended by itself.")
