"""What is simulated: properties, users, quotas, faults; read from a JSON file or given as values."""

from datetime import date, datetime
from typing import Literal

from msgspec import Struct, field


class Site(Struct, frozen=True, kw_only=True):
    """A property of the simulated world."""

    url: str
    users: tuple[str, ...]
    """Who may read it."""
    rows: int = 500
    """Distinct combinations of query, page, country and device on a usual day."""
    full_days: tuple[date, ...] = ()
    """Days with exactly one full page of rows, so that a second, empty page exists."""
    cap_days: tuple[date, ...] = ()
    """Days at Google's cap: three pages."""


class User(Struct, frozen=True, kw_only=True):
    """A Google user: a service account with a key, a person with a refresh token, or a service account that a workload
    takes the place of, with a token of its own platform.
    """

    id: str
    kind: Literal["service_account", "authorized_user", "external_account"] = "service_account"


class Quotas(Struct, frozen=True, kw_only=True):
    """Calls a minute and a day, and an optional burst cap a second and site. None: not enforced."""

    site_qpm: int | None = 1200
    user_qpm: int | None = 1200
    project_qpm: int | None = 40_000
    project_qpd: int | None = 30_000_000
    """Of a Pacific day."""
    site_qps: int | None = None
    site_load: int | None = None
    """Cost that a site may cause in ten minutes (a call with page and query costs 10, any other 1)."""


FaultKind = Literal[
    "429", "forbidden", "insufficientPermissions", "quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded",
    "dailyLimitExceeded", "loadQuota", "400", "401", "404", "500", "502", "503", "504", "stall", "reset",
    "truncated", "truncated_gzip", "content_type", "invalid_json", "wrong_shape",
]  # fmt: skip


CallKind = Literal["query", "sites", "token"]
"""A query of Search Analytics, the list of sites, or anything on the way to an access token."""


class Fault(Struct, kw_only=True):
    """What goes wrong, for which calls, how often. Empty selectors match everything."""

    kind: FaultKind
    on: CallKind = "query"
    site: str = ""
    user: str = ""
    day: date | None = None
    count: int | None = None
    """How many more calls are hit; None: all."""
    every: int = 1
    """Hit every n-th matching call."""
    seconds: float = 30.0
    """Of a stall."""
    retry_after: int | None = None


class SimulatorSettings(Struct, frozen=True, kw_only=True):
    """The whole simulator. `now` None: the real time."""

    sites: tuple[Site, ...]
    users: tuple[User, ...]
    seed: int = 1
    latency_s: float = 0.0
    quotas: Quotas = field(default_factory=Quotas)
    faults: tuple[Fault, ...] = ()
    require_auth: bool = True
    token_lifetime_s: int = 3600
    missed_rows: bool = False
    """Whether a row that is repeated at a page border takes the place of another, which no page then lists. The truth
    has it all the same, so a table can only be equal to the truth without."""
    now: datetime | None = None
    cache_mb: int = 256
