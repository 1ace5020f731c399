"""The format of the HTTP batch, compared with Python's own e-mail parser."""

from email.parser import BytesParser
from email.policy import HTTP
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.multipart import CONTENT_TYPE, Call, Part, decode, encode
from pipeline.errors import Retryable

bodies = st.lists(st.binary(max_size=200).filter(lambda body: b"--x" not in body and b"--gsc" not in body), max_size=8)


def a_response(
    parts: list[tuple[str, int, bytes]], *, eol: str = "\r\n", boundary: str = "x", closed: bool = True
) -> bytes:
    body = b"".join(
        f"--{boundary}{eol}Content-Type: application/http{eol}Content-ID: <response-{name}>{eol}{eol}"
        f"HTTP/1.1 {status} Some Text{eol}Content-Type: application/json{eol}Retry-After: 7{eol}{eol}".encode()
        + content
        + eol.encode()
        for name, status, content in parts
    )
    return body + (f"--{boundary}--{eol}".encode() if closed else b"")


@given(bodies=bodies)
def test_an_ordinary_parser_reads_what_is_sent(bodies: list[bytes]) -> None:
    calls = [Call(str(number), f"/some/path%2F{number}?a=b", body) for number, body in enumerate(bodies)]
    sent = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {CONTENT_TYPE}\r\n\r\n".encode() + encode(calls))
    parts = [part for part in sent.walk() if part is not sent]
    assert [part["Content-ID"] for part in parts] == [f"<{call.id}>" for call in calls]
    for part, call in zip(parts, calls, strict=True):
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        head, _, body = content.partition(b"\r\n\r\n")
        assert head.splitlines()[0] == f"POST {call.path} HTTP/1.1".encode()
        assert body == call.body


@given(bodies=bodies, seed=st.integers(), eol=st.sampled_from(["\r\n", "\n"]), quoted=st.booleans())
def test_parts_in_any_order_are_matched_by_id(bodies: list[bytes], seed: int, eol: str, quoted: bool) -> None:
    parts = [(str(number), 200 + number, body.rstrip(b"\r\n")) for number, body in enumerate(bodies)]
    Random(seed).shuffle(parts)
    decoded = decode(f"multipart/mixed; boundary={chr(34) * quoted}x{chr(34) * quoted}", a_response(parts, eol=eol))
    headers = {"content-type": "application/json", "retry-after": "7"}
    assert decoded == {name: Part(status, headers, body) for name, status, body in parts}


def test_a_part_that_is_truncated_repeated_or_malformed_is_left_out() -> None:
    good = a_response([("1", 200, b"{}")], closed=False)
    truncated = b"--x\r\nContent-ID: <response-2>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}\r\n"
    malformed = b"--x\r\nContent-ID: <response-3>\r\n\r\nno status line\r\n\r\n{}\r\n"
    without_id = b"--x\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}\r\n"
    repeated = a_response([("4", 200, b"a"), ("4", 200, b"b")], closed=False)
    last = a_response([("5", 200, b"{}")], closed=False)
    decoded = decode(
        "multipart/mixed; boundary=x", b"preamble\r\n" + good + truncated + malformed + without_id + repeated + last
    )
    assert set(decoded) == {"1"}  # no delimiter follows the last one, so it may be truncated


@pytest.mark.parametrize("content_type", ["application/json", "", "multipart/mixed", "text/html; boundary=x"])
def test_a_body_that_is_not_multipart_is_retried(content_type: str) -> None:
    with pytest.raises(Retryable, match="not multipart"):
        decode(content_type, b"<html>")


def test_a_large_response_is_split_in_linear_time() -> None:
    parts = [(str(number), 200, b"-" * 1_000_000) for number in range(30)]
    assert {
        name: len(part.body) for name, part in decode("multipart/mixed; boundary=x", a_response(parts)).items()
    } == {str(number): 1_000_000 for number in range(30)}
