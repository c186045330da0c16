"""JupyterHub of an organisation: PostgreSQL, agents on many hosts, groups with projects. docs/jupyterhub.md says how.

Besides ``BAI_CREDENTIALS`` and ``BAI_HUB_IMAGE``, as in jupyterhub_config.py: ``HUB_DATABASE``, such as
``postgresql+psycopg://hub@db.example.org/hub``.
"""

import os
import sys

from bai_jupyter.spawner import TEMPLATES

c = get_config()  # noqa: F821 - JupyterHub's

c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # a web server with TLS stands before it
c.JupyterHub.db_url = os.environ["HUB_DATABASE"]

# Where the Hub listens for its users' servers. The door "hub" of each agent leads there, from whichever host it is on.
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"

c.JupyterHub.cleanup_servers = False
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.allow_named_servers = True

# Whose server waits sees that the Hub starts again, and goes on then.
c.JupyterHub.template_paths = [TEMPLATES]

# Accounts of the manager; a user's projects there are groups of the Hub. Or the authenticator that you have.
c.JupyterHub.authenticator_class = "backendai"
c.Authenticator.admin_users = {"hub-admin"}

c.JupyterHub.spawner_class = "backendai"
c.BackendAISpawner.image = os.environ.get("BAI_HUB_IMAGE", "")

# Whose groups come from another authenticator: which projects of the manager their members are in, and pay for.
# What each may have can follow from groups too: policy_of_group (docs/jupyterhub.md#policies-from-groups).
c.BackendAISpawner.project_of_group = {"vision-lab": "vision", "nlp-lab": "nlp"}

# Servers are small and run where no GPUs are; notebooks start their kernels where these are. Those of nlp-lab are
# larger, and on agents of their own: a resource group of the manager that is granted to the project nlp.
c.BackendAISpawner.cpu_limit = 1
c.BackendAISpawner.mem_limit = "2G"
c.BackendAISpawner.group_overrides = {
    "nlp": {"groups": ["nlp-lab"], "spawner_override": {"mem_limit": "8G", "resource_group": "nlp"}},
}

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
