"""Every example of ``docs/api.md``, in its order, answers what is written below it.

Shell blocks share one ``bash``, which ends at the first command that fails. Python blocks that import the official SDK
run in its environment, others in ours. A ``text`` block is what the one before it prints, ``…`` in it is anything.
"""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "\f"


def examples(text: str) -> Iterator[tuple[str, str, str]]:
    """Language, code, and what it prints."""
    blocks = BLOCK.findall(text)
    for number, (language, code) in enumerate(blocks):
        if language != "text":
            following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            yield language, code, following[1] if following[0] == "text" else ""


def as_shell(language: str, code: str, official_python: Path) -> str:
    if language == "sh":
        return code
    python = official_python if "ai.backend" in code else sys.executable
    return f"'{python}' - <<'END OF PYTHON'\n{code}END OF PYTHON\n"


def is_like(found: str, told: str) -> bool:
    return fnmatchcase(found, re.sub(r"([\[*?])", r"[\1]", told).replace("…", "*"))


async def test_the_examples_answer_what_is_written_below_them(client_of_cluster, installed_client, cluster, missing):
    for tool in ("curl", "jq", "openssl"):
        if shutil.which(tool) is None:
            missing(tool, f"there is no {tool}, which examples of {DOCUMENT.name} use")
    told = list(examples(DOCUMENT.read_text(encoding="utf-8")))
    assert len(told) > 15
    parts = [as_shell(language, code, installed_client / "bin" / "python") for language, code, _ in told]
    script = "set -eu -o pipefail\n" + f"printf '{END}'\n".join(parts)
    keys, ours = cluster.config, Path(sys.executable).parent
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=client_of_cluster.home,
        env={
            "PATH": f"{ours}:{os.environ['PATH']}",
            "HOME": str(client_of_cluster.home),
            "BACKEND_ENDPOINT": keys.endpoint,
            "BACKEND_ENDPOINT_TYPE": "api",
            "BACKEND_ACCESS_KEY": keys.access_key,
            "BACKEND_SECRET_KEY": keys.secret_key,
            "PYTHONWARNINGS": "ignore",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(shell.communicate(), 300)
    found = printed.decode().split(END)
    wrong = [
        f"{code}printed:\n{text}\nand not:\n{expected}"
        for (_, code, expected), text in zip(told, found, strict=False)
        if not is_like(text.rstrip("\n"), expected.rstrip("\n"))
    ]
    assert not wrong, "\n".join(wrong)
    assert (shell.returncode, len(found)) == (0, len(told))
