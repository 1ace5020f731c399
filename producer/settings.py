"""The planner's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.catalog import Catalog
from pipeline.settings import (
    CatalogSettings,
    DeadLetterSettings,
    HttpSettings,
    KafkaSettings,
    PostgresSettings,
    QuotaSettings,
)
from producer.planner import HISTORY_DAYS


def _cron(text: str) -> str:
    from croniter import croniter  # of the planner's extra, which the names of the settings do not need

    try:
        if text:
            croniter(text).get_next()
    except ValueError as error:  # all of croniter's errors are
        raise ValueError("not a line of cron with five fields, or no day is like that") from error
    # Other schedulers write seconds first: their lines would be read as another time, and every second of it.
    if text.split()[5:6] in (["*"], ["?"]):
        raise ValueError("the sixth field, seconds, would be every one; five are enough")
    return text


class ProducerSettings(
    KafkaSettings, PostgresSettings, CatalogSettings, HttpSettings, DeadLetterSettings, QuotaSettings
):
    """Environment variables of the same names in capitals, after `GSC_`."""

    max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Batches that the fetchers may be behind before publishing pauses; it goes on at half."""
    daily_cron: Annotated[str, AfterValidator(_cron)] = ""
    """When to ask for the rolling window of all properties, in Pacific time, such as `30 5 * * *`; empty: an outer
    scheduler does. Then also what the retention of a report no longer keeps is deleted."""
    daily_days: Annotated[int, Field(ge=1, le=HISTORY_DAYS)] = 10
    """Length of the window: days that Google may still correct are fetched again."""

    def allowed_qpm(self, catalog: Catalog, credential: str) -> float:
        """Calls a minute that a credential may make, with the catalog's overrides."""
        known = catalog.credential_by_id.get(credential)
        return ((known and known.user_qpm) or self.user_qpm) * self.quota_headroom
