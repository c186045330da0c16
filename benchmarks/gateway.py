"""gateway_provisioners' DockerProvisioner beside ours: the same kernel image, the same measurements.

It gets a virtual environment and an image of its own, both made here and removed again. What it needs and the kernel
image lacks is added to a copy: its launchers, and one line less in them, since ipykernel 7 ends when the parent it is
told of is not its parent.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

_IMAGE = "bai-bench/gateway"
_DOCKERFILE = """\
FROM {image}
COPY bootstrap-kernel.sh /usr/local/bin/
COPY kernel-launchers /usr/local/bin/kernel-launchers
COPY Cryptodome /opt/gateway/Cryptodome
ENV PYTHONPATH=/opt/gateway KERNEL_LAUNCHERS_DIR=/usr/local/bin/kernel-launchers KERNEL_LANGUAGE=python
CMD ["/usr/local/bin/bootstrap-kernel.sh"]
"""
_INSTALL_S, _MEASURE_S = 300, 120


class NotHere(Exception):
    """It cannot be installed or run on this machine; the message says why."""


class Gateway:
    """Made ready below ``folder``. Raises ``NotHere``."""

    def __init__(self, folder: Path, image: str) -> None:
        self._folder = folder
        self._python = folder / "venv" / "bin" / "python"
        self._run([sys.executable, "-m", "venv", str(folder / "venv")], _INSTALL_S)
        packages = ["gateway_provisioners", "docker", "ipykernel"]
        self._run([str(self._python), "-m", "pip", "install", "--quiet", *packages], _INSTALL_S)
        installed = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
        launchers = installed / "gateway_provisioners" / "kernel-launchers"
        self._build_image(image, installed, launchers)
        self._write_spec(launchers)

    def _build_image(self, image: str, installed: Path, launchers: Path) -> None:
        context = self._folder / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(_DOCKERFILE.format(image=image))
        self._run(["cp", "-r", str(launchers), str(installed / "Cryptodome"), str(context)], _INSTALL_S)
        listener = launchers / "shared" / "scripts" / "server_listener.py"
        (context / "kernel-launchers" / "python" / "scripts" / listener.name).write_text(listener.read_text())
        script = (launchers / "bootstrap" / "bootstrap-kernel.sh").read_text()
        (context / "bootstrap-kernel.sh").write_text(script.replace("JPY_PARENT_PID=$$$$", "JPY_PARENT_PID=0"))
        (context / "bootstrap-kernel.sh").chmod(0o755)
        self._run(["docker", "build", "--quiet", "--tag", _IMAGE, str(context)], _INSTALL_S)

    def _write_spec(self, launchers: Path) -> None:
        words = {"kernel-id": "{kernel_id}", "port-range": "{port_range}", "public-key": "{public_key}"}
        words |= {"response-address": "{response_address}", "kernel-class-name": "ipykernel.ipkernel.IPythonKernel"}
        launcher = launchers / "docker" / "scripts" / "launch_docker.py"
        argv = [str(self._python), str(launcher), *(part for k, v in words.items() for part in (f"--{k}", v))]
        provisioner = {"provisioner_name": "docker-provisioner", "config": {"image_name": _IMAGE}}
        spec = {"argv": argv, "display_name": "gateway", "language": "python"}
        place = self._folder / "jupyter" / "kernels" / "gateway"
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(json.dumps({**spec, "metadata": {"kernel_provisioner": provisioner}}))

    def measure(self) -> dict[str, list[float]]:
        """What ``kernels.py`` measures, of one kernel. Raises ``NotHere``."""
        script = Path(__file__).with_name("kernels.py")
        # It hands its whole environment to the container, so it gets a small one.
        environ = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        environ |= {"KERNEL_USERNAME": "bench", "JUPYTER_PATH": str(self._folder / "jupyter")}
        answer = self._run([str(self._python), str(script), "gateway"], _MEASURE_S, environ)
        return json.loads(answer.splitlines()[-1])

    def remove(self) -> None:
        subprocess.run(["docker", "image", "rm", "-f", _IMAGE], capture_output=True, check=False)

    def _run(self, command: list[str], timeout_s: float, environ: dict[str, str] | None = None) -> str:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=timeout_s, env=environ, cwd=self._folder
            )
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or error.stdout).strip().splitlines() or [f"exit code {error.returncode}"]
            raise NotHere(f"{' '.join(command[:5])}: {lines[-1]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotHere(str(error)) from error
        return done.stdout
