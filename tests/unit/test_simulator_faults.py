"""The simulator's injected faults, and the wire format of its HTTP batches."""

import gzip
import json
from datetime import date

import pytest
from msgspec.structs import replace

from lab.search_console.batches import CONTENT_TYPE, MAX_PARTS, decoded, encoded
from lab.search_console.call_journal import Call
from lab.search_console.faults import Answer, Faults, answer_of, refusal_of, slow_pieces, with_fault
from lab.search_console.refusals import Refused, TokenRefused, check_names, forbidden, of_oauth
from lab.search_console.settings import Fault, FaultKind

ANSWER = Answer(200, gzip.compress(b'{"rows": []}'))


def a_call(**changes: object) -> Call:
    return replace(Call(index=0, arrived=0.0, at=0.0, site="sc-domain:a.com", user="u"), **changes)


def hits(faults: Faults, call: Call, times: int) -> list[bool]:
    return [faults.hit(call) is not None for _ in range(times)]


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("429", 429, "rateLimitExceeded"),
        ("quotaExceeded", 403, "quotaExceeded"),
        ("userRateLimitExceeded", 403, "userRateLimitExceeded"),
        ("503", 503, "backendError"),
    ],
)
def test_an_error_fault_is_raised_in_googles_format(kind: FaultKind, status: int, reason: str) -> None:
    call = a_call()
    with pytest.raises(Refused) as caught:
        Faults((Fault(kind=kind, retry_after=7),)).hit(call)
    answer = answer_of(caught.value)
    error = json.loads(gzip.decompress(answer.gzipped))["error"]
    assert (answer.status, answer.retry_after, error["code"]) == (status, 7, status)
    assert error["errors"][0]["reason"] == reason
    assert call.fault == kind


def test_a_gateway_error_has_no_reason() -> None:
    refused = refusal_of("502")
    assert refused is not None
    assert json.loads(refused.body()) == {"error": {"code": 502, "message": "Bad Gateway"}}


@pytest.mark.parametrize(("kind", "status"), [("content_type", 200), ("proxy_403", 403), ("proxy_404", 404)])
def test_a_page_of_a_proxy_is_html(kind: FaultKind, status: int) -> None:
    answer = with_fault(ANSWER, Fault(kind=kind), "query")
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert gzip.decompress(answer.gzipped).startswith(b"<html>")


def test_a_fault_applies_as_often_as_its_count_says() -> None:
    assert hits(Faults((Fault(kind="reset", count=2),)), a_call(), 4) == [True, True, False, False]


def test_a_fault_applies_to_every_nth_call() -> None:
    assert hits(Faults((Fault(kind="reset", every=3),)), a_call(), 6) == [False, False, True, False, False, True]


def test_the_faults_of_the_settings_do_not_change() -> None:
    fault = Fault(kind="reset", count=1)
    hits(Faults((fault,)), a_call(), 2)
    assert fault.count == 1


@pytest.mark.parametrize(
    "changes", [{"site": "sc-domain:b.com"}, {"user": "v"}, {"day": date(2026, 3, 2)}, {"kind": "token"}]
)
def test_a_fault_spares_the_calls_that_it_does_not_name(changes: dict[str, object]) -> None:
    fault = Fault(kind="reset", site="sc-domain:a.com", user="u", day=date(2026, 3, 1))
    assert hits(Faults((fault,)), a_call(day=date(2026, 3, 1)), 1) == [True]
    assert hits(Faults((fault,)), a_call(**{"day": date(2026, 3, 1), **changes}), 1) == [False]


@pytest.mark.parametrize("cut", ["reset", "truncated", "truncated_gzip"])
def test_a_fault_of_the_connection_cuts_the_answer(cut: FaultKind) -> None:
    assert with_fault(ANSWER, Fault(kind=cut), "query") == replace(ANSWER, cut=cut)


