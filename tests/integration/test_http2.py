"""HTTP/2 where it is offered: over TLS, with the authorities that the environment names."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Retry, Verdict
from fetcher.search_console import SearchConsole
from lab.certificates import Certificates, make_certificates
from pipeline.clock import now
from support.examples import DAY, a_batch
from support.http2 import Http2Server
from support.wait import until

CALLS = 32
IN_MEMORY = 3
ROWS = 2000  # more than a stream's window of 64 KB, so that bodies do wait for their readers


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates", now())


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Http2Server]:
    row = {"clicks": 1, "impressions": 2, "ctr": 0.5, "position": 3}
    rows = [{**row, "keys": [DAY.isoformat(), f"query {n}", f"https://example.com/{n}"]} for n in range(ROWS)]
    opened = Http2Server({"rows": rows}, together=CALLS)
    async with opened.running(certificates):
        yield opened


async def fetched(server: Http2Server) -> list[FetchedPage | Verdict]:
    """All pages at once, of which only some may be in memory."""
    places = asyncio.Semaphore(IN_MEMORY)

    async def page(console: SearchConsole) -> Any:
        async def admit() -> None:
            await places.acquire()

        try:
            return await console.query(a_batch(), "token", admit)
        finally:
            places.release()

    async with SearchConsole(server.root, timeout_s=20, connections=CALLS) as console:
        return await asyncio.gather(*(page(console) for _ in range(CALLS)))


async def test_many_calls_share_one_connection(
    server: Http2Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    pages = await fetched(server)
    assert [page.rows for page in pages if isinstance(page, FetchedPage)] == [ROWS] * CALLS
    assert {protocol for protocol, _ in server.calls} == {"2"}
    assert len({connection for _, connection in server.calls}) == 1


async def test_a_reset_of_the_connection_is_a_retry_for_each_call(
    server: Http2Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    server.together = CALLS + 1
    calls = asyncio.create_task(fetched(server))
    await until(lambda: len(server.calls) == CALLS, 20, "all calls are under way")
    server.reset()
    answers = await calls
    assert [type(answer) for answer in answers] == [Retry] * CALLS
    assert all(str(answer).startswith("Retry(reason='transport: ") for answer in answers), answers


async def test_an_authority_that_the_environment_does_not_name_is_not_trusted(
    server: Http2Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_certificates(tmp_path / "other", now())
    monkeypatch.setenv("SSL_CERT_FILE", str(other.authority))
    answers = await fetched(server)
    assert [type(answer) for answer in answers] == [Retry] * CALLS
    assert "certificate verify failed" in str(answers[0])
    assert server.calls == []
