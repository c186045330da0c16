"""Every ``bai …`` that a document shows is one that there is.

In a block of code it is a whole command line. Between words it may be the beginning of one: ``bai session start`` lacks
an image, and that is all that may be wrong with it.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bai_jupyter import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?:    |\t).*", re.MULTILINE)
SPAN = re.compile(r"`(bai(?: [^`]*)?)`")
ENDS = frozenset("|&;<>()") | {"||", "&&", ">>"}
INCOMPLETE = "the following arguments are required"


def of_blocks(text: str) -> Iterator[str]:
    """Lines of shell: those of fenced blocks that are no output, and what is indented elsewhere."""
    for language, block in FENCED.findall(text):
        if language in ("", "sh", "bash", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    yield from INDENTED.findall(FENCED.sub("", text).replace("\\\n", " "))


def commands_of(line: str) -> Iterator[list[str]]:
    """The words behind each ``bai`` of a line of shell, without redirections and what comes after a pipe."""
    shell = shlex.shlex(line, posix=True, punctuation_chars=True)
    shell.whitespace_split = True
    words: list[str] = []
    try:
        for word in [*shell, ";"]:
            if word in ENDS:
                if words[:1] == ["bai"]:
                    yield words[1:]
                words = []
            else:
                words.append(word)
    except ValueError:
        return  # a quotation that goes on in the next line: not one of ours


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_shown_can_be_typed(document, capsys):
    text = document.read_text(encoding="utf-8")
    shown = [(words, True) for line in of_blocks(text) for words in commands_of(line)]
    shown += [(words, False) for span in SPAN.findall(FENCED.sub("", text)) for words in commands_of(span) if words]
    wrong = []
    for words, is_whole in shown:
        try:
            cli._parse(words)
        except SystemExit as end:
            said = capsys.readouterr().err
            if end.code and (is_whole or INCOMPLETE not in said):
                wrong.append(f"bai {shlex.join(words)}: {said}")
    assert not wrong, "\n".join(wrong)


def test_the_documents_are_read():
    """What is not found cannot be wrong."""
    found = [
        words
        for document in DOCUMENTS
        for line in of_blocks(document.read_text(encoding="utf-8"))
        for words in commands_of(line)
    ]
    assert len(found) > 80
    assert ["session", "wake", "later", "--from", "demo"] in found
    assert ["session", "exec", "demo", "--", "tar", "x", "-C", "/tmp"] in found  # noqa: S108 - what the document says
