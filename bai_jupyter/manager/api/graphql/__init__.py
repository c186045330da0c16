"""GraphQL as Backend.AI's clients speak it, at ``/admin/gql`` and, in its old form, ``/admin/graphql``.

``schema.graphql`` says what there is. ``queries`` and ``mutations`` hold one function for each root field, ``views``
turns rows and records into the objects of the schema, ``execution`` runs documents, ``handlers`` is HTTP.
"""
