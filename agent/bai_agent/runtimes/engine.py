"""A connection to a Docker engine: docker-py blocks, so each call runs in a thread; what fails becomes a sentence."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from bai_agent.runtimes.base import RuntimeFault
from bai_jupyter.common.reasons import Reason

T = TypeVar("T")

_CALL_TIMEOUT_S = 60
_THREADS = 8


class Engine:
    """``agent`` is the name that users see."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._client: docker.APIClient | None = None

    @property
    def api(self) -> Any:
        """For use in a worker thread: the first call asks the engine for its version."""
        if self._client is None:
            self._client = new_client(_CALL_TIMEOUT_S)
        return self._client

    async def call(self, code: str, work: Callable[[], T], **params: str) -> T:
        """Run ``work`` in a thread; what fails becomes a ``RuntimeFault`` with reason ``code``, or ``engine-down`` if
        the engine did not answer: that is nothing against what was asked."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (DockerException, OSError) as error:
            if _is_away(error):
                raise RuntimeFault(self.reason("engine-down", _explain_away(error))) from error
            raise RuntimeFault(self.reason(code, _explain(error), **params)) from error

    def reason(self, code: str, cause: str, **params: str) -> Reason:
        if code == "other":
            return Reason.of("other", text=f"The container engine on {self.agent} says: {cause}")
        return Reason.of(code, agent=self.agent, cause=cause, **params)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if self._client is not None:
            self._client.close()


def new_client(timeout_s: float | None) -> Any:
    """One more client of the engine that ``DOCKER_HOST`` and friends name, as the docker command reads them."""
    return docker.APIClient(timeout=timeout_s, version="auto", **docker.utils.kwargs_from_env())


def unless_gone(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except NotFound:
            return

    return run


def explain(error: Exception) -> str:
    """What an admin can use of an engine's error, in one line."""
    return _explain_away(error) if _is_away(error) else _explain(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the first cause last."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _is_away(error: Exception) -> bool:
    """The engine did not answer, or fell silent: docker-py wraps that in several ways, an answer only in one."""
    if isinstance(error, APIError):
        return False
    return any(isinstance(link, requests.exceptions.RequestException) for link in _chain(error))


def _explain_away(error: Exception) -> str:
    """The first cause alone, such as ``Connection refused``: what wraps it names Python objects."""
    *_, first = _chain(error)
    return str(getattr(first, "strerror", None) or first)


def _explain(error: Exception) -> str:
    """What an admin can use of an engine's error, in one line."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return " ".join(str(text).split())[:300]
