"""``/bai/api``: what a notebook's kernel is to run on, and what the manager says of it before anything is started."""

import asyncio
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.choice import read_choice, request_of
from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension import notebooks
from bai_jupyter.extension.handlers import NOT_CONNECTED, BaiHandler, NotConnected
from bai_jupyter.extension.kept_choices import Chosen
from bai_jupyter.extension.kernels import BaiMappingKernelManager
from bai_jupyter.extension.kernelspecs import BaiKernelSpecManager

LARGEST_QUESTION = 32
"""As many choices are judged at once: each is a call to the manager."""


async def verdict_on(client: ManagerClient, choice: dict[str, Any], instead_of: str | None = None) -> dict[str, Any]:
    """``{"verdict": "now" | "wait" | "refused", "reason", "estimate_s"}`` of a choice with an image."""
    if "session" not in choice:
        answer: dict[str, Any] = await client.dry_run(request_of(choice, "dry-run"), instead_of)
        return answer
    try:
        await client.find_running(choice["session"])
    except NotFound as error:
        return _refused(error)
    return {"verdict": "now", "reason": None, "estimate_s": None}


async def _resize_of(client: ManagerClient, session: str, slots: dict[str, str] | None) -> dict[str, Any] | None:
    """The same of other amounts for a session that runs; what cannot be changed at all is refused too."""
    if slots is None:
        return None
    try:
        answer: dict[str, Any] = await client.foresee_resize(session, slots)
    except PublicError as error:
        return _refused(error)
    return answer


def _refused(error: PublicError) -> dict[str, Any]:
    return {"verdict": "refused", "reason": error.why.to_json(), "estimate_s": None}


def read_with_image(raw: object, where: str) -> dict[str, Any]:
    choice = read_choice(raw, where)
    if "image" not in choice:
        raise BadRequest(Reason.of("bad-value", field=f"{where}.image", given="nothing", expected="an image"))
    return choice


class VerdictsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        """``{"choices": [choice, …]}`` → ``{"verdicts": [verdict, …]}``, what would happen to each. Starts nothing.

        With ``"instead_of": id``, once that session had ended; and with ``"resizes": [slots or null, …]`` a verdict has
        ``resize``: what would come of giving it these amounts as it runs.
        """
        given = self.get_json_body()
        raw = given.get("choices") if isinstance(given, dict) else None
        if not isinstance(raw, list) or len(raw) > LARGEST_QUESTION:
            expected = f"a list of at most {LARGEST_QUESTION} choices"
            raise BadRequest(Reason.of("bad-value", field="choices", given="another value", expected=expected))
        choices = [read_with_image(one, f"choices[{place}]") for place, one in enumerate(raw)]
        instead_of, resizes = _read_change(given, len(choices))
        verdicts = await asyncio.gather(*(verdict_on(self.client, choice, instead_of) for choice in choices))
        if instead_of is not None:
            found = await asyncio.gather(*(_resize_of(self.client, instead_of, slots) for slots in resizes))
            verdicts = [{**one, "resize": resize} for one, resize in zip(verdicts, found, strict=True)]
        self.finish({"verdicts": verdicts})


def _read_change(given: dict[str, Any], count: int) -> tuple[str | None, list[dict[str, str] | None]]:
    """``instead_of`` and ``resizes`` of a question about that many choices. Raises ``BadRequest``."""
    session, resizes = given.get("instead_of"), given.get("resizes", [None] * count)
    if not isinstance(session, str | None):
        raise BadRequest(Reason.of("bad-value", field="instead_of", given="another value", expected="a session's id"))
    are_amounts = isinstance(resizes, list) and all(isinstance(one, dict | None) for one in resizes)
    if not are_amounts or len(resizes) != count:
        expected = f"a list of {count} with amounts or null"
        raise BadRequest(Reason.of("bad-value", field="resizes", given="another value", expected=expected))
    return session, resizes


class ProjectsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Names of the projects that a session may count for."""
        self.finish({"projects": await self.client.list_projects()})


class KernelsHandler(BaiHandler):
    @property
    def kernels(self) -> BaiMappingKernelManager:
        if not isinstance(self.kernel_manager, BaiMappingKernelManager):
            raise NotConnected(NOT_CONNECTED)
        return self.kernel_manager


class LastChoicesHandler(KernelsHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{image: choice}``: what a kernel of each image runs on of which nobody says more."""
        self.finish({"choices": self.kernels.last_choices.all()})


