"""Refusals of HTTP itself, and which problem an error becomes (RFC 9457, in Backend.AI's words)."""

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError

PROBLEM = "application/problem+json"


class BodyTooLarge(BadRequest):
    status, title = 413, "The request's body is too large."


class LengthRequired(BadRequest):
    status, title = 411, "The request's length is not known."


class UrlNotFound(NotFound):
    slug, title = "url-not-found", "Unknown URL path."

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path}.")
        self.path = path

    def to_problem(self) -> dict[str, object]:
        """Alone of all problems its ``data`` is a text, as Backend.AI has it."""
        return {**super().to_problem(), "data": self.path}


class MethodNotAllowed(PublicError):
    status, slug, title = 405, "method-not-allowed", "HTTP method not allowed."


def problem_of(status: int, error: BaseException | None, path: str) -> PublicError:
    """What a caller is told of an error; of a fault of ours, that it is one."""
    if isinstance(error, PublicError):
        return error
    if status == 404:
        return UrlNotFound(path)
    if status == 405:
        return MethodNotAllowed(f"{path} does not take this method.")
    if 400 <= status < 500:
        return BadRequest("The request cannot be read.")
    return PublicError("Something went wrong in the manager. Its log has the details.")
