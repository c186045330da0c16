"""Whatever texts the arguments of a GraphQL document hold, the manager refuses them or answers: it has no fault."""

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from bai_jupyter.manager.api.graphql.execution import make_schema

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

PLAIN = {"Int": 1, "BigInt": 1, "Float": 1.0, "Boolean": True}


def filled(kind, text):
    """A value of that type with ``text`` wherever a text may be."""
    if isinstance(kind, GraphQLNonNull):
        return filled(kind.of_type, text)
    if isinstance(kind, GraphQLList):
        return [filled(kind.of_type, text)]
    if isinstance(kind, GraphQLInputObjectType):
        return {name: filled(field.type, text) for name, field in kind.fields.items()}
    return PLAIN.get(kind.name, text)


def one_by_one(kind, text):
    """Values of that type, each with the text in one place more than must be there."""
    named = get_named_type(kind)
    if not isinstance(named, GraphQLInputObjectType):
        return [filled(kind, text)]
    needed = {name: filled(one.type, "x") for name, one in named.fields.items() if isinstance(one.type, GraphQLNonNull)}
    return [{**needed, name: filled(one.type, text)} for name, one in named.fields.items()]


def requests(text):
    schema = make_schema()
    for verb, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        for name, field in root.fields.items():
            needed = {key: filled(one.type, "x") for key, one in field.args.items() if is_required_argument(one)}
            shown = "" if is_leaf_type(get_named_type(field.type)) else "{__typename}"
            for key, argument in field.args.items():
                for value in one_by_one(argument.type, text):
                    variables = {**needed, key: value}
                    declared = ", ".join(f"${one}: {field.args[one].type}" for one in variables)
                    passed = ", ".join(f"{one}: ${one}" for one in variables)
                    yield {"query": f"{verb}({declared}) {{{name}({passed}) {shown}}}", "variables": variables}


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "[" * 100_000], ids=["null", "half of a pair", "deep"])
async def test_odd_texts_are_never_our_fault(admin, text):
    for body in requests(text):
        answer = await admin.call("POST", "/admin/gql", body)
        assert answer.status < 500, body["query"]
        assert b"Something went wrong" not in answer.body, body["query"]
