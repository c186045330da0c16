"""Alembic's entry point: runs on the connection, and in the transaction, that ``store.migrate`` hands over."""

from alembic import context

from bai_jupyter.manager.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
