"""``/bai/api/imports``: a notebook from an address on the public Internet, which this server fetches and saves.

It is saved as an upload would be: Jupyter's notary does not know it, so it is not trusted, and nothing that it asks for
is followed before its user agrees. Nothing of it is run.
"""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size, read_number
from bai_jupyter.extension import notebooks
from bai_jupyter.extension.folder_contents import in_drive
from bai_jupyter.extension.handlers import BaiHandler, bad_value
from bai_jupyter.public_web import Network, PrivateAddress, PublicResolver, check_url

LARGEST_BYTES = 32 * 1024**2
MOST_HOPS = 5
TIMEOUT_S = 60.0


class ImportsHandler(BaiHandler):
    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def post(self) -> None:
        """``{"url", "folder"}`` → 201 ``{"path"}``: the notebook at ``url``, by a name that is free there; both as Lab
        has paths, with the drive's name before those in folders."""
        given = self.fields()
        url, folder = given.get("url"), given.get("folder", "")
        if not isinstance(url, str):
            raise bad_value("url", url, "an address")
        if not isinstance(folder, str):
            raise bad_value("folder", folder, "a directory's path")
        contents, inside = notebooks.contents_of(folder, self.contents_manager, self.extension.folder_contents)
        if not await ensure_async(contents.dir_exists(inside)):
            raise NotFound(Reason.of("not-found", kind="folder", name=folder))
        text = notebook_in(await fetch(raw_url(_checked(url.strip()))), url)
        file = {"type": "file", "format": "text", "content": text}
        path = await notebooks.save_new(contents, self.extension.naming, file, PurePosixPath(inside) / name_for(url))
        self.set_status(201)
        self.finish({"path": path if contents is self.contents_manager else in_drive(path)})


def raw_url(url: str) -> str:
    """GitHub and GitLab show a file on a page; the file itself is beside that."""
    parts = urlsplit(url)
    place = parts.path.split("/")  # "", owner, repository, "blob", …
    if parts.hostname == "github.com" and place[3:4] == ["blob"]:
        return f"https://raw.githubusercontent.com/{'/'.join(place[1:3] + place[4:])}"
    return url.replace("/-/blob/", "/-/raw/", 1)


def name_for(url: str) -> str:
    """The address's last part: never a hidden file, and always a notebook by its name."""
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    name = "".join(char for char in last if char.isprintable()).lstrip(".") or "notebook"
    return name if name.endswith(".ipynb") else f"{name}.ipynb"


def notebook_in(body: bytes, url: str) -> str:
    """As text, if it is one. Raises ``BadRequest``."""
    try:
        text = body.decode()
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("nbformat"), int):
        raise BadRequest(Reason.of("import-no-notebook", url=url))
    return text


async def fetch(url: str, allowed: Sequence[Network] = (), ca_file: str | None = None) -> bytes:
    """What is at an https address; ``allowed`` networks count as public. Raises ``BadRequest`` with what is wrong."""
    client = SimpleAsyncHTTPClient(
        force_instance=True, resolver=PublicResolver(allowed=allowed), max_body_size=LARGEST_BYTES
    )
    try:
        for _ in range(MOST_HOPS):
            response = await _ask(client, _checked(url), ca_file)
            if response.code not in (301, 302, 303, 307, 308):
                return response.body or b""
            url = _joined(url, response.headers.get("Location", ""))
    finally:
        client.close()
    raise BadRequest(Reason.of("import-failed", url=url, cause=f"it leads on and on, {MOST_HOPS} times"))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _no_address(location) from None


def _checked(url: str) -> str:
    """Also where a redirection leads."""
    try:
        check_url(url)
        if urlsplit(url).scheme == "https":
            return url
    except ValueError:
        pass
    raise _no_address(url)


def _no_address(url: str) -> BadRequest:
    return bad_value("url", url, "an https address on the public Internet")


async def _ask(client: SimpleAsyncHTTPClient, url: str, ca_file: str | None) -> Any:
    """One request; the answer may be a redirection."""
    lines: list[str] = []
    request = HTTPRequest(
        url,
        follow_redirects=False,
        decompress_response=False,
        connect_timeout=TIMEOUT_S,
        request_timeout=TIMEOUT_S,
        header_callback=lines.append,
        ca_certs=ca_file,
    )
    try:
        return await client.fetch(request)
    except PrivateAddress as error:
        raise BadRequest(Reason.of("import-private", host=urlsplit(url).hostname)) from error
    except HTTPClientError as error:
        if error.response is not None and 300 <= error.code < 400:
            return error.response
        raise BadRequest(_why(url, lines, error)) from error
    except (OSError, ValueError) as error:
        raise BadRequest(Reason.of("import-failed", url=url, cause=str(error).rstrip("."))) from error


def _why(url: str, lines: list[str], error: HTTPClientError) -> Reason:
    """``lines``: the head of the answer, as far as it came."""
    if error.code != 599:
        return Reason.of("import-failed", url=url, cause=f"its server answers {error.code} {error.message}".rstrip("."))
    sizes = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("content-length:")]
    size, limit = read_number(sizes[-1]) if sizes else None, format_size(LARGEST_BYTES)
    if size is not None and size > LARGEST_BYTES:
        return Reason.of("import-large", url=url, size=format_size(size), limit=limit)
    if lines:
        return Reason.of("import-broken", url=url, limit=limit)
    return Reason.of("import-failed", url=url, cause=str(error.message).rstrip("."))


HANDLERS = [(r"/bai/api/imports", ImportsHandler)]
