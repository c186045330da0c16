"""``bai vfolder``: list, create, delete, restore, rename, clone, attach, detach, ls, mkdir, mv, rm, put, get, share,
unshare, leave, accept."""

import argparse
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal, exit_code_of
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.slots import format_size
from bai_jupyter.common.statuses import FolderStatus

_WORDS = {
    FolderStatus.READY: "Ready",
    FolderStatus.CLONING: "Copying",
    FolderStatus.TRASHED: "In the trash",
    FolderStatus.PURGING: "Being deleted",
    FolderStatus.BROKEN: "Incomplete",
}
_MAY = {"ro": "read", "rw": "write", "wd": "write"}
_UNTIL_LESS = {"hard": "nothing can be added until enough", "soft": "nothing can be uploaded until enough"}
_PERMISSIONS = {"read": "ro", "write": "rw"}


# Folders


def list_(_options: argparse.Namespace, terminal: Terminal) -> int:
    found = with_manager(lambda client: client.list_folders())
    if terminal.as_json:
        terminal.document({"folders": found})
    elif terminal.quiet:
        for folder in found:
            terminal.line(folder["name"])
    else:
        terminal.table(["NAME", "STATUS", "OWNER", "YOU MAY", "USED", "HOST"], [_row(folder) for folder in found])
        terminal.line(f"{plural(len(found), 'folder')}." if found else "No folders. Make one: bai vfolder create NAME")
        for line in sorted({_together(folder) for folder in found if folder["quota_scope_max_size"] is not None}):
            terminal.line(line)
        for folder in found:
            if folder["max_size"] is not None and folder["cur_size"] > folder["max_size"]:
                less = _UNTIL_LESS[folder["quota_kind"]]
                terminal.line(f"{folder['name']} holds more than it may: {less} of it is deleted.")
    return Exit.DONE


def _together(folder: Json) -> str:
    """What all folders of its owner may hold, and what they hold if that is the reader's to know."""
    limit, used = folder["quota_scope_max_size"], folder["quota_scope_used"]
    together = f"All folders of {folder['group_name'] or folder['user_email']} on {folder['host']} together"
    shown = f"{format_size(limit)} ({folder['quota_scope_kind']})"
    if used is None:
        return f"{together}: up to {shown}."
    less = _UNTIL_LESS[folder["quota_scope_kind"]]
    over = f" That is more than they may: {less} is deleted." if used > limit else ""
    return f"{together}: {format_size(used)} of {shown}.{over}"


def _row(folder: Json) -> list[str]:
    owner = "you" if folder["is_owner"] else folder["user_email"] or folder["group_name"]
    if folder["group_name"]:
        owner = f"project {folder['group_name']}"
    used = format_size(folder["cur_size"])
    if folder["max_size"] is not None:
        used += f" of {format_size(folder['max_size'])} ({folder['quota_kind']})"
    status = _WORDS.get(folder["status"], folder["status"])
    return [folder["name"], status, owner or NOTHING, _MAY[folder["permission"]], used, folder["host"]]


def create(options: argparse.Namespace, terminal: Terminal) -> int:
    made = with_manager(lambda client: client.create_folder(options.name, options.host, options.quota, options.project))
    if terminal.as_json:
        terminal.document(made)
    else:
        terminal.line(made["name"] if terminal.quiet else f"{made['name']}: ready on {made['host']}")
    return Exit.DONE


def delete(options: argparse.Namespace, terminal: Terminal) -> int:
    names = ", ".join(options.folders)
    if options.for_good and not terminal.ask(f"Delete {names} for good? Nothing of it is left."):
        raise CommandFailed("Nothing was deleted.")

    async def one(client: ManagerClient, folder: str) -> str:
        found = await client.get_folder(folder)  # by id from here on: another of that name may be in the trash
        await client.delete_folder(found["id"])
        if not options.for_good:
            return f"in the trash. Undo: bai vfolder restore {folder}"
        await client.purge_folder(found["id"])
        return "gone for good"

    return _for_each(options.folders, one, terminal)


def restore(options: argparse.Namespace, terminal: Terminal) -> int:
    async def one(client: ManagerClient, folder: str) -> str:
        await client.restore_folder(folder)
        return "ready"

    return _for_each(options.folders, one, terminal)


def rename(options: argparse.Namespace, terminal: Terminal) -> int:
    with_manager(lambda client: client.rename_folder(options.folder, options.name))
    return _show({"name": options.name}, f"{options.folder}: called {options.name} now", terminal)


def clone(options: argparse.Namespace, terminal: Terminal) -> int:
    made = with_manager(lambda client: client.clone_folder(options.folder, options.name, options.host))
    return _show(made, f"{made['name']}: a copy of {options.folder}, ready on {made['host']}", terminal)


