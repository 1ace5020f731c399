"""The ledger, as commands read and change it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.postgres import Connection, Limits, connection
from pipeline.settings import PostgresSettings
from pipeline.startup_checks import require_schema

APPLICATION = "gsc-stream"


@asynccontextmanager
async def open_ledger(settings: PostgresSettings, limits: Limits) -> AsyncIterator[Connection]:
    """Connect for the length of the block. Raises StartError as `require_schema` does."""
    await require_schema(settings, APPLICATION)
    async with connection(settings.postgres_dsn.get_secret_value(), application=APPLICATION, limits=limits) as conn:
        yield conn
