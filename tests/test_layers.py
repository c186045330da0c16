"""Who may import whom: the sources against one table. A new folder or third-party package needs a line here.

Every import statement counts, also inside functions, so that none can hide a cycle. ``bai_jupyter.cli`` is the
composition root and may import everything of ``bai_jupyter``; the agent it starts as a program of its own.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"bai_jupyter": ROOT / "bai_jupyter", "bai_agent": ROOT / "agent" / "bai_agent"}

COMMON = "bai_jupyter.common"
CLIENTS = {
    COMMON,
    *(f"bai_jupyter.{name}" for name in ("choice", "client", "kernel_stream", "notebook", "public_web", "words")),
}
PROXY = "bai_jupyter.reverse_proxy"
STORE = {COMMON, "bai_jupyter.manager.db", "bai_jupyter.manager.auth"}
EXECUTION, PEOPLE, VFOLDERS = (f"bai_jupyter.manager.{name}" for name in ("execution", "people", "vfolders"))
SERVICES = {
    *STORE,
    "bai_jupyter.manager.agents",
    "bai_jupyter.manager.background",
    "bai_jupyter.manager.scheduler",
    "bai_jupyter.manager.sessions",
}

# The longest name that fits a module decides. What it may import besides itself and bai_jupyter._version.
ALLOWED: dict[str, set[str]] = {
    "bai_jupyter": set(),
    "bai_jupyter.common": set(),
    "bai_jupyter.choice": {COMMON, "bai_jupyter.client"},
    "bai_jupyter.client": {COMMON},
    "bai_jupyter.kernel_stream": {COMMON},
    "bai_jupyter.notebook": set(),
    "bai_jupyter.public_web": {COMMON},
    PROXY: set(),
    "bai_jupyter.provisioner": CLIENTS,
    "bai_jupyter.spawner": CLIENTS,
    "bai_jupyter.extension": {*CLIENTS, PROXY},
    "bai_jupyter.widgets": {COMMON, "bai_jupyter.client", "bai_jupyter.words"},
    "bai_jupyter.words": {COMMON},
    "bai_jupyter.manager": {*SERVICES, EXECUTION, PEOPLE, VFOLDERS, "bai_jupyter.manager.api"},  # app, __main__
    "bai_jupyter.manager.scheduler": {COMMON},
    "bai_jupyter.manager.sessions.lifecycle": {COMMON},
    "bai_jupyter.manager.sessions.clusters": {COMMON, "bai_jupyter.manager.sessions.lifecycle"},
    "bai_jupyter.manager.sessions.budgets": {COMMON},
    "bai_jupyter.manager.sessions.idle": {COMMON},
    "bai_jupyter.manager.auth": STORE,
    "bai_jupyter.manager.sessions.matching": {COMMON, "bai_jupyter.manager.db.records"},
    "bai_jupyter.manager.db": {
        *STORE,
        "bai_jupyter.manager.scheduler",
        "bai_jupyter.manager.sessions.budgets",
        "bai_jupyter.manager.sessions.clusters",
        "bai_jupyter.manager.sessions.idle",
        "bai_jupyter.manager.sessions.lifecycle",
        "bai_jupyter.manager.sessions.matching",
    },
    "bai_jupyter.manager.agents": {*STORE, "bai_jupyter.manager.sessions.lifecycle"},
    "bai_jupyter.manager.background": STORE,
    EXECUTION: {*SERVICES, "bai_jupyter.kernel_stream"},
    VFOLDERS: {*STORE, "bai_jupyter.manager.agents", "bai_jupyter.manager.background"},
    PEOPLE: {*STORE, "bai_jupyter.manager.scheduler", "bai_jupyter.manager.sessions.idle"},
    "bai_jupyter.manager.sessions": {*SERVICES, VFOLDERS, "bai_jupyter.public_web"},
    "bai_jupyter.manager.api": {*SERVICES, EXECUTION, PEOPLE, VFOLDERS, PROXY},
    "bai_jupyter.cli": {"bai_jupyter"},
    "bai_agent": {COMMON},
    "bai_agent.allocation": {COMMON},
    "bai_agent.relay": {"bai_jupyter.common.records"},
}

# Third-party packages by role: base dependencies and those of the role's extra in pyproject.toml, by import name.
BASE = {"tornado", "traitlets"}
ENGINE = {"docker", "pynvml", "requests"}  # requests comes with docker, whose errors are its errors
JUPYTER = BASE | {"jupyter_client", "jupyter_core", "jupyter_events", "jupyter_server", "jupyterlab", "nbformat", "zmq"}
THIRD_PARTY: dict[str, set[str]] = {
    "bai_jupyter": BASE,
    "bai_jupyter.common": set(),
    "bai_jupyter.provisioner": JUPYTER,
    "bai_jupyter.extension": JUPYTER,
    "bai_jupyter.spawner": BASE | {"jupyterhub", "aiohttp", "cryptography"},  # aiohttp: JupyterHub's own HTTP client
    "bai_jupyter.extension.run_inside": {"jupyter_client"},
    "bai_jupyter.widgets": {"IPython", "ipywidgets", "traitlets"},
    "bai_jupyter.manager": BASE | {"sqlalchemy", "alembic", "psycopg", "cryptography", "argon2", "graphql", "yaml"},
    "bai_jupyter.manager.scheduler": set(),
    "bai_jupyter.manager.sessions.clusters": set(),
    "bai_jupyter.manager.sessions.budgets": set(),
    "bai_jupyter.manager.sessions.idle": set(),
    "bai_jupyter.manager.sessions.lifecycle": set(),
    "bai_jupyter.cli": JUPYTER | ENGINE | {"certifi", "nbclient", "nbformat", "rich"},
    "bai_agent": BASE | ENGINE | {"jupyter_client", "jupyter_core", "furiosa_smi_py", "pyhlml", "yaml"},
    "bai_agent.allocation": set(),
    "bai_agent.relay": set(),
    "bai_agent.variables.inside": {"bai_variables"},  # what it is called where it runs
}


def module_name(path: Path) -> str:
    package = "bai_agent" if path.is_relative_to(SOURCES["bai_agent"]) else "bai_jupyter"
    parts = path.relative_to(SOURCES[package].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    files = (path for folder in SOURCES.values() for path in folder.rglob("*.py") if "node_modules" not in path.parts)
    return {module_name(path): path for path in sorted(files)}


def imports_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported name with its line; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@cache
def imports(module: str) -> list[tuple[str, int]]:
    """What a module imports: modules of ours, else the name as it is written."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return [(target_module(name), line) for name, line in imports_of(tree)]


