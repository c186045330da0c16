"""What this machine is: processor, memory, container engine, GPUs. Each question has a time limit and never raises."""

import os
from dataclasses import dataclass

from bai_jupyter.common.slots import format_size

ENGINE_TIMEOUT_S = 5


@dataclass(frozen=True)
class Engine:
    """The Docker engine. ``trouble`` says why it cannot be used, and what to do; then the rest is empty."""

    version: str = ""
    cgroup: str = ""
    trouble: str = ""

    @property
    def answers(self) -> bool:
        return not self.trouble


def ask_engine() -> Engine:
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        return Engine(trouble="The Python package docker is not installed: pip install 'bai_jupyter[agent]'.")
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        try:
            facts = client.info()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return Engine(trouble=_engine_trouble(error))
    return Engine(facts.get("ServerVersion") or "?", f"v{facts.get('CgroupVersion') or '1'}")


def _engine_trouble(error: Exception) -> str:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return "You may not use Docker's socket: add yourself to the group docker and log in again, or run as root."
    if "No such file" in text or "FileNotFoundError" in text or "Connection refused" in text:
        return "Docker does not answer: install and start it, or set DOCKER_HOST."
    return f"Docker does not answer: {text}"


@dataclass(frozen=True)
class Gpus:
    """NVIDIA GPUs: their models, or why there are none."""

    models: tuple[str, ...] = ()
    driver: str = ""
    trouble: str = ""


def ask_gpus() -> Gpus:
    try:
        import pynvml
    except ImportError:
        return Gpus(trouble="The Python package nvidia-ml-py is not installed: pip install 'bai_jupyter[agent]'.")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        advice = "CPU sessions work. For GPUs: install the NVIDIA driver."
        return Gpus(trouble=f"NVML: {error}. {advice}")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        models = tuple(_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        return Gpus(models, _text(pynvml.nvmlSystemGetDriverVersion()))
    except pynvml.NVMLError as error:
        return Gpus(trouble=f"NVML: {error}.")
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    return format_size(memory_bytes())


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
