"""Runs GraphQL documents: parsed and checked once, then a query in one read of the store, a mutation step by step.

A root field is a function of the same name in ``queries`` or ``mutations``, with the arguments of the schema. What it
gives is plain dictionaries, complete, so nothing below a root field asks the database again. What agents must be asked
for is awaited after the read.
"""

import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute,
    parse,
    validate,
)
from graphql.utilities import get_operation_ast
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, PublicError
from bai_jupyter.manager.api.graphql import mutations, queries
from bai_jupyter.manager.api.graphql.roots import Audit, Context, Parts
from bai_jupyter.manager.auth.keypairs import Caller

log = logging.getLogger(__name__)

MAX_TOKENS, MAX_ROOTS, CACHED_DOCUMENTS = 4000, 20, 256


class GraphQLFault(BadRequest):
    """The document as a whole cannot be run. Its message repeats what is wrong in it, which may be a password: that is
    for who asked, and not for a log."""

    slug, title = "graphql-error", "GraphQL-generated error"

    def __str__(self) -> str:
        return self.title


@functools.cache
def make_schema() -> GraphQLSchema:
    """The schema of ``schema.graphql`` with our root fields. Raises ``KeyError`` if one is missing on either side."""
    text = (files("bai_jupyter.manager.api.graphql") / "schema.graphql").read_text(encoding="utf-8")
    schema = build_schema(text)
    roots = ((schema.query_type, queries.query.fields), (schema.mutation_type, mutations.mutation.fields))
    for kind, functions in roots:
        assert kind is not None
        for name in kind.fields.keys() | functions.keys():
            kind.fields[name].resolve = functions[name]
    return schema


class Executor:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._schema = make_schema()
        self._read = functools.lru_cache(CACHED_DOCUMENTS)(self._read_document)

    async def run(
        self,
        caller: Caller,
        text: str,
        variables: Mapping[str, Any],
        operation: str | None,
        audit: Audit,
    ) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Data and errors. Raises ``GraphQLFault`` if the document cannot be run."""
        _check_texts(variables)
        document = self._read(text)
        node = get_operation_ast(document, operation)
        if node is None:
            raise GraphQLFault("The document must have one operation, or name the one to run.")
        make_context = functools.partial(Context, caller, self._parts, audit)
        call = functools.partial(
            execute, self._schema, document, variable_values=dict(variables), operation_name=operation
        )
        if node.operation is OperationType.MUTATION:
            result = await _finish(call(context_value=make_context(cast(Connection, None))))
        else:
            result = await _finish(await self._parts.store.read(_run_query, make_context, call))
        return result.data, [_error(error) for error in result.errors or ()]

    def _read_document(self, text: str) -> DocumentNode:
        try:
            document = parse(text, no_location=True, max_tokens=MAX_TOKENS)
        except GraphQLError as error:
            raise GraphQLFault(f"The document cannot be read: {error.message}") from error
        errors = validate(self._schema, document, max_errors=5)
        if errors:
            raise GraphQLFault("; ".join(error.message for error in errors))
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode) and len(node.selection_set.selections) > MAX_ROOTS:
                raise GraphQLFault(f"A document may ask for {MAX_ROOTS} things at once.")
        return document


def _run_query(conn: Connection, make_context: Callable[[Connection], Context], call: Callable[..., Any]) -> Any:
    return call(context_value=make_context(conn))


def _check_texts(variables: Mapping[str, Any]) -> None:
    """Raises ``GraphQLFault`` for half of a pair in them, which JSON can write and nothing can keep. A document has
    none: that is no GraphQL."""
    try:
        json.dumps(variables, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise GraphQLFault("variables: a text has half of a character, or they are nested too deeply.") from error


async def _finish(result: Any) -> ExecutionResult:
    return cast(ExecutionResult, await result if isinstance(result, Awaitable) else result)


def _error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    if cause is None or isinstance(cause, PublicError | GraphQLError):  # the latter: a value of a wrong type
        return {"message": cause.message if isinstance(cause, PublicError) else error.message, "path": error.path}
    log.error("GraphQL %s failed", error.path, exc_info=cause)
    return {"message": "Something went wrong in the manager. Its log has the details.", "path": error.path}
