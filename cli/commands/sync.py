"""`gsc-stream sync`: request days, and wait for their rows on request."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import click
import msgspec

from cli.context import SyncSettings, fail, fail_for, load_catalog, option_of, read_environment, run, with_options
from cli.options import day, json_option
from cli.output import print_json
from cli.progress_bar import progress_bar
from cli.run_wait import (
    NewDeadLetters,
    RefusedError,
    RunEnd,
    Source,
    describe_end,
    exit_code,
    wait_until_finished,
    wait_until_planned,
)
from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.contracts.halts import halt_record
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.topics import DEAD_LETTERS, SYNC_REQUESTS
from pipeline.control import ControlWatcher
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.ledger import runs
from pipeline.ledger.changes import listen
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, connection
from pipeline.process import EXIT_FAILED, EXIT_INTERRUPTED
from pipeline.publisher import open_publisher, publish_request
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import open_topic_reader
from producer.planner import HISTORY_DAYS, plan
from producer.sync_request import build_request, id_conflict, unpublished_from, validate

ID_CHECK_S = 5.0
"""How long a request without --wait waits for PostgreSQL."""


@click.command()
@click.option("--property", "properties", multiple=True, help="A property of the catalog. Can be repeated.")
@click.option("--all", "all_properties", is_flag=True, help="Every property of the catalog.")
@click.option("--start", callback=day, help="First day, YYYY-MM-DD, in Pacific time.")
@click.option("--end", callback=day, help="Last day, inclusive.")
@click.option(
    "--days",
    type=click.IntRange(1, HISTORY_DAYS),
    help="Instead of --start and --end: from N days ago on; days that have no data yet are left out.",
)
@click.option(
    "--history", is_flag=True, help="Instead of --days: as far back as Google has data, below everything daily."
)
@click.option("--report", "reports", multiple=True, help="A report of the catalog. Can be repeated.  [default: all]")
@click.option("--request-id", help="Id of the request; the same request again changes nothing.  [default: a new one]")
@click.option("--full", is_flag=True, help="Send and write every row, also those of pages that have not changed.")
@click.option("--daily", is_flag=True, help="Fetch before all backfills.")
@click.option(
    "--wait", is_flag=True, help="Wait until every page is finished; exit 1 if some are dead, 3 if the rest is halted."
)
@json_option
def sync(wait: bool, as_json: bool, **options: Any) -> None:
    """Fetch days of properties from Search Console into PostgreSQL.

    \b
    Examples:
      gsc-stream sync --all --days 10 --wait
      gsc-stream sync --all --history
      gsc-stream sync --property sc-domain:example.com --start 2026-01-01 --end 2026-01-31
    """
    settings = read_environment(SyncSettings)
    catalog = load_catalog(settings)
    request = _build(options)
    _check(request, catalog)
    job = SyncJob(settings, request, as_json)
    try:
        end = run(job.send_and_wait() if wait else job.send())
    except RefusedError as error:
        fail(f"the producer refuses the request: {error}", EXIT_FAILED)
    except KeyboardInterrupt:
        job.fail_interrupted()
    if first := unpublished_from(request, catalog):
        click.echo(
            f"note: Google publishes final data two to three days later. Days from {first} on stay incomplete if they"
            " have no rows yet; `gsc-stream reconcile --repair` requests them again",
            err=True,
        )
    if as_json:
        print_json(job.ids | _fields(end))
    elif end:
        click.echo(describe_end(end))
    raise SystemExit(exit_code(end) if end else 0)


def _build(options: dict[str, Any]) -> SyncRequest:
    fields = {
        "start": options["start"],
        "end": options["end"],
        "days": options["days"],
        "history": options["history"],
        "properties": options["properties"],
        "all": options["all_properties"],
        "reports": options["reports"],
        "request_id": options["request_id"],
        "priority": "daily" if options["daily"] else None,
        "full": options["full"],
    }
    try:
        return build_request(fields, now=now(), today=pacific_date(now()), requested_by="cli")
    except Invalid as error:
        fail_for(error, fields)


def _check(request: SyncRequest, catalog: Catalog) -> None:
    if problems := validate(request, catalog, pacific_date(now())):
        fail("\n".join(f"{option_of(problem.field)}: {with_options(problem.message)}" for problem in problems))
    if not any(True for _ in plan(request, catalog, 0, pacific_date(request.requested_at))):
        click.echo(
            f"nothing to fetch: no report has data that it keeps from {request.start} to {request.end}", err=True
        )


def _fields(end: RunEnd | None) -> dict[str, Any]:
    if end is None:
        return {}
    return {**msgspec.structs.asdict(end.progress), "halts": [halt_record(halt) for halt in end.halts]}


@dataclass
class SyncJob:
    """Sends a request, and waits for its run. `sent` is whether the broker has it."""

    settings: SyncSettings
    request: SyncRequest
    as_json: bool
    sent: bool = False

    @property
    def ids(self) -> dict[str, str]:
        """The ids of the request and of its run."""
        return {"request_id": self.request.request_id, "run_id": run_id(self.request.request_id)}

    async def send(self) -> None:
        """Publish the request, after a look at its id if PostgreSQL answers; otherwise the producer checks the id."""
        await require_topics(self.settings)
        with suppress(Retryable, Fatal, TimeoutError):
            async with asyncio.timeout(ID_CHECK_S), self._ledger() as conn:
                await self._check_id(conn)
        await self._publish()

    async def send_and_wait(self) -> RunEnd:
        """Publish the request and wait for its run. Raises RefusedError when the producer cannot plan it."""
        settings, run_ = self.settings, self.ids["run_id"]
        await require_topics(settings)
        await require_schema(settings, "gsc-stream")
        control = ControlWatcher(settings.kafka, settings.topic_prefix)
        await control.start()
        try:
            async with (
                self._ledger() as conn,
                open_topic_reader(
                    settings.kafka, settings.topic_prefix, DEAD_LETTERS.full_name(settings.topic_prefix)
                ) as reader,
            ):
                await self._check_id(conn)
                dead_letters = NewDeadLetters(reader, await reader.available())
                source = await self._publish()
                await listen(conn)
                with progress_bar("waiting for the producer", show=not self.as_json) as bar:
                    await wait_until_planned(conn, run_, source, dead_letters)
                    return await wait_until_finished(conn, run_, control.halts, bar)
        finally:
            await control.close()

    def _ledger(self) -> AbstractAsyncContextManager[Connection]:
        return connection(self.settings.postgres_dsn.get_secret_value(), application="gsc-stream")

    async def _check_id(self, conn: Connection) -> None:
        """Raise Invalid when another request has the id."""
        if conflict := id_conflict(await runs.request_of(conn, self.ids["run_id"]), self.request):
            raise Invalid(conflict, field="--request-id")

    async def _publish(self) -> Source:
        """Publish the request, and print its ids; returns its position."""
        settings = self.settings
        async with open_publisher(settings.kafka, "gsc-stream") as publisher:
            position = await publish_request(publisher, settings.topic_prefix, self.request)
        self.sent = True
        click.echo(f"run {self.ids['run_id']} (request {self.ids['request_id']}) was requested", err=self.as_json)
        return SYNC_REQUESTS.full_name(settings.topic_prefix), position.partition, position.offset

    def fail_interrupted(self) -> NoReturn:
        """Say whether the run goes on, and how to watch it; exit with 130."""
        if not self.sent:
            fail("interrupted before the request was sent", EXIT_INTERRUPTED)
        fail(
            f"interrupted; run {self.ids['run_id']} goes on: watch it with `gsc-stream runs"
            f" {self.ids['run_id']} --watch`, or stop it with `gsc-stream cancel {self.ids['run_id']} --reason TEXT`",
            EXIT_INTERRUPTED,
        )
