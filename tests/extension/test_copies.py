"""``/bai/api/copies`` and zip files of several entries, in a real server in front of a real manager."""

import asyncio
import json
import os
import stat
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from real_manager import RealManager
from tornado.httpclient import HTTPClientError

from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.extension import copies
from bai_jupyter.extension.local_files import LocalFiles, create, put_in_place

MIB = 1024**2


@pytest.fixture
def copy(bai: Callable[..., Any], jp_fetch: Any) -> Callable[..., Any]:
    """``await copy("to-folder", path="a", directory="data")``: status and the lines of the answer."""

    async def ask(where: str, **body: Any) -> tuple[int, list[dict[str, Any]]]:
        try:
            answer = await jp_fetch("bai", "api", "copies", where, method="POST", body=json.dumps(body))
        except HTTPClientError as error:
            return error.code, [json.loads(error.response.body if error.response else b"")]
        return answer.code, [json.loads(line) for line in answer.body.decode().splitlines()]

    return ask


def tree(root: Path) -> dict[str, bytes]:
    return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}


def lying(cluster: RealManager, folder: str) -> Path:
    """Where that folder's files are, told by the only file ``here`` of it."""
    (found,) = cluster.folder.rglob(f"here-{folder}")
    return found.parent


async def new_folder(bai: Callable[..., Any], cluster: RealManager, name: str, **more: str) -> Path:
    await bai("POST", "folders", {"name": name, **more})
    await bai("PUT", f"contents/{name}/here-{name}", {"type": "file", "format": "text", "content": "x"})
    return lying(cluster, name)


async def test_a_tree_goes_into_a_folder_and_comes_back_the_same(
    bai: Callable[..., Any], copy: Callable[..., Any], cluster: RealManager, jp_root_dir: Path
) -> None:
    there = await new_folder(bai, cluster, "there")
    raw = jp_root_dir / "work" / "raw"
    (raw / "empty").mkdir(parents=True)
    (raw / "ä b").mkdir()
    (raw / "ä b" / "big.bin").write_bytes(bytes(range(256)) * 70_000)  # two pieces
    (raw / "none").write_bytes(b"")
    (raw / ".secret").write_bytes(b"hidden")
    (raw / "out").symlink_to("/etc/passwd")
    status, lines = await copy("to-folder", path="work/raw", directory="there")
    assert (status, lines[-1]) == (200, {"path": "there/raw", "left_out": 2})
    size = 256 * 70_000
    assert [one["done"] for one in lines[:-1]] == sorted(one["done"] for one in lines[:-1])
    assert (lines[-2], 16 * MIB in [one["done"] for one in lines[:-1]]) == ({"done": size, "total": size}, True)
    assert tree(there / "raw") == {"ä b/big.bin": bytes(range(256)) * 70_000, "none": b""}
    assert (there / "raw" / "empty").is_dir()

    (jp_root_dir / "back").mkdir()
    status, lines = await copy("to-server", path="there/raw", directory="back", name="again")
    assert (status, lines[-1]) == (200, {"path": "back/again", "left_out": 0})
    assert tree(jp_root_dir / "back" / "again") == tree(there / "raw")
    assert (jp_root_dir / "back" / "again" / "empty").is_dir()
    status, lines = await copy("to-server", path="there/raw/none", directory="")
    assert (status, lines[-1], (jp_root_dir / "none").read_bytes()) == (200, {"path": "none", "left_out": 0}, b"")
    assert stat.S_IMODE((jp_root_dir / "none").stat().st_mode) & 0o600 == 0o600
    (there / ".kept").write_bytes(b"k")
    (there / "link").symlink_to("here-there")
    status, lines = await copy("to-server", path="there", directory="back")
    assert (status, lines[-1]) == (200, {"path": "back/there", "left_out": 2})
    assert not any(name.startswith(".copy") for name in os.listdir(there) + os.listdir(jp_root_dir / "back"))


async def test_nothing_is_overwritten(
    bai: Callable[..., Any], copy: Callable[..., Any], cluster: RealManager, jp_root_dir: Path
) -> None:
    there = await new_folder(bai, cluster, "taken")
    (jp_root_dir / "here-taken").write_text("mine")
    assert await copy("to-folder", path="here-taken", directory="taken") == (
        400,
        [{"code": "file-exists", "message": "here-taken exists already."}],
    )
    assert await copy("to-server", path="taken/here-taken", directory="") == (
        400,
        [{"code": "file-exists", "message": "here-taken exists already."}],
    )
    assert ((there / "here-taken").read_text(), (jp_root_dir / "here-taken").read_text()) == ("x", "mine")
    status, lines = await copy("to-folder", path="here-taken", directory="taken", name="other")
    assert (status, lines[-1]["path"], (there / "other").read_text()) == (200, "taken/other", "mine")


