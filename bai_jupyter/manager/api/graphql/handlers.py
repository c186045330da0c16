"""``POST /admin/gql`` answers ``{"data", "errors"}``; ``/admin/graphql``, for old clients, the data alone."""

from typing import Any, NotRequired, TypedDict

from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.api.graphql.execution import GraphQLFault

MAX_TEXT = 20_000


class GraphQLAnswer(TypedDict):
    data: dict[str, Any] | None
    errors: NotRequired[list[dict[str, Any]]]


class GraphQLHandler(ApiHandler):
    @takes(query=str, variables=dict, operationName=str)
    @gives(GraphQLAnswer)
    @needs("graphql:use")
    async def post(self) -> Answer:
        data, errors = await self.run()
        return 200, {"data": data, **({"errors": errors} if errors else {})}

    async def run(self) -> tuple[Any, list[dict[str, Any]]]:
        text, variables = self.params.get("query"), self.params.get("variables") or {}
        operation = self.params.get("operationName")
        if not isinstance(text, str) or not isinstance(variables, dict) or not isinstance(operation, str | None):
            raise GraphQLFault('The body is {"query": text, "variables": object, "operationName": text or null}.')
        if len(text) > MAX_TEXT:
            raise GraphQLFault(f"The document has {len(text)} characters; {MAX_TEXT} are allowed.")
        return await self.services.graphql.run(self.caller, text, variables, operation, self._audit)

    async def _audit(self, field: str, target: str, result: int) -> None:
        await self.audit(f"graphql {field}", target, result)


class OldGraphQLHandler(GraphQLHandler):
    @takes(query=str, variables=dict, operationName=str)
    @gives(dict)
    @needs("graphql:use")
    async def post(self) -> Answer:
        data, errors = await self.run()
        if errors:
            raise GraphQLFault("; ".join(str(error["message"]) for error in errors), data={"errors": errors})
        return 200, data


ROUTES = [
    (r"/admin/gql", GraphQLHandler),
    (r"/admin/graphql", OldGraphQLHandler),
]