@pytest.mark.parametrize("kind", ["content_type", "invalid_json", "wrong_shape"])
def test_a_fault_of_the_body_replaces_it(kind: FaultKind) -> None:
    assert with_fault(ANSWER, Fault(kind=kind), "query").gzipped != ANSWER.gzipped


def test_a_stall_leaves_the_answer_as_it_is() -> None:
    assert with_fault(ANSWER, Fault(kind="stall"), "query") == ANSWER


def test_a_body_that_stalls_stops_in_the_middle() -> None:
    fault = Fault(kind="stall_body", seconds=0.6)
    assert with_fault(ANSWER, fault, "query") == replace(ANSWER, slow=fault)
    pieces, pauses = zip(*slow_pieces(b"123456", fault), strict=True)
    assert pieces == (b"123", b"", b"", b"456")
    assert sum(pauses) == pytest.approx(0.6)


@pytest.mark.parametrize(("size", "pieces"), [(3, 3), (1000, 11)])
def test_a_body_that_trickles_comes_byte_by_byte_for_its_time(size: int, pieces: int) -> None:
    sent = list(slow_pieces(bytes(size), Fault(kind="trickle", seconds=2.0)))
    assert len(sent) == pieces
    assert b"".join(piece for piece, _ in sent) == bytes(size)
    assert sum(pause for _, pause in sent) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("status", "name"), [(400, "invalid_grant"), (429, "rate_limit_exceeded"), (503, "internal_failure")]
)
def test_a_refusal_becomes_an_error_of_oauth(status: int, name: str) -> None:
    refused = Refused(status, "no")
    refused.retry_after = 3
    error = of_oauth(refused)
    assert (error.status, error.retry_after) == (status, 3)
    assert json.loads(error.body()) == {"error": name, "error_description": "no"}
    assert of_oauth(error) is error
    assert isinstance(error, TokenRefused)


def test_an_unknown_field_is_refused_by_its_name() -> None:
    check_names({"startDate": 1}, {"startDate"})
    with pytest.raises(Refused, match='Unknown name "other"'):
        check_names({"other": 1, "startDate": 1}, {"startDate"})


def test_a_property_without_permission_is_named() -> None:
    assert "sc-domain:a.com" in forbidden("sc-domain:a.com").message


def a_batch(*parts: str) -> bytes:
    return "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + b"--b--\r\n"


PART = (
    "Content-Type: application/http\r\nContent-ID: <1>\r\n\r\nPOST /query HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n{}"
)


def test_the_calls_of_a_batch_are_read() -> None:
    [part] = decoded("multipart/mixed; boundary=b", a_batch(PART))
    assert (part.id, part.method, part.path, part.authorization) == ("1", "POST", "/query", "Bearer t")
    assert part.body.strip() == b"{}"


@pytest.mark.parametrize("content", ["", "POST /query", "\x80 \x80"])
def test_a_part_that_is_not_a_request_has_no_method(content: str) -> None:
    [part] = decoded("multipart/mixed; boundary=b", a_batch(f"Content-ID: <2>\r\n\r\n{content}"))
    assert (part.id, part.method) == ("2", "")


@pytest.mark.parametrize("parts", [(), (PART,) * (MAX_PARTS + 1)], ids=["none", "too many"])
def test_a_batch_has_a_limited_number_of_parts(parts: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="A batch has 1 to"):
        decoded("multipart/mixed; boundary=b", a_batch(*parts))


def test_a_body_that_is_not_multipart_is_refused() -> None:
    with pytest.raises(Refused, match="A batch has 1 to"):
        decoded("text/plain", b"hello")


def test_the_answers_of_a_batch_have_the_ids_of_their_calls() -> None:
    body = encoded([("1", ANSWER), ("2", replace(ANSWER, status=429, retry_after=5, cut="truncated"))])
    assert body.count(CONTENT_TYPE.split("boundary=")[1].encode()) == 3
    assert b"Content-ID: <response-1>" in body
    assert b"HTTP/1.1 429 Too Many Requests" in body
    assert b"Retry-After: 5" in body
    assert body.count(b'{"rows": []}') == 1
