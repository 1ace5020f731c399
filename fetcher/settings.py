"""The fetcher's settings."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.config import JsonDict

from fetcher.next_page import PagingRule
from fetcher.quota_limits import QuotaLimits
from fetcher.token_hosts import TokenHosts, parse_hosts
from pipeline.catalog import Catalog
from pipeline.settings import (
    CatalogSettings,
    DeadLetterSettings,
    HttpAddress,
    HttpSettings,
    KafkaSettings,
    QuotaSettings,
    Seconds,
    Settings,
)

# For the Helm chart, which checks its values by the JSON Schema of the settings.
_ADDRESS_SCHEMA: JsonDict = {"pattern": r"^https?://[^\s/]+[^\s]*$"}


def _check_root(text: str) -> str:
    if "?" in text or "#" in text:
        raise ValueError("the address of the API must have no query and no fragment")
    return text


def _check_hosts(text: str) -> str:
    parse_hosts(text)
    return text


@dataclass(frozen=True)
class Capacity:
    """How much work one fetcher does at the same time."""

    max_concurrency: int
    """Calls in flight of one credential."""
    max_in_flight: int
    """Pages in memory, from the first byte of a response until the broker has acknowledged its rows."""
    max_in_flight_bytes: int
    """Limit of the bytes of their decoded bodies."""
    max_attempts: int
    """Calls for one page, all of which fail for a passing reason, before it is dead."""
    drain_s: float
    """Seconds that a revocation waits for calls in flight."""


class GoogleSettings(Settings):
    """Where Google is, and where key files may send secrets."""

    api_root: Annotated[HttpAddress, AfterValidator(_check_root), Field(json_schema_extra=_ADDRESS_SCHEMA)] = (
        "https://searchconsole.googleapis.com"
    )
    token_hosts: Annotated[str, AfterValidator(_check_hosts)] = ""
    """Hosts besides Google's that key files may name, separated by commas; `http://HOST` for one without TLS."""

    @property
    def allowed_token_hosts(self) -> TokenHosts:
        """The hosts that key files may name."""
        return TokenHosts(parse_hosts(self.token_hosts))


class FetcherSettings(GoogleSettings, KafkaSettings, CatalogSettings, HttpSettings, DeadLetterSettings, QuotaSettings):
    """Environment variables of the same names in capitals, after `GSC_`."""

    max_concurrency: Annotated[int, Field(ge=1, le=2000)] = 32
    """Calls in flight of one credential; 1 is the sequential mode: a credential's calls are made one at a time."""
    max_in_flight: Annotated[int, Field(ge=1, le=2000)] = 10
    """Pages that are fetched and not yet acknowledged by the broker, in shares of the credentials; bounds memory."""
    max_in_flight_bytes: Annotated[int, Field(ge=1024, le=2**40)] = 16 * 2**20
    """Bytes of the decoded bodies of these pages; a larger body is taken alone. A body needs some six times its size in
    memory until its rows are published."""
    burst: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Calls that may start at the same time after a pause, for each property, credential and project."""
    site_qps: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] | None = None
    """An optional limit of calls a second for each property."""
    paging: PagingRule = "full-page"
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    http_timeout_s: Seconds = 120.0
    """The deadline of a call, from the request to the last byte of the response."""
    transport: Literal["plain", "batch"] = "plain"
    """`batch`: Google's HTTP batch, several calls in one request; each of them counts towards the quota."""
    batch_size: Annotated[int, Field(ge=1, le=100)] = 10
    batch_linger_ms: Annotated[int, Field(ge=0, le=900)] = 300
    """How long an HTTP batch waits for more calls. It must be less than `quota_limits.SPREAD_S`."""
    drain_s: Seconds = 10.0
    """How long a revocation or a stop waits for calls in flight."""

    @model_validator(mode="after")
    def _batch_fits_in_memory(self) -> Self:
        if self.transport == "batch" and self.batch_size > self.max_in_flight:
            raise ValueError(
                f"GSC_BATCH_SIZE: all {self.batch_size} pages of an HTTP batch are in memory together, but"
                f" GSC_MAX_IN_FLIGHT allows {self.max_in_flight}"
            )
        return self

    @property
    def capacity(self) -> Capacity:
        """How much work the fetcher does at the same time."""
        return Capacity(
            max_concurrency=self.max_concurrency,
            max_in_flight=self.max_in_flight,
            max_in_flight_bytes=self.max_in_flight_bytes,
            max_attempts=self.max_attempts,
            drain_s=self.drain_s,
        )

    def limits(self, catalog: Catalog) -> QuotaLimits:
        """Return the quotas, with the overrides in the catalog."""
        return QuotaLimits(
            site_qpm=self.site_qpm,
            user_qpm=self.user_qpm,
            project_qpm=self.project_qpm,
            headroom=self.quota_headroom,
            burst=self.burst,
            site_qps=self.site_qps,
            site_overrides={item.url: item.site_qpm for item in catalog.properties if item.site_qpm},
            user_overrides={item.id: item.user_qpm for item in catalog.credentials if item.user_qpm},
            project_overrides={name: item.qpm for name, item in catalog.projects.items() if item.qpm},
            projects=catalog.project_by_credential,
        )
