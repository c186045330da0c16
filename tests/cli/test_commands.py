"""The other nouns: agents, images, kernelspecs, version, help."""

import json
import os
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bai_jupyter.cli import build_parser
from bai_jupyter.cli.terminal import Exit, parse_moment
from bai_jupyter.common.errors import Forbidden
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.reasons import Reason

SPEC = {"name": "python3", "display_name": "Python 3", "language": "python", "metadata": {"debugger": True}}
IMAGE = {
    "name": "bai/python:3.11",
    "digest": "sha256:1",
    "architecture": "x86_64",
    "size_bytes": 400 * 1024 * 1024,
    "labels": {},
    "kernelspecs": [SPEC],
    "agents": ["lab-1"],
}


@pytest.mark.parametrize(
    "noun", ["session", "agent", "manager", "vfolder", "image", "env", "kernelspec", "up", "down", "doctor", None]
)
def test_help_begins_with_two_examples(bai, noun: str | None) -> None:
    ran = bai(*[noun] if noun else [], "--help")
    assert ran.code == Exit.DONE
    head, first, second, blank, *_ = ran.lines
    assert (head, blank) == ("Examples:", "")
    for example in (first, second):
        words = example.split()
        assert words[:2] == ["bai", noun] if noun else words[0] == "bai"
        build_parser().parse_args(words[1:])  # an example that does not parse would exit


def test_every_command_names_a_function(bai) -> None:
    lines = ["up", "down", "doctor", "version", "session list", "session info x", "session logs x", "session rm x"]
    lines += ["session start x", "agent run", "agent list", "agent join-token", "manager run", "image list"]
    lines += ["vfolder list", "vfolder create x", "vfolder delete x", "vfolder restore x", "vfolder ls x"]
    lines += ["vfolder put x y", "vfolder get x:y", "vfolder share x y", "vfolder accept"]
    lines += ["vfolder rename x y", "vfolder clone x y", "vfolder mkdir x:y", "vfolder mv x:y z", "vfolder rm x:y"]
    lines += ["vfolder unshare x y", "vfolder leave x"]
    lines += ["image build x", "image add x", "image rm x", "kernelspec install", "kernelspec list"]
    lines += ["env save x", "env list", "env rm x"]
    for line in lines:
        module, _, function = build_parser().parse_args(line.split()).run.partition(":")
        assert callable(getattr(__import__(f"bai_jupyter.cli.{module}", fromlist=[function]), function))


def test_no_command_is_wrong_usage(bai) -> None:
    assert bai().code == Exit.USAGE
    assert bai("session", "dance").code == Exit.USAGE
    ran = bai("session", "list", "--wait")
    assert (ran.code, ran.err) == (
        Exit.USAGE,
        "bai session list: unrecognized arguments: --wait.\nSee: bai session list --help\n",
    )


@pytest.mark.parametrize("given", ["20x", "", "-1", "inf"])
def test_a_wrong_time_is_told_what_to_write(bai, given: str) -> None:
    ran = bai("policy", "set", "student", f"--suspend={given}")
    assert (ran.code, f"{given!r} is not a time; write 90, 30s, 5m or 2h" in ran.err) == (Exit.USAGE, True), ran.err


def test_the_grammar_needs_no_server_packages() -> None:
    heavy = "{'sqlalchemy', 'docker', 'jupyter_server', 'jupyter_client', 'rich', 'jupyterlab'}"
    code = f"import sys, bai_jupyter.cli, bai_jupyter.cli.session; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "set()"


# Agents


