"""The producer's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.catalog import Catalog
from pipeline.settings import (
    CatalogSettings,
    DeadLetterSettings,
    HttpSettings,
    KafkaSettings,
    PostgresSettings,
    QueueSettings,
    QuotaSettings,
    RetentionSettings,
)
from producer.planner import HISTORY_DAYS


def _cron(text: str) -> str:
    from croniter import croniter  # imported on use: only a cron line needs it

    try:
        if text:
            croniter(text).get_next()
    except ValueError as error:  # croniter's errors are ValueErrors
        raise ValueError("must be a cron line with five fields that matches some day") from error
    # Other schedulers write seconds first: such a line would mean another time, and every second of it.
    if text.split()[5:6] in (["*"], ["?"]):
        raise ValueError("must have five fields: a sixth field would mean every second")
    return text


class ProducerSettings(
    KafkaSettings,
    PostgresSettings,
    CatalogSettings,
    HttpSettings,
    DeadLetterSettings,
    QuotaSettings,
    RetentionSettings,
    QueueSettings,
):
    """Environment variables: the names in upper case, after `GSC_`."""

    daily_cron: Annotated[str, AfterValidator(_cron)] = ""
    """When to request the rolling window of all properties, in Pacific time, such as `30 5 * * *`. Empty: an outer
    scheduler does it."""
    retention_cron: Annotated[str, AfterValidator(_cron)] = "0 3 * * *"
    """When the leader deletes days older than the retention of their report, and superseded ledger pages, in Pacific
    time. Empty: never; then run `gsc-stream retention`."""
    daily_days: Annotated[int, Field(ge=1, le=HISTORY_DAYS)] = 10
    """Length of the window: Google may still correct these days."""


def allowed_qpm(settings: QuotaSettings, catalog: Catalog | None, credential: str) -> float:
    """Return the calls a minute that a credential may make, with the catalog's overrides."""
    entry = catalog.credential_by_id.get(credential) if catalog else None
    return ((entry and entry.user_qpm) or settings.user_qpm) * settings.quota_headroom
