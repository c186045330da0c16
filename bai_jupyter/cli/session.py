"""``bai session``: start, list, info, logs, resize, suspend, resume, save, wake, extend, rm."""

import argparse
import asyncio
import secrets
from collections.abc import Mapping, Sequence

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import (
    NOTHING,
    CommandFailed,
    Exit,
    Terminal,
    exit_code_of,
    resources,
    span,
)
from bai_jupyter.client import Json, ManagerClient, SessionEnded, SessionRequest
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.slots import ResourceSlots, format_size
from bai_jupyter.common.statuses import FINAL, JupyterKernelStatus, SessionResult, SessionStatus
from bai_jupyter.words import sentence_of, state_of

END_TIMEOUT_S = 120.0
WAKE_TIMEOUT_S = 1800.0
_LOOK_S = 0.5

_CHECKS: Mapping[str, str] = {
    "network_timeout": "it is idle",
    "suspension": "it is idle",
    "utilization": "its use is low",
    "session_lifetime": "its time is over",
    "gpu_hours": "the GPU-hours of the week are used up",
    "drain": "its agent is emptied",
}


# Start


def start(options: argparse.Namespace, terminal: Terminal) -> int:
    return with_manager(lambda client: _start(client, options, terminal))


async def _start(client: ManagerClient, options: argparse.Namespace, terminal: Terminal) -> int:
    request = await request_of(client, options)
    created = await client.create_session(request)
    name = created.get("sessionName") or request.name
    if not created.get("created", True):
        terminal.say(f"{name} exists already.")
    if options.no_wait:
        view = await client.get_session(created["sessionId"])
    else:
        view = await until_started(client, created["sessionId"], name, options, terminal)
    _show_started(view, terminal)
    return Exit.FAILED if view.get("result") == SessionResult.FAILURE else Exit.DONE


async def until_started(
    client: ManagerClient, session: str, name: str, options: argparse.Namespace, terminal: Terminal
) -> Json:
    """Until it runs; a batch session may have ended by then."""
    timeout_s: float = options.timeout
    statuses = (SessionStatus.RUNNING, SessionStatus.TERMINATED) if options.batch else (SessionStatus.RUNNING,)
    try:
        with terminal.progress(f"{name}: asked for") as show:
            return await client.wait_for(
                session, statuses, timeout_s, lambda view: show(f"{name}: {sentence_of(view)}")
            )
    except TimeoutError:
        raise CommandFailed(
            f"{name} does not run after {span(timeout_s)}. It keeps its place; see: bai session info {name}",
            Exit.TIMED_OUT,
        ) from None
    except SessionEnded as error:
        raise CommandFailed(f"{name} did not start. {error}") from error
    except asyncio.CancelledError:
        terminal.say(f"\nStopped waiting; {name} goes on. To end it: bai session rm {name}")
        raise


def _show_started(view: Json, terminal: Terminal) -> None:
    if terminal.as_json:
        terminal.document(view)
    elif terminal.quiet:
        terminal.line(view["name"])
    else:
        terminal.line(f"{view['name']}: {state_of(view)}, {_resources(view)}. {sentence_of(view)}".strip())


async def request_of(client: ManagerClient, options: argparse.Namespace) -> SessionRequest:
    mount_map = dict(pair.split(":", 1) for pair in options.mount if ":" in pair)
    slots = await slots_of(client, options)
    return SessionRequest(
        name=options.name or f"session-{secrets.token_hex(3)}",
        image=options.image,
        resources=slots or None,
        preset=options.preset,
        resource_opts={"shmem": options.shm} if options.shm else {},
        mounts=[pair.split(":", 1)[0] for pair in options.mount],
        mount_map=mount_map,
        environ=pairs(options.env, "--env"),
        resource_group=options.group,
        reuse_if_exists=not options.new,
        manager_access=options.manager_access,
        cluster_size=options.cluster_size,
        project=options.project,
        command=options.batch,
        dependencies=options.depends,
        starts_at=options.starts_at,
        tag=options.tag,
    )