@pytest.mark.parametrize(
    ("where", "path", "directory", "name", "status", "sentence"),
    [
        ("to-folder", "../outside", "refused", "", 404, "outside does not exist."),
        ("to-folder", "work/../../outside", "refused", "", 404, "does not exist."),
        ("to-folder", "leads-out", "refused", "", 404, "leads-out does not exist."),
        ("to-folder", "leads-out/deep", "refused", "", 404, "does not exist."),
        ("to-folder", ".hidden", "refused", "", 404, ".hidden does not exist."),
        ("to-folder", "missing", "refused", "", 404, "missing does not exist."),
        ("to-folder", "circle", "refused", "", 404, "circle does not exist."),
        ("to-folder", "pipe", "refused", "", 400, "neither a file nor a folder"),
        ("to-folder", "", "refused", "all", 400, "the root directory itself"),
        ("to-folder", "work", "refused", "../up", 400, "../up"),
        ("to-folder", "work", "refused/missing", "", 404, "missing does not exist."),
        ("to-folder", "work", "refused/here-refused", "", 400, ""),
        ("to-folder", "work", "nothing", "", 404, "There is no folder nothing that you can see."),
        ("to-folder", "work", "", "refused", 400, "Only folders lie here."),
        ("to-server", "refused/here-refused", "..", "", 404, ".. does not exist."),
        ("to-server", "refused/here-refused", "leads-out", "", 404, "leads-out does not exist."),
        ("to-server", "refused/here-refused", "file", "", 400, "file is not a folder."),
        ("to-server", "refused/here-refused", "", ".profile", 400, ".profile"),
        ("to-server", "refused/missing", "", "", 404, "missing does not exist."),
        ("to-server", "refused/../other", "", "", 400, "../other"),
        ("to-server", "", "", "all", 400, "Only folders lie here."),
    ],
)
async def test_refusals(
    bai: Callable[..., Any],
    copy: Callable[..., Any],
    cluster: RealManager,
    jp_root_dir: Path,
    where: str,
    path: str,
    directory: str,
    name: str,
    status: int,
    sentence: str,
) -> None:
    there = await new_folder(bai, cluster, "refused")
    (jp_root_dir.parent / "outside" / "deep").mkdir(parents=True, exist_ok=True)
    (jp_root_dir / "leads-out").symlink_to("../outside")
    (jp_root_dir / "circle").symlink_to("circle")
    (jp_root_dir / ".hidden").write_text("h")
    (jp_root_dir / "file").write_text("f")
    (jp_root_dir / "work").mkdir()
    os.mkfifo(jp_root_dir / "pipe")
    before = sorted(map(str, [*jp_root_dir.rglob("*"), *there.rglob("*")]))
    code, (answer,) = await copy(where, path=path, directory=directory, name=name)
    assert (code, sentence in answer["message"]) == (status, True), answer
    assert sorted(map(str, [*jp_root_dir.rglob("*"), *there.rglob("*")])) == before


