"""The parts of the status: partitions, credentials and properties, and why their pages wait."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import NOTHING_TO_DO, PartitionStatus
from pipeline.contracts.records import PartitionLag, PendingGroup, UnfinishedPages
from producer.credential_waits import Queue
from producer.status_report import (
    NOTHING_PUBLISHED,
    LedgerView,
    PropertyPages,
    credential_statuses,
    partition_reports,
    property_statuses,
)
from support.examples import DAY, NOW

CATALOG = Catalog(
    credentials=(
        Credential(id="acme", type="service_account", file=Path("x")),
        Credential(id="idle", type="service_account", file=Path("x")),
    ),
    properties=(
        Property(url="sc-domain:a.example", credential="acme"),
        Property(url="sc-domain:b.example", credential="acme"),
        Property(url="sc-domain:new.example", credential="idle"),
    ),
)
OLDER = DAY - timedelta(days=3)


def a_view(*halts: Control, **changes: Any) -> LedgerView:
    values: dict[str, Any] = {
        "groups": [PendingGroup("acme", "backfill", 1, "run-1")],
        "unfinished": [UnfinishedPages("acme", "backfill", 300, 20, 90.4, (), "run-1", 0)],
        "halts": halts,
        "projects": {},
        "partitions": {},
        "max_queue_size": 1000,
        "has_leader": True,
    }
    properties = [PropertyPages("sc-domain:a.example", DAY, 200), PropertyPages("sc-domain:b.example", OLDER, 120)]
    return LedgerView(NOW, Queue(**{**values, **changes}), properties, {}, 0, {}, [])


def halt(scope: str, **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason="broken", actor="a", at=NOW, **changes)


def credentials_of(view: LedgerView, catalog: Catalog | None = CATALOG) -> dict[str, Any]:
    found = credential_statuses(view, property_statuses(view, catalog), catalog, lambda _: 960.0)
    return {item.credential: item for item in found}


def test_a_credential_has_the_newest_day_of_its_property_that_is_furthest_behind() -> None:
    acme = credentials_of(a_view())["acme"]
    assert (acme.properties, acme.newest_complete_day) == (2, OLDER)
    assert (acme.pending, acme.published, acme.oldest_s, acme.reason) == (300, 20, 90, "")
    idle = credentials_of(a_view())["idle"]
    assert (idle.properties, idle.newest_complete_day, idle.unfinished) == (1, None, 0)


def test_the_time_left_is_that_at_the_quota_after_a_wait_and_unknown_behind_a_halt_without_an_end() -> None:
    assert credentials_of(a_view())["acme"].eta_s == 60 * 320 / 960
    assert credentials_of(a_view(halt("credential:acme")))["acme"].eta_s is None
    until = NOW + timedelta(hours=1)
    waiting = credentials_of(a_view(halt("credential:acme", until=until)))["acme"]
    assert waiting.until == until
    assert waiting.eta_s == 3620


def test_without_a_catalog_the_credentials_are_those_with_unfinished_pages() -> None:
    assert list(credentials_of(a_view(), None)) == ["acme"]
    properties = property_statuses(a_view(), None)
    assert [(item.property, item.credential) for item in properties] == [
        ("sc-domain:a.example", ""), ("sc-domain:b.example", ""),
    ]  # fmt: skip


def test_a_property_waits_because_of_its_own_halt_or_of_its_credentials() -> None:
    view = a_view(halt("property:sc-domain:a.example"), has_leader=False)
    reasons = {item.property: item.reason for item in property_statuses(view, CATALOG)}
    assert reasons == {
        "sc-domain:a.example": "property:sc-domain:a.example is halted: broken",
        "sc-domain:b.example": "no producer publishes pages",
        "sc-domain:new.example": "",
    }


def test_a_partition_is_not_said_to_have_nothing_to_do_while_pages_are_pending() -> None:
    batches = {0: PartitionLag(5, 5, 0), 1: PartitionLag(5, 9, 4)}
    statuses = {0: PartitionStatus("OK", NOW, NOTHING_TO_DO), 1: PartitionStatus("OK", NOW, "4 batches in progress")}
    for pending, first in ((True, NOTHING_PUBLISHED), (False, NOTHING_TO_DO)):
        reports = partition_reports({"fetcher": batches, "sink": {1: PartitionLag(0, 7, 7)}}, statuses, pending=pending)
        assert [item.reason for item in reports] == [first, "4 batches in progress"]
        assert [(item.lag, item.sink_lag) for item in reports] == [(0, 0), (4, 7)]
