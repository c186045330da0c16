"""Code run by the official client, in a cluster of real processes."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import pytest
from end_to_end.runtimes import on_both_runtimes, on_docker
from tornado.simple_httpclient import HTTPTimeoutError

from bai_jupyter.cli import images

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="code-here", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64"
)
result = [str(made.id), made.status]
"""

RUN = """
def run(code, mode="query", opts=None, lines=()):
    lines, console, statuses, run_id = iter(lines), [], [], None
    while True:
        got = session.execute(run_id, code, mode=mode, opts=opts)
        run_id, opts = got["runId"], None
        console += got["console"]
        statuses.append((got["status"], got["exitCode"]))
        if got["status"] == "finished":
            return {"console": console, "statuses": statuses, "runId": run_id}
        asks = got["status"] == "waiting-input"
        mode, code = ("input", next(lines)) if asks else ("continue", "")
session = api.ComputeSession("code-here")
"""

QUERIES = """
result = {
    "print": run("print(1 + 1)"),
    "value": run("6 * 7"),
    "state": run("x = 5; print(x)"),
    "state again": run("print(x + 1)"),
    "both streams": run("import sys; print('a'); print('b', file=sys.stderr)"),
    "error": run("1 / 0"),
    "html": run("from IPython.display import HTML, display; display(HTML('<b>hi</b>'))"),
    "svg": run("from IPython.display import SVG, display; display(SVG('<svg xmlns=\\"http://www.w3.org/2000/svg\\"/>'))"),
    "input": run("print('hello', input('name? '))", lines=["Kim"]),
    "long": run("import time; print('on', flush=True); time.sleep(2.5); print('off')"),
    "after all": run("print('still here')"),
    "complete": session.complete("x.bit_le", {"row": 0, "col": 8, "line": "x.bit_le", "post": ""}),
    "count": session.get_info()["numQueriesExecuted"],
}
"""


async def created(client, cluster) -> str:
    session_id, status = await client.sdk(CREATE.format(image=cluster.image))
    assert status == "RUNNING"
    return session_id


@on_both_runtimes
async def test_sdk_runs_code_in_query_mode(client_of_cluster, cluster):
    """Defects of Backend.AI 23.09.10: HTML in query mode was a 500 that spoilt the session, completion timed out."""
    client = client_of_cluster
    await created(client, cluster)
    got = await client.sdk(RUN + QUERIES)
    assert got["print"]["console"] == [["stdout", "2\n"]]
    assert got["print"]["statuses"][-1] == ["finished", 0]
    assert got["value"]["console"] == [["stdout", "42\n"]]
    assert got["state again"]["console"] == [["stdout", "6\n"]]
    assert sorted(got["both streams"]["console"]) == [["stderr", "b\n"], ["stdout", "a\n"]]
    ((stream, traceback),) = got["error"]["console"]
    assert (stream, got["error"]["statuses"][-1]) == ("stderr", ["finished", 0])
    assert "ZeroDivisionError" in traceback
    assert got["html"]["console"] == [["html", "<b>hi</b>"]]
    ((kind, (media_type, svg)),) = got["svg"]["console"]
    assert (kind, media_type) == ("media", "image/svg+xml")
    assert "<svg" in svg
    assert "".join(text for _, text in got["input"]["console"]) == "name? hello Kim\n"
    assert "waiting-input" in [status for status, _ in got["input"]["statuses"]]
    assert "".join(text for _, text in got["long"]["console"]) == "on\noff\n"
    assert "continued" in [status for status, _ in got["long"]["statuses"]]
    assert got["after all"]["console"] == [["stdout", "still here\n"]]
    assert got["complete"]["result"]["completions"] == ["bit_length"]
    assert got["count"] == 11  # neither polls nor lines of input nor completion


STREAM = """
import uuid
session = api.ComputeSession.from_session_id(uuid.UUID("{session_id}"))
async def stream(code, lines=(), mode="query", opts=None, ahead=()):
    lines, results = iter(lines), []
    async with session.stream_execute(code, mode=mode, opts=opts) as socket:
        for text in ahead:
            await socket.send_str(text)
        async for message in socket:
            results.append(json.loads(message.data))
            if results[-1]["status"] == "waiting-input":
                await socket.send_str(next(lines))
    return results
result = [
    await stream("for i in range(3): print(input(f'{{i}}? '))", "abc"),
    await stream("import time\\nfor i in range(3):\\n    print(i, flush=True); time.sleep(0.5)"),
    await stream("print('end')", ahead=["stray"]),
]
"""


async def test_sdk_streams_a_run(client_of_cluster, cluster):
    client = client_of_cluster
    session_id = await created(client, cluster)
    asked, slow, last = await client.async_sdk(STREAM.format(session_id=session_id))
    assert [one["status"] for one in asked if one["status"] != "continued"] == ["waiting-input"] * 3 + ["finished"]
    assert text_of(asked) == "0? a\n1? b\n2? c\n"
    assert text_of(slow) == "0\n1\n2\n"
    assert len(slow) >= 3
    assert [one["status"] for one in last][-1] == "finished"
    assert text_of(last) == "end\n"


