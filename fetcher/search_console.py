"""The one door to httpx: a batch out, a page or a verdict back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from fetcher import multipart
from fetcher.chunks import FetchedPage
from fetcher.error_policy import Dead, Retry, Verdict, in_words, judge
from fetcher.response import page_of, sites_of, totals_of, unzipped
from pipeline.contracts.messages import Batch, SearchType
from pipeline.errors import Invalid, Retryable

CONNECT_TIMEOUT_S = 10.0
Admit = Callable[[], Awaitable[None]]


class SearchConsole:
    """A pool of kept-alive connections to the API, HTTP/2 where it is offered."""

    def __init__(self, root: str, *, timeout_s: float, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        self._root = root.rstrip("/")
        self._client = httpx.AsyncClient(http2=True, limits=limits, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def query(self, batch: Batch, token: str, admit: Admit) -> FetchedPage | Verdict:
        """Fetch one page. `admit` is awaited before the body is read: so many bodies are in memory, and no more."""
        url = f"{self._root}{_path(batch.property)}"
        answer = await self._exchange(url, _body(batch), _headers(token), admit)
        return answer if isinstance(answer, Retry) else await asyncio.to_thread(_read, batch, *answer)

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, admit: Admit
    ) -> Mapping[str, FetchedPage | Verdict] | Verdict:
        """Fetch pages in one HTTP batch: each answer by the name of its batch, or one verdict on the whole."""
        content = multipart.encode(
            [multipart.Call(name, _path(batch.property), _body(batch)) for name, batch in batches.items()]
        )
        headers = {**_headers(token), "Content-Type": multipart.CONTENT_TYPE}
        answer = await self._exchange(f"{self._root}/batch", content, headers, admit)
        return answer if isinstance(answer, Retry) else await asyncio.to_thread(_read_all, batches, *answer)

    async def _exchange(
        self, url: str, content: bytes, headers: Mapping[str, str], admit: Admit
    ) -> tuple[httpx.Response, bytes] | Retry:
        try:
            async with self._client.stream("POST", url, content=content, headers=headers) as response:
                await admit()
                return response, b"".join([part async for part in response.aiter_raw()])
        except httpx.TimeoutException as error:
            return Retry(f"timeout: {type(error).__name__}")
        except httpx.HTTPError as error:
            return Retry(f"transport: {type(error).__name__}: {error}")

    async def totals(
        self, site: str, search_type: SearchType, days: tuple[date, date], token: str
    ) -> dict[date, tuple[float, float]]:
        """Clicks and impressions by day, as the API sums them up; days without any are missing.

        Raises Retryable or Invalid.
        """
        request = {
            "startDate": days[0],
            "endDate": days[1],
            "dimensions": ["date"],
            "type": search_type,
            "rowLimit": 25_000,
        }
        url = f"{self._root}{_path(site)}"
        try:
            response = await self._client.post(url, content=msgspec.json.encode(request), headers=_headers(token))
        except httpx.HTTPError as error:
            raise Retryable(f"{self._root}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise Invalid(f"{site}: {in_words(judge(response.status_code, response.content))}")
        return totals_of(response.content)

    async def sites(self, token: str) -> list[str]:
        """Urls of the properties that the bearer may read. Raises Retryable or Invalid."""
        try:
            response = await self._client.get(f"{self._root}/webmasters/v3/sites", headers=_headers(token))
        except httpx.HTTPError as error:
            raise Retryable(f"{self._root}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise Invalid(f"{self._root}: {in_words(judge(response.status_code, response.content))}")
        try:
            return sites_of(response.content)
        except Invalid as error:
            raise Invalid(f"{self._root}: {error}") from error


def _path(site: str) -> str:
    return f"/webmasters/v3/sites/{quote(site, safe='')}/searchAnalytics/query?prettyPrint=false"


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "User-Agent": "gsc-stream (gzip)",  # Google's frontend compresses for agents that say so
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
    return msgspec.json.encode(request)


def _read(batch: Batch, response: httpx.Response, body: bytes) -> FetchedPage | Verdict:
    try:
        return _judged(batch, response.status_code, response.headers, _plain(response, body))
    except Retryable as error:
        return Retry(str(error))


def _read_all(
    batches: Mapping[str, Batch], response: httpx.Response, body: bytes
) -> Mapping[str, FetchedPage | Verdict] | Verdict:
    try:
        data = _plain(response, body)
        if response.status_code != httpx.codes.OK:
            return judge(response.status_code, data, _retry_after(response.headers))
        parts = multipart.decode(response.headers.get("content-type", ""), data)
    except Retryable as error:
        return Retry(str(error))
    return {
        name: _judged(batches[name], part.status, part.headers, part.body)
        for name, part in parts.items()
        if name in batches
    }


def _plain(response: httpx.Response, body: bytes) -> bytes:
    return unzipped(body) if response.headers.get("content-encoding") == "gzip" else body


def _judged(batch: Batch, status: int, headers: Mapping[str, str], data: bytes) -> FetchedPage | Verdict:
    """The page, or what the answer means."""
    if status != httpx.codes.OK:
        return judge(status, data, _retry_after(headers))
    content_type = headers.get("content-type", "")
    if not content_type.startswith("application/json"):
        return Retry(f"content type {content_type!r}")
    try:
        return page_of(batch, data)
    except Retryable as error:
        return Retry(str(error))
    except Invalid as error:
        return Dead("unexpected_rows", str(error))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the form with a date is not used by Google."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
