"""HTTP/2 where the server offers it: over TLS, with the certificate authorities that the environment names."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fetcher.capacity import PageMemory
from fetcher.outcome import Done, Outcome, Retry
from fetcher.search_console import SearchConsole
from lab.certificates import Certificates, make_certificates
from pipeline.clock import now
from support.examples import DAY, a_batch
from support.http2 import Http2Server
from support.wait import until

CALLS = 32
IN_MEMORY = 3
STREAMS = 100
"""Calls that the server admits on a connection at the same time, as Google does."""
ROWS = 2000  # more than a stream's window of 64 KB, so that bodies wait for their readers


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


async def fetch_all(server: Http2Server) -> list[Outcome]:
    """Fetch all pages at the same time, of which only some may be in memory."""
    memory = PageMemory(IN_MEMORY, 2**30)

    async def page(console: SearchConsole) -> Outcome:
        permit = memory.permit(a_batch())
        try:
            return await console.query(a_batch(), "token", permit)
        finally:
            permit.release()

    async with SearchConsole(server.root, timeout_s=20, connections=CALLS) as console:
        return list(await asyncio.gather(*(page(console) for _ in range(CALLS))))


async def test_many_calls_share_one_connection(
    server: Http2Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    outcomes = await fetch_all(server)
    assert [outcome.page.rows for outcome in outcomes if isinstance(outcome, Done)] == [ROWS] * CALLS
    assert {protocol for protocol, _ in server.calls} == {"2"}
    assert len({connection for _, connection in server.calls}) == 1


async def test_calls_that_hang_keep_no_other_credential_from_its_calls(
    server: Http2Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More calls hang than the server admits on a connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    server.together = 1000

    async def call(console: SearchConsole, credential: str) -> None:
        batch = a_batch(credential=credential)
        await console.query(batch, "token", PageMemory(1, 2**30).permit(batch))

    async with SearchConsole(server.root, timeout_s=60, connections=None) as console, asyncio.TaskGroup() as group:
        hanging = [group.create_task(call(console, "hanging")) for _ in range(STREAMS + 10)]
        await until(lambda: len(server.calls) == STREAMS, 20, "the connection is full")
        other = group.create_task(call(console, "other"))
        await until(lambda: len(server.calls) == STREAMS + 1, 20, "the call of the other credential arrives")
        for task in (*hanging, other):
            task.cancel()
    assert len({connection for _, connection in server.calls}) == 2


async def test_a_reset_of_the_connection_is_a_retry_for_each_call(
    server: Http2Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    server.together = CALLS + 1
    calls = asyncio.create_task(fetch_all(server))
    await until(lambda: len(server.calls) == CALLS, 60, "all calls are in flight")
    server.reset()
    outcomes = await calls
    assert [type(outcome) for outcome in outcomes] == [Retry] * CALLS
    assert all(str(outcome).startswith("Retry(reason='transport: ") for outcome in outcomes), outcomes


async def test_a_certificate_authority_that_the_environment_does_not_name_is_not_trusted(
    server: Http2Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_certificates(tmp_path / "other", now())
    monkeypatch.setenv("SSL_CERT_FILE", str(other.authority))
    outcomes = await fetch_all(server)
    assert [type(outcome) for outcome in outcomes] == [Retry] * CALLS
    assert "certificate verify failed" in str(outcomes[0])
    assert server.calls == []