def test_agents(bai, logged_in) -> None:
    agent = {
        "name": "lab-1",
        "status": "ALIVE",
        "resource_group": "gpu",
        "runtime": "process",
        "isolated": False,
        "slots": {"cpu": "32", "mem": str(256 * 2**30), "cuda.shares": "4"},
        "used": {"cpu": "24", "cuda.shares": "0.5"},
        "devices": [{"device_id": "GPU-0", "attributes": {"enforcement": "shim"}}],
        "heard_at": "2026-01-01T00:00:00+00:00",
    }
    logged_in.answers["GET /agents"] = {"agents": [agent, {**agent, "name": "lab-2", "status": "LOST"}]}
    ran = bai("agent", "list")
    trouble = "The container engine on lab-1 does not answer: gone. Tell your admin."
    logged_in.answers["GET /agents"] = {"agents": [{**agent, "engine_trouble": trouble}]}
    assert bai("agent", "list").lines[2] == trouble
    logged_in.answers["GET /agents"] = {"agents": [agent]}
    assert "24/32  0 B/256 GiB  0.5/4 (held by shim)  process (not isolated)" in ran.lines[1]
    assert ran.lines[1].endswith(" ago")
    assert "Unreachable" in ran.lines[2]
    assert ran.lines[3] == "2 agents, 1 ready."
    assert bai("agent", "list", "--json").json["agents"][0] == agent
    logged_in.answers["GET /agents"] = {"agents": [{**agent, "used": {"cpu": "40"}}]}
    assert "40/32, shared" in bai("agent", "list").lines[1]
    drained = {**agent, "schedulable": False, "sessions": 3, "drain_by": "2090-01-01T18:00:00+00:00"}
    logged_in.answers["GET /agents"] = {"agents": [drained]}
    assert re.search(r"Ready, draining: 3 sessions left, by 20(89|90)-\d\d-\d\d \d\d:00", bai("agent", "list").lines[1])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("18:00", "2026-03-05T18:00"),
        ("9:30", "2026-03-06T09:30"),
        ("12:00", "2026-03-06T12:00"),
        ("2026-12-24T18:00", "2026-12-24T18:00"),
        ("+90s", "2026-03-05T12:01:30"),
        ("+2h", "2026-03-05T14:00"),
    ],
)
def test_moments_are_of_this_place(text, moment) -> None:
    now = datetime.fromisoformat("2026-03-05T12:00").astimezone()
    assert parse_moment(text, now) == datetime.fromisoformat(moment).astimezone()
    assert parse_moment("2026-12-24T18:00+09:00", now) == datetime(2026, 12, 24, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "25:00", "2h", "+tea", "tomorrow", "+1e300h"])
def test_what_is_no_moment(text) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a moment; write 18:00"):
        parse_moment(text)


def test_other_accelerators_go_by_name_and_what_is_not_handed_out_is_said(bai, logged_in) -> None:
    devices = [
        {"device_id": "0c", "model": "AMD MI300X", "health": "ok"},
        {"device_id": "2b", "model": "AMD MI300X", "health": "fell off the bus"},
    ]
    agent = {"name": "lab-1", "status": "ALIVE", "runtime": "docker", "devices": devices, "used": {"rocm.device": "1"}}
    amd = {**agent, "slots": {"cpu": "8", "rocm.device": "1"}}
    mixed = {**agent, "name": "lab-2", "slots": {"cuda.device": "8", "rngd.device": "2"}, "devices": []}
    logged_in.answers["GET /agents"] = {"agents": [amd, mixed]}
    ran = bai("agent", "list")
    assert "1/1 AMD GPU docker" in " ".join(ran.lines[1].split())
    assert "0/8, 0/2 RNGD docker" in " ".join(ran.lines[2].split())
    assert ran.lines[3:] == ["lab-1 does not hand out 2b (AMD MI300X): fell off the bus.", "2 agents, 2 ready."]


def test_a_join_token(bai, logged_in) -> None:
    token = JoinToken("t0k", "https://m:1", "ab" * 32).format()
    logged_in.answers["POST /agents/join-tokens"] = {"token": token}
    ran = bai("agent", "join-token", "--group", "gpu", "--uses", "3", "--expires", "2h")
    assert ran.lines == [token]
    assert f"bai agent join {token}\nIt leads to https://m:1, whose certificate it knows (abababababab…)." in ran.err
    assert logged_in.bodies("POST /agents/join-tokens") == [{"resource_group": "gpu", "uses": 3, "expires_s": 7200}]
    logged_in.answers["POST /agents/join-tokens"] = Forbidden(Reason.of("forbidden", role="a superadmin"))
    assert bai("agent", "join-token").code == Exit.REFUSED