INTERRUPT = """
started = session.execute(None, "import time\\nprint('on', flush=True)\\nwhile True: time.sleep(0.01)")
while not started["console"]:
    started = session.execute(started["runId"], "", mode="continue")
session.interrupt()
ended = started
while ended["status"] != "finished":
    ended = session.execute(started["runId"], "", mode="continue")
session.interrupt()
result = {"ended": ended, "after": run("print('fine')")}
"""


@on_both_runtimes
async def test_sdk_interrupts_a_run(client_of_cluster, cluster):
    await created(client_of_cluster, cluster)
    got = await client_of_cluster.sdk(RUN + INTERRUPT)
    assert "KeyboardInterrupt" in text_of([got["ended"]])
    assert text_of([got["after"]]) == "fine\n"


async def test_sdk_streams_a_batch(client_of_cluster, cluster):
    session_id = await created(client_of_cluster, cluster)
    steps = STREAM.partition("result = [")[0] + (
        'result = await stream("", mode="batch", opts={{"build": "echo built", "exec": "echo ran; exit 4"}})'
    )
    results = await client_of_cluster.async_sdk(steps.format(session_id=session_id))
    ends = [(one["status"], one["exitCode"]) for one in results if one["status"] != "continued"]
    assert ends == [("clean-finished", 0), ("build-finished", 0), ("finished", 4)]
    assert text_of(results) == "built\nran\n"


async def test_cli_creates_a_session_and_runs_code(client_of_cluster, cluster):
    words = ["--name", "cli-code", "-r", "cpu=0.1", "-r", "mem=256m", "--arch", "x86_64"]
    ran = await client_of_cluster.cli("run", *words, "-c", "print('from', 'the', 'session')", cluster.image)
    assert ran.code == 0, ran
    assert "from the session" in ran.out
    assert "Execution finished. (exit code = 0)" in ran.out + ran.err


def text_of(results) -> str:
    return "".join(text for one in results for _, text in one["console"])


DEFECTS = """
first = run("print('once')")
polls = [session.execute(first["runId"], "", mode="continue") for _ in range(3)]
killed = run("import os, time; print('last words', flush=True); time.sleep(0.5); os._exit(3)")
result = {
    "first": first,
    "polls": [[one["status"], one["exitCode"], one["console"]] for one in polls],
    "after polls": run("print('fine')"),
    "killed": killed,
    "after kill": run("print('again')"),
}
"""


async def test_what_broke_a_real_managers_sessions_breaks_none_here(client_of_cluster, cluster):
    """Defect of Backend.AI 23.09.10: a poll too many spoilt the session. Nor may a kernel that ends in a run."""
    client = client_of_cluster
    await created(client, cluster)
    got = await client.sdk(RUN + DEFECTS)
    assert got["polls"] == [["finished", 0, []]] * 3
    assert text_of([got["after polls"]]) == "fine\n"
    assert got["killed"]["statuses"][-1] == ["finished", 130]
    assert text_of([got["killed"]]) == "last words\n"
    assert text_of([got["after kill"]]) == "again\n"


async def test_a_client_that_hangs_up_loses_nothing(client_of_cluster, cluster, helpers):
    await created(client_of_cluster, cluster)
    signed = helpers.client(**helpers.of_cluster(cluster))
    code = "import time\nfor i in range(40):\n    print(i, flush=True); time.sleep(0.05)"
    started = {"mode": "query", "code": code, "runId": "mine"}
    poll = {"mode": "continue", "code": "", "runId": "mine"}
    got, is_over = "", False
    for attempt in range(40):
        body = started if attempt < 2 else poll  # the same run sent again is not run again
        with suppress(HTTPTimeoutError):
            patience_s = 0.15 if attempt % 2 == 0 else 30
            answer = await signed.call("POST", "/session/code-here", body, request_timeout=patience_s)
            got += text_of([answer.json["result"]])
            is_over = answer.json["result"]["status"] == "finished"
        if is_over:
            break
    assert got == "".join(f"{i}\n" for i in range(40))
    signed.close()


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
async def test_thousands_of_calls_leave_the_manager_as_large_as_it_was(client_of_cluster, cluster, helpers, count):
    """Defect of Backend.AI 23.09.10: each look-up of a session made the manager larger and slower."""
    session_id = await created(client_of_cluster, cluster)
    signed = helpers.client(**helpers.of_cluster(cluster))
    query = {"query": "query($id: UUID!) {compute_session(id: $id) {status}}", "variables": {"id": session_id}}

    async def rounds(count: int) -> None:
        for n in range(count):
            assert await signed.run("code-here", f"print({n})") == f"{n}\n"
            assert (await signed.get("/session/code-here"))["status"] == "RUNNING"
            assert len((await signed.get("/sessions"))["sessions"]) == 1
            assert (await signed.call("GET", f"/session/missing-{n}")).status == 404
            await signed.get("/folders")
            await signed.post("/admin/gql", query, 200)

    await rounds(200)
    before = resident_bytes(cluster.pid("manager"))
    await rounds(count)
    assert resident_bytes(cluster.pid("manager")) - before < 8 * 1024**2
    signed.close()


