"""Google's HTTP batch on the wire: many calls in a `multipart/mixed` body, and their answers in another. Pure.

Parts are matched by Content-ID: they come in any order. Source: Google's guide to batching, RFC 2046 (5.1).
"""

from collections.abc import Iterator, Sequence
from email.message import Message
from typing import NamedTuple

from pipeline.errors import Retryable

_BOUNDARY = "gsc-stream-batch"
CONTENT_TYPE = f"multipart/mixed; boundary={_BOUNDARY}"


class Call(NamedTuple):
    """One call of a batch; `path` with its query, without scheme and host."""

    id: str
    path: str
    body: bytes


class Part(NamedTuple):
    """One answer; header names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def encode(calls: Sequence[Call]) -> bytes:
    """The body of a batch request, of the type CONTENT_TYPE."""
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
    """Answers by the id of their call. What is malformed, cut off or there twice is left out; raises Retryable when
    the whole is not multipart."""
    answers: dict[str, Part] = {}
    doubled = set()
    for segment in _segments(_boundary(content_type), body):
        found = _part(segment)
        if found is None:
            continue
        name, part = found
        doubled.update({name} & answers.keys())
        answers[name] = part
    return {name: part for name, part in answers.items() if name not in doubled}


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary:
        raise Retryable(f"the batch's answer is not multipart: {content_type!r}")
    return boundary.encode()


def _segments(boundary: bytes, body: bytes) -> Iterator[bytes]:
    """What lies between delimiters; the last one only when it is closed."""
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


def _part(segment: bytes) -> tuple[str, Part] | None:
    outer, _, inner = _split(segment.lstrip(b"\r\n"))
    name = _headers(outer).get("content-id", "").strip("<> ")
    head, gap, body = _split(inner)
    status_line, _, lines = head.partition(b"\n")
    words = status_line.split()
    if not gap or not name.startswith("response-") or len(words) < 2 or not words[1].isdigit():
        return None
    headers = _headers(lines)
    # The line break before the delimiter belongs to the delimiter.
    body = body[:-2] if body.endswith(b"\r\n") else body.removesuffix(b"\n")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) != len(body):
        return None
    return name.removeprefix("response-"), Part(int(words[1]), headers, body)


def _split(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, gap and body, with whichever line break the head has."""
    first = text.find(b"\n")
    gap = b"\r\n\r\n" if text[first - 1 : first] == b"\r" else b"\n\n"
    return text.partition(gap)


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