async def test_a_folder_that_is_read_only_or_full_takes_nothing_and_says_so(
    bai: Callable[..., Any], copy: Callable[..., Any], cluster: RealManager, jp_root_dir: Path
) -> None:
    lea = cluster.add_user("lea")
    cluster.ask("POST", "/folders", {"name": "leas"}, lea)
    cluster.ask("POST", "/folders/leas/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, lea)
    _, answer = await bai("GET", "invitations")
    await bai("POST", f"invitations/{answer['invitations'][0]['id']}")
    (jp_root_dir / "tree").mkdir()
    (jp_root_dir / "tree" / "a").write_bytes(b"a")
    (jp_root_dir / "tree" / "b").write_bytes(bytes(2 * MIB))
    code, (refusal,) = await copy("to-folder", path="tree", directory="leas")
    assert (code, "read only for you. Ask lea@localhost." in refusal["message"]) == (403, True)

    there = await new_folder(bai, cluster, "small", quota="1m")
    code, (refusal,) = await copy("to-folder", path="tree/b", directory="small")
    assert (code, "1 MiB" in refusal["message"]) == (412, True)
    code, lines = await copy("to-folder", path="tree", directory="small")  # `a` is there already by then
    assert (code, "1 MiB" in lines[-1]["message"], len(lines) > 1) == (200, True, True)
    assert os.listdir(there) == ["here-small"]


async def test_whoever_closes_the_connection_ends_the_copy_and_nothing_is_left(
    bai: Callable[..., Any],
    cluster: RealManager,
    jp_root_dir: Path,
    jp_base_url: str,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = await new_folder(bai, cluster, "left")
    (there / "big").write_bytes(bytes(1000))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    remove = copies.remove

    def note(directory: int, part: str) -> None:
        remove(directory, part)
        loop.call_soon_threadsafe(ended.set)

    async def pieces(_client: ManagerClient, _download: Any) -> Any:
        yield b"first"
        await asyncio.Event().wait()

    monkeypatch.setattr(copies, "remove", note)
    monkeypatch.setattr(ManagerClient, "pieces", pieces)
    body = json.dumps({"path": "left/big", "directory": ""})
    reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    writer.write(
        f"POST {jp_base_url}bai/api/copies/to-server HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {jp_auth_header['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert (b"200 OK" in head, b"application/x-ndjson" in head) == (True, True)
    assert [name.startswith(".copy-") for name in os.listdir(jp_root_dir)] == [True]
    writer.close()
    await asyncio.wait_for(ended.wait(), 30)
    assert os.listdir(jp_root_dir) == []


async def test_a_move_deletes_the_source_once_the_copy_is_there(
    bai: Callable[..., Any], copy: Callable[..., Any], cluster: RealManager, jp_root_dir: Path
) -> None:
    there = await new_folder(bai, cluster, "moved")
    raw = jp_root_dir / "work" / "raw"
    (raw / "deep").mkdir(parents=True)
    (raw / "deep" / "one").write_bytes(b"1")
    status, lines = await copy("to-folder", path="work/raw", directory="moved", move=True)
    assert (status, lines[-1]) == (200, {"path": "moved/raw", "left_out": 0})
    assert (tree(there / "raw"), os.listdir(jp_root_dir / "work")) == ({"deep/one": b"1"}, [])
    status, lines = await copy("to-server", path="moved/raw", directory="", name="back", move=True)
    assert (status, lines[-1]) == (200, {"path": "back", "left_out": 0})
    assert (tree(jp_root_dir / "back"), os.listdir(there)) == ({"deep/one": b"1"}, ["here-moved"])


async def test_what_was_left_out_or_changed_of_a_move_stays_and_so_does_the_rest(
    bai: Callable[..., Any],
    copy: Callable[..., Any],
    cluster: RealManager,
    jp_root_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = await new_folder(bai, cluster, "partly")
    for root, hidden in ((jp_root_dir / "a", ".kept"), (there / "b", "link")):
        root.mkdir()
        (root / "one").write_bytes(b"1")
        (root / hidden).symlink_to("one") if hidden == "link" else (root / hidden).write_bytes(b"k")
    cause = "was copied, but is not deleted where it was: links or hidden files in it were left out."
    _, lines = await copy("to-folder", path="a", directory="partly", move=True)
    assert lines[-1] == {"path": "partly/a", "left_out": 1, "kept": f"a {cause}"}
    _, lines = await copy("to-server", path="partly/b", directory="", move=True)
    assert lines[-1] == {"path": "b", "left_out": 1, "kept": f"b {cause}"}
    assert (tree(jp_root_dir / "a"), (there / "b" / "link").is_symlink()) == ({"one": b"1", ".kept": b"k"}, True)

    (jp_root_dir / "a" / ".kept").unlink()
    (there / "b" / "link").unlink()
    let_go = copies.let_go

    async def write_first(*given: Any) -> None:
        (jp_root_dir / "a" / "two").write_bytes(b"2")
        (there / "b" / "one").write_bytes(b"11")
        await let_go(*given)

    monkeypatch.setattr(copies, "let_go", write_first)
    for where, path, directory in (("to-folder", "a", "partly"), ("to-server", "partly/b", "")):
        _, lines = await copy(where, path=path, directory=directory, name="again", move=True)
        assert lines[-1]["kept"].endswith("it was changed meanwhile.")
    assert (tree(jp_root_dir / "a"), tree(there / "b")) == ({"one": b"1", "two": b"2"}, {"one": b"11"})


async def test_a_source_that_cannot_be_deleted_is_kept_and_said_so(
    bai: Callable[..., Any],
    copy: Callable[..., Any],
    cluster: RealManager,
    jp_root_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kai = cluster.add_user("kai")
    cluster.ask("POST", "/folders", {"name": "kais"}, kai)
    cluster.ask("POST", "/folders/kais/mkdir", {"path": "raw/deep", "parents": True}, kai)
    cluster.ask("POST", "/folders/kais/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, kai)
    _, answer = await bai("GET", "invitations")
    await bai("POST", f"invitations/{answer['invitations'][0]['id']}")
    status, lines = await copy("to-server", path="kais/raw", directory="", move=True)
    assert (status, lines[-1]["path"]) == (200, "raw")
    assert "not deleted where it was: Folder kais is read only for you." in lines[-1]["kept"]
    assert [(jp_root_dir / "raw" / "deep").is_dir(), *map(Path.is_dir, cluster.folder.rglob("raw/deep"))] == [
        True,
        True,
    ]

    there = await new_folder(bai, cluster, "busy")
    (jp_root_dir / "file").write_bytes(b"f")

    def refuse(_directory: int, name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(copies, "remove", refuse)
    _, lines = await copy("to-folder", path="file", directory="busy", move=True)
    assert lines[-1]["kept"] == "file was copied, but is not deleted where it was: Permission denied."
    assert ((jp_root_dir / "file").read_bytes(), (there / "file").read_bytes()) == (b"f", b"f")


async def test_what_is_refused_of_a_move_is_not_copied_either(
    bai: Callable[..., Any],
    copy: Callable[..., Any],
    cluster: RealManager,
    jp_root_dir: Path,
    jp_serverapp: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = await new_folder(bai, cluster, "fixed")
    (jp_root_dir / "file").write_bytes(b"f")
    (jp_root_dir / "same").symlink_to("file")

    async def refusal(where: str, path: str, directory: str, move: Any = True) -> tuple[int, str]:
        status, (answer,) = await copy(where, path=path, directory=directory, name="new", move=move)
        return status, answer["message"]

    link = "same is a link; copy it, or move what it leads to."
    assert await refusal("to-folder", "same", "fixed") == (400, link)
    assert await refusal("to-server", "fixed", "") == (400, "fixed is a whole folder; move what is in it.")
    status, message = await refusal("to-folder", "file", "fixed", "yes")
    assert (status, "move" in message) == (400, True)

    def is_authorized(_authorizer: Any, _handler: Any, _user: Any, action: str, resource: str) -> bool:
        return (action, resource) != ("write", "contents")

    monkeypatch.setattr(type(jp_serverapp.authorizer), "is_authorized", is_authorized)
    status, message = await refusal("to-folder", "file", "fixed")
    assert (status, "not authorized" in message) == (403, True)
    assert (os.listdir(there), sorted(os.listdir(jp_root_dir))) == (["here-fixed"], ["file", "same"])
    assert (await copy("to-folder", path="file", directory="fixed"))[0] == 200  # what only reads


async def test_a_zip_file_of_what_was_chosen(bai: Callable[..., Any], cluster: RealManager, jp_fetch: Any) -> None:
    there = await new_folder(bai, cluster, "zipped")
    (there / "raw" / "deep").mkdir(parents=True)
    (there / "raw" / "deep" / "ä.bin").write_bytes(bytes(range(256)) * 70_000)
    (there / "raw" / "link").symlink_to("deep")
    (there / "old").write_bytes(b"")
    os.utime(there / "old", (0, 0))  # before what a zip file can tell
    params = [("name", "raw"), ("name", "old")]
    answer = await jp_fetch("bai", "api", "archive", "zipped", params=params)
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''zipped.zip"
    with ZipFile(BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["raw/", "raw/deep/", "raw/deep/ä.bin", "old"]
        assert archive.read("raw/deep/ä.bin") == bytes(range(256)) * 70_000


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("zipped?name=missing", 404, "missing"),
        ("zipped?name=../home", 400, "../home"),
        ("zipped", 400, "name"),
        ("nothing?name=a", 404, "nothing"),
        ("", 400, "Only folders lie here."),
    ],
)
async def test_refused_zip_files(bai: Callable[..., Any], path: str, status: int, sentence: str) -> None:
    await bai("POST", "folders", {"name": "zipped"})
    code, answer = await bai("GET", f"archive/{path}")
    assert (code, sentence in answer["message"]) == (status, True), answer


def test_a_name_that_is_taken_at_the_last_moment_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("theirs")
    files = LocalFiles(str(tmp_path), shows_hidden=False)
    with files.directory("") as directory:
        create(directory, ".part").close()
        with pytest.raises(FileExistsError):
            put_in_place(directory, ".part", "name")
    assert (tmp_path / "name").read_text() == "theirs"


async def test_a_file_that_is_cut_off_meanwhile_is_no_endless_upload(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    await bai("POST", "folders", {"name": "cut"})
    async with ManagerClient(cluster.config) as client:
        with pytest.raises(BadRequest, match="changed meanwhile"):
            await client.upload("cut", "short", BytesIO(b"abc"), 5)


def test_where_hidden_files_are_shown_they_are_copied_and_links_still_lead_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / ".git").write_bytes(b"git")
    (tmp_path / "outside").mkdir()
    (root / "out").symlink_to("../outside")
    (root / "same").symlink_to("in")
    files = LocalFiles(str(root), shows_hidden=True)
    for path in ("..", "../outside", "out", "in/../../outside"):
        with pytest.raises(NotFound, match="does not exist"), files.directory(path):
            pass
    with files.parent("same") as (directory, name):
        found = [(one.path, one.kind, one.size) for one in files.walk(directory, name)]
    assert found == [("", "directory", 0), (".git", "file", 3)]
