"""The format of Google's HTTP batch: many calls in one `multipart/mixed` body, their responses in another. Pure.

Parts are matched by their Content-ID, since they come in any order. Sources: Google's guide to batching, RFC 2046
section 5.1.
"""

from collections.abc import Iterator, Sequence
from email.message import Message
from typing import NamedTuple

from pipeline.errors import Retryable

_BOUNDARY = "gsc-stream-batch"
CONTENT_TYPE = f"multipart/mixed; boundary={_BOUNDARY}"


class Call(NamedTuple):
    """One call of a batch; `path` includes the query, but not scheme and host."""

    id: str
    path: str
    body: bytes


class Part(NamedTuple):
    """The response to one call; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def encode(calls: Sequence[Call]) -> bytes:
    """Return the body of a batch request, whose content type is CONTENT_TYPE."""
    parts = [
        f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <{call.id}>\r\n\r\n"
        f"POST {call.path} HTTP/1.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(call.body)}\r\n\r\n".encode()
        + call.body
        + b"\r\n"
        for call in calls
    ]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def decode(content_type: str, body: bytes) -> dict[str, Part]:
    """Return the parts of a batch response by the id of their call.

    Parts that are malformed, truncated or repeated are left out. Raises Retryable when the body is not multipart.
    """
    parts: dict[str, Part] = {}
    repeated = set()
    for segment in _segments(_boundary(content_type), body):
        decoded = _decode_part(segment)
        if decoded is None:
            continue
        id_, part = decoded
        if id_ in parts:
            repeated.add(id_)
        parts[id_] = part
    return {id_: part for id_, part in parts.items() if id_ not in repeated}


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary:
        raise Retryable(f"the response to the HTTP batch is not multipart: content type {content_type!r}")
    return boundary.encode()


def _segments(boundary: bytes, body: bytes) -> Iterator[bytes]:
    """Yield the bytes between delimiters; the last segment only if a delimiter follows it."""
    delimiter = b"--" + boundary
    start = -1
    position = body.find(delimiter)
    while position >= 0:
        if position == 0 or body[position - 1 : position] == b"\n":
            if start >= 0:
                yield body[start:position]
            start = position + len(delimiter)
            if body.startswith(b"--", start):
                return
        position = body.find(delimiter, position + len(delimiter))


def _decode_part(segment: bytes) -> tuple[str, Part] | None:
    """Return the id of the call and its response; None when the part is malformed or truncated."""
    outer, _, inner = _split(segment.lstrip(b"\r\n"))
    content_id = _headers(outer).get("content-id", "").strip("<> ")
    head, gap, body = _split(inner)
    status_line, _, lines = head.partition(b"\n")
    words = status_line.split()
    if not gap or not content_id.startswith("response-") or len(words) < 2 or not words[1].isdigit():
        return None
    headers = _headers(lines)
    # The line break before the delimiter belongs to the delimiter.
    body = body[:-2] if body.endswith(b"\r\n") else body.removesuffix(b"\n")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) != len(body):
        return None
    return content_id.removeprefix("response-"), Part(int(words[1]), headers, body)


def _split(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return head, blank line and body. The line breaks are those of the head: CRLF, or LF alone."""
    first = text.find(b"\n")
    gap = b"\r\n\r\n" if text[first - 1 : first] == b"\r" else b"\n\n"
    return text.partition(gap)


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
