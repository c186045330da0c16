"""Where things are at the manager: paths of its API, quoted."""

from urllib.parse import quote


def session_path(session: str) -> str:
    return f"/session/{quote(session, safe='')}"


def app_path(session: str, app: str) -> str:
    """Where the manager has an app."""
    return f"/apps/{quote(session, safe='')}/{quote(app, safe='')}"


def folder_path(folder: str) -> str:
    return f"/folders/{quote(folder, safe='')}"


def jupyter_kernel_path(session: str, jupyter_kernel_id: str) -> str:
    return f"{session_path(session)}/jupyter-kernels/{quote(jupyter_kernel_id, safe='')}"
