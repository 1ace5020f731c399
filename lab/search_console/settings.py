"""Settings of the simulator: properties, users, quotas, faults; from a JSON file or as values."""

from datetime import date, datetime
from typing import Literal

from msgspec import Struct, field

PermissionLevel = Literal["siteOwner", "siteFullUser", "siteRestrictedUser", "siteUnverifiedUser"]


class Sitemap(Struct, frozen=True, kw_only=True):
    """A sitemap of a property. Times have RFC 3339's form."""

    path: str
    last_submitted: str = "2026-01-02T03:04:05.678Z"
    last_downloaded: str = "2026-01-03T04:05:06.789Z"
    """Not listed while the sitemap is pending."""
    is_pending: bool = False
    is_sitemaps_index: bool = False
    warnings: int = 0
    errors: int = 0
    submitted: int = 100


class Site(Struct, frozen=True, kw_only=True):
    """A simulated property."""

    url: str
    users: tuple[str, ...]
    """Ids of the users in whose list it is."""
    permissions: tuple[tuple[str, PermissionLevel], ...] = ()
    """Users with their permission levels; others have `siteFullUser`."""
    sitemaps: tuple[Sitemap, ...] = ()
    rows: int = 500
    """Distinct combinations of query, page, country and device on an ordinary day."""
    full_days: tuple[date, ...] = ()
    """Days with exactly one full page of rows, so the second page is empty."""
    cap_days: tuple[date, ...] = ()
    """Days at Google's cap, with three pages."""
    odd_queries: bool = True
    """Whether some queries have NUL characters, lone surrogates and the like, as people type them."""


class User(Struct, frozen=True, kw_only=True):
    """A Google user: a service account with a key, a person with a refresh token, or a service account that a workload
    impersonates with a token of its platform.
    """

    id: str
    kind: Literal["service_account", "authorized_user", "external_account"] = "service_account"
    delegates: tuple[str, ...] = ()
    """Users for whom a service account may act: its domain-wide delegation."""


class Quotas(Struct, frozen=True, kw_only=True):
    """Limits of calls per minute and day, and an optional limit per second and site. None: not enforced."""

    site_qpm: int | None = 1200
    user_qpm: int | None = 1200
    project_qpm: int | None = 40_000
    project_qpd: int | None = 30_000_000
    """Per Pacific day."""
    site_qps: int | None = None
    site_load: int | None = None
    """Cost per site in ten minutes (a call with page and query costs 10, any other call 1)."""


FaultKind = Literal[
    "429", "forbidden", "insufficientPermissions", "quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded",
    "dailyLimitExceeded", "loadQuota", "400", "401", "404", "500", "502", "503", "504", "stall", "stall_body",
    "trickle", "reset", "truncated", "truncated_gzip", "content_type", "proxy_403", "proxy_404", "invalid_json",
    "wrong_shape",
]  # fmt: skip
"""Error answers by status or reason, and faults of the connection or the body.

`stall`: no answer for `seconds`, not even headers. `stall_body`: headers and half of the body, and the rest after
`seconds`. `trickle`: headers, then the body byte by byte for `seconds`, then the rest at once.
"""

CallKind = Literal["query", "sites", "sitemaps", "token"]
"""A query of Search Analytics, the list of sites, sitemaps of a site, or any request of an access token."""


class Fault(Struct, kw_only=True):
    """A fault: its kind, the calls it matches, and how often it applies. Empty selectors match every call."""

    kind: FaultKind
    on: CallKind = "query"
    site: str = ""
    user: str = ""
    day: date | None = None
    count: int | None = None
    """How many more calls it applies to. None: no limit."""
    every: int = 1
    """Apply to every n-th matching call."""
    seconds: float = 30.0
    """Length of a stall, or for how long a body trickles."""
    retry_after: int | None = None


class SimulatorSettings(Struct, frozen=True, kw_only=True):
    """All settings. `now` None: the current time."""

    sites: tuple[Site, ...]
    users: tuple[User, ...]
    seed: int = 1
    latency_s: float = 0.0
    quotas: Quotas = field(default_factory=Quotas)
    faults: tuple[Fault, ...] = ()
    require_auth: bool = True
    ignored_fields: tuple[str, ...] = ()
    """Unknown fields of a query that are not refused, for clients that send some."""
    token_lifetime_s: int = 3600
    token_promise_s: int | None = None
    """The lifetime that the token endpoints promise, when it differs: a longer one ends with a refusal."""
    missed_rows: bool = False
    """Whether a row that is repeated at a page border replaces another row, which no page then lists. `/_sim/truth`
    still has it, so a table can equal the truth only without this."""
    now: datetime | None = None
    cache_mb: int = 256
