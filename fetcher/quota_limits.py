"""The quotas of properties, credentials and projects, and the rates that keep calls within them. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.contracts.messages import DEFAULT_PROJECT
from pipeline.minute_maximum import MINUTE_S
from pipeline.partitioner import partition_of

SPREAD_S = 1.0
"""Two calls that get their tokens at the same time may reach the server this far apart. A window of 60 s on the server
can therefore hold the calls of 60 s and this much more; the rate is lowered accordingly."""
STRAY = 0.001
"""What a partition counts in every project beside its credentials, as a part of a credential. So a batch is never stuck
that is not in the partition of its credential, as after partitions were added."""


class Allowance(NamedTuple):
    """Tokens a second, and the most tokens, of all buckets of a quota together."""

    rate: float
    burst: float


def allowance(qpm: float, headroom: float, burst: float, buckets: int = 1) -> Allowance:
    """Return rate and burst with `burst + 60 x rate` within the headroom.

    Each bucket can hold a token; the others of the burst are what the buckets share, at most half of what the quota
    allows beside the first ones. The rate is 0 when the quota does not allow a call for each bucket.
    """
    allowed = qpm * headroom
    shared = max(0.0, min(burst - 1.0, (allowed - buckets) / 2))
    return Allowance(max(0.0, allowed - buckets - shared) / (MINUTE_S + SPREAD_S), buckets + shared)


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

    @property
    def project_names(self) -> set[str]:
        """The projects of all credentials, and DEFAULT_PROJECT."""
        return {DEFAULT_PROJECT, *self.projects.values()}

    def of_property(self, url: str) -> int:
        """Return the quota of a property."""
        return self.site_overrides.get(url, self.site_qpm)

    def of_credential(self, name: str) -> int:
        """Return the quota of a credential."""
        return self.user_overrides.get(name, self.user_qpm)

    def of_project(self, name: str) -> int:
        """Return the quota of a project."""
        return self.project_overrides.get(name, self.project_qpm)

    def allowance(self, qpm: float, buckets: int = 1) -> Allowance:
        """Return rate and burst of a quota."""
        return allowance(qpm, self.headroom, self.burst, buckets)

    def unserved(self, partitions: int) -> Iterator[str]:
        """Yield why no call of a project can start, for each whose quota is less than a call for each partition."""
        for name in sorted(self.project_names):
            qpm = self.of_project(name)
            if not self.allowance(qpm, partitions).rate:
                yield (
                    f"project {name}: {qpm} a minute x headroom {self.headroom} = {qpm * self.headroom:g}"
                    f" must be more than one call for each of {partitions} partitions"
                )


class ProjectShares:
    """The share of each partition in the quota of each project: its credentials of the project among all of them.

    A credential's partition is the hash of its id, so every fetcher computes the same shares. Those of all partitions
    add up to 1, whoever holds them.
    """

    def __init__(self, projects: Mapping[str, str], partitions: int) -> None:
        self._partitions = partitions
        self._credentials: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for credential, project in projects.items():
            self._credentials[project][partition_of(credential.encode(), partitions)] += 1

    def share(self, project: str, held: Collection[int]) -> float:
        """Return the share of these partitions together. A project without credentials has equal shares."""
        credentials = self._credentials.get(project, Counter())
        own = sum(credentials[partition] for partition in held)
        return (own + STRAY * len(held)) / (credentials.total() + STRAY * self._partitions)
