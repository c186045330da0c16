"""*Import from URL*: a notebook that this server fetches from a real server, and all that it does not fetch."""

import json
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from jupyter_core.utils import ensure_async
from nbformat.v4 import new_code_cell, new_notebook, new_output
from real_manager import RealManager
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.extension import imports
from bai_jupyter.extension.imports import fetch, name_for, raw_url

LIMIT = 64 * 1024


CELL = new_code_cell("1", metadata={"trusted": True}, outputs=[new_output("display_data", {"text/html": "<b>1</b>"})])
NOTEBOOK = json.dumps(new_notebook(cells=[CELL], metadata={"bai": {"preset": "gpu"}}))
"""It says of itself that it is trusted, and asks for a GPU."""


class Elsewhere(RequestHandler):
    def get(self, path: str) -> None:
        if path == "to-http":
            self.redirect("http://127.0.0.1:1/a.ipynb")
        elif path == "round":
            self.redirect("/round")
        elif path == "nowhere":
            self.redirect("https://[/a.ipynb")
        elif path == "moved":
            self.redirect("/a.ipynb")
        elif path == "page":
            self.finish("<html>a page that shows it")
        elif path == "large":
            self.finish("1" * (LIMIT + 1))
        elif path == "endless":
            self.write("1" * (LIMIT + 1))
            self.flush()  # so its size is not told before
            self.finish()
        elif path == "a.ipynb":
            self.finish(NOTEBOOK)
        else:
            self.send_error(404)

    def log_exception(self, *_: Any) -> None:
        """Whoever asks may hang up."""


@pytest.fixture
def elsewhere(jp_asyncio_loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address. Of private networks ours counts as public here, and its certificate as good."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.sign("127.0.0.1"))
    known = partial(fetch, allowed=[ip_network("127.0.0.0/8")], ca_file=str(authority.ca_file))
    monkeypatch.setattr(imports, "fetch", known)
    monkeypatch.setattr(imports, "LARGEST_BYTES", LIMIT)

    async def start() -> HTTPServer:
        server = HTTPServer(Application([(r"/(.*)", Elsewhere)]), ssl_options=context)
        server.add_sockets(sockets)
        return server

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    sockets = bind_sockets(0, "127.0.0.1")
    server = jp_asyncio_loop.run_until_complete(start())
    yield f"https://127.0.0.1:{sockets[0].getsockname()[1]}"
    jp_asyncio_loop.run_until_complete(stop())


async def test_a_notebook_is_saved_as_it_is_by_a_free_name_and_not_trusted(
    bai: Callable[..., Any], elsewhere: str, jp_root_dir: Path, jp_serverapp: Any
) -> None:
    (jp_root_dir / "sub").mkdir()
    wanted = {"url": f"{elsewhere}/moved", "folder": "sub"}
    assert await bai("POST", "imports", wanted) == (201, {"path": "sub/moved.ipynb"})
    assert await bai("POST", "imports", wanted) == (201, {"path": "sub/moved-1.ipynb"})
    assert (jp_root_dir / "sub" / "moved-1.ipynb").read_text() == NOTEBOOK
    model = await ensure_async(jp_serverapp.contents_manager.get("sub/moved.ipynb", type="notebook"))
    assert model["content"]["cells"][0]["metadata"]["trusted"] is False
    status, asked = await bai("GET", "notebooks/sub/moved.ipynb/choice")
    assert (status, asked) == (200, {"choice": {"preset": "gpu"}, "is_heard": False, "kernelspec": None})


async def test_a_folder_of_the_drive_is_not_one_of_the_servers_own(
    bai: Callable[..., Any], elsewhere: str, cluster: RealManager, jp_root_dir: Path
) -> None:
    (jp_root_dir / "data").mkdir()
    await bai("POST", "folders", {"name": "data"})
    wanted = {"url": f"{elsewhere}/a.ipynb", "folder": "bai:data"}
    assert await bai("POST", "imports", wanted) == (201, {"path": "bai:data/a.ipynb"})
    assert await bai("POST", "imports", wanted) == (201, {"path": "bai:data/a-1.ipynb"})
    assert [path.read_text() for path in cluster.folder.rglob("a-1.ipynb")] == [NOTEBOOK]
    assert [*jp_root_dir.rglob("*.ipynb")] == []
    status, answer = await bai("POST", "imports", {**wanted, "folder": "bai:nothing"})
    assert (status, "nothing" in answer["message"]) == (404, True)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("to-http", "an https address"),
        ("round", "on and on"),
        ("page", "is no notebook"),
        ("large", "64 KiB are the most"),
        ("endless", "more than 64 KiB"),
        ("nothing", "answers 404"),
        ("nowhere", "an https address"),
    ],
)
async def test_what_is_found_and_not_taken(
    bai: Callable[..., Any], elsewhere: str, jp_root_dir: Path, path: str, sentence: str
) -> None:
    status, answer = await bai("POST", "imports", {"url": f"{elsewhere}/{path}", "folder": ""})
    assert (status, sentence in answer["message"]) == (400, True), answer
    assert [*jp_root_dir.glob("*.ipynb")] == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.com/a.ipynb", "an https address"),
        ("file:///etc/passwd", "an https address"),
        ("https://user@example.com/a.ipynb", "an https address"),
        ("", "an https address"),
        ("https://[/a.ipynb", "an https address"),
        (7, "an address"),
        ("https://127.0.0.1:1/a.ipynb", "not on the public Internet"),
        ("https://[::1]:1/a.ipynb", "not on the public Internet"),
        ("https://0.0.0.0:1/a.ipynb", "not on the public Internet"),
        ("https://localhost:1/a.ipynb", "not on the public Internet"),
    ],
)
async def test_where_nothing_is_fetched(bai: Callable[..., Any], url: Any, sentence: str) -> None:
    status, answer = await bai("POST", "imports", {"url": url, "folder": ""})
    assert (status, sentence in answer["message"]) == (400, True), answer


