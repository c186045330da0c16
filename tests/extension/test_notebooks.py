"""What notebooks ask for is heard if they are trusted, in a real server whose provisioner notes how it is started."""

import json
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
IMAGE = {"name": "bai/python:3.11", "kernelspecs": [KERNELSPEC]}
CHOICE = {"preset": "small", "mounts": ["data"]}


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


def start(server: Any, name: str = "a.ipynb") -> dict[str, Any]:
    body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "survivor"}}
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
    assert choose(with_image, choice) == {"choice": choice, "kernelspec": "bai-python-3.11-small", "is_trusted": True}
    assert metadata_of(with_image)["bai"] == choice
    assert metadata_of(with_image)["kernelspec"]["name"] == "bai-python-3.11-small"
    spec = json.loads((with_image.home / "data" / "kernels" / "bai-python-3.11-small" / "kernel.json").read_text())
    config = {"image": "bai/python:3.11", "kernelspec": "python3", "preset": "small"}
    assert spec["metadata"]["kernel_provisioner"]["config"] == config
    # Now that the notebook names an image, a choice need not.
    assert choose(with_image, {"preset": "large"})["kernelspec"] == "bai-python-3.11-large"
    choose(with_image, None, method="DELETE")
    assert "bai" not in metadata_of(with_image)
    assert metadata_of(with_image)["kernelspec"]["name"] == "bai-python-3.11-python3"


def test_a_choice_makes_no_foreign_output_trusted(with_image: Any) -> None:
    arrive(with_image, notebook() | {"metadata": {}})
    content = json.loads((with_image.home / "work" / "a.ipynb").read_text())
    content["cells"][0]["metadata"].pop("trusted", None)
    (with_image.home / "work" / "a.ipynb").write_text(json.dumps(content))
    assert choose(with_image, {"image": "bai/python:3.11", "preset": "small"})["is_trusted"] is False


def test_the_last_choice_is_used_for_other_notebooks_also_by_the_next_server(with_image: Any, wait_until: Any) -> None:
    save(with_image, notebook())
    choose(with_image, {"image": "bai/python:3.11", "preset": "small", "session": "mine"})
    with_image.stop()
    with_image.start()
    kernel = start(with_image, "other.ipynb")
    wait_until(lambda: is_launched(with_image, kernel), "the start of the kernel")
    given = json.loads((with_image.home / f"options-{kernel['id']}.json").read_text())
    assert given == {"bai_last_choices": {"bai/python:3.11": {"preset": "small"}}}


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
