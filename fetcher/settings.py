"""The fetcher's settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fetcher.paging import PagingRule
from fetcher.quota import Limits
from pipeline.catalog import Catalog
from pipeline.settings import CatalogSettings, DeadLetterSettings, HttpSettings, KafkaSettings, QuotaSettings

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class FetcherSettings(KafkaSettings, CatalogSettings, HttpSettings, DeadLetterSettings, QuotaSettings):
    """Environment variables of the same names in capitals, after `GSC_`."""

    api_root: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$")] = "https://searchconsole.googleapis.com"
    max_concurrency: Positive = 32
    """Calls in flight; 1 is the sequential mode."""
    max_in_flight: Positive = 10
    """Pages fetched and not yet acknowledged by the broker: bounds memory."""
    burst: Positive = 8
    site_qps: Annotated[float, Field(gt=0)] | None = None
    """An optional cap a second for a property."""
    paging: PagingRule = "full-page"
    max_attempts: Positive = 5
    http_timeout_s: Seconds = 120.0
    transport: Literal["plain", "batch"] = "plain"
    """`batch`: Google's HTTP batch, some calls in one request; each still counts."""
    batch_size: Annotated[int, Field(ge=1, le=100)] = 10
    batch_linger_ms: Annotated[int, Field(ge=0, le=900)] = 300
    """How long a batch waits for more calls; less than the second that the limiter allows for."""
    drain_s: Seconds = 10.0
    """How long a revocation or a stop waits for calls in flight."""

    @model_validator(mode="after")
    def _batch_fits_in_memory(self) -> Self:
        if self.transport == "batch" and self.batch_size > self.max_in_flight:
            raise ValueError(
                f"GSC_BATCH_SIZE: {self.batch_size} pages of a batch are in memory at once, but GSC_MAX_IN_FLIGHT is"
                f" {self.max_in_flight}"
            )
        return self

    def limits(self, catalog: Catalog) -> Limits:
        """The quotas, with the catalog's overrides."""
        return Limits(
            site_qpm=self.site_qpm,
            user_qpm=self.user_qpm,
            project_qpm=self.project_qpm,
            headroom=self.quota_headroom,
            burst=self.burst,
            site_qps=self.site_qps,
            site_overrides={item.url: item.site_qpm for item in catalog.properties if item.site_qpm},
            user_overrides={item.id: item.user_qpm for item in catalog.credentials if item.user_qpm},
        )