def _show(document: Json, sentence: str, terminal: Terminal) -> int:
    if terminal.as_json:
        terminal.document(document)
    else:
        terminal.line(document["name"] if terminal.quiet else sentence)
    return Exit.DONE


def _for_each(names: list[str], work: Callable[[ManagerClient, str], Awaitable[str]], terminal: Terminal) -> int:
    """Do it for each; one that cannot be done does not keep the others."""

    async def run(client: ManagerClient) -> int:
        worst, done = Exit.DONE, []
        for name in names:
            try:
                told = await work(client, name)
            except BaiError as error:
                worst = exit_code_of(error)
                terminal.say(str(error))
            else:
                done.append(name)
                if not terminal.as_json:
                    terminal.line(name if terminal.quiet else f"{name}: {told}")
        if terminal.as_json:
            terminal.document({"folders": done})
        return worst

    return with_manager(run)


# In sessions that run


def attach(options: argparse.Namespace, terminal: Terminal) -> int:
    folder, _, path = options.place.partition(":")
    view = with_manager(
        lambda client: client.attach_folder(options.session, folder, path or None, read_only=options.read_only)
    )
    mount = view["mounts"][-1]
    how = "read only, " if mount["read_only"] else ""
    return _show_session(view, f"{mount['name']}: attached to {view['name']}, {how}at {mount['target']}", terminal)


