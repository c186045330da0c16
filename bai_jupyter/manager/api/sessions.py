"""``/session``, ``/kernel`` (as old clients say), ``/sessions`` and ``/resource/dry-run``."""

from typing import NotRequired, TypedDict

from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import ReasonView
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.api.base import Answer, OwnedHandler, Raw, gives, needs, takes
from bai_jupyter.manager.execution.runs import ResultView
from bai_jupyter.manager.execution.service import read_execute
from bai_jupyter.manager.sessions.creation import Created
from bai_jupyter.manager.sessions.foreseen import Verdict
from bai_jupyter.manager.sessions.ports import App, AppView
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.service import DependencyGraph
from bai_jupyter.manager.sessions.views import SaveView, SessionView

POLL_WINDOW_S = 2.0
"""So long an execute call waits for output before it says that there is none yet."""

CREATE: dict[str, type] = {
    "name": str,
    "image": str,
    "group": str,
    "type": str,
    "startupCommand": str,
    "bootstrap_script": str,
    "starts_at": str,
    "dependencies": list,
    "tag": str,
    "callback_url": str,
    "enqueueOnly": bool,
    "maxWaitSeconds": float,
    "reuseIfExists": bool,
    "config": dict,
}
"""What a request for a session may hold; ``sessions.requests`` knows what of it is right."""


class ReusedPortView(TypedDict):
    name: str
    protocol: str
    container_ports: list[int]
    host_ports: list[int]  # none: nothing of a session is open on its host
    is_inference: bool


class CreatedView(TypedDict):
    sessionId: str
    kernelId: str
    sessionName: str
    status: str  # the session's, or TIMEOUT if it did not run in time
    servicePorts: list[AppView]
    service_ports: NotRequired[list[ReusedPortView]]  # of one that was there already, as Backend.AI spells them then
    created: bool


class DependencyView(TypedDict):
    session_id: str
    session_name: str
    status: str
    status_changed: str
    depends_on: list["DependencyView"]


class ChangeView(TypedDict):
    """A session came to a status."""

    status: SessionStatus
    at: str
    reason: ReasonView | None


class SessionsHandler(OwnedHandler):
    @takes(**CREATE)
    @gives(CreatedView)
    @needs("session:create")
    async def post(self) -> Answer:
        """Queue a session, or give back the live one of that name."""
        created = await self.services.creation.create(self.caller, self.params)
        return 201, created_view(created, await self.services.apps.list(created.session))


class SessionListHandler(OwnedHandler):
    @takes(status=str, all=bool)
    @gives({"sessions": [SessionView]})
    @needs("session:read")
    async def get(self) -> Answer:
        """One's sessions, newest first."""
        statuses = _statuses(str(self.params.get("status") or ""))
        found = await self.services.sessions.list(self.caller, statuses, everybody=self.flag("all"))
        return 200, {"sessions": [self.services.views.session(one) for one in found]}


class SessionHandler(OwnedHandler):
    @gives(SessionView)
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        """A session as it is now."""
        return 200, self.services.views.session(await self.services.sessions.get(self.caller, ref))

    @takes(mode=str, code=str, runId=str, options=dict)
    @gives({"result": ResultView})
    @needs("session:execute")
    async def post(self, ref: str) -> Answer:
        run = await self.services.execution.execute(self.caller, ref, read_execute(self.params))
        result = await self.while_connected(run.poll(POLL_WINDOW_S))
        return 200, {"result": result.to_json()}

    @takes(forced=bool, recursive=bool)
    @gives({"stats": dict})
    @needs("session:end")
    async def delete(self, ref: str) -> Answer:
        """End a session. Its last figures."""
        ended = await self.services.sessions.end(
            self.caller, ref, forced=self.flag("forced"), recursive=self.flag("recursive")
        )
        return 200, {"stats": self.services.views.final_stats(ended)}

    @gives(None)
    @needs("session:control")
    async def patch(self, ref: str) -> Answer:
        """Start the container again, with its files."""
        await self.services.sessions.restart(self.caller, ref)
        return 204, None


class MatchHandler(OwnedHandler):
    @takes(id=str)
    @gives({"matches": [{"id": str, "name": str, "status": SessionStatus}]})
    @needs("session:read")
    async def get(self) -> Answer:
        """One's live sessions whose id or name begins so."""
        found = await self.services.sessions.match(self.caller, self.params.get("id"))
        return 200, {"matches": [{"id": one.id, "name": one.name, "status": one.status.value} for one in found]}