async def test_a_folder_that_is_not_there(bai: Callable[..., Any]) -> None:
    status, answer = await bai("POST", "imports", {"url": "https://example.com/a.ipynb", "folder": "nothing"})
    assert (status, "nothing" in answer["message"]) == (404, True)


def test_a_certificate_of_nobody_is_refused(jp_asyncio_loop: Any, elsewhere: str) -> None:
    ours = fetch(f"{elsewhere}/a.ipynb", allowed=[ip_network("127.0.0.0/8")])
    with pytest.raises(BadRequest, match="could not be fetched"):
        jp_asyncio_loop.run_until_complete(ours)


@pytest.mark.parametrize(
    ("page", "raw"),
    [
        ("https://github.com/o/r/blob/main/a/b.ipynb", "https://raw.githubusercontent.com/o/r/main/a/b.ipynb"),
        ("https://gitlab.com/g/s/r/-/blob/main/b.ipynb", "https://gitlab.com/g/s/r/-/raw/main/b.ipynb"),
        ("https://example.com/o/r/blob/main/b.ipynb", "https://example.com/o/r/blob/main/b.ipynb"),
    ],
)
def test_the_file_beside_its_page(page: str, raw: str) -> None:
    assert raw_url(page) == raw


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/my%20work.ipynb?x=y", "my work.ipynb"),
        ("a/.hidden.ipynb", "hidden.ipynb"),
        ("..%2F..%2Fup.ipynb", "up.ipynb"),
        ("a%00b%0a.ipynb", "ab.ipynb"),
        ("download", "download.ipynb"),
        ("", "notebook.ipynb"),
    ],
)
def test_names_are_those_of_notebooks_and_never_hidden(path: str, name: str) -> None:
    assert name_for(f"https://example.com/{path}") == name
