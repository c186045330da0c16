"""Files in folders through the API: what is done, what is refused, and the bytes."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tornado.httpclient import AsyncHTTPClient
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

pytestmark = pytest.mark.asyncio

TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@pytest_asyncio.fixture
async def folder(agent, admin, disk):
    """Where the folder ``data`` lies."""
    return disk.folder(await admin.post("/folders", {"name": "data"}))


@pytest_asyncio.fixture
async def http():
    client = AsyncHTTPClient(force_instance=True)

    async def fetch(method, url, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.fetch(
            url, method=method, body=body, headers=headers, raise_error=False, allow_nonstandard_methods=True
        )

    yield fetch
    client.close()


async def upload_url(admin, path, size, name="data"):
    told = await admin.post(f"/folders/{name}/request-upload", {"path": path, "size": size}, status=200)
    return f"{told['url']}?token={told['token']}"


async def download_url(admin, path, **more):
    told = await admin.post("/folders/data/request-download", {"path": path, **more}, status=200)
    return f"{told['url']}?token={told['token']}"


async def patch(http, url, offset, body, **more):
    headers = {**{name.replace("-", "_"): value for name, value in TUS.items()}, **more}
    return await http("PATCH", url, body, Upload_Offset=str(offset), **headers)


def code_of(answer):
    return answer.json["data"]["reason"]["code"]


# Files


async def test_directories_files_and_pages(admin, folder):
    await admin.post("/folders/data/mkdir", {"path": "a/b", "parents": True, "exist_ok": False})
    await admin.post("/folders/data/mkdir", {"path": ["c", "c/d"]})
    (folder / "a" / "x").write_text("abc")
    listed = (await admin.call("GET", "/folders/data/files", {"path": "a"})).json
    assert [(one["name"], one["type"], one["size"]) for one in listed["items"]][1] == ("x", "FILE", 3)
    assert [one["name"] for one in listed["items"]] == ["b", "x"]
    await admin.post("/folders/data/rename-file", {"target_path": "a/x", "new_name": "y"}, status=200)
    await admin.post("/folders/data/move-file", {"src": "a/y", "dst": "c/d"}, status=200)
    assert (await admin.call("DELETE", "/folders/data/delete-files", {"files": ["c"]})).status == 400
    assert (folder / "c" / "d" / "y").exists()
    gone = await admin.call("DELETE", "/folders/data/delete-files", {"files": ["c"], "recursive": True})
    assert (gone.status, sorted(os.listdir(folder))) == (200, ["a"])
    page = (await admin.call("GET", "/folders/data/files", {"offset": 0, "limit": 0})).json
    assert (page["items"], page["total"], page["offset"]) == ([], 1, 0)


@pytest.mark.parametrize(
    ("method", "call", "body", "status", "code"),
    [
        ("POST", "mkdir", {"path": "../x"}, 400, "bad-value"),
        ("POST", "mkdir", {"path": "leak/x"}, 400, "link-escape"),
        ("POST", "mkdir", {"path": 7}, 400, "bad-value"),
        ("POST", "mkdir", {"path": "x", "parents": "perhaps"}, 400, "bad-value"),
        ("GET", "files", {"path": "no"}, 404, "file-missing"),
        ("GET", "files", {"path": "leak"}, 400, "link-escape"),
        ("GET", "files", {"limit": 10**9}, 400, "bad-value"),
        ("GET", "files", {"offset": -1}, 400, "bad-value"),
        ("POST", "rename-file", {"target_path": "x", "new_name": "../y"}, 400, "bad-value"),
        ("POST", "move-file", {"src": "x", "dst": "../../y"}, 400, "bad-value"),
        ("POST", "move-file", {"src": "x"}, 400, "bad-value"),
        ("DELETE", "delete-files", {"files": []}, 400, "bad-value"),
        ("DELETE", "delete-files", {"files": ["leak/secret"], "recursive": True}, 400, "link-escape"),
        ("POST", "request-download", {"path": "no"}, 404, "file-missing"),
        ("POST", "request-upload", {"path": "x"}, 400, "bad-value"),
        ("POST", "request-upload", {"path": "x", "size": -1}, 400, "bad-value"),
        ("POST", "request-upload", {"path": "../x", "size": 0}, 400, "bad-value"),
    ],
)
async def test_what_is_refused_changes_nothing(admin, folder, disk, method, call, body, status, code):
    (disk.path / "secret").write_text("secret")
    (folder / "leak").symlink_to(disk.path)
    (folder / "x").write_text("x")
    answer = await admin.call(method, f"/folders/data/{call}", body)
    assert (answer.status, code_of(answer)) == (status, code)
    assert sorted(os.listdir(folder)) == ["leak", "x"]
    assert (disk.path / "secret").read_text() == "secret"


# Uploads


async def test_an_upload_in_pieces_and_with_a_cut(admin, folder, http, disk, helpers):
    content = os.urandom(3_000_000)
    url = await upload_url(admin, "sub/big", len(content))
    assert (await http("HEAD", url, Tus_Resumable="1.0.0")).headers["Upload-Offset"] == "0"
    first = await patch(http, url, 0, content[:1_000_000])
    assert (first.code, first.headers["Upload-Offset"], first.headers["Tus-Resumable"]) == (204, "1000000", "1.0.0")
    wrong = await patch(http, url, 5, content[5:100])
    assert wrong.code == 409
    await _cut(url, 1_000_000, content[1_000_000:2_000_000], promised=2_000_000)

    (draft,) = (disk.path / "data").glob(".uploads/*/*")
    await helpers.wait_until(lambda: draft.stat().st_size > 1_000_000, "what was sent before the cut")
    head = await http("HEAD", url)
    offset = int(head.headers["Upload-Offset"])
    assert head.headers["Upload-Length"] == "3000000"
    assert os.listdir(folder) == []
    last = await patch(http, url, offset, content[offset:])
    assert last.headers["Upload-Offset"] == "3000000"
    assert (folder / "sub" / "big").read_bytes() == content


async def _cut(url, offset, sent, promised):
    """As a client whose cable is pulled in the middle of a chunk."""
    target = urlsplit(url)
    stream = await TCPClient().connect(target.hostname, target.port)
    head = f"PATCH {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: {promised}\r\n"
    head += f"Upload-Offset: {offset}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in TUS.items())
    await stream.write(head.encode() + b"\r\n" + sent)
    stream.close()


async def test_what_tus_clients_ask_for(admin, folder, http):
    url = await upload_url(admin, "x", 5)
    options = await http("OPTIONS", url)
    assert (options.code, options.headers["Tus-Version"]) == (204, "1.0.0")
    made = await http("POST", url, "", Upload_Length="5", Tus_Resumable="1.0.0")
    assert (made.code, made.headers["Location"]) == (201, url)
    assert (await http("POST", url, "", Upload_Length="6")).code == 400
    assert (await patch(http, url, 0, b"abc")).code == 204
    assert (await http("DELETE", url)).code == 204
    assert (await http("HEAD", url)).headers["Upload-Offset"] == "0"
    assert (await patch(http, url, 0, b"abc", Tus_Resumable="0.9")).code == 412
    assert (await patch(http, url, 0, b"abc", Content_Type="text/plain")).code == 415
    assert (await patch(http, url, "x", b"abc")).code == 400
    assert (await patch(http, url, 0, b"abcdef")).code == 400
    assert os.listdir(folder) == []
    assert (await patch(http, url + "&dst_dir=sub", 0, b"abcde")).code == 204
    assert (folder / "sub" / "x").read_bytes() == b"abcde"


@pytest.mark.parametrize("manager_options", [{"public_url": "https://bai.example.org/base/"}])
async def test_a_manager_behind_a_proxy_tells_the_proxys_address(admin, folder):
    told = await admin.post("/folders/data/request-upload", {"path": "x", "size": 1}, status=200)
    assert told["url"] == "https://bai.example.org/base/storage/upload"


async def test_an_empty_file_is_there_at_once(admin, folder):
    await upload_url(admin, "sub/empty", 0)
    assert (folder / "sub" / "empty").stat().st_size == 0


async def test_a_quota_is_told_with_figures_and_leaves_no_torn_file(admin, folder, http):
    view = await admin.get("/folders/data")
    await admin.post("/folders/_/quota", {"id": view["id"], "quota": "1m"}, status=200)
    url = await upload_url(admin, "x", 800 * 1024)
    assert (await patch(http, url, 0, bytes(400 * 1024))).code == 204
    (folder / "by-a-session").write_bytes(bytes(600 * 1024))
    refused = await patch(http, url, 400 * 1024, bytes(400 * 1024))
    assert refused.code == 412
    assert b"data may hold 1 MiB; 600 KiB used, x needs 800 KiB: 376 KiB too much." in refused.body
    assert os.listdir(folder) == ["by-a-session"]
    assert (await http("HEAD", url)).headers["Upload-Offset"] == "0"


async def test_a_refusal_is_read_also_by_who_sends_much(admin, folder, http):
    url = await upload_url(admin, "x", 40_000_000)
    assert (await patch(http, url, 7, bytes(30_000_000))).code == 409


# Downloads


async def test_a_download_and_its_parts(admin, folder, http):
    content = os.urandom(2_000_000)
    (folder / "größe.bin").write_bytes(content)
    url = await download_url(admin, "größe.bin")
    whole = await http("GET", url)
    assert (whole.code, whole.headers["Content-Length"], whole.body) == (200, "2000000", content)
    assert whole.headers["Content-Disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe.bin"
    head = await http("HEAD", url)
    assert (head.headers["Content-Length"], head.headers["Accept-Ranges"]) == ("2000000", "bytes")
    for asked, start, end in [
        ("bytes=10-19", 10, 20),
        ("bytes=1999990-", 1999990, 2000000),
        ("bytes=-5", 1999995, 2000000),
    ]:
        part = await http("GET", url, Range=asked)
        assert (part.code, part.body) == (206, content[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/2000000"
    for validator in ("ETag", "Last-Modified"):
        part = await http("GET", url, Range="bytes=10-", If_Range=whole.headers[validator])
        assert part.code == 206
    beyond = await http("GET", url, Range="bytes=2000000-")
    assert (beyond.code, beyond.headers["Content-Range"]) == (416, "bytes */2000000")
    assert (await http("GET", url, Range="lines=1-2")).code == 200
    os.utime(folder / "größe.bin", (1, 1))
    assert (await http("GET", url, Range="bytes=10-", If_Range=whole.headers["ETag"])).code == 200


async def test_an_empty_file_is_downloaded(admin, folder, http):
    (folder / "empty").touch()
    answer = await http("GET", await download_url(admin, "empty"))
    assert (answer.code, answer.headers["Content-Length"], answer.body) == (200, "0", b"")


async def test_a_folder_as_a_zip_file(admin, folder, http):
    (folder / "sub").mkdir()
    (folder / "sub" / "x").write_bytes(bytes(1_000_000))
    for path, name in (("sub", "sub/x"), ("", "data/sub/x")):
        answer = await http("GET", await download_url(admin, path, archive=True))
        assert answer.headers["Content-Type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.testzip() is None
            assert name in archive.namelist()
    assert (await http("GET", await download_url(admin, "sub"))).code == 400


async def test_a_download_that_is_broken_off_is_seen(admin, folder, http, disk):
    (folder / "big").write_bytes(bytes(200_000_000))
    target = urlsplit(await download_url(admin, "big"))
    stream: IOStream = await TCPClient().connect(target.hostname, target.port)
    await stream.write(f"GET {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode())
    await stream.read_until(b"\r\n\r\n")
    os.truncate(folder / "big", 1000)
    received = 0
    try:
        while True:
            received += len(await stream.read_bytes(1 << 20, partial=True))
    except StreamClosedError:
        pass
    assert received < 200_000_000


async def test_who_hangs_up_leaves_nothing_running(admin, folder, helpers):
    (folder / "big").write_bytes(bytes(200_000_000))
    target = urlsplit(await download_url(admin, "big"))
    stream = await TCPClient().connect(target.hostname, target.port)
    await stream.write(f"GET {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode())
    await stream.read_until(b"\r\n\r\n")
    stream.close()
    opened = str(folder / "big")

    def is_closed():
        return not any(os.path.realpath(f"/proc/self/fd/{fd}") == opened for fd in os.listdir("/proc/self/fd"))

    await helpers.wait_until(is_closed, "the file closed")


# Tokens


async def test_a_token_is_for_one_file_one_way_and_as_long_as_its_user_may(agent, admin, make_user, folder, http):
    alice = await make_user("alice")
    await admin.post("/folders/data/invite", {"perm": "rw", "user_ids": ["alice@localhost"]})
    (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
    await alice.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    (folder / "x").write_text("x")
    up, down = await upload_url(alice, "new", 3), await download_url(alice, "x")
    assert (await patch(http, up.replace(up[-4:], "AAAA"), 0, b"abc")).code == 401
    assert (await http("GET", down.partition("?")[0])).code == 401
    assert (await http("GET", down.partition("?")[0] + "?" + up.partition("?")[2])).code == 401
    assert (await http("HEAD", up)).code == 200
    assert (await http("GET", down)).code == 200
    (share,) = (await admin.get("/folders/_/shared"))["shared"]
    change = {"vfolder": share["vfolder_id"], "user": share["shared_to"]["uuid"]}
    await admin.post("/folders/_/shared", {**change, "perm": "ro"}, status=200)
    assert (await patch(http, up, 0, b"abc")).code == 403
    assert (await http("GET", down)).code == 200
    await admin.post("/folders/_/shared", change, status=200)
    assert (await http("GET", down)).code == 401
    assert os.listdir(folder) == ["x"]


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_three_gibibytes_cut_twice_arrive_whole_at_flat_memory(admin, folder, http):
    size, piece = 3 * 1024**3, 16 * 1024**2
    block = os.urandom(piece)
    url = await upload_url(admin, "big", size)
    before, sent, cuts = _resident_bytes(), 0, {size // 3 // piece, size // 2 // piece}
    while sent < size:
        if sent // piece in cuts:
            cuts.discard(sent // piece)
            await _cut(url, sent, block[: piece // 2], promised=piece)
            sent = int((await http("HEAD", url)).headers["Upload-Offset"])
            continue
        at = sent % piece
        answer = await patch(http, url, sent, block[at:])
        sent = int(answer.headers["Upload-Offset"])
    assert _resident_bytes() - before < 200 * 1024**2
    expected, found = hashlib.sha256(), hashlib.sha256()
    with (folder / "big").open("rb") as file:
        while data := file.read(piece):
            found.update(data)
            expected.update(block)
    assert found.digest() == expected.digest()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
