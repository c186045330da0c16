import stat
import subprocess

from bai_jupyter.spawner import internal_tls

CERTS = {"keyfile": "it's the key\n", "certfile": '$(certificate) `of` "it"\n', "cafile": "all\n"}
VARIABLES = {
    "keyfile": "JUPYTERHUB_SSL_KEYFILE",
    "certfile": "JUPYTERHUB_SSL_CERTFILE",
    "cafile": "JUPYTERHUB_SSL_CLIENT_CA",
}


def test_what_the_script_makes_is_for_its_user_alone_and_as_it_was(tmp_path):
    folder = tmp_path / "tls"
    environ = {variable: str(folder / name) for name, variable in VARIABLES.items()}
    for _ in range(2):  # a session's container may be started again
        script = internal_tls.bootstrap_of(CERTS)
        subprocess.run(["/bin/sh"], input=script, env={**environ, "PATH": "/bin:/usr/bin"}, text=True, check=True)
    assert {name: (folder / name).read_text() for name in CERTS} == CERTS
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    compile((folder / "door.py").read_text(), "door.py", "exec")


def test_the_server_s_words_stay_words():
    command = internal_tls.command_by_door(["jupyterhub-singleuser", "--a=b c"], 4711)
    assert command.endswith(" 4711 jupyterhub-singleuser '--a=b c'")
