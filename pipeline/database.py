"""The PostgreSQL of a service: opens connections, and gives up when it is refused for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from pipeline.clock import monotonic
from pipeline.errors import Fatal, Refused
from pipeline.postgres import Connection, Limits, OnAnswer, connect
from pipeline.refusals import REFUSED_LIMIT_S, Refusals


class Database:
    """Opens connections to one database. One object per process, since it counts the refusals of all."""

    def __init__(self, dsn: str, application: str) -> None:
        self._dsn = dsn
        self._application = application
        self._refusals = Refusals()

    @asynccontextmanager
    async def connection(self, limits: Limits, on_answer: OnAnswer = lambda: None) -> AsyncIterator[Connection]:
        """Open a connection for the length of a block, as `pipeline.postgres.connection` does.

        Raises Fatal when the server has refused every connection for more than REFUSED_LIMIT_S: after a change of the
        password a restarted process reads the new one from its environment.
        """
        async with await self._connect(limits, on_answer) as conn:
            yield conn

    async def _connect(self, limits: Limits, on_answer: OnAnswer) -> Connection:
        try:
            conn = await connect(self._dsn, application=self._application, limits=limits, on_answer=on_answer)
        except Refused as error:
            if self._refusals.refused(monotonic()):
                raise Fatal(f"{error}, for {REFUSED_LIMIT_S:.0f} s: was the password changed?") from error
            raise
        self._refusals.accepted()
        return conn


@asynccontextmanager
async def kept_alive(conn: Connection, every_s: float) -> AsyncIterator[None]:
    """Probe the connection regularly for the length of a block, so that neither side takes the other for dead."""

    async def probe_regularly() -> None:
        with suppress(psycopg.Error):  # whoever uses the connection gets the error, too
            while True:
                await asyncio.sleep(every_s)
                await conn.execute("select 1")

    task = asyncio.create_task(probe_regularly())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
