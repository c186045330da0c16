"""JupyterHub whose users run in Backend.AI sessions, all on one machine: ``make hub``, or ``bai up --hub`` with this.

By hand it needs what docs/jupyterhub.md says, and two variables:
``BAI_CREDENTIALS`` names a file with the keypair of a user of role ``service``; ``BAI_HUB_IMAGE`` the environment of
the servers, which has jupyterhub-singleuser.
"""

import os
import sys

from bai_jupyter.spawner import TEMPLATES

c = get_config()  # noqa: F821 - JupyterHub's

c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# Accounts of the manager (bai user add … --password). Or the authenticator that you have, which says who may come in.
c.JupyterHub.authenticator_class = "backendai"

c.JupyterHub.spawner_class = "backendai"
c.BackendAISpawner.image = os.environ.get("BAI_HUB_IMAGE", "")

# Where the Hub listens for its users' servers. The agent's door "hub" leads there: AgentApp.doors.
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"

# Servers go on while the Hub is not there, and it finds them again.
c.JupyterHub.cleanup_servers = False

# Who waits in the queue is not starting yet: the manager decides how many run.
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.allow_named_servers = True

# Whose server waits sees that the Hub starts again, and goes on then.
c.JupyterHub.template_paths = [TEMPLATES]

# The manager as a service at /services/bai/: a page of one's sessions, and the manager's calls with a token of the Hub.
# Roles say who may look (custom:bai:read), and who may change anything too (custom:bai:use).
c.JupyterHub.custom_scopes = {
    "custom:bai:read": {"description": "See one's own sessions and folders at Backend.AI"},
    "custom:bai:use": {"description": "Use Backend.AI as oneself", "subscopes": ["custom:bai:read"]},
}
c.JupyterHub.services = [
    {
        "name": "bai",
        "url": "http://127.0.0.1:8092",
        "command": [sys.executable, "-m", "bai_jupyter.spawner.service"],
        "environment": {"BAI_CREDENTIALS": os.environ["BAI_CREDENTIALS"]},
        "oauth_client_allowed_scopes": ["custom:bai:use"],
        "oauth_no_confirm": True,
    }
]
# Its own role lets it start servers again that waited in the queue when an earlier Hub ended.
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=bai", "custom:bai:use"]},
    {
        "name": "go-on",
        "services": ["bai"],
        "scopes": ["list:users", "read:servers", "admin:server_state", "start:servers"],
    },
]