class RenameHandler(OwnedHandler):
    @takes(name=str)
    @gives(None)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Give a session another name."""
        await self.services.sessions.rename(self.caller, ref, self.params.get("name"))
        return 204, None


class ResizeHandler(OwnedHandler):
    @takes(resources=dict)
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Give a running session other amounts of CPU and memory; its processes go on."""
        return 200, self.services.views.session(await self.services.changes.resize(self.caller, ref, self.params))


class ResizeDryRunHandler(OwnedHandler):
    @takes(resources=dict)
    @gives(Verdict)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """What the same request would come to now."""
        return 200, await self.services.changes.foresee_resize(self.caller, ref, self.params)


class AttachFolderHandler(OwnedHandler):
    @takes(folder=str, path=str, permission=str)
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Give a running session one more folder; what runs in it goes on."""
        return 200, self.services.views.session(
            await self.services.changes.attach_folder(self.caller, ref, self.params)
        )


class DetachFolderHandler(OwnedHandler):
    @takes(folder=str, force=bool)
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Take a folder away from a running session. With ``force`` what uses it is ended."""
        return 200, self.services.views.session(
            await self.services.changes.detach_folder(self.caller, ref, self.params)
        )


class SuspendHandler(OwnedHandler):
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Freeze a running session in which nothing runs. It wakes when it is used."""
        return 200, self.services.views.session(await self.services.changes.suspend(self.caller, ref))


class ResumeHandler(OwnedHandler):
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Let a suspended session go on."""
        return 200, self.services.views.session(await self.services.changes.resume(self.caller, ref))


class SaveHandler(OwnedHandler):
    @takes(seconds=float)
    @gives({"kernels": [SaveView]})
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Save the variables of a session's kernels of Python and R, in its owner's home folder."""
        session = await self.services.sessions.get(self.caller, ref)
        saved = await self.services.variables.save(session, self.params.get("seconds"))
        return 200, {"kernels": saved}


class WakeHandler(OwnedHandler):
    @takes(source=str, kernel=str, into=str)
    @gives(SessionView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Restart a session's kernels of Python and R with what variables were saved, of this or another session."""
        target = await self.services.sessions.get(self.caller, ref)
        source = await self.services.sessions.get(self.caller, self.optional_text("source") or target.id)
        kernel, into = self.optional_text("kernel"), self.optional_text("into")
        await self.services.variables.wake(source, target, kernel, into)
        return 200, self.services.views.session(await self.services.sessions.get(self.caller, target.id))


