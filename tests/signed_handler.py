"""A handler that refuses what ``common.signing`` refuses, as the manager does."""

import json

from tornado.web import RequestHandler

from bai_jupyter.common import signing
from bai_jupyter.common.errors import AuthFailed, PublicError
from bai_jupyter.common.reasons import Reason


class SignedHandler(RequestHandler):
    keypair: tuple[str, str]  # access key and secret key

    def prepare(self) -> None:
        headers = self.request.headers
        access_key, signature = signing.parse_authorization(headers["Authorization"])
        parts = signing.SignedParts(
            self.request.method or "",
            self.request.uri or "",
            headers["Date"],
            headers["Host"],
            headers.get("Content-Type", ""),
            "x-backendai-version",
            headers["X-BackendAI-Version"],
        )
        ours, secret_key = self.keypair
        if access_key != ours or not signing.verify(secret_key, parts, signature, self.request.body):
            self.refuse(AuthFailed(Reason.of("signature")))

    def refuse(self, error: PublicError) -> None:
        self.set_status(error.status)
        self.set_header("Content-Type", "application/problem+json")
        self.finish(json.dumps(error.to_problem()))
