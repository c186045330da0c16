"""Dotfiles with the official client, and what of them, of a bootstrap script and of SSH keys is in a real session."""

import stat

import pytest
from end_to_end.runtimes import on_both_runtimes

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="with-dotfiles", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64",
    bootstrap_script="cat from-owner > both; echo session >> both", max_wait=60,
)
result = made.status
"""


async def test_dotfiles_by_command(client):
    rc, of_project = client.home / "rc", ("-g", "default", "-d", "default")
    rc.write_text("colour = off\n")
    assert (await client.cli("dotfile", "create", ".toolrc", "--perm", "600", "-f", "rc")).code == 0
    listed = await client.cli("dotfile", "list")
    assert listed.out.splitlines()[-1].split() == [".toolrc", "colour", "=", "off", "600"]
    rc.write_text("colour = on\n")
    assert (await client.cli("dotfile", "update", ".toolrc", "-f", "rc")).code == 0
    assert (await client.cli("dotfile", "get", ".toolrc")).out == "colour = on\n\n"
    assert (await client.cli("dotfile", "delete", "-f", ".toolrc")).code == 0
    assert (await client.cli("dotfile", "get", ".toolrc")).code == 1
    for scope in (of_project, of_project[2:]):
        assert (await client.cli("dotfile", "create", ".shared", "-f", "rc", *scope)).code == 0
    assert (await client.cli("dotfile", "get", ".shared", *of_project)).out == "colour = on\n\n"


@on_both_runtimes
async def test_a_session_has_them(client_of_cluster, cluster, helpers):
    (client_of_cluster.home / "rc").write_text("#!/bin/sh\necho hello\n")
    made = await client_of_cluster.cli("dotfile", "create", ".local/bin/hello", "--perm", "750", "-f", "rc")
    assert made.code == 0, made
    signed = helpers.client(**helpers.of_cluster(cluster))
    await signed.post("/user-config/bootstrap-script", {"script": ".local/bin/hello > from-owner"}, 200)
    keys = (await signed.call("PATCH", "/auth/ssh-keypair")).json
    signed.close()
    assert await client_of_cluster.sdk(CREATE.format(image=cluster.image)) == "RUNNING"
    [kernel] = (cluster.folder / "agent" / "kernels").iterdir()
    home = kernel / "scratch"
    assert (home / "both").read_text() == "hello\nsession\n"
    assert (home / "id_container").read_text() == keys["ssh_private_key"]
    assert (home / ".ssh" / "authorized_keys").read_text() == keys["ssh_public_key"]
    modes = {
        path: stat.S_IMODE((home / path).stat().st_mode) for path in (".local/bin/hello", ".ssh", ".ssh/id_ed25519")
    }
    assert modes == {".local/bin/hello": 0o750, ".ssh": 0o700, ".ssh/id_ed25519": 0o600}
    assert {(home / path).stat().st_uid for path in (".", ".local", *modes)} == {home.stat().st_uid}
    assert home.stat().st_uid != 0
    state = (kernel / "state.json").read_text()
    assert "PRIVATE KEY" not in state
