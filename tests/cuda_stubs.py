"""Stubs of NVIDIA's libraries, built from C, and a program that uses the GPU as CUDA programs do."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

GPU = "GPU-10101010-1010-1010-1010-101010101010"
OTHER_GPU = "GPU-11111111-1111-1111-1111-111111111111"


def compile_c(*arguments: object) -> None:
    subprocess.run(["cc", "-Wall", "-Werror", *map(str, arguments)], check=True, timeout=60)


@dataclass
class Probe:
    """Runs ``probe`` as an ordinary process with the library before it."""

    folder: Path  # compiled into the library
    cuda: Path
    library: Path

    def limit(self, *limits: tuple[str, int, int]) -> None:
        """``(uuid, MiB in all, MiB reserved)``; what processes hold is forgotten."""
        lines = (f"{uuid} {total << 20} {reserved << 20}\n" for uuid, total, reserved in limits)
        (self.folder / "limits").write_text("".join(lines))
        (self.folder / "usage").write_bytes(bytes(16 + 1024 * 144))

    def command(self, words: str) -> list[str]:
        return [str(self.cuda / "probe"), *words.split()]

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.cuda), "LD_PRELOAD": str(self.library)}

    def run(self, words: str) -> list[str]:
        """What it says, a line each."""
        done = subprocess.run(
            self.command(words), env=self.environ, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()
