"""Work on the files of a folder: what it does, and that no path, link or race leads out of the folder."""

import io
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bai_agent import files
from bai_agent.acting import acting_as
from bai_agent.files import FileFault
from bai_agent.runtimes.base import Identity

from bai_jupyter.common.reasons import Reason

OUTSIDERS = ["leak/secret", "leak", "../outside/secret", "a/../../outside/secret", "a/inner/../../x", "\0", "file-leak"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "a" / "b").mkdir(parents=True)
    (made / "a" / "one.txt").write_text("one")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (made / "leak").symlink_to(outside)
    (made / "file-leak").symlink_to(outside / "secret")
    return made


@pytest.fixture
def root(folder: Path) -> Iterator[int]:
    with files.opened(os.open(folder, os.O_PATH | os.O_DIRECTORY)) as descriptor:
        yield descriptor


def names(root: int, path: str = "") -> list[str]:
    return [item["name"] for item in files.list_page(root, path, 0, 100, "")["items"]]


def refused(work: Callable[[], object]) -> Reason:
    with pytest.raises(FileFault) as caught:
        work()
    return caught.value.reason


def test_a_listing_tells_names_kinds_sizes_and_pages(root: int, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    listed = files.list_page(root, "/", 0, 10, "")
    assert [(item["name"], item["type"]) for item in listed["items"]] == [
        ("a", "DIRECTORY"),
        ("file-leak", "SYMLINK"),
        ("leak", "SYMLINK"),
        ("pipe", "OTHER"),
    ]
    assert listed["total"] == 4
    page = files.list_page(root, "", 1, 1, "leak")
    assert ([item["name"] for item in page["items"]], page["total"]) == (["leak"], 2)
    assert files.list_page(root, "a", 0, 10, "one")["items"][0]["size"] == 3


def test_names_that_are_not_text_are_listed_and_deleted(root: int, folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff"))).write_text("x")
    (name,) = [name for name in names(root) if name.startswith("bad")]
    files.delete(root, [name], recursive=False)
    assert name not in names(root)


@pytest.mark.parametrize("path", OUTSIDERS)
def test_nothing_outside_is_read(root: int, path: str) -> None:
    assert refused(lambda: os.close(files.open_file(root, path))).code in ("link-escape", "bad-value", "file-missing")
    if path != "file-leak":
        refused(lambda: files.list_page(root, path, 0, 10, ""))


@pytest.mark.parametrize("path", ["leak/new", "../new", "a/../../new", "/../new", "leak/secret"])
def test_nothing_outside_is_changed(root: int, folder: Path, path: str) -> None:
    outside = folder.parent / "outside"
    before = sorted(os.listdir(folder.parent)), sorted(os.listdir(outside))
    for work in (
        lambda: files.make_directory(root, path, parents=True, exist_ok=True),
        lambda: files.move(root, "a/one.txt", path),
        lambda: files.move(root, path, "a/got"),
        lambda: files.delete(root, [path], recursive=True),
        lambda: files.rename(root, path, "got"),
        lambda: files.rename(root, "a/one.txt", path),
    ):
        assert refused(work).code in ("link-escape", "bad-value", "file-missing", "file-exists")
    assert (sorted(os.listdir(folder.parent)), sorted(os.listdir(outside))) == before


def test_deleting_a_link_leaves_what_it_points_to(root: int, folder: Path) -> None:
    (folder / "a" / "b" / "leak").symlink_to(folder.parent / "outside")
    files.delete(root, ["leak", "a"], recursive=True)
    assert names(root) == ["file-leak"]
    assert (folder.parent / "outside" / "secret").read_text() == "secret"


def test_a_folder_exchanged_for_a_link_meanwhile_gives_nothing_away(root: int, folder: Path) -> None:
    """Its user swaps folder and link as fast as they can; not one look leads out."""
    swap = [folder / "swap", folder / "swap-link", folder / "swap-folder"]
    swap[0].mkdir()
    swap[1].symlink_to(folder.parent / "outside")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            swap[0].rename(swap[2])
            swap[1].rename(swap[0])
            swap[0].rename(swap[1])
            swap[2].rename(swap[0])

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(2000):
            try:
                assert "secret" not in names(root, "swap")
                files.make_directory(root, "swap/new", parents=False, exist_ok=True)
            except (FileFault, OSError):
                pass
    finally:
        stop.set()
        thread.join()
    assert os.listdir(folder.parent / "outside") == ["secret"]


def test_directories(root: int) -> None:
    assert refused(lambda: files.make_directory(root, "x/y", parents=False, exist_ok=False)).code == "file-missing"
    files.make_directory(root, "x/y", parents=True, exist_ok=False)
    assert refused(lambda: files.make_directory(root, "x/y", parents=True, exist_ok=False)).code == "file-exists"
    files.make_directory(root, "x/y", parents=True, exist_ok=True)
    assert refused(lambda: files.make_directory(root, "a/one.txt", parents=True, exist_ok=True)).code == "file-exists"
    assert refused(lambda: files.make_directory(root, "a/one.txt/z", parents=True, exist_ok=True)).code != "other"
    assert names(root, "x") == ["y"]


def test_move_goes_as_mv(root: int, folder: Path) -> None:
    (folder / "two.txt").write_text("two")
    files.move(root, "two.txt", "a")  # into a folder
    files.move(root, "a/two.txt", "a/one.txt")  # over a file
    assert (folder / "a" / "one.txt").read_text() == "two"
    files.move(root, "a/one.txt", "three.txt")  # to a new name
    assert names(root, "a") == ["b"]
    (folder / "b").mkdir()
    assert refused(lambda: files.move(root, "b", "a")).code == "file-exists"  # there is an a/b
    assert refused(lambda: files.move(root, "three.txt", "no/where")).code == "file-missing"
    assert refused(lambda: files.move(root, "a", "a/b")).code == "file-kind"
    assert refused(lambda: files.move(root, "", "a/b")).code == "bad-value"


def test_rename_overwrites_nothing(root: int) -> None:
    files.rename(root, "a/one.txt", "two.txt")
    assert names(root, "a") == ["b", "two.txt"]
    assert refused(lambda: files.rename(root, "a/two.txt", "b")).code == "file-exists"
    assert refused(lambda: files.rename(root, "a/two.txt", "b/c")).code == "bad-value"


def test_delete_does_all_or_nothing(root: int) -> None:
    assert refused(lambda: files.delete(root, ["a/one.txt", "a"], recursive=False)).code == "file-kind"
    assert refused(lambda: files.delete(root, ["a/one.txt", "gone"], recursive=True)).code == "file-missing"
    assert names(root, "a") == ["b", "one.txt"]
    files.delete(root, ["a", "a/one.txt"], recursive=True)
    assert "a" not in names(root)
    assert refused(lambda: files.delete(root, ["."], recursive=True)).code == "bad-value"


def test_the_deepest_tree_is_deleted_and_not_walked(root: int, folder: Path) -> None:
    current = os.open(folder, os.O_RDONLY)
    for _ in range(1500):  # more than recursion or descriptors allow
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    assert refused(lambda: files.usage_of(root)).code == "too-deep"
    files.delete(root, ["d"], recursive=True)
    assert "d" not in names(root)


def test_usage_counts_files_and_their_lengths(root: int, folder: Path) -> None:
    (folder / "a" / "b" / "two").write_bytes(bytes(1000))
    found = files.usage_of(root)
    assert found.num_files == 4  # two files, two links
    links = sum(os.lstat(folder / name).st_size for name in ("leak", "file-leak"))
    assert found.used_bytes == 1003 + links


def test_a_copy_has_all_but_follows_no_link(root: int, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "run.sh").write_text("#!")
    (folder / "a" / "run.sh").chmod(0o755)
    os.mkfifo(folder / "pipe")
    target = tmp_path / "copy"
    target.mkdir()
    with files.opened(os.open(target, os.O_RDONLY)) as there, files.opened(files.open_folder(root, ())) as here:
        files.copy_tree(here, there, lambda: True)
    assert (target / "a" / "one.txt").read_text() == "one"
    assert (target / "a" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (target / "leak").is_symlink()
    assert not (target / "pipe").exists()


def test_a_zip_has_all_files_and_nothing_from_outside(root: int, folder: Path) -> None:
    big = os.urandom(3 * files.PIECE_BYTES)
    (folder / "a" / "big").write_bytes(big)
    pieces = list(files.zip_pieces(files.open_folder(root, ()), "data"))
    assert max(map(len, pieces)) <= files.PIECE_BYTES
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["data/a/", "data/a/b/", "data/a/big", "data/a/one.txt"]
        assert archive.read("data/a/big") == big


def test_only_ordinary_files_are_opened(root: int, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for path in ("pipe", "a"):
        assert refused(lambda path=path: files.open_file(root, path)).code == "file-kind"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else, which takes root")
def test_who_acts_for_a_user_has_the_users_rights_and_no_others(root: int, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    folder.chmod(0o777)
    done = []

    def work() -> None:
        with acting_as(Identity(1234, 55)):
            files.make_directory(root, "mine", parents=False, exist_ok=False)
            with pytest.raises(PermissionError):
                files.list_page(root, "closed", 0, 10, "")
        done.append(files.list_page(root, "closed", 0, 10, "")["total"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [0]
    made = (folder / "mine").stat()
    assert (made.st_uid, made.st_gid) == (1234, 55)
    (folder / "root's").touch()  # this thread was root all the time
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_many_entries_are_shown_by_page(root: int, folder: Path, count: int) -> None:
    with files.opened(os.open(folder / "a" / "b", os.O_RDONLY)) as many:
        for number in range(count):
            os.close(os.open(f"{number:06}", os.O_CREAT | os.O_WRONLY, dir_fd=many))
    page = files.list_page(root, "a/b", count - 10, 1000, "")
    assert page["total"] == count
    assert [item["name"] for item in page["items"]] == [f"{number:06}" for number in range(count - 10, count)]
    assert len(files.list_page(root, "a/b", 0, 10**9, "")["items"]) == min(count, files.MAX_PAGE)
    assert files.usage_of(root).num_files == count + 3
    files.delete(root, ["a"], recursive=True)
    assert "a" not in names(root)
