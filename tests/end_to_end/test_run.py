"""`bai run`: a script from here and a command, their log and exit code, and a Ctrl-C that ends nothing."""

import asyncio
import signal
import sys

import pytest
from end_to_end.runtimes import on_both_runtimes

from bai_jupyter.cli.run import MAX_SCRIPT_BYTES
from bai_jupyter.cli.terminal import Exit
from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, on_both_runtimes]

SMALL = ("--cpu", "1", "--mem", "256m")
SCRIPT = """
import pathlib, sys
print(sys.argv[1:], pathlib.Path(__file__).name, flush=True)
print("to stderr", file=sys.stderr, flush=True)
sys.exit(5)
"""


async def begun(*words: str) -> asyncio.subprocess.Process:
    """A cluster's credentials are in the environment."""
    pipes = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.PIPE)
    command = (sys.executable, "-c", "import sys; from bai_jupyter.cli import main; sys.exit(main())")
    return await asyncio.create_subprocess_exec(*command, "run", *SMALL, *words, **pipes)


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_a_script_and_a_command(cluster, tmp_path):
    script = tmp_path / "my script.py"
    script.write_text(SCRIPT)
    code, out, err = await ended(await begun(str(script), "--name", "my-job", "--", "--epochs", "3", "a b"))
    assert (code, sorted(out.splitlines())) == (5, ["['--epochs', '3', 'a b'] my script.py", "to stderr"]), err
    assert "my-job: Failed with code 5." in err
    code, out, err = await ended(await begun("-q", "--", "for n in 1 2; do echo $n; done"))
    assert (code, out, err) == (0, "1\n2\n", "")
    code, out, err = await ended(await begun("--no-follow", "--name", "later", "--", "true"))
    assert (code, out, "bai session logs later" in err) == (0, "later\n", True)


async def test_ctrl_c_leaves_it_running_and_says_how_to_get_back(cluster, tmp_path):
    process = await begun("--name", "long-job", "--", "echo begun; sleep 600")
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"begun\n"
    process.send_signal(signal.SIGINT)
    code, _, err = await ended(process)
    assert (code, "long-job goes on. Its log: bai session logs long-job" in err) == (Exit.INTERRUPTED, True), err
    async with ManagerClient(cluster.config) as client:
        assert (await client.get_session("long-job"))["status"] == "RUNNING"
    large = tmp_path / "large.py"
    large.write_bytes(b"#" * (MAX_SCRIPT_BYTES + 1))
    for words, why in (((str(large),), "bai vfolder put"), ((), "What is to run?"), (("none.py",), "cannot be read")):
        code, _, err = await ended(await begun(*words))
        assert (code, why in err) == (Exit.USAGE, True), err