def detach(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.force and not terminal.ask(f"What uses {options.folder} in {options.session} is ended. Go on?"):
        raise CommandFailed("Nothing was changed.")
    view = with_manager(lambda client: client.detach_folder(options.session, options.folder, force=options.force))
    return _show_session(view, f"{options.folder}: detached from {view['name']}", terminal)


def _show_session(view: Json, sentence: str, terminal: Terminal) -> int:
    if terminal.as_json:
        terminal.document(view)
    else:
        terminal.line(sentence)
    return Exit.DONE


# Files


def ls(options: argparse.Namespace, terminal: Terminal) -> int:
    folder, path = _place(options.place)
    page = with_manager(lambda client: client.list_files(folder, path, options.offset, options.limit))
    if terminal.as_json:
        terminal.document({"items": page["items"], "total": page["total"]})
    elif terminal.quiet:
        for item in page["items"]:
            terminal.line(item["name"])
    else:
        terminal.table(["NAME", "SIZE", "MODE"], [_file_row(item) for item in page["items"]])
        shown = len(page["items"])
        more = "" if shown == page["total"] else f" {shown} shown, from {options.offset} on; see --offset and --limit."
        terminal.line(f"{plural(page['total'], 'item')}.{more}")
    return Exit.DONE


def _file_row(item: Json) -> list[str]:
    is_folder = item["type"] == "DIRECTORY"
    return [item["name"] + "/" * is_folder, NOTHING if is_folder else format_size(item["size"]), item["mode"]]


def mkdir(options: argparse.Namespace, terminal: Terminal) -> int:
    async def one(client: ManagerClient, place: str) -> str:
        await client.make_directory(*_inner_place(place))
        return "is there"

    return _for_each(options.places, one, terminal)


def mv(options: argparse.Namespace, terminal: Terminal) -> int:
    folder, path = _inner_place(options.place)
    target = options.target.strip("/")
    with_manager(lambda client: client.move_file(folder, path, target))
    return _show({"name": f"{folder}:{target}"}, f"{options.place}: moved to {target}", terminal)


def rm(options: argparse.Namespace, terminal: Terminal) -> int:
    places = [_inner_place(place) for place in options.places]  # all of them, before any is deleted
    if not terminal.ask(f"Delete {', '.join(options.places)} for good, with all that is in it?"):
        raise CommandFailed("Nothing was deleted.")

    async def one(client: ManagerClient, place: str) -> str:
        await client.delete_file(*places[options.places.index(place)])
        return "deleted"

    return _for_each(options.places, one, terminal)


def put(options: argparse.Namespace, terminal: Terminal) -> int:
    folder, path = _place(options.place)
    sources = [Path(source) for source in options.sources]
    for source in sources:
        if not source.exists():
            raise CommandFailed(f"{source} does not exist here.", Exit.USAGE)
    return with_manager(lambda client: _put_all(client, sources, folder, path, terminal))


async def _put_all(client: ManagerClient, sources: list[Path], folder: str, path: str, terminal: Terminal) -> int:
    for source in sources:
        for file, inside in _files_of(source):
            target = _join(path, inside)
            if file.is_dir():
                await client.make_directory(folder, target)
            else:
                await _put_one(client, file, folder, target, terminal)
    return Exit.DONE


def _files_of(source: Path) -> Iterator[tuple[Path, str]]:
    """A file, or a folder with all that is in it, and what each is called there. Links to folders are left out."""
    yield source, source.resolve().name
    if source.is_dir():
        for parent, folders, names in os.walk(source):
            inside = Path(source.resolve().name) / Path(parent).relative_to(source)
            for name in sorted([*folders, *names]):
                if not (Path(parent) / name).is_symlink() or name in names:
                    yield Path(parent) / name, str(inside / name)


async def _put_one(client: ManagerClient, file: Path, folder: str, target: str, terminal: Terminal) -> None:
    size = file.stat().st_size
    with file.open("rb") as reader, terminal.progress(f"{target}: {format_size(size)}") as show:
        await client.upload(
            folder, target, reader, size, lambda sent: show(f"{target}: {format_size(sent)} of {format_size(size)}")
        )
    if not terminal.as_json:
        terminal.line(f"{folder}:{target}")


def get(options: argparse.Namespace, terminal: Terminal) -> int:
    folder, path = _inner_place(options.place)
    target = Path(options.target)
    target = target / path.rstrip("/").rpartition("/")[2] if target.is_dir() else target
    if target.exists():
        raise CommandFailed(f"{target} is there already. Give another target.", Exit.USAGE)
    return with_manager(lambda client: _get_one(client, folder, path, target, terminal))


async def _get_one(client: ManagerClient, folder: str, path: str, target: Path, terminal: Terminal) -> int:
    """Under its name only when it is complete."""
    draft = target.with_name(f".{target.name}.part")
    try:
        with draft.open("wb") as writer, terminal.progress(f"{path}: asked for") as show:
            await client.download(
                folder, path, writer, lambda got, size: show(f"{path}: {format_size(got)} of {format_size(size)}")
            )
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    terminal.line(str(target))
    return Exit.DONE


def _place(text: str) -> tuple[str, str]:
    """``data:raw/x`` as folder and path."""
    folder, _, path = text.partition(":")
    return folder, path.strip("/")


def _inner_place(text: str) -> tuple[str, str]:
    """As ``_place``, but not the folder itself."""
    folder, path = _place(text)
    if not path:
        raise CommandFailed(f"{text}: give FOLDER:PATH of what is in the folder.", Exit.USAGE)
    return folder, path


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


# Sharing


def share(options: argparse.Namespace, terminal: Terminal) -> int:
    permission = _PERMISSIONS[options.can]
    invited = with_manager(lambda client: client.invite(options.folder, options.people, permission))
    if terminal.as_json:
        terminal.document({"invited": invited})
    for person in invited:
        if not terminal.as_json:
            terminal.line(person if terminal.quiet else f"{person}: invited to {options.folder}, can {options.can}")
    for person in sorted(set(options.people) - set(invited)):
        terminal.say(f"{person} has {options.folder}, or was invited, already.")
    return Exit.DONE


def unshare(options: argparse.Namespace, terminal: Terminal) -> int:
    async def run(client: ManagerClient) -> list[str]:
        folder = (await client.get_folder(options.folder))["id"]
        users = {one["shared_to"]["email"]: one["shared_to"]["uuid"] for one in await client.list_shares(folder)}
        if strangers := sorted(set(options.people) - set(users)):
            raise CommandFailed(f"{', '.join(strangers)}: {options.folder} is not shared with them.", Exit.NOT_FOUND)
        for person in options.people:
            await client.change_share(folder, users[person], None)
        return list(options.people)

    done = with_manager(run)
    if terminal.as_json:
        terminal.document({"unshared": done})
    for person in () if terminal.as_json else done:
        terminal.line(person if terminal.quiet else f"{person}: has {options.folder} no more")
    return Exit.DONE


def leave(options: argparse.Namespace, terminal: Terminal) -> int:
    async def one(client: ManagerClient, folder: str) -> str:
        await client.leave_folder(folder)
        return "not yours any more"

    return _for_each(options.folders, one, terminal)


def accept(options: argparse.Namespace, terminal: Terminal) -> int:
    return with_manager(lambda client: _accept(client, options.folders, terminal))


async def _accept(client: ManagerClient, folders: list[str], terminal: Terminal) -> int:
    invitations = await client.list_invitations()
    if not folders:
        if terminal.as_json:
            terminal.document({"invitations": invitations})
        rows = [[one["vfolder_name"], one["inviter"], _MAY[one["perm"]]] for one in invitations]
        if not terminal.as_json:
            terminal.table(["FOLDER", "FROM", "YOU MAY"], rows)
            terminal.line(f"{plural(len(rows), 'invitation')}.")
        return Exit.DONE
    for folder in folders:
        found = [one for one in invitations if one["vfolder_name"] == folder]
        if not found:
            raise CommandFailed(f"Nobody has invited you to a folder {folder}.", Exit.NOT_FOUND)
        await client.accept_invitation(found[0]["id"])
        terminal.line(folder if terminal.quiet else f"{folder}: yours to {_MAY[found[0]['perm']]} now")
    return Exit.DONE
