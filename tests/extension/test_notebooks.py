"""What notebooks ask for is heard if they are trusted, in a real server whose provisioner notes how it is started."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fakes_agent import IMAGE as REAL_IMAGE
from nbformat.v4 import new_code_cell, new_notebook, new_output
from real_manager import RealManager

from bai_jupyter.common.reasons import Reason

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
IMAGE = {"name": "bai/python:3.11", "kernelspecs": [KERNELSPEC]}
CHOICE = {"preset": "small", "mounts": ["data"]}
STARTS_NOW = {"verdict": "now", "reason": None, "estimate_s": None}


def notebook(**metadata: Any) -> dict[str, Any]:
    cell = new_code_cell("1", outputs=[new_output("display_data", {"text/html": "<b>1</b>"})])
    cell.metadata["trusted"] = True  # as a page saves what its user has run
    return new_notebook(cells=[cell], metadata=metadata)  # type: ignore[no-any-return]


def save(server: Any, content: dict[str, Any], name: str = "a.ipynb") -> None:
    """As Lab does; the server signs it."""
    server.ask("PUT", f"/api/contents/{name}", {"type": "notebook", "format": "json", "content": content})


def arrive(server: Any, content: dict[str, Any], name: str = "a.ipynb") -> None:
    """As a file from somewhere else."""
    nbformat.write(nbformat.from_dict(content), server.home / "work" / name)


def start(server: Any, name: str = "a.ipynb", path: str | None = None) -> dict[str, Any]:
    body = {"path": path or name, "name": name, "type": "notebook", "kernel": {"name": "survivor"}}
    kernel: dict[str, Any] = server.ask("POST", "/api/sessions", body)["kernel"]
    return kernel


def is_launched(server: Any, kernel: dict[str, Any]) -> bool:
    return any(line[:2] == ["launched", kernel["id"]] for line in server.survivors)


@pytest.fixture
def started_with(server: Any, wait_until: Any) -> Any:
    """``started_with(kernel)``: the ``bai_`` keywords its provisioner was given."""

    def read(kernel: dict[str, Any]) -> dict[str, Any]:
        wait_until(lambda: is_launched(server, kernel), "the start of the kernel")
        return json.loads((server.home / f"options-{kernel['id']}.json").read_text())  # type: ignore[no-any-return]

    server.start()
    return read


def test_a_trusted_notebook_is_heard(server: Any, started_with: Any) -> None:
    save(server, notebook(bai=CHOICE))
    kernel = start(server)
    assert started_with(kernel) == {"bai_metadata": CHOICE}
    assert server.ask("GET", f"/api/kernels/{kernel['id']}")["bai"]["notice"] is None


def test_one_whose_session_begins_under_a_made_up_path_as_labs_do_is_heard(server: Any, started_with: Any) -> None:
    (server.home / "work" / "sub").mkdir()
    save(server, notebook(bai=CHOICE), "sub/a.ipynb")
    assert started_with(start(server, path="sub/0f0a6e0e-6f0e-4a52-9a3b-6a2d2f1b8a11")) == {"bai_metadata": CHOICE}


@pytest.mark.parametrize("has_cells", [True, False])
def test_one_that_is_not_is_not_and_the_page_is_told(server: Any, started_with: Any, has_cells: bool) -> None:
    arrive(server, notebook(bai=CHOICE) if has_cells else new_notebook(metadata={"bai": CHOICE}))
    kernel = start(server)
    assert started_with(kernel) == {}
    notice = server.ask("GET", f"/api/kernels/{kernel['id']}")["bai"]["notice"]
    assert notice.startswith("This notebook is not trusted")
    server.stop()
    server.start()
    assert server.ask("GET", f"/api/kernels/{kernel['id']}")["bai"]["notice"] == notice


def test_a_trusted_notebook_that_was_changed_outside_is_not_heard(server: Any, started_with: Any) -> None:
    save(server, notebook(bai=CHOICE))
    path = server.home / "work" / "a.ipynb"
    path.write_text(path.read_text().replace('"small"', '"gpu"'))
    assert started_with(start(server)) == {}


def test_one_that_asks_for_nothing_is_not_spoken_of(server: Any, started_with: Any) -> None:
    arrive(server, notebook())
    kernel = start(server)
    assert started_with(kernel) == {}
    assert server.ask("GET", f"/api/kernels/{kernel['id']}")["bai"]["notice"] is None


@pytest.mark.parametrize(("named", "options"), [("survivor", {"bai_metadata": CHOICE}), ("another", {})])
def test_a_kernel_chosen_by_hand_counts(server: Any, started_with: Any, named: str, options: Any) -> None:
    save(server, notebook(bai=CHOICE, kernelspec={**KERNELSPEC, "name": named}))
    assert started_with(start(server)) == options


def test_what_the_manager_did_not_do_as_asked_is_told(server: Any, wait_until: Any) -> None:
    (server.home / "elsewhere").touch()
    server.start()
    kernel = start(server, "missing.ipynb")
    wait_until(
        lambda: server.ask("GET", f"/api/kernels/{kernel['id']}")["bai"]["notice"] == "It starts elsewhere.", "it"
    )


@pytest.fixture
def with_image(manager: Any, server: Any, wait_until: Any) -> Any:
    """The server, once it knows the image."""
    manager.images = [IMAGE]
    server.start()
    wait_until(lambda: "images: kernelspecs" in server.log, "the image")
    return server


def choose(server: Any, choice: Any, name: str = "a.ipynb", method: str = "PUT") -> dict[str, Any]:
    answer: dict[str, Any] = server.ask(method, f"/bai/api/notebooks/{name}/choice", choice)
    return answer


def metadata_of(server: Any, name: str = "a.ipynb") -> Any:
    return json.loads((server.home / "work" / name).read_text())["metadata"]


def test_a_choice_is_written_into_a_notebook_that_stays_trusted(with_image: Any) -> None:
    save(with_image, notebook())
    choice = {"image": "bai/python:3.11", "preset": "small", "mounts": ["data"]}
    name = "bai-python-3.11-small"
    display_name = "Python 3 · bai/python 3.11 · small"
    assert choose(with_image, choice) == {
        "choice": choice,
        "kernelspec": {"name": name, "display_name": display_name, "language": "python"},
        "verdict": STARTS_NOW,
        "is_trusted": True,
    }
    assert metadata_of(with_image)["bai"] == choice
    assert metadata_of(with_image)["kernelspec"]["name"] == "bai-python-3.11-small"
    spec = json.loads((with_image.home / "data" / "kernels" / "bai-python-3.11-small" / "kernel.json").read_text())
    config = {"image": "bai/python:3.11", "kernelspec": "python3", "preset": "small"}
    assert spec["metadata"]["kernel_provisioner"]["config"] == config
    # Now that the notebook names an image, a choice need not.
    assert choose(with_image, {"preset": "large"})["kernelspec"]["name"] == "bai-python-3.11-large"
    choose(with_image, None, method="DELETE")
    assert "bai" not in metadata_of(with_image)
    assert metadata_of(with_image)["kernelspec"]["name"] == "bai-python-3.11-python3"


def test_a_choice_makes_no_foreign_output_trusted(with_image: Any) -> None:
    arrive(with_image, notebook() | {"metadata": {}})
    content = json.loads((with_image.home / "work" / "a.ipynb").read_text())
    content["cells"][0]["metadata"].pop("trusted", None)
    (with_image.home / "work" / "a.ipynb").write_text(json.dumps(content))
    assert choose(with_image, {"image": "bai/python:3.11", "preset": "small"})["is_trusted"] is False


def test_the_last_choice_is_used_for_other_notebooks_also_by_the_next_server(
    with_image: Any, manager: Any, make_session: Any, wait_until: Any
) -> None:
    manager.sessions = [make_session("mine")]
    save(with_image, notebook())
    choose(with_image, {"image": "bai/python:3.11", "preset": "small", "session": "mine"})
    with_image.stop()
    with_image.start()
    kernel = start(with_image, "other.ipynb")
    wait_until(lambda: is_launched(with_image, kernel), "the start of the kernel")
    given = json.loads((with_image.home / f"options-{kernel['id']}.json").read_text())
    assert given == {"bai_last_choices": {"bai/python:3.11": {"preset": "small"}}}
    assert with_image.ask("GET", "/bai/api/last-choices") == {"choices": {"bai/python:3.11": {"preset": "small"}}}


@pytest.mark.parametrize(
    ("name", "choice", "status", "words"),
    [
        ("a.ipynb", {"image": "bai/python:3.11", "preset": 3}, 400, "choice.preset: 3 is not a text."),
        ("a.ipynb", {"preset": "small"}, 400, "choice.image: nothing is not an image."),
        ("a.ipynb", {"image": "r"}, 404, "There is no environment r for you. Nearest: bai/python:3.11."),
        ("none.ipynb", {"image": "bai/python:3.11"}, 404, "No such file or directory: none.ipynb"),
    ],
)
def test_what_cannot_be_chosen_changes_nothing(
    with_image: Any, name: str, choice: Any, status: int, words: str
) -> None:
    save(with_image, notebook())
    before = (with_image.home / "work" / "a.ipynb").read_text()
    code, answer = with_image.refusal("PUT", f"/bai/api/notebooks/{name}/choice", choice)
    assert (code, answer["message"]) == (status, words)
    assert (with_image.home / "work" / "a.ipynb").read_text() == before
    assert not list((with_image.home / "data" / "kernels").glob("bai-*"))


def test_what_the_manager_would_refuse_is_refused_with_its_sentence_and_changes_nothing(
    with_image: Any, manager: Any
) -> None:
    manager.refusal = Reason.of("folder-denied", folder="data").to_json()
    save(with_image, notebook())
    before = metadata_of(with_image)
    choice = {"image": "bai/python:3.11", "preset": "large", "mounts": ["data"], "project": "vision"}
    path = "/bai/api/notebooks/a.ipynb/choice"
    for method in ("PUT", "POST"):
        code, answer = with_image.refusal(method, path, choice)
        assert (code, answer) == (400, {"code": "folder-denied", "message": manager.refusal["text"]})
    assert metadata_of(with_image) == before
    assert not list((with_image.home / "data" / "kernels").glob("bai-*"))
    assert not with_image.ask("GET", path)["choice"]
    asked = manager.trials[0]
    assert (asked["image"], asked["group"]) == ("bai/python:3.11", "vision")
    assert asked["config"] == {"preset": "large", "mounts": ["data"]}


def test_a_session_to_join_must_be_one_that_runs_and_is_ones_own(
    with_image: Any, manager: Any, make_session: Any
) -> None:
    manager.sessions = [
        make_session("mine"),
        make_session("waits", "PENDING"),
        make_session("theirs", userId="somebody"),
    ]
    choices = [{"image": "bai/python:3.11", "session": name} for name in ("mine", "waits", "theirs")]
    verdicts = with_image.ask("POST", "/bai/api/verdicts", {"choices": choices})["verdicts"]
    assert verdicts[0] == STARTS_NOW
    texts = [verdict["reason"]["text"] for verdict in verdicts[1:]]
    assert texts == [
        "Session waits is queued; this needs a running one.",
        "There is no session theirs that you can see.",
    ]
    assert manager.trials == []


def test_what_would_come_of_a_session_that_runs(with_image: Any, manager: Any, make_session: Any) -> None:
    manager.sessions = [make_session("mine")]
    running = manager.sessions[0]["id"]
    choices = [{"image": "bai/python:3.11", "preset": name} for name in ("small", "large")]
    asked = {"choices": choices, "instead_of": running, "resizes": [{"cpu": "2"}, None]}
    verdicts = with_image.ask("POST", "/bai/api/verdicts", asked)["verdicts"]
    assert verdicts == [{**STARTS_NOW, "resize": STARTS_NOW}, {**STARTS_NOW, "resize": None}]
    assert [one.get("insteadOf") for one in manager.trials if "image" in one] == [running, running]
    assert [one for one in manager.trials if "image" not in one] == [{"resources": {"cpu": "2"}}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "choices: another value is not a list of at most 32 choices."),
        ({"choices": [{"image": "r"}] * 33}, "choices: another value is not a list of at most 32 choices."),
        ({"choices": [{"image": "r"}, {}]}, "choices[1].image: nothing is not an image."),
        ({"choices": [{"image": "r", "preset": 3}]}, "choices[0].preset: 3 is not a text."),
        ({"choices": [{"image": "r"}], "instead_of": 3}, "instead_of: another value is not a session's id."),
        (
            {"choices": [{"image": "r"}], "instead_of": "x", "resizes": []},
            "resizes: another value is not a list of 1 with amounts or null.",
        ),
    ],
)
def test_what_is_no_question(with_image: Any, manager: Any, body: Any, words: str) -> None:
    code, answer = with_image.refusal("POST", "/bai/api/verdicts", body)
    assert (code, answer["message"]) == (400, words)
    assert manager.trials == []


def test_a_choice_that_was_confirmed_is_heard_though_the_notebook_is_not_trusted(
    with_image: Any, wait_until: Any
) -> None:
    path = "/bai/api/notebooks/a.ipynb/choice"
    choice = {"image": "bai/python:3.11", **CHOICE}
    arrive(with_image, notebook(bai=choice))
    assert with_image.ask("GET", path) == {"choice": choice, "is_heard": False, "kernelspec": None}
    chosen = with_image.ask("POST", path, choice)
    assert chosen["kernelspec"]["name"] == "bai-python-3.11-small"
    assert metadata_of(with_image)["bai"] == choice, "the page writes it"
    with_image.stop()
    with_image.start()
    assert with_image.ask("GET", path)["is_heard"] is True
    kernel = start(with_image)
    wait_until(lambda: is_launched(with_image, kernel), "the start of the kernel")
    given = json.loads((with_image.home / f"options-{kernel['id']}.json").read_text())
    assert given["bai_metadata"] == choice
    arrive(with_image, notebook(bai={**choice, "mounts": ["data", "more"]}))
    assert with_image.ask("GET", path)["is_heard"] is False
    arrive(with_image, notebook(bai=choice), "b.ipynb")
    assert with_image.ask("GET", "/bai/api/notebooks/b.ipynb/choice")["is_heard"] is False
    choose(with_image, None, method="DELETE")
    arrive(with_image, notebook(bai=choice))
    assert with_image.ask("GET", path)["is_heard"] is False


def test_one_that_was_asked_about_is_not_heard_for_having_been_saved(server: Any) -> None:
    server.start()
    path = "/bai/api/notebooks/a.ipynb/choice"
    content = new_notebook(metadata={"bai": CHOICE})  # without outputs, so that any saving makes it trusted
    save(server, content)
    assert server.ask("GET", path)["is_heard"] is True
    path = "/bai/api/notebooks/b.ipynb/choice"
    content["metadata"]["written"] = "elsewhere"
    arrive(server, content, "b.ipynb")
    assert server.ask("GET", path)["is_heard"] is False
    save(server, content, "b.ipynb")
    assert server.ask("GET", path)["is_heard"] is False
    save(server, new_notebook(metadata={"bai": {"preset": "large"}}), "b.ipynb")
    assert server.ask("GET", path)["is_heard"] is True


@pytest.fixture
def on_cluster(make_server: Callable[..., Any], cluster: RealManager, wait_until: Any) -> Iterator[Any]:
    """In front of a real manager, whose folders may be such that nothing is written there."""
    specs = ["--BaiKernelSpecManager.kernelspec_for=survivor_specs.kernelspec_for"]
    made = make_server(cluster.environ, options=specs)
    made.start()
    wait_until(lambda: "images: kernelspecs" in made.log, "the image")
    yield made
    made.stop(signal.SIGKILL)
    made.kill_kernels()


def test_what_is_chosen_for_one_that_cannot_be_written_counts_in_its_place_as_long_as_the_server_lives(
    on_cluster: Any, cluster: RealManager, wait_until: Any
) -> None:
    folder = cluster.folder_to_read("theirs", cluster.add_user("lea"))
    named = f"bai-{REAL_IMAGE.name.replace(':', '-')}-python3"
    asked = {"image": REAL_IMAGE.name, "session": "shared"}
    choice = {**asked, "preset": "small"}
    cluster.start_session("shared")

    def lay(content: Any) -> Path:
        file = folder / "a.ipynb"
        nbformat.write(nbformat.from_dict(notebook(bai=content, kernelspec={**KERNELSPEC, "name": named})), file)
        return file

    def options_with(kernel_name: str) -> dict[str, Any]:
        body = {"path": "bai:theirs/a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": kernel_name}}
        made = on_cluster.ask("POST", "/api/sessions", body)
        wait_until(lambda: is_launched(on_cluster, made["kernel"]), "the start of the kernel")
        on_cluster.ask("DELETE", f"/api/sessions/{made['id']}")
        options = json.loads((on_cluster.home / f"options-{made['kernel']['id']}.json").read_text())
        assert options.pop("bai_cwd")["folder"] == "theirs"
        options.pop("bai_last_choices", None)
        return options  # type: ignore[no-any-return]

    path = "/bai/api/notebooks/bai:theirs/a.ipynb/choice"
    before = lay(asked).read_bytes()
    assert on_cluster.ask("GET", path) == {"choice": asked, "is_heard": False, "kernelspec": None}
    assert options_with(named) == {}
    kernelspec = on_cluster.ask("POST", path, choice)["kernelspec"]
    assert kernelspec["name"] != named
    assert on_cluster.ask("GET", path) == {"choice": choice, "is_heard": True, "kernelspec": kernelspec}
    assert options_with(kernelspec["name"]) == options_with(named) == {"bai_metadata": choice}
    assert options_with("survivor") == {}, "chosen by hand"
    assert (folder / "a.ipynb").read_bytes() == before

    lay({**asked, "mounts": ["data"]})
    assert on_cluster.ask("GET", path)["is_heard"] is False
    assert options_with(named) == options_with(kernelspec["name"]) == {}
    lay(asked)
    assert on_cluster.ask("GET", path)["is_heard"] is True
    on_cluster.stop()
    on_cluster.start()
    assert on_cluster.ask("GET", path) == {"choice": asked, "is_heard": False, "kernelspec": None}
    assert options_with(named) == {}