@pytest.mark.parametrize(("noun", "module"), [("agent", "bai_agent"), ("manager", "bai_jupyter.manager")])
def test_run_becomes_the_server(bai, monkeypatch, noun: str, module: str) -> None:
    became = []
    monkeypatch.setattr("os.execv", lambda program, argv: became.append(argv))
    monkeypatch.setenv("BAI_JOIN_TOKEN", "")
    words = ["--manager", "http://m:1", "--token", "t0k", "--name", "n"] if noun == "agent" else ["--port", "81"]
    with pytest.raises(TypeError):  # a real execv does not come back
        bai(noun, "run", *words, "--", "--log-level=DEBUG")
    [argv] = became
    assert argv[:4] == [sys.executable, "-P", "-m", module]
    assert argv[-1] == "--log-level=DEBUG"
    assert "t0k" not in argv
    assert ("--ManagerApp.port=81" in argv) or ("--AgentApp.manager_url=http://m:1" in argv)


def became(bai, monkeypatch, *words: str) -> list[str]:
    """The options with which ``bai agent …`` becomes an agent."""
    argvs = []
    monkeypatch.setattr("os.execv", lambda program, argv: argvs.append(argv))
    with pytest.raises(TypeError):
        bai("agent", *words)
    return argvs[0][4:]


def test_an_agent_finds_its_manager_by_its_token_or_as_the_last_time(bai, monkeypatch, tmp_path, logged_in) -> None:
    monkeypatch.setenv("BAI_JOIN_TOKEN", "")
    monkeypatch.setenv("BAI_MANAGER_FINGERPRINT", "cd" * 32)
    state = f"--state={tmp_path}"
    logged_in_to = [f"--AgentApp.manager_url={logged_in.endpoint}", f"--AgentApp.manager_fingerprint={'cd' * 32}"]
    assert became(bai, monkeypatch, "run", state)[:2] == logged_in_to
    assert became(bai, monkeypatch, "join", "bare", state)[:2] == logged_in_to
    token = JoinToken("secret", "https://m:1", "ab" * 32).format()
    assert became(bai, monkeypatch, "join", token, state) == [f"--AgentApp.state_dir={tmp_path}"]
    assert os.environ["BAI_JOIN_TOKEN"] == token
    monkeypatch.setenv("BAI_JOIN_TOKEN", "")
    (tmp_path / "manager").write_text("{}")
    assert became(bai, monkeypatch, "run", state) == [f"--AgentApp.state_dir={tmp_path}"]
    assert "--AgentApp.manager_url=https://n:2" in became(bai, monkeypatch, "join", token, "--manager", "https://n:2")
    ran = bai("agent", "join", token[:-9])
    assert (ran.code, token[:-9] in ran.err) == (Exit.USAGE, False)
    assert "The join token is not complete" in ran.err


# Images


def test_images(bai, logged_in) -> None:
    logged_in.answers["GET /images"] = {"images": [IMAGE, {**IMAGE, "name": "empty:1", "kernelspecs": []}]}
    ran = bai("image", "list")
    assert re.split(r"  +", ran.lines[1]) == ["bai/python:3.11", "400 MiB", "x86_64", "python3", "lab-1"]
    assert "no Jupyter kernel" in ran.lines[2]
    assert ran.lines[3] == "2 images."
    logged_in.answers["GET /images"] = {"images": []}
    assert bai("image", "list").lines == ["No images. Build one: bai image build python"]


def test_add_and_forget_an_image(bai, logged_in) -> None:
    logged_in.answers["POST /images"] = IMAGE
    logged_in.answers["DELETE /images/bai%2Fpython%3A3.11"] = None
    assert bai("image", "add", "bai/python:3.11").lines == ["bai/python:3.11: python3"]
    assert logged_in.bodies("POST /images") == [{"name": "bai/python:3.11"}]
    assert bai("image", "rm", "bai/python:3.11", "--yes").lines == ["bai/python:3.11: forgotten"]
    assert bai("image", "rm", "other", "--yes").code == Exit.NOT_FOUND


