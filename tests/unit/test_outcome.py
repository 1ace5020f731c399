"""The outcome of a call, as text and as a metric's label."""

import pytest

from fetcher.chunks import FetchedPage
from fetcher.error_policy import outcome_of
from fetcher.outcome import Dead, Deferred, Done, HaltOrder, Outcome, Retry, describe, metric_label


def test_a_failure_is_described_by_its_reason_and_detail() -> None:
    assert describe(outcome_of(404, b'{"error": {"message": "gone"}}')) == "permission: HTTP 404: gone"
    assert describe(outcome_of(401, b"")) == "unauthorized"
    assert describe(Deferred("load_quota")) == "load_quota"


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Done(FetchedPage((), [], [], [], None)), "done"),
        (Retry("http_500"), "retry"),
        (Retry("quota", counts=False, throttled="property"), "throttled"),
        (Retry("unauthorized", counts=False, refresh_token=True), "unauthorized"),
        (Deferred("load_quota", HaltOrder("property", "budget", "load_quota", 900.0)), "deferred"),
        (Dead("bad_request", "HTTP 400"), "dead"),
        (Dead("permission", "HTTP 403", HaltOrder("property", "permission", "HTTP 403")), "dead"),
    ],
)
def test_each_outcome_has_its_label_in_the_metric_of_calls(outcome: Outcome, label: str) -> None:
    assert metric_label(outcome) == label
