"""Files inside a session with the official client, in a cluster of real processes."""

import asyncio
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from end_to_end.runtimes import on_both_runtimes

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="files-here", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64"
)
result = str(made.id)
"""

MB = 1024**2


@dataclass
class Answer:
    status: int


@on_both_runtimes
async def test_up_and_down_and_what_is_there(client_of_cluster, cluster):
    client = client_of_cluster
    await client.sdk(CREATE.format(image=cluster.image))
    content = os.urandom(3 * MB)
    (client.home / "sub folder").mkdir()
    (client.home / "sub folder" / "größe.bin").write_bytes(content)
    (client.home / "empty").write_bytes(b"")
    uploaded = await client.cli("session", "upload", "files-here", "sub folder/größe.bin", "empty")
    assert uploaded.code == 0, uploaded

    listed = await client.cli("session", "ls", "files-here", "sub folder")
    assert listed.code == 0, listed
    assert "größe.bin" in listed.out
    got = await client.sdk('result = api.ComputeSession("files-here").list_files(".")')
    entries = {entry["filename"]: entry for entry in json.loads(got["files"])}
    assert (entries["empty"]["size"], entries["empty"]["mode"][0]) == (0, "-")
    assert entries["sub folder"]["mode"][0] == "d"
    assert got["abspath"] == "/home/work"

    (client.home / "back").mkdir()
    downloaded = await client.cli("session", "download", "files-here", "sub folder", "empty", "--dest", "back")
    assert downloaded.code == 0, downloaded
    assert (client.home / "back" / "sub folder" / "größe.bin").read_bytes() == content
    assert (client.home / "back" / "empty").read_bytes() == b""

    missing = await client.cli("session", "download", "files-here", "no-such", "--dest", "back")
    assert missing.code != 0
    assert "400" in missing.out + missing.err
    nowhere = await client.sdk('result = api.ComputeSession("files-here").list_files("no-such")')
    assert nowhere["files"] == "[]"
    assert "no-such" in nowhere["errors"]


async def test_paths_stay_in_the_home_folder(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    for path in ("../x", "/etc/passwd", "a/../../x", "/home/work/../other", "x\0y", "/home/workers"):
        for call, body in (
            ("download", {"files": [path]}),
            ("download_single", {"file": path}),
            ("files", {"path": path}),
        ):
            answer = await signed.call("GET", f"/session/files-here/{call}", body)
            assert (answer.status, answer.json["title"]) == (400, "Missing or invalid API parameters."), (call, path)
        assert (await upload(signed, path.replace("/", "%2F"), b"x")).status == 400, path
    for files in ([], "x", [7], ["x"] * 1000, None):
        assert (await signed.call("GET", "/session/files-here/download", {"files": files})).status == 400
    assert (await signed.call("GET", "/session/files-here/download_single", {"file": "."})).status == 400
    signed.close()


async def test_one_file_comes_as_it_is(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    content = os.urandom(2 * MB)
    assert (await upload(signed, "-dash it's", content)).status == 204
    answer = await signed.call("GET", "/session/files-here/download_single", {"file": "-dash it's"})
    assert (answer.status, answer.body == content) == (200, True)
    signed.close()


async def test_a_file_that_comes_in_part_is_not_there(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    truncated = await upload(signed, "torn", bytes(MB), end=b"")
    assert truncated.status == 400
    writer = await begin_upload(signed, "torn")

    async def has_begun() -> bool:
        return any(name.startswith("torn.") for name in await names_in(signed, "."))

    async def is_gone() -> bool:
        return not any(name.startswith("torn") for name in await names_in(signed, "."))

    await helpers.wait_until(has_begun, "a draft")
    writer.close()
    await helpers.wait_until(is_gone, "no draft")
    signed.close()


async def test_what_cannot_be_written_is_said_and_leaves_nothing(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    assert (await upload(signed, "folder/file", b"x")).status == 204
    for name in ("folder", "folder/file/below"):
        assert (await upload(signed, name, b"x")).status == 400
    assert await names_in(signed, ".") == ["folder", "home"]
    assert await names_in(signed, "folder") == ["file"]
    signed.close()


async def test_an_upload_whose_agent_is_killed_is_not_there(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    writer = await begin_upload(signed, "torn")

    async def has_begun() -> bool:
        return any(name.startswith("torn.") for name in await names_in(signed, "."))

    await helpers.wait_until(has_begun, "a draft")
    links = cluster.log("agent").count("linked to")
    cluster.kill("agent")
    cluster.start("agent")
    await cluster.until(partial(cluster.is_linked_after, links))

    async def can_be_listed() -> bool:
        return (await signed.call("GET", "/session/files-here/files", {"path": "."})).status == 200

    await helpers.wait_until(can_be_listed, "a list")
    assert "torn" not in await names_in(signed, ".")
    writer.close()
    signed.close()


async def test_a_large_file_leaves_the_manager_as_small_as_it_was(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image))
    signed = helpers.client(**helpers.of_cluster(cluster))
    assert (await upload(signed, "small", bytes(MB))).status == 204
    assert (await signed.call("GET", "/session/files-here/download_single", {"file": "small"})).status == 200
    before = resident_bytes(cluster.pid("manager"))
    assert (await upload(signed, "large", bytes(64 * MB))).status == 204
    got = await signed.call("GET", "/session/files-here/download_single", {"file": "large"})
    assert len(got.body) == 64 * MB
    assert resident_bytes(cluster.pid("manager")) - before < 16 * MB
    signed.close()


def part(filename: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="src"; filename="{filename}"'
    return b"--XX\r\n" + disposition.encode() + b"\r\n\r\n" + content


async def upload(signed, filename: str, content: bytes, end: bytes = b"\r\n--XX--\r\n"):
    request = signed.request("POST", "/session/files-here/upload", content_type="multipart/form-data")
    request.headers["Content-Type"] = "multipart/form-data; boundary=XX"
    request.body = part(filename, content) + end
    return Answer((await signed.http.fetch(request, raise_error=False)).code)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def names_in(signed, path: str) -> list[str]:
    got = await signed.call("GET", "/session/files-here/files", {"path": path})
    return [entry["filename"] for entry in json.loads(got.json["files"])]


async def begin_upload(signed, filename: str) -> asyncio.StreamWriter:
    """Send the first megabyte of more, and go on when that is written out."""
    request = signed.request("POST", "/session/files-here/upload", content_type="multipart/form-data")
    host, _, port = signed.endpoint.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    headers = {**request.headers, "Host": f"{host}:{port}", "Content-Length": str(9 * MB)}
    headers["Content-Type"] = "multipart/form-data; boundary=XX"
    lines = ["POST /session/files-here/upload HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + part(filename, bytes(MB)))
    await writer.drain()
    return writer