def test_adding_an_image_says_if_its_kernels_start_slowly(bai, logged_in) -> None:
    spec = {"name": "python3", "metadata": {"bai_uncompiled": True}}
    logged_in.answers["POST /images"] = {"name": "slow", "kernelspecs": [spec, {"name": "r", "metadata": {}}]}
    ran = bai("image", "add", "slow")
    assert ran.lines == ["slow: python3, r"]
    assert "python3: its Python packages are not byte-compiled" in ran.err


def test_building_adds_to_the_manager(bai, logged_in, monkeypatch) -> None:
    asked = []

    def build(names, progress, tag, base):
        asked.append((names, tag, base))
        progress("Step 1/2", 0.5)
        return [f"bai/{name}:1" for name in names]

    monkeypatch.setattr("bai_jupyter.cli.images.build", build)
    logged_in.answers["POST /images"] = lambda body: {**IMAGE, "name": body["name"]}
    ran = bai("image", "build", "python", "r", "--tag", "1")
    assert ran.lines == ["bai/python:1", "bai/r:1"]
    assert asked == [(["python", "r"], "1", None)]
    assert [body["name"] for body in logged_in.bodies("POST /images")] == ["bai/python:1", "bai/r:1"]
    assert "Step 1/2" in ran.err


# Kernelspecs


def test_kernelspecs_are_installed_and_listed(bai, logged_in, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))
    logged_in.answers["GET /images"] = {"images": [IMAGE]}
    assert bai("kernelspec", "list").lines[1].split()[-1] == "–"  # noqa: RUF001
    ran = bai("kernelspec", "install", "--prefix", str(tmp_path / "prefix"))
    assert ran.code == Exit.DONE
    path = tmp_path / "prefix" / "share" / "jupyter" / "kernels" / "bai-python-3.11-python3"
    spec = json.loads((path / "kernel.json").read_text())
    assert spec["display_name"] == "Python 3 · bai/python 3.11"
    assert spec["metadata"]["kernel_provisioner"]["config"] == {"image": "bai/python:3.11", "kernelspec": "python3"}
    assert spec["metadata"]["debugger"] is True
    assert str(path) in bai("kernelspec", "list").lines[1]


def test_the_kernelspec_of_one_image_with_resources(bai, logged_in, tmp_path) -> None:
    logged_in.answers["GET /images"] = {"images": [IMAGE, {**IMAGE, "name": "bai/r:4"}]}
    logged_in.answers["GET /agents"] = {"agents": [{"slots": {"cuda.shares": "1"}}]}
    options = ["--image", "bai/python:3.11", "--preset", "small", "--mem", "4g", "--gpu", "0.5"]
    ran = bai("kernelspec", "install", "--prefix", str(tmp_path), *options, "--json")
    assert ran.code == Exit.DONE
    [(name, path)] = ran.json["kernelspecs"].items()
    assert name == "bai-python-3.11-small-cuda.shares-0.5-mem-4g"
    config = json.loads((Path(path) / "kernel.json").read_text())["metadata"]["kernel_provisioner"]["config"]
    assert (config["preset"], config["resources"]) == ("small", {"mem": "4g", "cuda.shares": "0.5"})


def test_resources_are_of_one_image(bai, logged_in) -> None:
    logged_in.answers["GET /images"] = {"images": [IMAGE]}
    ran = bai("kernelspec", "install", "--preset", "small")
    assert (ran.code, "give --image too" in ran.err) == (Exit.USAGE, True)


def test_version(bai, logged_in) -> None:
    logged_in.answers["GET /"] = {"version": "v7.20230615", "manager": "9.9.9"}
    assert "9.9.9" in bai("version").lines[1]
    assert bai("version", "--json").json["protocol"] == "1"


def test_version_without_a_manager(bai) -> None:
    assert bai("version").lines[1] == "Manager: not logged in to one"
