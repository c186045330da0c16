"""What it costs to save a Python kernel's variables and to wake another with them, beside plain pickle in the same run.

    python benchmarks/save_wake.py [--rounds 5] [--dir /tmp]

Each measurement is a process of its own, in turn: it makes the variables, then saves them by our program or by
``pickle.dump`` of one dictionary, both to the disk (fsync); and a new process restores them by the one or the other.
``extra`` is how much more memory the process had at its peak meanwhile than before, for a wake less what was restored.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))
from bai_agent.variables.languages import LANGUAGES, SAVE_TO, WAKE_FROM

MB = 1_000_000
PYTHON = LANGUAGES["python"]
NAMESPACES = {
    "10 MB of buffers": (10 * MB, "v{n} = bytearray(os.urandom(1000)) * ({each} // 1000)"),
    "1 GB of buffers": (1000 * MB, "v{n} = bytearray(os.urandom(1000)) * ({each} // 1000)"),
    "10 MB of objects": (
        10 * MB,
        "v{n} = [{{'id': i, 'name': str(i), 'at': (i, i * .5)}} for i in range({each} // 44)]",
    ),
}
VARIABLES = 16

MEASURE = """
import gc, json, os, pickle, sys, time
def memory(field):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(field)) * 1024
def measured(work):
    gc.collect()
    open('/proc/self/clear_refs', 'w').write('5')
    before, began, busy = memory('VmRSS'), time.perf_counter(), time.process_time()
    work()
    took, used = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps([took, used, memory('VmHWM') - before, memory('VmRSS') - before]))
"""
PLAIN_SAVE = """
def work():
    with open({path!r}, 'wb') as file:
        pickle.dump({{name: value for name, value in globals().items() if name.startswith('v')}}, file, 5)
        file.flush()
        os.fsync(file.fileno())
measured(work)
"""
PLAIN_WAKE = """
def work():
    with open({path!r}, 'rb') as file:
        globals().update(pickle.load(file))
measured(work)
"""


def run(code: str, env: dict[str, str]) -> tuple[float, float, int, int]:
    """Seconds, those of CPU, the peak above what was before, and what is left of that."""
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, check=True)
    took, used, peak, kept = json.loads(ran.stdout)
    return float(took), float(used), int(peak), int(kept)


def check(report: Path, variables: int) -> None:
    said = json.loads(report.read_text())
    assert said["error"] is None, said
    assert said["variables"] >= variables, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", help="where to save")
    options = parser.parse_args()
    print("| variables | | plain pickle | ours | ratio | of CPU | extra memory, plain | ours |\n" + "|---" * 8 + "|")
    for name, (size, line) in NAMESPACES.items():
        measure(name, size, line, options.rounds, options.dir)


def measure(name: str, size: int, line: str, rounds: int, place: str | None) -> None:
    make = "import os\n" + "\n".join(line.format(n=n, each=size // VARIABLES) for n in range(VARIABLES)) + MEASURE
    figures: dict[str, list[tuple[float, float, int, int]]] = {}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        root = Path(folder)
        program, report, plain, ours = root / "variables.zip", root / "said.json", root / "plain", root / "home"
        program.write_bytes(PYTHON.program())
        ours.mkdir()
        env = {key: str(ours / ".bai" / "variables" / "s" / "k") for key in (SAVE_TO, WAKE_FROM)}
        save = PYTHON.save(str(program), str(report), "", 600)
        wake = PYTHON.wake(str(program), str(report))
        works = {
            "plain save": make + PLAIN_SAVE.format(path=str(plain)),
            "our save": f"{make}\nmeasured(lambda: {save})",
            "plain wake": MEASURE + PLAIN_WAKE.format(path=str(plain)),
            "our wake": f"{MEASURE}\nmeasured(lambda: {wake})",
        }
        for _ in range(rounds):
            for what, code in works.items():
                figures.setdefault(what, []).append(run(code, env))
                if what.startswith("our"):
                    check(report, VARIABLES)
    for what in ("save", "wake"):
        theirs, mine = figures[f"plain {what}"], figures[f"our {what}"]
        times = [statistics.median(took for took, *_ in each) for each in (theirs, mine)]
        cpu = [statistics.median(used for _, used, *_ in each) for each in (theirs, mine)]
        extra = [max(peak - (kept if what == "wake" else 0) for *_, peak, kept in each) / MB for each in (theirs, mine)]
        print(
            f"| {name} | {what} | {times[0]:.3f} s | {times[1]:.3f} s | {times[1] / times[0]:.2f} "
            f"| {cpu[1] / cpu[0]:.2f} | {extra[0]:.0f} MB | {extra[1]:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