async def test_a_manager_that_was_killed_finds_the_kernel_again(client_of_cluster, cluster, helpers):
    await created(client_of_cluster, cluster)
    signed = helpers.client(**helpers.of_cluster(cluster))
    await signed.run("code-here", "x = 5", runId="before")
    links = cluster.log("agent").count("linked to")
    cluster.kill("manager")
    cluster.start("manager")
    await cluster.until(partial(cluster.is_linked_after, links))
    forgotten = await signed.call("POST", "/session/code-here", {"mode": "continue", "code": "", "runId": "before"})
    assert (forgotten.status, forgotten.json["title"]) == (404, "No such run.")
    assert await signed.run("code-here", "print(x)") == "5\n"
    signed.close()


async def test_refusals(client_of_cluster, cluster, helpers):
    await created(client_of_cluster, cluster)
    signed = helpers.client(**helpers.of_cluster(cluster))
    refused = {
        "no mode": ({"code": "1"}, 400),
        "unknown mode": ({"mode": "guess", "code": "1"}, 400),
        "no run id": ({"mode": "continue", "code": ""}, 400),
        "run id that is none": ({"mode": "query", "code": "1", "runId": "../x"}, 400),
        "unknown run": ({"mode": "continue", "code": "", "runId": "no-such"}, 404),
        "input not asked for": ({"mode": "input", "code": "x", "runId": "no-such"}, 404),
        "code that is no text": ({"mode": "query", "code": {"a": 1}}, 400),
        "options that are no object": ({"mode": "query", "code": "1", "options": [1]}, 400),
    }
    statuses = {
        name: (await signed.call("POST", "/session/code-here", body)).status for name, (body, _) in refused.items()
    }
    assert statuses == {name: status for name, (_, status) in refused.items()}
    signed.close()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# By each: what it is told, what that prints, and how it shows HTML.
THREE_LANGUAGES = {
    "python3": ("print(6 * 7)", "from IPython.display import HTML, display; display(HTML('<b>{}</b>'))"),
    "bash": ("echo $((6 * 7))", "echo '<b>{}</b>' | displayHTML"),
    "javascript": ("console.log(6 * 7)", "require('tslab').display.html('<b>{}</b>')"),
}

IN_THREE_LANGUAGES = """
async def by_http(session, code):
    got = await session.execute(None, code)
    console = got["console"]
    while got["status"] != "finished":
        got = await session.execute(got["runId"], "", mode="continue")
        console += got["console"]
    return console
async def by_stream(session, code):
    console = []
    async with session.stream_execute(code, mode="query") as socket:
        async for message in socket:
            console += json.loads(message.data)["console"]
    return console
result = {{}}
for language, codes in {languages}.items():
    session = await api.ComputeSession.get_or_create(
        "{image}", name=f"code-{{language}}", resources={{"cpu": "1", "mem": "512m"}}, architecture="x86_64",
        envs={{"BAI_KERNELSPEC": language}},
    )
    result[language] = [[await run(session, code) for code in codes] for run in (by_http, by_stream)]
    await session.destroy()
"""


@pytest.mark.docker
@on_docker
async def test_three_languages_with_what_they_show(client_of_cluster, cluster, image_of_three_languages):
    await cluster.add_image(image_of_three_languages)
    code = IN_THREE_LANGUAGES.format(image=image_of_three_languages, languages=THREE_LANGUAGES)
    got = await client_of_cluster.async_sdk(code)
    assert set(got) == set(THREE_LANGUAGES)
    for language, ways in got.items():
        for printed, shown in ways:
            assert printed == [["stdout", "42\n"]], language
            assert [one for one in shown if one[0] == "html"] == [["html", ANY]], (language, shown)
            assert "<b>" in shown[-1][1]


@pytest.fixture(scope="session")
def image_of_three_languages(docker_client):
    """Built in a minute, unless it has not changed since it was."""
    return images.build(["polyglot-minimal"])[0]


LANGUAGES = [
    ("r", "ir", "cat(6 * 7)"),
    ("polyglot", "bash", "echo $((6 * 7))"),
    ("polyglot", "javascript", "console.log(6 * 7)"),
    ("polyglot", "typescript", "const six: number = 6; console.log(six * 7)"),
    ("polyglot", "lua", "print(6 * 7)"),
    ("polyglot", "octave", "disp(6 * 7)"),
]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.docker
@on_docker
@pytest.mark.parametrize(("name", "kernelspec", "code"), LANGUAGES)
async def test_every_language(client_of_cluster, cluster, name, kernelspec, code):
    found = images.local(f"bai/{name}:")
    cluster.image = found[-1] if found else images.build([name])[0]
    await cluster.add_image(cluster.image)
    create = CREATE.format(image=cluster.image).replace(
        "resources=", f'envs={{"BAI_KERNELSPEC": "{kernelspec}"}}, resources='
    )
    await client_of_cluster.sdk(create.replace("256m", "1g"))
    got = await client_of_cluster.sdk(RUN + f"result = run({code!r})")
    assert text_of([got]).strip() == "42"
