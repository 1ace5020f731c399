"""A change of PostgreSQL's password while a service runs."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline import database as database_module
from pipeline.database import Database
from pipeline.errors import Fatal, Refused
from pipeline.postgres import Limits, connection
from pipeline.refusals import REFUSED_LIMIT_S

USER = f"rotated_{uuid4().hex[:8]}"


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(database_module, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture(autouse=True)
async def drop_user(dsn: str) -> AsyncIterator[None]:
    yield
    async with connection(dsn, application="test") as conn:
        await conn.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(USER)))


async def set_password(dsn: str, password: str) -> None:
    async with connection(dsn, application="test") as conn:
        if not await (await conn.execute("select 1 from pg_roles where rolname = %s", (USER,))).fetchone():
            await conn.execute(sql.SQL("create role {} login").format(sql.Identifier(USER)))
        change = sql.SQL("alter role {} password {}").format(sql.Identifier(USER), sql.Literal(password))
        await conn.execute(change)


async def ask(database: Database) -> str:
    """Return the user that PostgreSQL has accepted."""
    async with database.connection(Limits()) as conn:
        [user] = await (await conn.execute("select current_user")).fetchone() or [""]
    return str(user)


async def test_a_service_gives_up_when_its_password_is_refused_for_a_minute(dsn: str, clock: Clock) -> None:
    await set_password(dsn, "old")
    database = Database(make_conninfo(dsn, user=USER, password="old"), "test")
    await ask(database)
    await set_password(dsn, "new")
    with pytest.raises(Refused, match="password authentication failed"):
        await ask(database)
    clock.now += REFUSED_LIMIT_S
    with pytest.raises(Refused):
        await ask(database)
    clock.now += 1
    with pytest.raises(Fatal, match=r"password authentication failed.*for 60 s"):
        await ask(database)
    await set_password(dsn, "old")
    await ask(database)
    await set_password(dsn, "new")
    with pytest.raises(Refused):  # a minute from now on
        await ask(database)


async def test_a_password_file_is_read_at_every_connection(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.touch(mode=0o600)
    parameters = {name: value for name, value in conninfo_to_dict(dsn).items() if name != "password"}
    database = Database(make_conninfo("", **{**parameters, "user": USER, "passfile": os.fspath(file)}), "test")
    for password in ("first", "second"):
        await set_password(dsn, password)
        file.write_text(f"*:*:*:{USER}:{password}\n")
        assert await ask(database) == USER


async def test_a_server_that_is_away_refuses_nobody() -> None:
    with pytest.raises(Exception, match="refused") as caught:
        await ask(Database("postgresql://user:password@127.0.0.1:1/x", "test"))
    assert not isinstance(caught.value, Refused)
