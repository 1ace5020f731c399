"""The quotas of properties, credentials and projects, and the rates that keep calls within them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.contracts.messages import DEFAULT_PROJECT
from pipeline.errors import Invalid
from pipeline.minute_maximum import MINUTE_S

SPREAD_S = 1.0
"""Two calls that get their tokens at the same time may reach the server this far apart. A window of 60 s on the server
can therefore hold the calls of 60 s and this much more; the rate is lowered accordingly."""


@dataclass(frozen=True)
class QuotaLimits:
    """Quotas in calls a minute; `headroom` is the share of them that is used, `burst` a number of calls."""

    site_qpm: int
    user_qpm: int
    project_qpm: int
    headroom: float
    burst: int
    site_qps: float | None = None
    site_overrides: Mapping[str, int] = field(default_factory=dict)
    user_overrides: Mapping[str, int] = field(default_factory=dict)
    project_overrides: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    """The Google Cloud project of each credential; DEFAULT_PROJECT for those that are missing."""

    def project_of(self, credential: str) -> str:
        """Return the project whose quota the calls of a credential use."""
        return self.projects.get(credential, DEFAULT_PROJECT)

    def project_burst(self, partitions: int) -> int:
        """Return the burst of a project: at least one call for each partition's share of it."""
        return max(self.burst, partitions)

    def check(self, partitions: int = 1) -> None:
        """Raise Invalid, with the numbers, when a quota leaves no rate."""
        own = [
            ("GSC_SITE_QPM", self.site_qpm),
            ("GSC_USER_QPM", self.user_qpm),
            *((f"site_qpm of {url}", qpm) for url, qpm in self.site_overrides.items()),
            *((f"user_qpm of {name}", qpm) for name, qpm in self.user_overrides.items()),
        ]
        for name, qpm in own:
            rate_per_s(qpm, self.headroom, self.burst, name)
        projects = {"GSC_PROJECT_QPM": self.project_qpm}
        projects |= {f"qpm of project {name}": qpm for name, qpm in self.project_overrides.items()}
        for name, qpm in projects.items():
            rate_per_s(qpm, self.headroom, self.project_burst(partitions), name)


def rate_per_s(qpm: float, headroom: float, burst: float, name: str = "quota") -> float:
    """Return the rate with which `burst + 60 x rate` stays within the headroom.

    Raises Invalid, with `name` as the field, when the burst alone uses all of it.
    """
    allowed = qpm * headroom
    rate = (allowed - burst) / (MINUTE_S + SPREAD_S)
    if rate <= 0:
        raise Invalid(
            f"{qpm} a minute x headroom {headroom} = {allowed:g} leaves nothing beside a burst of {burst:g}", field=name
        )
    return rate