async def slots_of(client: ManagerClient, options: argparse.Namespace) -> dict[str, str]:
    """What ``--cpu``, ``--mem``, ``--gpu`` and ``--slot`` ask for."""
    slots = {name: amount for name, amount in (("cpu", options.cpu), ("mem", options.mem)) if amount}
    if options.gpu:
        slots[await _gpu_slot(client)] = options.gpu
    slots |= pairs(options.slot, "--slot")
    _check_slots(slots)
    return slots


async def _gpu_slot(client: ManagerClient) -> str:
    """The slot that ``--gpu`` means here: shares where an agent offers them, else whole devices, NVIDIA's first."""
    offered = {name for agent in await client.list_agents() for name in agent.get("slots") or {}}
    candidates = ("cuda.shares", "cuda.device", "rocm.shares", "rocm.device", "mock.shares", "mock.device")
    return next((name for name in candidates if name in offered), "cuda.device")


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` each. Raises ``CommandFailed``."""
    for text in texts:
        if "=" not in text:
            raise CommandFailed(f"{option} {text}: give NAME=VALUE.", Exit.USAGE)
    return dict(text.split("=", 1) for text in texts)


def _check_slots(slots: Mapping[str, str]) -> None:
    try:
        ResourceSlots.parse(slots)
    except ValueError as error:
        raise CommandFailed(f"{error}.", Exit.USAGE) from error


# List, info, logs


def list_(options: argparse.Namespace, terminal: Terminal) -> int:
    statuses = list(SessionStatus) if options.all else []
    views = with_manager(lambda client: client.list_sessions(statuses, options.everyone))
    if terminal.as_json:
        terminal.document({"sessions": views})
        return Exit.DONE
    if terminal.quiet:
        for view in views:
            terminal.line(view["name"])
        return Exit.DONE
    headers = ["NAME", "STATUS", "ENVIRONMENT", "RESOURCES", "AGE", "WHERE", "NOTE"]
    terminal.table(headers, [_row(view) for view in views])
    terminal.line(_summary(views))
    return Exit.DONE


def _row(view: Json) -> list[str]:
    where = view.get("agent") or NOTHING
    if view.get("isolated") is False:
        where += " (not isolated)"
    age = span((view.get("age") or 0) / 1000)
    # "Running on lab-1" says nothing that the columns do not say.
    note = "" if _reason_code(view) in ("running", None) else sentence_of(view)
    return [view["name"], state_of(view), view.get("image") or NOTHING, _resources(view), age, where, note]


def _resources(view: Json) -> str:
    """Of all its containers, and how that is made up where there are several."""
    each, count = resources(view.get("slots")), view.get("clusterSize") or 1
    return each if count == 1 else f"{resources(_held(view).to_json())} = {count} x ({each})"


def _held(view: Json) -> ResourceSlots:
    """By all its containers together."""
    return ResourceSlots.parse(view.get("slots") or {}) * (view.get("clusterSize") or 1)


def _summary(views: Sequence[Json]) -> str:
    if not views:
        return "No sessions. Start one: bai session start IMAGE (see `bai image list`), or from JupyterLab."
    running = [view for view in views if view["status"] == SessionStatus.RUNNING]
    used = ResourceSlots()
    for view in views:
        if view["status"] not in FINAL and view["status"] != SessionStatus.PENDING:
            used = used + _held(view)
    in_use = f" In use: {used.describe()}." if used else ""
    return f"{plural(len(views), 'session')}, {len(running)} running.{in_use}"


def _reason_code(view: Json) -> str | None:
    return (view.get("reason") or {}).get("code")


def info(options: argparse.Namespace, terminal: Terminal) -> int:
    view = with_manager(lambda client: client.get_session(options.session))
    if terminal.as_json:
        terminal.document(view)
        return Exit.DONE
    for name, value in _facts(view):
        terminal.line(f"{name:<16}{value}")
    return Exit.DONE


def _facts(view: Json) -> list[tuple[str, str]]:
    isolation = {True: "isolated", False: "not isolated"}.get(view.get("isolated"), "")  # type: ignore[arg-type]
    mounts = [f"{m['target']} ({m['name']}{', read only' if m.get('read_only') else ''})" for m in view["mounts"]]
    processes = view.get("jupyterKernels") or []
    kernels = [f"{k['kernelspec']} {k['status']} ({k['id']})" for k in processes]
    containers = view.get("kernels") or []
    several = [f"{one['host']} {one['status'].lower()} ({one['id']})" for one in containers if len(containers) > 1]
    saves = [f"{plural(k['saved']['variables'], 'variable')} of {k['id']}" for k in processes if k.get("saved")]
    facts = [
        ("Name", view["name"]),
        ("Id", view["id"]),
        ("Status", state_of(view)),
        ("Reason", sentence_of(view)),
        ("Environment", view.get("image")),
        ("Resources", _resources(view)),
        ("Agent", view.get("agent")),
        ("Runtime", ", ".join(part for part in (view.get("runtime"), isolation) if part)),
        ("Age", span((view.get("age") or 0) / 1000)),
        *(
            ("Suspends if" if name == "suspension" else "Stops if", _stop(name, check))
            for name, check in (view.get("idleChecks") or {}).items()
        ),
        ("Created", view.get("creationTime")),
        ("Ended", view.get("terminationTime")),
        *(("Container", one) for one in several),
        *(("Folder", mount) for mount in mounts),
        *(("Jupyter kernel", kernel) for kernel in kernels),
        *(("Saved", save) for save in saves),
    ]
    return [(name, str(value)) for name, value in facts if value]


def logs(options: argparse.Namespace, terminal: Terminal) -> int:
    text = with_manager(lambda client: _logs(client, options.session, options.container))
    if terminal.as_json:
        terminal.document({"result": {"logs": text}})
    elif text:
        terminal.line(text.rstrip("\n"))
    else:
        terminal.say(f"The container of {options.session} printed nothing.")
    return Exit.DONE


async def _logs(client: ManagerClient, session: str, host: str | None) -> str:
    if host is None:
        return await client.logs(session)
    ids = {one["host"]: one["id"] for one in (await client.get_session(session)).get("kernels") or []}
    if host not in ids:
        raise CommandFailed(f"{session} has no container {host}. It has: {', '.join(ids) or 'none yet'}.", Exit.USAGE)
    return await client.logs(session, ids[host])


# Change


def resize(options: argparse.Namespace, terminal: Terminal) -> int:
    slots = {name: amount for name, amount in (("cpu", options.cpu), ("mem", options.mem)) if amount}
    if not slots:
        raise CommandFailed("Give --cpu, --mem or both.", Exit.USAGE)
    _check_slots(slots)
    view = with_manager(lambda client: client.resize(options.session, slots))
    if terminal.as_json:
        terminal.document(view)
    else:
        terminal.line(f"{view['name']} has {_resources(view)} now. What runs in it goes on.")
    return Exit.DONE


def suspend(options: argparse.Namespace, terminal: Terminal) -> int:
    return _show_changed(with_manager(lambda client: client.suspend(options.session)), terminal)


def resume(options: argparse.Namespace, terminal: Terminal) -> int:
    return _show_changed(with_manager(lambda client: client.resume(options.session)), terminal)


def _show_changed(view: Json, terminal: Terminal) -> int:
    if terminal.as_json:
        terminal.document(view)
    else:
        terminal.line(f"{view['name']}: {state_of(view)}. {sentence_of(view)}")
    return Exit.DONE


def save(options: argparse.Namespace, terminal: Terminal) -> int:
    kernels = with_manager(lambda client: client.save(options.session, options.within))
    if terminal.as_json:
        terminal.document({"kernels": kernels})
        return Exit.DONE
    for one in kernels:
        name = f"Kernel {one['jupyter_kernel_id'][:8]}"
        if one["refused"]:
            terminal.line(f"{name}: {one['refused']['text']}")
            continue
        terminal.line(f"{name}: saved {plural(one['variables'], 'variable')}, {format_size(one['bytes'])}.")
        for what, listed in (("not saved", one["left_out"]), ("doubtful", one["doubtful"])):
            for said in listed:
                terminal.line(f"  {what}: {said['name']} ({said['why']})")
    return Exit.DONE


def wake(options: argparse.Namespace, terminal: Terminal) -> int:
    if not terminal.ask(f"Restart kernels of {options.session} with what was saved? What they hold now is lost."):
        raise CommandFailed("Nothing was restarted.")
    view = with_manager(lambda client: _wake(client, options))
    if terminal.as_json:
        terminal.document(view)
        return Exit.DONE
    for one in view["jupyterKernels"]:
        terminal.line(f"Kernel {one['id'][:8]}: {(one.get('reason') or {}).get('text') or one['status']}")
    return Exit.DONE


async def _wake(client: ManagerClient, options: argparse.Namespace) -> Json:
    """The view, once its kernels have begun."""
    view = await client.wake(options.session, options.source, options.kernel, options.into)
    async with asyncio.timeout(WAKE_TIMEOUT_S):
        while any(one["status"] == JupyterKernelStatus.STARTING for one in view["jupyterKernels"]):
            await asyncio.sleep(_LOOK_S)
            view = await client.get_session(view["id"])
    return view


def extend(options: argparse.Namespace, terminal: Terminal) -> int:
    checks = with_manager(lambda client: client.extend(options.session))
    if terminal.as_json:
        terminal.document({"idleChecks": checks})
        return Exit.DONE
    terminal.line(f"{options.session} is kept.")
    for name, check in checks.items():
        if name != "suspension":
            terminal.line(_stop(name, check))
    return Exit.DONE


def _stop(name: str, check: Json) -> str:
    """When a check would stop the session, or suspend it."""
    extra, what = check["extra"], _CHECKS.get(name, name)
    if extra.get("running"):
        return f"{what}: not while something runs in it"
    if "agent" in extra:
        return f"{what}: in {span(check['remaining'])} (maintenance of {extra['agent']})"
    left = f", may be kept {plural(extra['extensions_left'], 'time')} more" if "extensions_left" in extra else ""
    return f"{what}: in {span(check['remaining'])} ({span(extra['limit'])} of {extra['policy']}{left})"


# End


def rm(options: argparse.Namespace, terminal: Terminal) -> int:
    names = ", ".join(options.sessions)
    if not terminal.ask(f"End {names}? Variables are lost; files in folders stay."):
        raise CommandFailed("Nothing was ended.")
    return with_manager(lambda client: _remove(client, options, terminal))


async def _remove(client: ManagerClient, options: argparse.Namespace, terminal: Terminal) -> int:
    """End each; one that cannot be ended does not keep the others."""
    worst, ended = Exit.DONE, []
    for session in options.sessions:
        try:
            view = await end(client, session, options.force, None if options.no_wait else END_TIMEOUT_S)
            ended.append(view)
        except BaiError as error:
            worst = exit_code_of(error)
            terminal.say(str(error))
    if terminal.as_json:
        terminal.document({"sessions": ended})
    else:
        for view in ended:
            terminal.line(view["name"] if terminal.quiet else f"{view['name']}: {state_of(view)}. {sentence_of(view)}")
    return worst


async def end(client: ManagerClient, session: str, forced: bool, timeout_s: float | None) -> Json:
    """End a session and return its last view; with ``timeout_s`` wait until it is gone."""
    view = await client.get_session(session)
    await client.destroy_session(view["id"], forced)
    if timeout_s is None:
        return await client.get_session(view["id"])
    try:
        return await client.wait_for(view["id"], FINAL, timeout_s)
    except TimeoutError:
        raise CommandFailed(
            f"{view['name']} has not ended after {span(timeout_s)}; the manager goes on trying.", Exit.TIMED_OUT
        ) from None
