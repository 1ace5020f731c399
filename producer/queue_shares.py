"""How the queue of published pages is shared between credentials. Pure.

A page takes up room from its publication until it is applied, dead or pending again. Each credential with pending pages
has an equal share of the room, so one whose pages do not move fills its own share only.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

from pipeline.contracts.halts import ALL, halted_names
from pipeline.contracts.messages import PRIORITIES, Control, Priority
from pipeline.contracts.records import PendingGroup, UnfinishedPages

MIN_SHARE = 10
"""Pages that every credential may have published, even if all shares together exceed the queue size."""
DAILY_EXTRA = 10
"""Daily pages that a credential may publish beyond its share: backfills that fill the share delay no daily page."""


class HaltedScopes(NamedTuple):
    """The names of what is halted, by kind of scope."""

    everything: bool
    credentials: frozenset[str]
    properties: frozenset[str]
    runs: frozenset[str]

    def contains(self, group: PendingGroup | UnfinishedPages) -> bool:
        """Return whether no page of the group may be published."""
        return self.everything or group.credential in self.credentials or group.run_id in self.runs


def halted_scopes(halts: Iterable[Control], projects: Mapping[str, str]) -> HaltedScopes:
    """Return the scopes of active halts; `projects` is the Google Cloud project of each credential."""
    listed = list(halts)
    halted_projects = halted_names(listed, "project")
    of_projects = {credential for credential, project in projects.items() if project in halted_projects}
    return HaltedScopes(
        any(halt.scope == ALL for halt in listed),
        halted_names(listed, "credential") | of_projects,
        halted_names(listed, "property"),
        halted_names(listed, "run"),
    )


def share_size(max_queue_size: int, groups: Iterable[PendingGroup]) -> int:
    """Return how many pages each credential of these groups, which may be published, may have published."""
    return max(MIN_SHARE, max_queue_size // max(1, len({group.credential for group in groups})))


@dataclass(frozen=True)
class Shares:
    """The size of every credential's share, and how many pages each has published."""

    size: int
    published: Mapping[str, int]

    def limit(self, priority: Priority) -> int:
        """Return how many pages a credential may have published before a page of this priority must wait."""
        return self.size + (DAILY_EXTRA if priority == "daily" else 0)

    def is_full(self, group: PendingGroup) -> bool:
        """Return whether the pages of a group must wait."""
        return self.published.get(group.credential, 0) >= self.limit(group.priority)


def choose_pages(groups: Sequence[PendingGroup], shares: Shares, limit: int) -> dict[PendingGroup, int]:
    """Return how many pages of each group to publish next, at most `limit` in total.

    Daily pages go first. Credentials take turns, the one with the fewest published pages first; so do the runs of a
    credential.
    """
    chosen, published = Counter[PendingGroup](), Counter(shares.published)
    for priority in PRIORITIES:
        runs = _runs_by_credential(group for group in groups if group.priority == priority)
        waiting = deque(sorted(runs, key=lambda credential: (published[credential], credential)))
        while waiting and chosen.total() < limit:
            credential = waiting.popleft()
            if published[credential] < shares.limit(priority):
                chosen[next(runs[credential])] += 1
                published[credential] += 1
                waiting.append(credential)
    return dict(chosen)


def _runs_by_credential(groups: Iterable[PendingGroup]) -> dict[str, Iterator[PendingGroup]]:
    """Return the groups of each credential, in turn and without end."""
    runs: dict[str, list[PendingGroup]] = {}
    for group in groups:
        runs.setdefault(group.credential, []).append(group)
    return {credential: cycle(of_credential) for credential, of_credential in runs.items()}
