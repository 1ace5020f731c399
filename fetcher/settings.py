"""The fetcher's settings."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fetcher.addresses import problem_of_url
from fetcher.next_page import PagingRule
from fetcher.token_bucket import QuotaLimits
from pipeline.catalog import Catalog
from pipeline.settings import (
    CatalogSettings,
    DeadLetterSettings,
    HttpSettings,
    KafkaSettings,
    QuotaSettings,
    Seconds,
)


def _root(text: str) -> str:
    if problem := problem_of_url(text):
        raise ValueError(problem)
    if "?" in text or "#" in text:
        raise ValueError("a root has no query and no fragment")
    return text


class FetcherSettings(KafkaSettings, CatalogSettings, HttpSettings, DeadLetterSettings, QuotaSettings):
    """Environment variables of the same names in capitals, after `GSC_`."""

    api_root: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$"), AfterValidator(_root)] = (
        "https://searchconsole.googleapis.com"
    )
    max_concurrency: Annotated[int, Field(ge=1, le=2000)] = 32
    """Calls in flight; 1 is the sequential mode."""
    max_in_flight: Annotated[int, Field(ge=1, le=2000)] = 10
    """Pages fetched and not yet acknowledged by the broker: bounds memory."""
    burst: Annotated[int, Field(ge=1, le=10_000)] = 8
    site_qps: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] | None = None
    """An optional cap a second for a property."""
    paging: PagingRule = "full-page"
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
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

    def limits(self, catalog: Catalog) -> QuotaLimits:
        """The quotas, with the catalog's overrides."""
        return QuotaLimits(
            site_qpm=self.site_qpm,
            user_qpm=self.user_qpm,
            project_qpm=self.project_qpm,
            headroom=self.quota_headroom,
            burst=self.burst,
            site_qps=self.site_qps,
            site_overrides={item.url: item.site_qpm for item in catalog.properties if item.site_qpm},
            user_overrides={item.id: item.user_qpm for item in catalog.credentials if item.user_qpm},
        )
