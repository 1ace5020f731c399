"""The migrations of the schema `gsc`."""

from importlib.resources import files

from pipeline.postgres import MIGRATION_LOCK, Connection, database_errors


def _migrations() -> list[tuple[str, str]]:
    folder = files("pipeline").joinpath("migrations")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


async def migrate(conn: Connection) -> list[str]:
    """Apply missing migrations in one transaction; returns their names."""
    async with database_errors(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        await conn.execute("create schema if not exists gsc")
        await conn.execute(
            "create table if not exists gsc.migrations"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
        missing = await _missing(conn)
        for name, text in missing:
            await conn.execute(text.encode())  # a file of the package
            await conn.execute("insert into gsc.migrations (name) values (%s)", (name,))
    return [name for name, _ in missing]


async def missing_migrations(conn: Connection) -> list[str]:
    """Return the names of missing migrations."""
    async with database_errors():
        row = await (await conn.execute("select to_regclass('gsc.migrations') is not null")).fetchone()
        if not row or not row[0]:
            return [name for name, _ in _migrations()]
        return [name for name, _ in await _missing(conn)]


async def _missing(conn: Connection) -> list[tuple[str, str]]:
    applied = {row[0] async for row in await conn.execute("select name from gsc.migrations")}
    return [(name, text) for name, text in _migrations() if name not in applied]
