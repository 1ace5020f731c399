"""The HTTP client of Search Console: a batch in, the outcome of its call out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import date
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from fetcher import multipart
from fetcher.error_policy import outcome_of
from fetcher.outcome import Admission, Dead, Done, Failure, Outcome, Retry, describe
from fetcher.response import decode_sites, decode_totals, decoded_size, gunzip, read_page
from pipeline.contracts.messages import Batch, SearchType
from pipeline.errors import Invalid, Retryable

CONNECT_TIMEOUT_S = 10.0
UNVERIFIED = "siteUnverifiedUser"
KEPT_ALIVE = 256
"""Idle connections."""


class SearchConsole:
    """Kept-alive connections to the API, by HTTP/2 where the server offers it, in a pool for each credential.

    In a common pool, calls that hang would keep others waiting: over HTTP/2 httpx has one connection to a server, on
    which Google admits a hundred calls at the same time. `connections`: the most connections of a pool over HTTP/1.1;
    None where the number of calls is bounded otherwise.
    """

    def __init__(self, root: str, *, timeout_s: float, connections: int | None) -> None:
        """`timeout_s`: the deadline of a whole call, from the request to the last byte of the response."""
        self._root = root.rstrip("/")
        self._timeout_s = timeout_s
        self._limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections or KEPT_ALIVE)
        self._tls = httpx.create_ssl_context()
        self._pools: dict[str, httpx.AsyncClient] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, credential: str) -> httpx.AsyncClient:
        """Return the connections of a credential."""
        if credential not in self._pools:
            timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
            self._pools[credential] = httpx.AsyncClient(
                http2=True, verify=self._tls, limits=self._limits, timeout=timeout
            )
        return self._pools[credential]

    async def query(self, batch: Batch, token: str, permit: Admission) -> Outcome:
        """Fetch one page. The permit is waited for before the body is read, and again before it is decoded."""
        url = f"{self._root}{_path(batch.property)}"
        request = httpx.Request("POST", url, content=_body(batch), headers=_headers(token))
        response = await self._send(batch.credential, request, permit)
        return response if isinstance(response, Retry) else await asyncio.to_thread(_read, batch, *response)

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, permit: Admission
    ) -> Mapping[str, Outcome] | Failure:
        """Fetch pages of one credential in one HTTP batch.

        Returns outcomes by the ids of the batches, or one failure of the request.
        """
        content = multipart.encode(
            [multipart.Call(id_, _path(batch.property), _body(batch)) for id_, batch in batches.items()]
        )
        headers = {**_headers(token), "Content-Type": multipart.CONTENT_TYPE}
        request = httpx.Request("POST", f"{self._root}/batch", content=content, headers=headers)
        response = await self._send(next(iter(batches.values())).credential, request, permit)
        return response if isinstance(response, Retry) else await asyncio.to_thread(_read_all, batches, *response)

    async def _send(
        self, credential: str, request: httpx.Request, permit: Admission
    ) -> tuple[httpx.Response, bytes] | Retry:
        try:
            async with self._deadline() as deadline:
                response = await self._pool(credential).send(request, stream=True)
                async with aclosing(response):
                    await _without_deadline(deadline, permit.admit())
                    body = b"".join([part async for part in response.aiter_raw()])
        except Retryable as error:
            return Retry(str(error))
        await permit.reserve(decoded_size(body) if _is_gzip(response) else len(body))
        return response, body

    async def totals(
        self, site: str, search_type: SearchType, days: tuple[date, date], token: str
    ) -> dict[date, tuple[float, float]]:
        """Return clicks and impressions by day, as the API sums them up; days without any are missing.

        Raises Retryable or Invalid.
        """
        request = {
            "startDate": days[0],
            "endDate": days[1],
            "dimensions": ["date"],
            "type": search_type,
            "rowLimit": 25_000,
        }
        response = await self._request("POST", _path(site), token, content=msgspec.json.encode(request))
        _require_ok(response, site)
        return decode_totals(response.content)

    async def sites(self, token: str) -> dict[str, str]:
        """Return the properties in the list of the token's owner, with permission levels. Raises Retryable or Invalid.

        The data of a property with the level `UNVERIFIED` cannot be read.
        """
        response = await self._request("GET", "/webmasters/v3/sites", token)
        _require_ok(response, self._root)
        try:
            return decode_sites(response.content)
        except Invalid as error:
            raise Invalid(f"{self._root}: {error}") from error

    async def _request(self, method: str, path: str, token: str, content: bytes | None = None) -> httpx.Response:
        """Return a response that is small. Raises Retryable."""
        url, headers = f"{self._root}{path}", _headers(token)
        try:
            async with self._deadline():
                return await self._pool("").request(method, url, content=content, headers=headers)
        except Retryable as error:
            raise Retryable(f"{self._root}: {error}") from error

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[asyncio.Timeout]:
        """Bound a whole call. Raises Retryable when it takes longer, or its connection fails."""
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                yield deadline
        except TimeoutError as error:
            raise Retryable(f"timeout: no complete response within {self._timeout_s:g} s") from error
        except httpx.TimeoutException as error:
            raise Retryable(f"timeout: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise Retryable(f"transport: {type(error).__name__}: {error}") from error


async def _without_deadline(deadline: asyncio.Timeout, wait: Awaitable[None]) -> None:
    """Wait for something that is no part of the call: the time it takes is added to the deadline."""
    loop, end = asyncio.get_running_loop(), deadline.when()
    started = loop.time()
    deadline.reschedule(None)
    await wait
    deadline.reschedule(end and end + loop.time() - started)


def _require_ok(response: httpx.Response, subject: str) -> None:
    if response.status_code != httpx.codes.OK:
        raise Invalid(f"{subject}: {describe(outcome_of(response.status_code, response.content))}")


def _path(site: str) -> str:
    return f"/webmasters/v3/sites/{quote(site, safe='')}/searchAnalytics/query?prettyPrint=false"


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "User-Agent": "gsc-stream (gzip)",  # Google compresses only if the user agent contains "gzip"
    }


def _body(batch: Batch) -> bytes:
    request: dict[str, Any] = {
        "startDate": batch.date,
        "endDate": batch.date,
        "dimensions": batch.dimensions,
        "type": batch.search_type,
        "rowLimit": batch.row_limit,
        "startRow": batch.start_row,
        "dataState": batch.data_state,
    }
    if batch.selection.filters:
        request["dimensionFilterGroups"] = [{"groupType": "and", "filters": batch.selection.filters}]
    if batch.selection.aggregation_type != "auto":
        request["aggregationType"] = batch.selection.aggregation_type
    return msgspec.json.encode(request)


def _read(batch: Batch, response: httpx.Response, body: bytes) -> Outcome:
    try:
        return _outcome(batch, response.status_code, response.headers, _decompress(response, body))
    except Retryable as error:
        return Retry(str(error))


def _read_all(batches: Mapping[str, Batch], response: httpx.Response, body: bytes) -> Mapping[str, Outcome] | Failure:
    try:
        data = _decompress(response, body)
        if response.status_code != httpx.codes.OK:
            return outcome_of(response.status_code, data, _retry_after(response.headers))
        parts = multipart.decode(response.headers.get("content-type", ""), data)
    except Retryable as error:
        return Retry(str(error))
    return {
        id_: _outcome(batches[id_], part.status, part.headers, part.body)
        for id_, part in parts.items()
        if id_ in batches
    }


def _decompress(response: httpx.Response, body: bytes) -> bytes:
    return gunzip(body) if _is_gzip(response) else body


def _is_gzip(response: httpx.Response) -> bool:
    return bool(response.headers.get("content-encoding") == "gzip")


def _outcome(batch: Batch, status: int, headers: Mapping[str, str], data: bytes) -> Outcome:
    """Return the outcome of one call, from its own response or from its part of an HTTP batch."""
    if status != httpx.codes.OK:
        return outcome_of(status, data, _retry_after(headers))
    content_type = headers.get("content-type", "")
    if not content_type.startswith("application/json"):
        return Retry(f"http_200 that is not JSON: content type {content_type!r}")
    try:
        return Done(read_page(batch, data))
    except Retryable as error:
        return Retry(str(error))
    except Invalid as error:
        return Dead("unexpected_rows", str(error))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of the header Retry-After. Google does not send its other form, a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
