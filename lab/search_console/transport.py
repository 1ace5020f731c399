"""An answer onto its connection, with what the connection does to it."""

import gzip

from aiohttp import web

from lab.search_console.faults import Answer


async def delivered(answer: Answer, request: web.Request) -> web.StreamResponse:
    """Send it, or as much of it as the fault lets through."""
    if answer.cut in ("reset", "truncated"):
        return await _cut_off(answer, request)
    headers = {"Content-Type": answer.content_type}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    if answer.cut == "truncated_gzip":
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=answer.gzipped[: len(answer.gzipped) // 2], headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(status=answer.status, body=answer.gzipped, headers=headers)
    return web.Response(status=answer.status, body=gzip.decompress(answer.gzipped), headers=headers)


async def _cut_off(answer: Answer, request: web.Request) -> web.StreamResponse:
    """Close the connection before (reset) or within (truncated) the body."""
    body = gzip.decompress(answer.gzipped)
    response = web.StreamResponse(headers={"Content-Type": answer.content_type, "Content-Length": str(len(body))})
    if answer.cut == "truncated":
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    return aborted(request, response)


def aborted(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Cut the connection."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.StreamResponse()
