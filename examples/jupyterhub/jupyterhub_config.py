"""JupyterHub whose users run in Backend.AI sessions, all on one machine. docs/jupyterhub.md says what it needs.

``BAI_CREDENTIALS`` names a file with the keypair of a user of role ``service``; ``BAI_HUB_IMAGE`` the environment of
the servers, which has jupyterhub-singleuser.
"""

import os

c = get_config()  # noqa: F821 - JupyterHub's

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.spawner_class = "backendai"
c.BackendAISpawner.image = os.environ.get("BAI_HUB_IMAGE", "")

# Where the Hub listens for its users' servers. The agent's door "hub" leads there: AgentApp.doors.
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"

# Servers go on while the Hub is not there, and it finds them again.
c.JupyterHub.cleanup_servers = False

# Who waits in the queue is not starting yet: the manager decides how many run.
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.allow_named_servers = True