class ExtendHandler(OwnedHandler):
    @gives({"idleChecks": dict})
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Keep a session for a while that would be stopped for being idle."""
        session = await self.services.sessions.get(self.caller, ref)
        await self.services.idle.extend(session.id)
        return 200, {"idleChecks": self.services.idle.view(session.id)}


class CommitHandler(OwnedHandler):
    @takes(name=str)
    @gives({"bgtask_id": str, "image": str})
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        """Make an image of the container, in a background task."""
        commit = await self.services.commits.start(self.caller, ref, self.optional_text("name"))
        return 201, {"bgtask_id": commit.task_id, "image": commit.image}


class LogsHandler(OwnedHandler):
    @takes(kernel_id=str)
    @gives({"result": {"logs": str}})
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        """What was printed last in the main container, or in the one of that id."""
        kernel_id = self.params.get("kernel_id")
        return 200, {"result": {"logs": await self.services.sessions.logs(self.caller, ref, kernel_id)}}


class TaskLogHandler(OwnedHandler):
    """The log of a batch session, as it is."""

    @takes(taskId=str)
    @gives("text/plain")
    @needs("session:read")
    async def get(self) -> Answer:
        task_id = self.params.get("taskId") or self.params.get("session_name")
        return 200, Raw("text/plain; charset=UTF-8", await self.services.sessions.task_log(self.caller, str(task_id)))


class StatusHistoryHandler(OwnedHandler):
    @gives({"result": dict[str, str], "changes": [ChangeView]})
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        """Since when it had which status, last; and each change of it with its reason, oldest first."""
        history = await self.services.sessions.status_history(self.caller, ref)
        changes = [{"status": one.status, "at": one.at.isoformat(), "reason": one.reason} for one in history]
        return 200, {"result": {one.status.value.lower(): one.at.isoformat() for one in history}, "changes": changes}


class AbusingReportHandler(OwnedHandler):
    """Clients ask for it; no agent of ours looks for abuse."""

    @gives({"kernel": str | None, "abuse_report": None})
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        session = await self.services.sessions.get(self.caller, ref)
        return 200, {"kernel": session.kernel.id if session.kernel else None, "abuse_report": None}


class DependencyGraphHandler(OwnedHandler):
    @gives(DependencyView)
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        """What it depends on, directly or through others."""
        session, graph = await self.services.sessions.dependency_graph(self.caller, ref)
        return 200, _tree(session.id, graph, set())


class DryRunHandler(OwnedHandler):
    @takes(**CREATE, insteadOf=str)
    @gives(Verdict)
    @needs("resource:read")
    async def post(self) -> Answer:
        """What would happen to such a request now; with ``insteadOf``, if that session had ended."""
        return 200, await self.services.creation.dry_run(self.caller, self.params)


def _tree(root: SessionId, graph: DependencyGraph, shown: set[SessionId]) -> DependencyView:
    """Nested, as clients draw it. What several sessions depend on shows its own dependencies once only."""
    session, below = graph[root]
    is_new = root not in shown
    shown.add(root)
    return {
        "session_id": session.id,
        "session_name": session.name,
        "status": f"KernelStatus.{session.status}",
        "status_changed": session.status_changed_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "depends_on": [_tree(one, graph, shown) for one in below if is_new],
    }


def created_view(created: Created, apps: list[App]) -> CreatedView:
    view: CreatedView = {
        "sessionId": created.session.id,
        "kernelId": created.session.id,  # what v4 clients read
        "sessionName": created.session.name,
        "status": created.status,
        "servicePorts": [app.to_json() for app in apps],
        "created": created.is_new,
    }
    if not created.is_new:
        view["service_ports"] = [
            {
                "name": app.name,
                "protocol": app.protocol,
                "container_ports": list(app.ports),
                "host_ports": [],
                "is_inference": False,
            }
            for app in apps
        ]
    return view


def _statuses(text: str) -> list[SessionStatus]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    known = set(SessionStatus)
    for name in names:
        if name not in known:
            raise bad_value("status", name, f"one of {', '.join(SessionStatus)}")
    return [SessionStatus(name) for name in names]


ROUTES = [
    (r"/(?:session|kernel)", SessionsHandler),
    (r"/sessions", SessionListHandler),
    (r"/(?:session|kernel)/_/match", MatchHandler),
    (r"/(?:session|kernel)/_/logs", TaskLogHandler),
    (r"/(?:session|kernel)/([^/]+)", SessionHandler),
    (r"/(?:session|kernel)/([^/]+)/rename", RenameHandler),
    (r"/(?:session|kernel)/([^/]+)/resize", ResizeHandler),
    (r"/(?:session|kernel)/([^/]+)/resize/dry-run", ResizeDryRunHandler),
    (r"/(?:session|kernel)/([^/]+)/attach-folder", AttachFolderHandler),
    (r"/(?:session|kernel)/([^/]+)/detach-folder", DetachFolderHandler),
    (r"/(?:session|kernel)/([^/]+)/suspend", SuspendHandler),
    (r"/(?:session|kernel)/([^/]+)/resume", ResumeHandler),
    (r"/(?:session|kernel)/([^/]+)/save", SaveHandler),
    (r"/(?:session|kernel)/([^/]+)/wake", WakeHandler),
    (r"/(?:session|kernel)/([^/]+)/extend", ExtendHandler),
    (r"/(?:session|kernel)/([^/]+)/logs", LogsHandler),
    (r"/(?:session|kernel)/([^/]+)/commit", CommitHandler),
    (r"/(?:session|kernel)/([^/]+)/status-history", StatusHistoryHandler),
    (r"/(?:session|kernel)/([^/]+)/abusing-report", AbusingReportHandler),
    (r"/(?:session|kernel)/([^/]+)/dependency-graph", DependencyGraphHandler),
    (r"/resource/dry-run", DryRunHandler),
]
