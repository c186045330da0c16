"""Every reason with its parameters and its sentence: one table for Lab, Hub, command line and API.

A ``Reason`` is stored and sent as ``{code, params}``; the English sentence is made here and nowhere else.
Sentences say what happened, the figures, and what to do next. A reason cannot be made with a parameter missing,
so a sentence never has a hole in it.
``{n:session}`` in one is counted: ``1 session``, ``2 sessions``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import TypedDict

from bai_jupyter.common.slots import kind_of, name_of
from bai_jupyter.common.statuses import STATUS_WORDS

# Waiting: nothing is wrong, the session keeps its place.
_WAITING = {
    "queued": "{place} in the queue of group {group}.",
    "no-room": "Waits for {asked} in group {group}: {free} of {total} free. {estimate}",
    "behind-others": "There is room, but it waits behind {n:earlier session} in group {group}. {estimate}",
    "quota-wait": "Your {level} {name} allows {limit} {slot:slot}; {used} in use, this asks for {asked}. "
    "Starts when other sessions end, or end one yourself.",
    "sessions-wait": "Your {level} {name} allows {limit:session} at once; you have {used}. End one to start this.",
    "budget-wait": "Your {level} {name} allows {limit:GPU-hour} a week; {used} used. Starts after {reset}; CPU-only "
    "sessions still start.",
    "dependency": "Starts after {session} succeeds; it is {status}.",
    "starts-at": "Starts not before {time}, as you asked.",
    "no-agent": "No agent of group {group} is connected. Tell your admin, or start one with `bai agent run`.",
    "draining": "No agent of group {group} takes new sessions now: it has {n:agent}, being emptied or not answering. "
    "It starts when one takes them again.",
    "tried-all": "No agent of group {group} can take it: {agents} failed to start it, lack its environment or folders, "
    "or may not be shared. It waits for another one; tell your admin.",
    "frozen": "New sessions are paused by {admin} since {time}. What waits keeps its place.",
    "agent-retry": "{agent} failed to start it ({fault}). Trying again, attempt {n} of {max}.",
}

# On the way to running.
_PROGRESS = {
    "assigned": "Assigned to {agent}; preparing.",
    "preparing": "Preparing folders and network on {agent}.",
    "pulling": "Pulling image {image} on {agent}: {pct} % ({done} of {total}).",
    "creating": "Starting the container on {agent}.",
    "starting-kernel": "Starting the kernel.",
    "running": "Running on {agent}.",
    "suspended": "Suspended on {agent}: it keeps what it holds, uses no CPU, and goes on as soon as it is used.",
    "idle-suspended": "Suspended after {limit} idle, as your {level} {name} has it; the next cell, or any other use, "
    "wakes it. It keeps what it holds, and uses no CPU.",
    "unreachable": "{agent} has not answered since {time}. The session is kept and goes on when it returns.",
    "unpacking": "Putting the packages of its environment into its ~/.local on {agent}.",
    "bootstrapping": "Running its bootstrap script on {agent}.",
    "restarting": "Restarting the kernel. Files and packages stay, variables are gone.",
    "session-restarting": "Restarting the container. Files and packages stay; what runs in it is started again.",
}

# Running, and about to be stopped, or to be killed.
_SOON = {
    "idle-soon": "Idle since {since}; stops at {stop} unless it is used or kept: {limit} is the longest that your "
    "{level} {name} may leave a session idle.",
    "low-use-soon": "{use} since {since}; stops at {stop} unless it is used more or kept: {limit} is the longest that "
    "your {level} {name} may leave it so.",
    "cluster-part": "{host}: {why}.",
    "held": "Held at its memory limit: {used} of {limit}. Grow it, interrupt, or end it before {time}.",
    "lifetime-soon": "Ends at {stop}: {limit} is the longest that a session of your {level} {name} may live.",
    "budget-soon": "Ends at {stop}: your {level} {name} allows {limit:GPU-hour} a week, all used by then. The next "
    "week begins at {reset}; CPU-only sessions go on.",
    "drain-soon": "Ends at {stop}: {agent} is emptied for maintenance, and using the session does not put that off. "
    "Files in folders are kept. It can be started again as it was.",
}

# Refused: nothing was created, and what there was is as it was.
_REFUSED = {
    "too-big": "Asked for {asked}; the largest agent in group {group} has {max}. Ask for at most {max}.",
    "over-quota": "Your {level} {name} allows {limit} {slot:slot}; {used} in use, asked for {asked}: {excess} too "
    "much. Ask for less, or end a session.",
    "over-sessions": "Your {level} {name} allows {limit:session} and has {used}. End one first.",
    "over-containers": "Your {level} {name} allows {limit:container} per session; asked for {asked}. Ask for fewer.",
    "cluster-mode": "Asked for a cluster over several agents ({mode}). The containers of a session run on one agent: "
    "ask for single-node.",
    "cluster-runtime": "Asked for {asked} containers. Agents of group {group} run sessions without containers, so they "
    "have no network of their own to find one another in. Ask for one.",
    "below-image-min": "{image} needs at least {min}; asked for {asked}.",
    "slot-unknown": "No agent offers {slot:kinds}. Agents of group {group} offer: {slots:kinds}.",
    "parts-and-whole": "Asked for {asked}. A session takes devices of one kind whole or in parts. Ask for one of them.",
    "group-unknown": "There is no group {group} for you. You may use: {groups}.",
    "session-type": "Group {group} takes {types} sessions, not {type} ones. Choose another group.",
    "project-unknown": "There is no project {project} for you. You may use: {projects}.",
    "preset-unknown": "There is no preset {preset}. Presets: {names}.",
    "image-unknown": "There is no environment {image} for you. Nearest: {names}.",
    "image-arch": "{image} is built for {arch}; agents in group {group} are {archs}.",
    "image-cuda": "{image} needs CUDA {needs}; the newest driver in group {group} has {has}. Choose an environment for "
    "an older CUDA, or tell your admin.",
    "no-kernelspec": "{image} contains no Jupyter kernel {kernelspec}. It has: {names}.",
    "folder-denied": "Folder {folder} does not exist or is not shared with you.",
    "folder-ro": "Folder {folder} is read only for you. Ask {owner}.",
    "folder-owner": "Only the owner of folder {folder} may do this.",
    "folder-used": "You already have a folder {name}.",
    "too-many-folders": "{whose} {used:folder}, those in the trash included; the limit is {limit}. Purge one first.",
    "folder-too-large": "A folder of {owner} may hold {limit} by policy; {folder} holds {used}, "
    "and this asks for {asked}.",
    "folder-name": "{name}: letters, digits, . _ - and at most 64; a leading dot means: attached to every session.",
    "folder-status": "Folder {folder} is {status:status}; this needs one that is ready.",
    "folder-mounted": "Folder {folder} is mounted in {sessions}. End them first.",
    "folder-home": "Folder {folder} is a home folder: it stays while its owner does.",
    "folder-of-project": "Folder {folder} belongs to the project {project} and has no other owner.",
    "folder-everywhere": "Folder {folder} would be in all sessions of its new owner. Rename it without the dot first.",
    "folder-given": "{who} already has a folder {name}, or was given one. Rename one of the two first.",
    "folder-uncloneable": "Folder {folder} may not be cloned. Its owner can allow it.",
    "host-unknown": "There is no folder host {host} for you. You may use: {hosts}.",
    "hosts-apart": "No agent holds both {source} and {target}, so nothing can be copied between them.",
    "volume-away": "No agent that holds volume {volume} is connected just now. Try again when it is back.",
    "person-unknown": "There is nobody called {who} that you could share with.",
    "mount-clash": "Two folders would be at {path}. Give one another name.",
    "name-taken": "You already have a session {name} with another environment. Choose another name, or open that one.",
    "name-in-use": "You already have a session {name}. Choose another name, or end that one.",
    "name-ending": "Your session {name} is still ending. Try again, or end it without waiting for its agent.",
    "bad-value": "{field}: {given} is not {expected}.",
    "shm-too-big": "Shared memory {shm} must be less than memory {mem}.",
    "rate-limited": "{used:request} in 15 min; the limit of this keypair is {limit}. Go on in {seconds} s.",
    "login-limited": "{used:attempt} to log in within 15 min; the limit is {limit}. Go on in {seconds} s.",
    "login": "E-mail or password are not right, or the account is not active.",
    "password-expired": "The password must be changed before it can be used: backend.ai update-expired-password. "
    "Or ask your admin for a new one.",
    "address": "This account cannot be used from {address}.",
    "signature": "The key or signature is not valid.",
    "token": "The token is not valid, or not any more.",
    "clock": "Your clock is {delta} {direction}; set it and try again.",
    "inactive": "This account is not active.",
    "forbidden": "Only {role} may do this.",
    "not-found": "There is no {kind} {name} that you can see.",
    "manager-away": "The Backend.AI manager at {url} does not answer. Running kernels go on.",
    "certificate-other": "The certificate of {url} should have the SHA-256 fingerprint {asked}; it has {found}. If it "
    "was replaced on purpose, an agent joins again with a new token (`bai agent join-token`), and others take the new "
    "fingerprint. If not, somebody is in between.",
    "certificate-unknown": "The certificate of {url} cannot be trusted: {cause}. Give its SHA-256 fingerprint or the "
    "file of its CA, to an agent by a new join token (`bai agent join-token`).",
    "version-skew": "{part} speaks protocol {theirs}, the manager {ours}. Update {older}.",
    "agent-denied": "This agent's token or credential is not valid. Get a new join token from an admin.",
    "nothing-to-extend": "Nothing stops this session for being idle.",
    "extensions-used": "It was kept {limit:time} already without being used, which is as often as is allowed. "
    "Run something in it, and that counts anew.",
    "suspend-busy": "Something runs in the session, or was asked of it just now, and what runs is not suspended. "
    "Wait for it, or interrupt it.",
    "suspend-runtime": "{agent} runs sessions without containers, so they cannot be suspended.",
    "suspend-failed": "{agent} could not do it: {cause}.",
    "save-busy": "Something runs in it, and variables are not saved under what runs. Wait for it, or interrupt it.",
    "save-nothing": "No Jupyter kernel runs in session {name}, so it has no variables.",
    "save-language": "Only kernels of Python and R can save their variables, and those only that were started since "
    "this was possible.",
    "save-late": "It has not answered within {seconds} s; an object may take long to be saved. What was saved before "
    "is as it was.",
    "save-failed": "Its variables could not be saved: {cause}. What was saved before is as it was.",
    "saved-none": "No variables of session {name} are saved. Save them with `bai session save {name}` while it runs.",
    "saved-elsewhere": "The variables lie in the folder {folder}, which session {name} does not have. Start it with "
    "that folder.",
    "wake-which": "{saved:saved kernel} and {running:running one}: say which is to get which, with `kernel` and "
    "`into`. Saved: {saved_ids}. Running: {running_ids}.",
    "woken": "Restored: {variables:variable}, imports and outputs.",
    "woken-partly": "Restored: {variables:variable}, imports and outputs. Not restored, or doubtful: {names}.",
    "wake-failed": "Its variables could not be restored: {cause}. It began without them; what was saved is as it was.",
    "held-inside": "The session is held at its memory limit, so nothing new can run in it now. Give it more memory "
    "(`bai session resize`), interrupt its kernel, or end it; then try again.",
    "not-begun": "What was to run in the session has not begun within {limit}: nothing in it gets memory or CPU now. "
    "Try again, or give it more (`bai session resize`).",
    "resize-what": "Only CPU and memory of a running session can be changed, not {slot:slot}.",
    "resize-runtime": "{agent} runs sessions without containers, so their CPU and memory cannot be changed.",
    "resize-in-use": "The session uses {used} of memory now, so it cannot be made smaller than that; asked for "
    "{asked}. Free some, or restart its kernels, and try again.",
    "resize-no-room": "{agent} has {free} of its {total} {slot:slot} free; asked for {asked}, {more} more than the "
    "session has. Ask for less, or start it again elsewhere.",
    "resize-failed": "{agent} could not change the session: {cause}. It has what it had.",
    "mounts-fixed": "{agent} cannot change the folders of a session that runs: {cause}. Start the session again "
    "with the folders that you want.",
    "folder-busy": "{path} is in use: {users}. End that or go elsewhere, and try again; or detach it by force, "
    "which ends what uses it.",
    "folder-attached": "Folder {folder} is attached to session {session} already, at {path}.",
    "not-attached": "No folder {folder} is attached to session {session}. It has: {names}.",
    "mounts-failed": "{agent} could not change the session's folders: {cause}. It is tried again.",
    "not-running": "Session {name} is {status:status}; this needs a running one.",
    "app-unknown": "The session has no app {app}. It has: {names}.",
    "file-unknown": "There is no file {path} in the session that its user can read.",
    "port-closed": "Nothing answers at port {port} in the session ({cause}). Start what serves it, and try again.",
    "server-ended": 'The server ended before it answered. {why} Its last line: "{line}".',
    "server-silent": 'The server has not answered for {seconds} s, and is stopped. Its last line: "{line}". Start it '
    "again, or tell your admin.",
    "no-singleuser": "{image} contains no {command}. Choose another environment, or have it added: docs/jupyterhub.md.",
    "no-images": "There is no environment that you may use yet. Tell your admin.",
    "no-image": "No environment was chosen, and the Hub names none. Choose one, or tell your admin.",
    "not-a-ward": "There is a user {name} already, for whom this service may not act. They can let it, or a "
    "superadmin: bai user give {name} --service {service}. For admins no service may act: they need another account "
    "here.",
    "policy-not-allowed": "This service may not give its users the policy {policy}. It may give: {policies}. A "
    "superadmin can let it: bai policy allow {policy} --service {service}.",
    "grant-without-route": "A service gives a session its own way to the manager only with a route. Ask for one too.",
    "route-taken": "Another session serves {path}. End that one first.",
    "route-ports-missing": "The manager has no ports that lead into sessions unread. Tell your admin, who can name "
    "some in ManagerApp.route_ports.",
    "route-ports-taken": "No port of the manager that leads into sessions is free, of {count}. Try again when another "
    "server has stopped, or tell your admin.",
    "not-committable": "{agent} runs sessions without containers; no image can be made of one.",
    "image-in-use": "{image} is in use by {sessions}. End what uses it, then delete it.",
    "too-many-images": "You have {used:image} made from sessions; the limit is {limit}. Delete one first.",
    "runtime-unsafe": "This cluster's runtime does not isolate users; it accepts one user only.",
    "door-missing": "{agent} has no door {door}. Tell your admin, who can name it in AgentApp.doors there.",
    "volume-missing": "Folder {folder} lies on volume {volume}, which no agent of group {group} has. Tell your admin.",
    "path-unmounted": "{path} is not in a folder that the session mounts; the kernel starts in {cwd} instead.",
    "import-private": "{host} is not on the public Internet, and this server fetches nothing from elsewhere. Copy the "
    "file by hand.",
    "import-failed": "{url} could not be fetched: {cause}. Look at it in the browser, and try again.",
    "import-large": "{url} holds {size}; {limit} are the most that is taken over. Upload it instead.",
    "import-broken": "{url} broke off, or holds more than {limit}, the most that is taken over. Try again, or "
    "upload it.",
    "import-no-notebook": "What is at {url} is no notebook. Give the address of the file itself (*Raw*), not of a page "
    "that shows it.",
    "run-outside-home": "{path} does not lie in your home folder nor in another folder, and a run on the cluster finds "
    "it only there. Copy the notebook, and what it reads, into one of them.",
    "run-without-python": "{image} has no Python kernel (ipykernel), which is what runs a notebook from start to end. "
    "Choose another environment.",
    "notebook-untrusted": "This notebook is not trusted, so the resources it asks for were not followed. "
    "Choose them with Resources in its toolbar, or trust it, save it, and choose its kernel again.",
}

# Files and transfers: nothing was changed.
_FILES = {
    "file-missing": "{path} does not exist.",
    "file-exists": "{path} exists already.",
    "file-kind": "{path} is {found}.",
    "file-changed": "{path} was changed meanwhile. Begin again.",
    "file-large": "{path} has {size}; files of at most {limit} are opened. Download it, or read it in a kernel.",
    "file-broken": "{path} is no {kind} that can be read: {cause}.",
    "file-not-moved": "{path} was copied, but is not deleted where it was: {cause}.",
    "file-local": "{path} could not be read or written on this Jupyter server: {cause}.",
    "files-elsewhere": "This Jupyter server keeps its files elsewhere than on its own disk, so nothing is copied from "
    "or to them. Download and upload instead.",
    "folders-only": "Only folders lie here. Make, rename and share them in the Backend.AI panel, or open one.",
    "folder-other": "{path} lies in another folder. Copy it there, then delete it here.",
    "files-failed": "{agent} could not do this: {cause}.",
    "link-escape": "{path} is a link, which may point outside the folder, and is not opened.",
    "too-deep": "{path}: folders lie more than {limit} deep in one another.",
    "quota-reached": "{folder} may hold {limit}; {used} used, {file} needs {need}: {excess} too much. "
    "Nothing was changed.",
    "quota-full": "{folder} may hold {limit}, which is used up: {file} does not fit. Delete something first.",
    "folder-full": "This would pass a limit of the folder's size on {agent}. Nothing was changed.",
    "host-full": "The disk on {agent} is full. Nothing was changed.",
    "upload-offset": "{file}: what has come ends at byte {offset}, and what was sent begins at {given}.",
    "upload-too-long": "{file}: more was sent than was told, {size:byte}.",
}

# Could not start.
_FAILED = {
    "pull-failed": "Could not pull {image} on {agent}: {cause}.",
    "device-missing": "{device} was assigned but is gone from {agent}.",
    "device-not-ready": "{device} could not be made ready on {agent}: {cause}.",
    "mount-failed": "Folder {folder} could not be mounted on {agent}: {cause}. Start without it, or tell your admin.",
    "engine-down": "The container engine on {agent} does not answer: {cause}. Tell your admin.",
    "create-failed": "{agent} could not create the container: {cause}.",
    "container-exited": 'The container ended at once with code {code}. Last line: "{line}".',
    "kernel-missing": "{image} has no program {argv0} for kernel {spec}. Choose another kernel, or rebuild the image.",
    "kernel-died-start": 'The kernel ended while starting (code {code}). Last line: "{line}".',
    "packages-failed": "The packages of its environment could not be put into its ~/.local (code {code}). "
    'Last line: "{line}". Save the environment again, or start another one.',
    "packages-no-tar": "Its environment has no tar, with which the packages that were saved with it are put into its "
    "~/.local. Make one from an environment that has tar, or start another one.",
    "bootstrap-failed": 'The bootstrap script failed with code {code}. Last line: "{line}".',
    "owner-bootstrap-failed": 'Your own bootstrap script failed with code {code}. Last line: "{line}". '
    "Change it, or take it away: bai bootstrap clear.",
    "devices-taken": "{slot:slot}: {asked} asked, {free} of {total} free on {agent}, and not where one session can "
    "use it.",
    "gpu-share-unheld": "{agent} could not hold the session to its share of a GPU: {cause}. It was not started.",
    "start-timeout": "Not ready {limit} after being assigned; last phase: {phase}. It was removed; try again.",
    "pending-timeout": "Waited {limit}, the longest group {group} allows.",
    "dependency-failed": "{session}, which it waits for, {outcome}.",
    "cancelled-by": "Cancelled by {who}.",
}

# Ran, and stopped.
_STOPPED = {
    "oom-killed": "Out of memory: {process} used {used} of {limit}. Files are kept, variables are gone. "
    "Give the session more memory (`bai session resize`), or start it again with more.",
    "kernel-died": "The kernel ended by itself (code {code}). Container and files are as they were. Restart it.",
    "gpu-share-exceeded": "It held {used} of GPU memory; its share is {limit}. Ask for a larger share, or use less.",
    "gpu-share-ended": "Ended: it held {used} of GPU memory; its share is {limit}. Start again with a larger share.",
    "killed-outside": "The container was ended from outside Backend.AI (code {code}). Files in folders are kept. "
    "Start again as it was.",
    "commit-failed": "{agent} could not make the image: {cause}.",
    "idle-timeout": "Stopped after {limit} without activity, the longest that your {level} {name} may leave a session "
    "idle (last: {what} at {time}). Start again as it was.",
    "idle-utilization": "Stopped: {use} for {limit}, the longest that your {level} {name} may leave it so. "
    "Start again as it was.",
    "idle-session-lifetime": "Ended after {limit}, the longest that a session of your {level} {name} may live. "
    "Start again as it was.",
    "budget-used": "Ended: your {level} {name} allows {limit:GPU-hour} a week, all used. Start again as it was after "
    "{reset}.",
    "drained": "Ended: {agent} is emptied for maintenance, by {time}. Files in folders are kept. "
    "Start again as it was.",
    "cluster-part-ended": "{host} ended: {why}.",
    "disk-full": "{path} is full: {used} of {limit}. Delete files, or ask for more.",
    "user-requested": "Ended by {who}.",
    "force-ended": "Ended by {who} without waiting for {agent}.",
    "kernel-restarted": "The kernel was restarted by {who}.",
    "kernel-shutdown": "The kernel was shut down by {who}.",
    "task-finished": "Finished.",
    "task-failed": "Failed with code {code}.",
    "agent-lost": "{agent} did not return within {limit}. Files in folders are kept. Start again as it was.",
    "host-restarted": "{agent} restarted; the container could not be continued. Start again as it was.",
    "unexplained": "Ended with code {code}; {agent} recorded no cause. Report it with id {id}.",
    "output-gap": "{size} of output not kept (limit {limit}).",
    "other": "{text}",
}

_STOPS = ("idle-timeout", "idle-utilization", "idle-session-lifetime", "budget-used", "drained")
_SAVED = {
    f"{code}-saved": f'{_STOPPED[code]} Its variables are saved: "bai session wake NEW --from {{session}}".'
    for code in _STOPS
}

SENTENCES: Mapping[str, str] = {**_WAITING, **_PROGRESS, **_SOON, **_REFUSED, **_FILES, **_FAILED, **_STOPPED, **_SAVED}

SLUGS: Mapping[str, str] = {
    **{f"{code}-saved": code for code in _STOPS},
    **dict.fromkeys(("drained", "drained-saved"), "agent-termination"),
    "no-room": "no-available-instances",
    "no-agent": "no-available-instances",
    "draining": "no-available-instances",
    "tried-all": "no-available-instances",
    "volume-missing": "no-available-instances",
    "behind-others": "no-available-instances",
    "quota-wait": "predicate-checks-failed",
    "sessions-wait": "predicate-checks-failed",
    "budget-wait": "predicate-checks-failed",
    "dependency": "predicate-checks-failed",
    "starts-at": "predicate-checks-failed",
    "assigned": "scheduled",
    "start-timeout": "failed-to-start",
    "packages-failed": "failed-to-start",
    "packages-no-tar": "failed-to-start",
    "bootstrap-failed": "failed-to-start",
    "owner-bootstrap-failed": "failed-to-start",
    "pull-failed": "failed-to-start",
    "create-failed": "failed-to-create",
    "killed-outside": "self-terminated",
    "cluster-part-ended": "self-terminated",
    "kernel-died": "self-terminated",
    "unexplained": "unknown",
    "agent-lost": "agent-termination",
    "cancelled-by": "user-requested",
    "force-ended": "force-terminated",
    "session-restarting": "restarting",
    "dependency-failed": "task-cancelled",
}
"""Our code to the ``status_info`` slug of Backend.AI, where the two differ."""


class ReasonView(TypedDict):
    """A reason as JSON."""

    code: str
    params: dict[str, str]
    text: str


@dataclass(frozen=True)
class Reason:
    """Why something waits, was refused, or stopped: ``Reason.of("image-unknown", image="r", names="python")``."""

    code: str
    params: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.code not in SENTENCES:
            raise ValueError(f"no sentence for reason {self.code!r}")
        missing = _fields(SENTENCES[self.code]) - self.params.keys()
        if missing:
            raise ValueError(f"reason {self.code!r} lacks {', '.join(sorted(missing))}")

    @classmethod
    def of(cls, code: str, /, **params: object) -> "Reason":
        return cls(code, {name: str(value) for name, value in params.items()})

    @property
    def text(self) -> str:
        return SENTENCES[self.code].format(**{name: _Given(value) for name, value in self.params.items()}).strip()

    @property
    def slug(self) -> str:
        """Backend.AI's short form, for ``status_info``."""
        return SLUGS.get(self.code, self.code)

    def to_json(self) -> ReasonView:
        return {"code": self.code, "params": dict(self.params), "text": self.text}

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> "Reason":
        """Read what a peer sent; a newer peer's unknown code keeps its sentence."""
        code, params = str(raw["code"]), raw.get("params") or {}
        if not isinstance(params, Mapping):
            raise TypeError(f"params of reason {code!r} are not an object")
        try:
            return cls.of(code, **params)
        except ValueError:
            return cls.of("other", text=raw.get("text") or code)


def plural(count: object, noun: str) -> str:
    return f"{count} {noun}" if str(count) == "1" else f"{count} {noun}s"


class _Given(str):
    """A parameter in its sentence."""

    def __format__(self, kind: str) -> str:
        """``kind``: what the parameter names (``slot``; ``kinds`` of slots; ``status``), or what it counts."""
        match kind:
            case "":
                return str(self)
            case "slot":
                return name_of(self)
            case "kinds":
                return ", ".join(kind_of(slot) for slot in self.split(", "))
            case "status":
                return STATUS_WORDS.get(self, self).lower()
        return plural(str(self), kind)


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}
