"""The status for people: the first lines answer what is late, and why; and it fits the terminal."""

from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console, ConsoleDimensions, Group

from cli.output import UNLIMITED
from cli.status_view import Details, render_status, summary
from pipeline.contracts.resources import PartitionReport, ServiceStatus, StatusReport
from support.examples import NOW, a_credential, a_property, a_report

HALTED = {"waits_for": "halted", "reason": "credential:acme is halted: its key was deleted, so Google refuses it"}


def lines_of(report: StatusReport, width: int = 100, height: int = 40, **details: bool) -> list[str]:
    console = Console(width=width, height=height, file=StringIO(), record=True)
    console.print(Group(*render_status(report, ConsoleDimensions(width, height), Details(**details))))
    return console.export_text().splitlines()


def test_when_nothing_waits_the_first_line_says_so() -> None:
    assert summary(a_report())[0] == "All is well: nothing is pending."
    report = a_report(credentials=[a_credential(pending=4, published=6)])
    assert summary(report)[0] == "All is well: 10 pages are in progress."


def test_a_wait_is_named_with_its_reason_its_end_and_how_far_the_data_reach() -> None:
    later = NOW + timedelta(minutes=15)
    late = a_credential(pending=300, **HALTED, until=later)
    first, second, third = summary(a_report(credentials=[late, a_credential("other")]))
    assert first == "Late: 300 pages are unfinished; 1 of 2 credentials wait, because"
    assert second == (
        "acme: 300 pages: credential:acme is halted: its key was deleted, so Google refuses it, until"
        " 2026-03-10T12:15:00Z; complete up to 2026-03-01"
    )
    assert (
        third == "running: 1 producer, 2 fetcher, 1 sink; messages that wait: 0 for producer, 5 for fetcher, 0 for sink"
    )


def test_a_missing_service_and_a_missing_leader_are_the_first_reasons() -> None:
    services = [ServiceStatus("producer", 1, 0), ServiceStatus("fetcher", 0, 7), ServiceStatus("sink", 1, 0)]
    assert summary(a_report(services=services))[1] == "no fetcher is running: 7 messages wait"
    assert "none publishes pages" in summary(a_report(has_leader=False))[1]


def test_credentials_with_one_reason_are_one_line_and_more_reasons_are_counted() -> None:
    shared = [a_credential(f"c{n}", pending=10, waits_for="halted", reason="all is halted: a try") for n in range(3)]
    assert summary(a_report(credentials=shared))[1].startswith("c0 and 2 more: 30 pages: all is halted: a try")
    different = [a_credential(f"c{n}", pending=n + 1, waits_for="x", reason=f"reason {n}") for n in range(9)]
    lines = summary(a_report(credentials=different))
    assert len(lines) == 5
    assert lines[1].startswith("c8: 9 pages: reason 8")
    assert lines[3].endswith("(and 6 more reasons)")


def test_a_halted_property_of_a_working_credential_is_a_reason() -> None:
    halted = a_property(unfinished=3, reason="property:sc-domain:example.com is halted: gone")
    report = a_report(credentials=[a_credential(pending=9)], properties=[halted, a_property("sc-domain:b.com")])
    assert summary(report)[:2] == [
        "Late: 9 pages are unfinished, because",
        "sc-domain:example.com: property:sc-domain:example.com is halted: gone",
    ]


def test_no_credential_waits_for_a_missing_sink() -> None:
    services = [ServiceStatus("producer", 1, 0), ServiceStatus("fetcher", 1, 0), ServiceStatus("sink", 0, 7)]
    report = a_report(services=services, credentials=[a_credential(published=9)])
    assert summary(report)[0] == "Late: 9 pages are unfinished, because"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("details", [{}, {"properties": True}])
def test_a_thousand_properties_fit_the_terminal(width: int, height: int, details: dict[str, bool]) -> None:
    credentials = [a_credential(f"credential-{n}", pending=n, **HALTED) for n in range(100)]
    properties = [
        a_property(f"https://www.shop-{n}.example/", credential=f"credential-{n % 100}", unfinished=n, reason="r" * 90)
        for n in range(1000)
    ]
    lines = lines_of(a_report(credentials=credentials, properties=properties), width, height, **details)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert any("more; --json lists them all" in line for line in lines)
    assert lines[1].startswith("credential-99 and 98 more")


def test_elsewhere_every_row_is_there() -> None:
    properties = [a_property(f"https://www.shop-{n}.example/") for n in range(1000)]
    lines = lines_of(a_report(properties=properties), UNLIMITED, UNLIMITED, properties=True)
    assert sum("https://www.shop-" in line for line in lines) == 1000


def test_partitions_are_shown_on_request_only() -> None:
    partition = PartitionReport(
        partition=3, state="THROTTLED", lag=5, sink_lag=0, reason="no token", until=NOW, reported_at=NOW
    )
    report = a_report(partitions=[partition])
    assert not any("THROTTLED" in line for line in lines_of(report))
    assert any("THROTTLED" in line and "no token" in line for line in lines_of(report, partitions=True))


def test_few_properties_are_listed_without_being_asked_for() -> None:
    assert any("sc-domain:example.com" in line for line in lines_of(a_report()))
    many = [a_property(f"sc-domain:shop-{n}.example") for n in range(13)]
    assert not any("sc-domain:" in line for line in lines_of(a_report(properties=many)))
