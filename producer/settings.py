"""The planner's settings."""

from typing import Annotated

from croniter import croniter
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
from producer.planning import HISTORY_DAYS


def _cron(text: str) -> str:
    if text and not croniter.is_valid(text):
        raise ValueError("not five fields of cron")
    return text


class ProducerSettings(
    KafkaSettings, PostgresSettings, CatalogSettings, HttpSettings, DeadLetterSettings, QuotaSettings
):
    """Environment variables of the same names in capitals, after `GSC_`."""

    max_queue_size: Annotated[int, Field(ge=1)] = 1000
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