def target_module(name: str) -> str:
    """``bai_jupyter.common.slots.ResourceSlots`` is in ``bai_jupyter.common.slots``."""
    parent = name.rpartition(".")[0]
    return parent if name not in modules() and parent in modules() else name


def is_within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def longest(module: str, table: dict[str, set[str]]) -> str:
    return max((prefix for prefix in table if is_within(module, prefix)), key=len)


def is_allowed(module: str, target: str) -> bool:
    """The rule for one import of ours."""
    if target in ("bai_jupyter", "bai_jupyter._version"):
        return True
    own = longest(module, ALLOWED)
    target_owner = longest(target, ALLOWED)
    if own == target_owner:
        return True
    if own.startswith("bai_agent") and own == "bai_agent":
        return is_within(target, "bai_agent") or any(is_within(target, prefix) for prefix in ALLOWED[own])
    return any(is_within(target, prefix) for prefix in ALLOWED[own])


@pytest.mark.parametrize("module", modules())
def test_imports_of_ours(module):
    wrong = [
        f"{module} imports {target} (line {line})"
        for target, line in imports(module)
        if target.split(".")[0] in SOURCES and not is_allowed(module, target)
    ]
    assert not wrong, f"{wrong}; allowed for {longest(module, ALLOWED)}: {sorted(ALLOWED[longest(module, ALLOWED)])}"


@pytest.mark.parametrize("module", modules())
def test_imports_of_others(module):
    allowed = THIRD_PARTY[longest(module, THIRD_PARTY)]
    wrong = [
        f"{module} imports {target} (line {line})"
        for target, line in imports(module)
        if (top := target.split(".")[0]) not in SOURCES and top not in sys.stdlib_module_names and top not in allowed
    ]
    assert not wrong, f"{wrong}; allowed for {longest(module, THIRD_PARTY)}: {sorted(allowed)}"


def test_no_cycles():
    """Between modules; a package's ``__init__`` may import its own modules, which then do not import the package."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "a cycle: " + " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in sorted({target for target, _ in imports(module) if target in modules()}):
                visit(target, (*path, module))
            done.add(module)

    for module in modules():
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("bai_jupyter.common.slots", "bai_jupyter.client"),
        ("bai_jupyter.provisioner.facade", "bai_jupyter.extension.app"),
        ("bai_jupyter.provisioner.facade", "bai_jupyter.manager.app"),
        ("bai_jupyter.extension.app", "bai_jupyter.provisioner"),
        ("bai_jupyter.manager.app", "bai_jupyter.client"),
        ("bai_jupyter.manager.scheduler.plan", "bai_jupyter.manager.db.store"),
        ("bai_jupyter.manager.sessions.lifecycle", "bai_jupyter.manager.sessions.service"),
        ("bai_jupyter.manager.db.store", "bai_jupyter.manager.api"),
        ("bai_jupyter.manager.sessions.service", "bai_jupyter.manager.api.base"),
        ("bai_jupyter.cli.up", "bai_agent.app"),
        ("bai_agent.app", "bai_jupyter.client"),
        ("bai_agent.app", "bai_jupyter.manager.app"),
        ("bai_agent.relay.server", "bai_jupyter.common.messages"),
        ("bai_agent.relay.server", "bai_agent.streams"),
        ("bai_agent.allocation", "bai_agent.app"),
    ],
)
def test_the_table_can_refuse(module, target):
    assert not is_allowed(module, target)
