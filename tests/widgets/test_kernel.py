"""In a real kernel, whose one thread runs the cells."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes_extension import StubManager, session_view
from jupyter_client.manager import start_new_kernel

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """``run(code, cell="a")``: what a cell prints. The session ``demo`` is there to be watched."""
    with StubManager(sessions=[session_view("demo", liveStat={"mem_used_bytes": 2.0**31})]) as stub:
        for name, value in stub.environ.items():
            monkeypatch.setenv(name, value)
        manager, client = start_new_kernel(startup_timeout=60)
        try:
            yield lambda code, cell="a": _printed(client, code, cell)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def _printed(client: Any, code: str, cell: str) -> str:
    """Run it as JupyterLab does, which says which cell it is."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    request = client.session.msg("execute_request", content, metadata={"cellId": cell})
    client.shell_channel.send(request)
    printed, error = "", ""
    while True:
        message = client.get_iopub_msg(timeout=60)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
            continue
        printed += content["text"] if kind == "stream" else ""
        error += "\n".join(content["traceback"]) if kind == "error" else ""
        if kind == "status" and content["execution_state"] == "idle":
            assert not error, error
            return printed


def test_a_monitor_goes_on_while_a_cell_computes_until_its_cell_runs_again(run):
    run("import threading; from bai_jupyter.widgets import ResourceMonitor")
    run("monitor = first = ResourceMonitor('demo')", cell="monitor")
    busy = "seen = threading.Event(); monitor._bars.observe(lambda _: seen.set(), 'children'); "
    assert run(f"{busy}print(bool(monitor._bars.children) or seen.wait(60))") == "True\n"
    run("monitor = ResourceMonitor('demo')", cell="monitor")
    assert run("print(first.comm, monitor.comm is None)") == "None False\n"
