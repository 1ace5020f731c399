"""A pipeline that runs, in the hand of whoever started it: ask for days, look how far they are, compare."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from lab.comparison import Difference, differences
from lab.days import last_days
from lab.local_pipeline import Services, Setup
from lab.scenario import RunningSimulator
from pipeline.catalog_file import read_catalog
from pipeline.clock import now, pacific_date
from pipeline.consumer_lag import LagReader
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS
from pipeline.kafka import group_id
from pipeline.ledger import runs
from pipeline.ledger.pages import finished_count
from pipeline.postgres import connection
from pipeline.publisher import open_publisher
from producer.sync_request import build_request


@dataclass
class Driver:
    """The pipeline, its simulator and its processes."""

    setup: Setup
    google: RunningSimulator
    services: Services

    async def request_sync(self, days: int) -> str:
        """Ask for the last days of every property; returns the run's id."""
        wanted = last_days(days)
        fields = {"start": wanted[-1].isoformat(), "end": wanted[0].isoformat(), "all": True}
        request = build_request(fields, now=now(), today=pacific_date(now()), requested_by="lab")
        topic = SYNC_REQUESTS.full_name(self.setup.prefix)
        async with open_publisher(self.setup.kafka, "gsc-lab") as publisher:
            await publisher.publish(topic, request.request_id, codec.encode(request))
        return run_id(request.request_id)

    async def pages(self, run: str) -> dict[str, int]:
        """Pages of the run by state; empty until it is planned."""
        async with connection(self.setup.servers.dsn, application="gsc-lab") as conn:
            found = await runs.progress(conn, run)
        return found["pages"] if found else {}  # type: ignore[return-value]

    async def differences(self, days: int) -> list[Difference]:
        """Table against truth."""
        async with connection(self.setup.servers.dsn, application="gsc-lab") as conn:
            return await differences(conn, self.google.root, read_catalog(self.setup.catalog), last_days(days))

    def lag_of_fetchers(self) -> LagReader:
        """How far the fetchers are behind: the planner's queue."""
        prefix = self.setup.prefix
        return LagReader(self.setup.kafka, group=group_id(prefix, "fetcher"), topic=BATCHES.full_name(prefix))

    def lag_of_sink(self) -> LagReader:
        """How far the sink is behind."""
        prefix = self.setup.prefix
        return LagReader(self.setup.kafka, group=group_id(prefix, "sink"), topic=RESULTS.full_name(prefix))

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The simulator's log from that line on."""
        log = httpx.get(f"{self.google.root}/_sim/log", params={"since": since}, timeout=60).raise_for_status()
        return [json.loads(line) for line in log.text.splitlines()]

    def post(self, path: str, body: object) -> None:
        """Steer the simulator."""
        httpx.post(f"{self.google.root}/_sim/{path}", json=body).raise_for_status()


def all_finished(pages: dict[str, int]) -> bool:
    """Whether there are pages, and every one is in its last state."""
    return bool(pages) and finished_count(pages) == sum(pages.values())
