"""What `bai run` makes of what it is given, and of a log of which only the end is kept."""

import base64
import subprocess

import pytest

from bai_jupyter.cli.run import command_of, news, putting


@pytest.mark.parametrize(
    ("file", "words", "command"),
    [
        ("x/train.py", ["--epochs", "3"], "python train.py --epochs 3"),
        ("my job.sh", ["a b"], "sh 'my job.sh' 'a b'"),
        ("tool", [], "./tool"),
        (None, ["ls", "-l", "a b"], "ls -l 'a b'"),
        (None, ["a | b"], "a | b"),
        (None, [], ""),
    ],
)
def test_the_command(file, words, command):
    assert command_of(file, words) == command


def test_a_script_arrives_as_it_was(tmp_path):
    content = bytes(range(256)) * 20
    subprocess.run(["sh", "-c", putting("it's $HOME.py", content)], cwd=tmp_path, check=True)
    assert (tmp_path / "it's $HOME.py").read_bytes() == content
    assert base64.encodebytes(content).decode().splitlines()[-1] != "END"


@pytest.mark.parametrize(
    ("seen", "text", "fresh"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\n", ""),
        ("a\nb", "a\nbc\n", "c\n"),
        ("a\nb\nc\n", "b\nc\nd\n", "d\n"),
        ("a\nb\nc\n", "c\nd\n", "d\n"),
        ("a\na\nb\n", "a\nb\nc\n", "c\n"),
        ("a\nb\n", "x\ny\n", None),
    ],
)
def test_what_is_new_in_a_log(seen, text, fresh):
    assert news(seen, text) == fresh
