"""The wire format of Google's HTTP batch: calls in a `multipart/mixed` body, answers in another. Pure.

A fault affects only its own part, except a reset, which closes the connection that all parts share. A part is never
gzipped on its own, so `truncated_gzip` acts as `truncated`.
"""

import gzip
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus

from msgspec import Struct

from lab.search_console.faults import Answer
from lab.search_console.refusals import Refused

_BOUNDARY = "batch_answer"
CONTENT_TYPE = f"multipart/mixed; boundary={_BOUNDARY}"
MAX_PARTS = 1000


class Part(Struct, frozen=True):
    """One call of a batch; `method` is empty when the part cannot be parsed."""

    id: str
    method: str = ""
    path: str = ""
    authorization: str | None = None
    body: bytes = b""


def decoded(content_type: str, body: bytes) -> list[Part]:
    """Return the calls of a batch request. Raises Refused."""
    raw = b"Content-Type: " + content_type.encode(errors="replace") + b"\r\n\r\n" + body
    parts = BytesParser().parsebytes(raw).get_payload()
    if not isinstance(parts, list) or not 0 < len(parts) <= MAX_PARTS:
        raise Refused(400, f"A batch has 1 to {MAX_PARTS} parts.", reason="badRequest")
    return [_part(part) for part in parts if isinstance(part, Message)]


def _part(part: Message) -> Part:
    name = str(part.get("Content-ID", "")).strip("<> ")
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return Part(name)
    gap = b"\r\n\r\n" if b"\r\n\r\n" in content else b"\n\n"
    head, _, body = content.partition(gap)
    try:
        lines = head.decode().splitlines()
        method, path, _ = lines[0].split(" ")
    except (ValueError, IndexError):
        return Part(name)
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
    return Part(name, method, path, headers.get("authorization"), body)


def encoded(answers: Sequence[tuple[str, Answer]]) -> bytes:
    """Return the body of the batch's answer; each answer has the id of its call."""
    delimiter = f"--{_BOUNDARY}"
    parts = b"".join(f"{delimiter}\r\n".encode() + _encoded(name, answer) for name, answer in answers)
    return parts + f"{delimiter}--\r\n".encode()


def _encoded(name: str, answer: Answer) -> bytes:
    text = gzip.decompress(answer.gzipped)
    retry_after = "" if answer.retry_after is None else f"Retry-After: {answer.retry_after}\r\n"
    head = (
        f"Content-Type: application/http\r\nContent-ID: <response-{name}>\r\n\r\n"
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"{retry_after}Content-Length: {len(text)}\r\n\r\n"
    )
    return head.encode(errors="replace") + (text[: len(text) // 2] if answer.cut else text) + b"\r\n"