class ChoiceHandler(KernelsHandler):
    """What a notebook's kernel runs on: in the notebook, and in a kernelspec that it names.

    The kernelspec is for clients that pass on no metadata: nbclient, papermill, a console.
    """

    @web.authenticated
    @authorized
    @authorized("read", resource="contents")
    async def get(self, path: str) -> None:
        """``{"choice", "is_heard", "kernelspec"}``: what it asks for as it lies here, and whether a start follows that.

        If not, that it was saved here since does not change it: only a choice that is made for it does. If it cannot
        be written and one was made, that is its choice, and ``kernelspec`` the one to start it with, else ``null``.
        """
        contents, inside = self._contents_of(path)
        wishes = notebooks.wishes_in(contents, await notebooks.read(contents, inside))
        consents = self.kernels.consents
        if chosen := consents.held(path, wishes.choice):
            self.finish({"choice": chosen.choice, "is_heard": True, "kernelspec": chosen.kernelspec})
            return
        is_heard = consents.is_heard(path, wishes.choice, wishes.is_trusted)
        if not is_heard:
            consents.ask(path, wishes.choice)
        self.finish({"choice": wishes.choice, "is_heard": is_heard, "kernelspec": None})

    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def post(self, path: str) -> None:
        """Have a choice followed that the caller, a page in which the notebook is open, writes into it.

        One that cannot be written is started on it as long as this server lives and the file asks for the same.
        ``?session=``: one that runs and has been given what is chosen already, so that nothing is to start for it.
        → ``{"choice", "kernelspec": as notebooks name it, "verdict"}``.
        """
        contents, inside = self._contents_of(path)
        model = await notebooks.read(contents, inside)
        chosen = await self._choose(model, self.get_query_argument("session", None))
        if model["writable"]:
            self.kernels.consents.give(path, chosen["choice"])
        else:
            asked = notebooks.wishes_in(contents, model).choice
            self.kernels.consents.hold(path, asked, Chosen(chosen["choice"], chosen["kernelspec"]))
        self.finish(chosen)

    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def put(self, path: str) -> None:
        """The same, written into the notebook. → also ``is_trusted``, whether the notary knows it then."""
        contents, inside = self._contents_of(path)
        model = await notebooks.read(contents, inside)
        chosen = await self._choose(model)
        is_trusted = await notebooks.write(contents, model, chosen["choice"], chosen["kernelspec"])
        self.kernels.consents.give(path, chosen["choice"])
        self.finish({**chosen, "is_trusted": is_trusted})

    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def delete(self, path: str) -> None:
        """The notebook names its image's own kernelspec again. The one for the choice stays: others may name it."""
        contents, inside = self._contents_of(path)
        model = await notebooks.read(contents, inside)
        kernelspec = model["content"]["metadata"].get("kernelspec")
        if runs := self._runs_now(model):
            kernelspec = _named(*self.kernelspecs.install_for(runs))
        await notebooks.write(contents, model, None, kernelspec)
        self.kernels.consents.give(path, {})
        self.done()

    def _contents_of(self, path: str) -> tuple[Any, str]:
        return notebooks.contents_of(path, self.contents_manager, self.extension.folder_contents)

    async def _choose(self, model: dict[str, Any], has_it: str | None = None) -> dict[str, Any]:
        """Raises ``BadRequest`` with the manager's sentence if it would refuse; nothing is kept then."""
        choice = read_choice(self.get_json_body(), "choice")
        runs_now = {} if "image" in choice else self._runs_now(model)
        wanted = read_with_image({**runs_now, **choice}, "choice")
        verdict = await verdict_on(self.client, {"session": has_it} if has_it else wanted)
        if verdict["verdict"] == "refused":
            raise BadRequest(Reason.from_json(verdict["reason"]))
        kernelspec = _named(*self.kernelspecs.install_for(wanted))
        self.kernels.last_choices.remember(wanted["image"], choice)
        return {"choice": choice, "kernelspec": kernelspec, "verdict": verdict}

    @property
    def kernelspecs(self) -> BaiKernelSpecManager:
        if not isinstance(self.kernel_spec_manager, BaiKernelSpecManager) or self.extension.client is None:
            raise NotConnected(self.extension.config_error or NOT_CONNECTED)
        return self.kernel_spec_manager

    def _runs_now(self, model: dict[str, Any]) -> dict[str, str]:
        named = model["content"]["metadata"].get("kernelspec") or {}
        return self.kernelspecs.runs(str(named.get("name", "")))


def _named(name: str, spec: dict[str, Any]) -> dict[str, str]:
    """A kernelspec as notebooks name it."""
    return {"name": name, "display_name": spec["display_name"], "language": spec["language"]}


HANDLERS = [
    (r"/bai/api/verdicts", VerdictsHandler),
    (r"/bai/api/projects", ProjectsHandler),
    (r"/bai/api/last-choices", LastChoicesHandler),
    (r"/bai/api/notebooks/(.+)/choice", ChoiceHandler),
]
