"""What schemathesis loads in its own process (``SCHEMATHESIS_HOOKS``): it signs, and asks about things that there are.

The environment says where the manager is and with which keys (``BACKEND_*``), an image of it (``IMAGE``), and names of
things that there are (``KNOWN``).
"""

import os
from datetime import UTC, datetime

import requests
import schemathesis
from hypothesis import strategies as st

from bai_jupyter.common import signing

ENDPOINT = os.environ["BACKEND_ENDPOINT"]
VERSION = "v7.20230615"
KNOWN = st.sampled_from(os.environ["KNOWN"].split())


class Signature(requests.auth.AuthBase):
    def __call__(self, request):
        date, content_type = datetime.now(UTC).isoformat(), request.headers.get("Content-Type", "")
        parts = signing.SignedParts(
            request.method,
            request.path_url,
            date,
            ENDPOINT.removeprefix("http://"),
            content_type if isinstance(content_type, str) else content_type.decode("latin-1"),
            "x-backendai-version",
            VERSION,
        )
        signature = signing.sign(os.environ["BACKEND_SECRET_KEY"], parts)
        request.headers["Date"], request.headers["X-BackendAI-Version"] = date, VERSION
        request.headers["Authorization"] = signing.format_authorization(os.environ["BACKEND_ACCESS_KEY"], signature)
        return request


schemathesis.auth.set_from_requests(Signature())


@schemathesis.hook
def flatmap_path_parameters(context, path_parameters):
    """Most parts of a path are things that there are: else little is reached but a 404."""
    names = st.fixed_dictionaries(dict.fromkeys(path_parameters or {}, KNOWN))
    return st.one_of(names, names, st.just(path_parameters))


class Made:
    """What requests are about, made anew before each operation: one of the last may have removed it."""

    before = ""

    @classmethod
    def again(cls, label):
        if cls.before == label:
            return
        cls.before = label
        config = {"resources": {"cpu": "1", "mem": "64m"}}
        image = os.environ["IMAGE"]
        for method, path, body in (
            ("PUT", "/manager/status", {"status": "running"}),
            ("POST", "/images", {"name": image}),
            ("POST", "/folders", {"name": "data", "host": "local:data"}),
            ("POST", "/session", {"name": "mine", "image": image, "enqueueOnly": True, "config": config}),
        ):
            requests.request(method, ENDPOINT + path, json=body, auth=Signature(), timeout=30)


@schemathesis.hook
def before_call(context, case, kwargs):
    Made.again(case.operation.label)
    if case.path.startswith(("/session", "/kernel")) and isinstance(case.body, dict):
        case.body["enqueueOnly"] = True  # else it waits for the session to run
